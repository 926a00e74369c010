//! Blocks of the secant Green operator: the derivatives on the way to sources of a finite length.
//!
//! ```text
//! block column of v  =  U^T  integral over x from 0 to 1 of G(x a v) v,    a = amplitude |h[l,t]|
//!
//! G(b) = dh[l', t'] / dh[l, t] at the run with b added at (l, t)
//! ```
//!
//! It becomes `U^T (h(a v) - h) / a` as nodes are added, and the tangent block as the amplitude becomes smaller.

use std::collections::BTreeSet;

use resolvent_model::{Edit, EditedPrompt, Mode, Run, Source, SourcedRun, jvp_of};

use super::passes::{Pass, Passes, Piece, Starts, levels, pieces};
use super::{BLOCKS, Slice};
use crate::certificate::{ADJOINT, Certificate, dot, norm, worse};
use crate::edited::with_sources;
use crate::error::{Error, Result};
use crate::linear_map::LinearMap;
use crate::noise;
use crate::operator::Operator;
use crate::place::{Place, shape};
use crate::quadrature::{Rule, check_nodes};
use crate::stats::median;

/// The rule of the mean, and the lengths of the sources.
pub(super) struct Secants {
    rule: Rule,
    amplitude: f64,
    /// The field of the run, `[L+1, T, d]`.
    field: Vec<f32>,
}

/// Arrays of a slice by secants, of each pair: length of the sources; relative errors of the tangent and of the secant
/// block against that of finite responses; relative distance of the secant block from a rule with half of the nodes.
pub(super) const ARRAYS: [&str; 4] = ["amplitude", "first_error", "secant_error", "secant_bar"];

impl Secants {
    pub(super) fn new(run: &Run, nodes: usize, amplitude: f64) -> Result<Self> {
        check_nodes(nodes)?;
        if nodes == 0 {
            return Err(Error::Input("a secant needs one node or more".to_owned()));
        }
        if !amplitude.is_finite() || amplitude <= 0.0 {
            return Err(Error::Input(format!("invalid amplitude {amplitude}: expected a finite number above 0")));
        }
        Ok(Self { rule: Rule::new(nodes), amplitude, field: run.field()? })
    }

    fn row(&self, (level, token): Place, tokens: usize, d: usize) -> &[f32] {
        &self.field[(level * tokens + token) * d..][..d]
    }

    /// Returns the length of sources along unit vectors at a place.
    fn length(&self, place: Place, tokens: usize, d: usize) -> Result<f64> {
        match self.amplitude * norm(self.row(place, tokens, d)) {
            length if length > 0.0 && length.is_finite() => Ok(length),
            length => Err(Error::Input(format!(
                "sources at {},{} would have the length {length:e}; leave the place out, or give another amplitude",
                place.0, place.1
            ))),
        }
    }
}

/// Sums of blocks `[n, m, k]` of the pairs of one source place.
struct Sums {
    finite: Vec<f64>,
    secant: Vec<f64>,
    embedded: Vec<f64>,
}

impl Passes<'_> {
    /// Computes the secant blocks of the pairs that start at one source place, with their arrays [`ARRAYS`].
    pub(super) fn secant_piece(&self, secants: &Secants, source: usize) -> Result<Piece> {
        let run = self.linear.run();
        let (_, tokens, d) = shape(run);
        let place = self.pairs.from()[source];
        let (length, [m, k]) = (secants.length(place, tokens, d)?, [self.readout.rank(), self.source.rank()]);
        let start = Starts { passes: self, range: source..source + 1 };
        let mut piece = pieces(Pass::Forward, self.linear.mode(), &[start])?.remove(0).remove(0);
        let zeros = vec![0.0; piece.blocks.len()];
        let mut sums = Sums { finite: zeros.clone(), secant: zeros.clone(), embedded: zeros };
        let columns: Vec<(usize, Source)> = self.sources(place)?;
        let chosen = source..source + 1;
        let targets = levels(self.pairs.targets(source).map(|j| self.pairs.to()[j]));
        let sites: Vec<_> = targets.iter().map(|&level| self.site(level)).collect();
        let rows = self.rows_by_level(&chosen, &targets);
        // Passes the elements of one column that rows of a level give, with their indices in the blocks.
        let read = |column: usize, level: usize, (rows_here, from): (&[f32], usize)| -> Result<Vec<(usize, f64)>> {
            let (at, of_level) = &rows[level];
            let within = &of_level[..of_level.partition_point(|&token| token < from + rows_here.len() / d)];
            let read = self.read(&self.readout, targets[level], within, (rows_here, from))?;
            let first = (at - piece.first) * m * k;
            Ok(read.into_iter().enumerate().map(|(n, x)| (first + n * k + column, f64::from(x))).collect())
        };
        let mut failed = Ok(());

        let whole: Vec<[Edit; 1]> = columns.iter().map(|(_, source)| [added(source, length)]).collect();
        run.fields_under(&whole, &sites, &mut |chunk| {
            let before = &secants.field[(targets[chunk.site] * tokens + chunk.token) * d..][..chunk.rows.len()];
            let moved: Vec<f32> = chunk.rows.iter().zip(before).map(|(a, b)| a - b).collect();
            match read(columns[chunk.sequence].0, chunk.site, (&moved, chunk.token)) {
                Ok(read) => read.into_iter().for_each(|(i, x)| sums.finite[i] = x / length),
                Err(e) => failed = Err(e),
            }
        })?;

        let nodes = &secants.rule.nodes;
        let on_the_way = columns.iter().flat_map(|(column, source)| {
            nodes.iter().map(move |node| {
                (*column, source, node, with_sources(run, std::slice::from_ref(source), node[0] * length))
            })
        });
        let on_the_way: Vec<_> = on_the_way.collect();
        for part in run.model().passes(&on_the_way, |_| tokens) {
            let prompts = part.iter().map(|(.., edits)| EditedPrompt { tokens: run.tokens(), edits });
            let runs = run.model().run_edited(&prompts.collect::<Vec<_>>(), &[])?;
            let vectors: Vec<[Source; 1]> = part.iter().map(|(_, source, ..)| [(*source).clone()]).collect();
            let sourced = runs.iter().zip(&vectors).map(|(run, sources)| SourcedRun { run, sources });
            jvp_of(Mode::Exact, &sourced.collect::<Vec<_>>(), &sites, &mut |chunk| {
                let (column, _, [_, weight, embedded], _) = &part[chunk.sequence];
                match read(*column, chunk.site, (chunk.rows, chunk.token)) {
                    Ok(read) => read.into_iter().for_each(|(i, x)| {
                        sums.secant[i] += weight * x;
                        sums.embedded[i] += embedded * x;
                    }),
                    Err(e) => failed = Err(e),
                }
            })?;
        }
        failed?;
        let tangent = std::mem::take(&mut piece.blocks);
        piece.secants = self.errors(secants, (length, columns.len()), (&piece.pairs, &tangent), &sums)?;
        piece.blocks = sums.secant.iter().map(|&x| x as f32).collect();
        Ok(piece)
    }

    /// Returns the sources of length 1 at a place, with their columns; without those that are zero.
    fn sources(&self, (level, token): Place) -> Result<Vec<(usize, Source)>> {
        let vectors = self.source.at((level, token))?.chunks(self.source.width()).enumerate();
        let some = vectors.filter(|(_, v)| v.iter().any(|x| *x != 0.0));
        Ok(some.map(|(j, v)| (j, Source { site: self.site(level), token, vector: v.to_vec() })).collect())
    }

    /// Returns the rows [`ARRAYS`] of the pairs `[n, 4]` of one source place, whose sources have the given length.
    fn errors(
        &self,
        secants: &Secants,
        (length, columns): (f64, usize),
        (pairs, tangent): (&[f32], &[f32]),
        sums: &Sums,
    ) -> Result<Vec<[f32; 4]>> {
        let (run, block) = (self.linear.run(), self.block());
        let (_, tokens, d) = shape(run);
        let unit = noise::unit(run.model().sizes());
        let mut rows = Vec::with_capacity(pairs.len() / 4);
        for (n, pair) in pairs.chunks(4).enumerate() {
            let to = (pair[0] as usize, pair[1] as usize);
            // What rounding of h alone moves the finite block.
            let readout = norm(self.readout.at(to)?);
            let floor = unit * norm(secants.row(to, tokens, d)) * readout * (columns as f64).sqrt() / length;
            let of = |sum: &[f64]| sum[n * block..][..block].to_vec();
            let (finite, secant, embedded) = (of(&sums.finite), of(&sums.secant), of(&sums.embedded));
            let tangent: Vec<f64> = tangent[n * block..][..block].iter().map(|&x| f64::from(x)).collect();
            rows.push([
                length as f32,
                relative(&tangent, &finite, floor),
                relative(&secant, &finite, floor),
                relative(&embedded, &secant, floor),
            ]);
        }
        Ok(rows)
    }
}

impl Slice<'_> {
    /// Recomputes a column of the first, a middle and the last block by backward passes from the readouts, at the same
    /// nodes, and compares it with the stored one. The figure is the distance of both, relative to the lengths of the
    /// multiplied vectors.
    pub(super) fn other_secants(&self, secants: &Secants, store: &mut dyn crate::store::Store) -> Result<Certificate> {
        let (run, passes) = (self.passes.linear.run(), &self.passes);
        let (block, d, k) = (passes.block(), passes.source.width(), passes.source.rank());
        let (_, tokens, _) = shape(run);
        let (count, mut value) = (self.pairs().len(), 0.0);
        for pair in BTreeSet::from([0, count / 2, count - 1]) {
            let Some((from, to)) = self.pairs().get(pair) else { continue };
            let length = secants.length(from, tokens, d)?;
            let columns = passes.sources(from)?;
            let Some((column, source)) = columns.get(pair % columns.len().max(1)) else { continue };
            let u: Vec<Vec<f32>> = passes.readout.at(to)?.chunks(d).map(<[f32]>::to_vec).collect();
            let (mut sums, mut sizes) = (vec![0.0; u.len()], vec![0.0; u.len()]);
            for [x, weight, _] in &secants.rule.nodes {
                let edits = with_sources(run, std::slice::from_ref(source), x * length);
                let moved = run.model().run(run.tokens(), &edits)?;
                let linear = moved.linearize(Mode::Exact);
                for (i, left) in Operator::new(&linear, &[from], &[to])?.apply_transpose(&u)?.iter().enumerate() {
                    sums[i] += weight * dot(left, &source.vector);
                    sizes[i] += weight * norm(left) * norm(&source.vector);
                }
            }
            let stored = store.read(BLOCKS, pair * block..(pair + 1) * block)?;
            let apart = sums.iter().enumerate().map(|(i, sum)| (sum - f64::from(stored[i * k + column])).powi(2));
            let (apart, size) = (apart.sum::<f64>(), sizes.iter().map(|size| size * size).sum::<f64>());
            value = worse(value, apart.sqrt() / size.sqrt().max(f64::MIN_POSITIVE));
        }
        Ok(Certificate::new("other_pass", value, ADJOINT))
    }
}

/// Returns the edit that adds a source times `amount`.
fn added(source: &Source, amount: f64) -> Edit {
    let vector = source.vector.iter().map(|&x| (amount * f64::from(x)) as f32).collect();
    Edit::add(source.site, source.token, vector)
}

/// Returns `|of - from| / |from|`; NaN if there is nothing to compare with, or if the difference is at most `floor`.
fn relative(of: &[f64], from: &[f64], floor: f64) -> f32 {
    let size = from.iter().map(|x| x * x).sum::<f64>().sqrt();
    let apart = of.iter().zip(from).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    if size == 0.0 || apart <= floor { f32::NAN } else { (apart / size) as f32 }
}

/// Returns the median of the finite ones of some errors, and how many there are.
pub(super) fn median_text(errors: &[f32]) -> String {
    let finite: Vec<f64> = errors.iter().filter(|x| x.is_finite()).map(|&x| f64::from(x)).collect();
    match finite.len() {
        0 => format!("none of {} pairs", errors.len()),
        n => format!("{:.1e}, of {n} of {} pairs", median(&finite), errors.len()),
    }
}
