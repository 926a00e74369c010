//! The checks of a slice.

use resolvent_model::{Linearization, Run};

use super::{BLOCKS, Pass, Slice};
use crate::certificate::{ADJOINT, Certificate, adjoint_all, dot, norm, norms, worse};
use crate::composition::composition_all;
use crate::distinct::distinct;
use crate::error::Result;
use crate::field_slope::{PlacedSource, field_slopes, responses};
use crate::green::causal_zeros;
use crate::labelled::Labelled;
use crate::operator::{Operator, apply_all, apply_transpose_all};
use crate::place::{Place, shape};
use crate::store::Store;

/// Returns the result of each slice without arrays, with the checks that precede the work, or the check that fails.
/// Slices of one batch share passes.
pub(super) fn probed(slices: &[&Slice<'_>]) -> Result<Vec<Result<Labelled>>> {
    let vectors = slices.iter().map(|slice| slice.probe()).collect::<Result<Vec<Vec<f32>>>>()?;
    let placed = slices.iter().zip(&vectors).map(|(slice, vector)| PlacedSource {
        run: slice.passes.linear.run(),
        place: slice.pairs().from()[0],
        vector,
    });
    let sources: Vec<PlacedSource<'_>> = placed.collect();
    let linear: Vec<&Linearization<'_>> = slices.iter().map(|slice| slice.passes.linear).collect();
    let responses = responses(&sources)?;
    let slopes = field_slopes(&sources, &responses)?;
    let adjoints = adjoints(&linear, 1)?;
    let levels = |linear: &Linearization<'_>| shape(linear.run()).0;
    let ends = linear.iter().map(|&one| (one, [0, (levels(one) - 1) / 2, levels(one) - 1]));
    let compositions = composition_all(&ends.collect::<Vec<_>>(), 1)?;
    let checks = slopes.into_iter().zip(adjoints).zip(compositions);
    let each = slices.iter().zip(sources.iter().zip(&responses)).zip(checks);
    let results = each.map(|((slice, (source, response)), ((slope, adjoint), composition))| {
        let PlacedSource { run, place, vector } = *source;
        let label = slice.about.iter().fold(Labelled::new("slice", run), |l, (key, value)| l.note(key, value));
        label
            .note("pass", slice.pass.name())
            .certify(causal_zeros(&norms(response, vector.len()), run.tokens().len(), place))?
            .certify(slope)?
            .certify(adjoint)?
            .certify(composition)
    });
    Ok(results.collect())
}

/// Returns the check [`adjoint`](crate::certificate::adjoint) of each tangent map. Those of one mode and one batch
/// share passes.
fn adjoints(linear: &[&Linearization<'_>], seed: u64) -> Result<Vec<Certificate>> {
    let mut checks: Vec<Option<Certificate>> = vec![None; linear.len()];
    for mode in distinct(linear.iter().map(|linear| linear.mode())) {
        let some: Vec<usize> = (0..linear.len()).filter(|&n| linear[n].mode() == mode).collect();
        let runs: Vec<&Run> = some.iter().map(|&n| linear[n].run()).collect();
        some.iter().zip(adjoint_all(mode, &runs, seed)?).for_each(|(&n, check)| checks[n] = Some(check));
    }
    Ok(checks.into_iter().flatten().collect())
}

/// Recomputes the first, a middle and the last block of each slice by the other pass, and compares them with the stored
/// ones. The figure is the distance of two blocks, relative to the lengths of the multiplied vectors. Slices by secants
/// are recomputed one by one.
pub(super) fn other_pass(slices: &[&Slice<'_>], stores: &mut [&mut dyn Store]) -> Result<Vec<Certificate>> {
    let (mut tried, mut operators) = (Vec::new(), Vec::new());
    for (n, slice) in slices.iter().enumerate().filter(|(_, slice)| slice.secants.is_none()) {
        let count = slice.pairs().len();
        for pair in [0, count / 2, count - 1] {
            let Some((from, to)) = slice.pairs().get(pair) else { continue };
            operators.push(Operator::new(slice.passes.linear, &[from], &[to])?);
            tried.push(Tried { n, pair, from, to });
        }
    }
    let mut values = vec![0.0; slices.len()];
    for pass in [Pass::Forward, Pass::Adjoint] {
        let some: Vec<usize> = (0..tried.len()).filter(|&i| slices[tried[i].n].pass == pass).collect();
        let bases = some.iter().map(|&i| tried[i].bases(slices)).collect::<Result<Vec<_>>>()?;
        let applied = |by: usize| some.iter().zip(&bases).map(|(&i, bases)| (&operators[i], &bases[by][..])).collect();
        let applied: Vec<(&Operator<'_>, &[Vec<f32>])> = applied(usize::from(pass == Pass::Forward));
        let products = match pass {
            Pass::Forward => apply_transpose_all(&applied)?,
            Pass::Adjoint => apply_all(&applied)?,
        };
        for ((&i, [v, u]), product) in some.iter().zip(&bases).zip(&products) {
            let Tried { n, pair, .. } = tried[i];
            let (left, right) = match pass {
                Pass::Forward => (product, v),
                Pass::Adjoint => (u, product),
            };
            let block = slices[n].passes.block();
            let stored = stores[n].read(BLOCKS, pair * block..(pair + 1) * block)?;
            values[n] = worse(values[n], distance(&stored, left, right));
        }
    }
    let each = slices.iter().zip(stores).zip(values);
    let check = |((slice, store), value): ((&&Slice<'_>, &mut &mut dyn Store), f64)| match &slice.secants {
        Some(secants) => slice.other_secants(secants, *store),
        None => Ok(Certificate::new("other_pass", value, ADJOINT)),
    };
    each.map(check).collect()
}

/// A block that is computed again.
struct Tried {
    /// Index of the slice.
    n: usize,
    pair: usize,
    from: Place,
    to: Place,
}

impl Tried {
    /// Returns the vectors of the source basis and of the readout basis at the ends of the block.
    fn bases(&self, slices: &[&Slice<'_>]) -> Result<[Vec<Vec<f32>>; 2]> {
        let passes = &slices[self.n].passes;
        let vectors = |frame: &[f32]| frame.chunks(passes.source.width()).map(<[f32]>::to_vec).collect::<Vec<_>>();
        Ok([vectors(passes.source.at(self.from)?), vectors(passes.readout.at(self.to)?)])
    }
}

/// Returns the distance of a stored block `[m, k]` from the products of m vectors with k others, relative to the
/// lengths of the vectors.
fn distance(stored: &[f32], left: &[Vec<f32>], right: &[Vec<f32>]) -> f64 {
    let (mut apart, mut size) = (0.0, 0.0);
    for (left, stored) in left.iter().zip(stored.chunks(right.len())) {
        for (right, stored) in right.iter().zip(stored) {
            apart += (dot(left, right) - f64::from(*stored)).powi(2);
            size += (norm(left) * norm(right)).powi(2);
        }
    }
    apart.sqrt() / size.sqrt().max(f64::MIN_POSITIVE)
}

impl Slice<'_> {
    /// Returns a vector of the source basis at the first source, not zero if there is one.
    fn probe(&self) -> Result<Vec<f32>> {
        let (frame, d) = (self.passes.source.at(self.pairs().from()[0])?, self.passes.source.width());
        Ok(frame.chunks(d).find(|v| norm(v) > 0.0).unwrap_or(&frame[..d]).to_vec())
    }
}
