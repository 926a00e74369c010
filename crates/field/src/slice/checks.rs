//! The checks of a slice.

use super::{BLOCKS, Pass, Slice};
use crate::certificate::{ADJOINT, Certificate, adjoint, dot, norm, norms, worse};
use crate::composition::composition;
use crate::error::Result;
use crate::field_slope::{PlacedSource, field_slopes, responses};
use crate::green::causal_zeros;
use crate::labelled::Labelled;
use crate::linear_map::LinearMap;
use crate::operator::Operator;
use crate::place::shape;
use crate::store::Store;

impl Slice<'_> {
    /// Returns the result of the slice without arrays, with the checks that precede the work.
    pub(super) fn probed(&self) -> Result<Labelled> {
        let (linear, run) = (self.passes.linear, self.passes.linear.run());
        let (levels, tokens, d) = shape(run);
        let label = self.about.iter().fold(Labelled::new("slice", run), |l, (key, value)| l.note(key, value));
        let place = self.pairs().from()[0];
        let frame = self.passes.source.at(place)?;
        let vector = frame.chunks(d).find(|v| norm(v) > 0.0).unwrap_or(&frame[..d]).to_vec();
        let source = [PlacedSource { run, place, vector: &vector }];
        let responses = responses(&source)?;
        label
            .note("pass", self.pass.name())
            .certify(causal_zeros(&norms(&responses[0], d), tokens, place))?
            .certify(field_slopes(&source, &responses)?.remove(0))?
            .certify(adjoint(linear, 1)?)?
            .certify(composition(linear, [0, (levels - 1) / 2, levels - 1], 1)?)
    }

    /// Recomputes the first, a middle and the last block by the other pass, and compares them with the stored ones. The
    /// figure is the distance of two blocks, relative to the lengths of the multiplied vectors.
    pub(super) fn other_pass(&self, store: &mut dyn Store) -> Result<Certificate> {
        let (block, count, d) = (self.passes.block(), self.pairs().len(), self.passes.source.width());
        let (m, k) = (self.passes.readout.rank(), self.passes.source.rank());
        let mut value = 0.0;
        for pair in [0, count / 2, count - 1] {
            let Some((from, to)) = self.pairs().get(pair) else { continue };
            let operator = Operator::new(self.passes.linear, &[from], &[to])?;
            let vectors = |frame: &[f32]| frame.chunks(d).map(<[f32]>::to_vec).collect::<Vec<_>>();
            let (v, u) = (vectors(self.passes.source.at(from)?), vectors(self.passes.readout.at(to)?));
            let (left, right) = match self.pass {
                Pass::Forward => (operator.apply_transpose(&u)?, v),
                Pass::Adjoint => (u, operator.apply(&v)?),
            };
            let stored = store.read(BLOCKS, pair * block..(pair + 1) * block)?;
            let (mut apart, mut size) = (0.0, 0.0);
            for i in 0..m {
                for j in 0..k {
                    apart += (dot(&left[i], &right[j]) - f64::from(stored[i * k + j])).powi(2);
                    size += (norm(&left[i]) * norm(&right[j])).powi(2);
                }
            }
            value = worse(value, apart.sqrt() / size.sqrt().max(f64::MIN_POSITIVE));
        }
        Ok(Certificate::new("other_pass", value, ADJOINT))
    }
}
