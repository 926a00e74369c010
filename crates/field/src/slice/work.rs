//! The work of a slice, split into chunks.

use std::ops::Range;

use rayon::prelude::*;

use super::passes::{Piece, Starts, pieces};
use super::{BLOCKS, OnProgress, PAIRS, Pass, RANK, SECANTS, Slice, VALUES};
use crate::dense::singular_values;
use crate::distinct::distinct;
use crate::error::Result;
use crate::place::shape;
use crate::store::Store;

/// Starts of the pass of one slice: its index, and the range.
type Part = (usize, Range<usize>);

/// Splits the starts of the passes of slices into chunks that fit one batch of the device and whose blocks fit a
/// quarter of memory. A chunk has starts of one pass in one mode; of secants, it has one start.
fn plan(slices: &[&Slice<'_>]) -> Vec<Vec<Part>> {
    let mut plan: Vec<Vec<Part>> = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    let kind = |slice: &Slice<'_>| (slice.pass, slice.passes.linear.mode());
    for kind_of in distinct(slices.iter().map(|slice| kind(slice))) {
        let mut begun = false;
        for (n, slice) in slices.iter().enumerate().filter(|(_, slice)| kind(slice) == kind_of) {
            let most = slice.passes.linear.batch_rows(shape(slice.passes.linear.run()).0);
            for (i, &place) in slice.passes.starts(slice.pass).iter().enumerate() {
                let more = (slice.passes.cost(slice.pass, place).0, slice.chunk_bytes(i..i + 1));
                match plan.last_mut() {
                    Some(chunk)
                        if begun
                            && slice.secants.is_none()
                            && rows + more.0 <= most
                            && bytes + more.1 <= slice.memory() / 4 =>
                    {
                        match chunk.last_mut().filter(|(of, _)| *of == n) {
                            Some((_, starts)) => starts.end = i + 1,
                            None => chunk.push((n, i..i + 1)),
                        }
                        (rows, bytes) = (rows + more.0, bytes + more.1);
                    }
                    _ => {
                        plan.push(vec![(n, i..i + 1)]);
                        (rows, bytes) = more;
                    }
                }
                begun = true;
            }
        }
    }
    plan
}

/// Computes the chunks that the stores of the slices lack, and puts them there. Slices of one batch share passes.
pub(super) fn fill(slices: &[&Slice<'_>], stores: &mut [&mut dyn Store], progress: OnProgress<'_>) -> Result<()> {
    let work = |(n, starts): &Part| {
        let slice = slices[*n];
        let each = slice.passes.starts(slice.pass)[starts.clone()].iter();
        each.map(|&place| slice.passes.cost(slice.pass, place)).map(|(r, b)| (r * b) as u64).sum::<u64>()
    };
    let plan = plan(slices);
    let total = plan.iter().flatten().map(work).sum();
    let mut done = 0;
    progress(done, total);
    for (chunk, parts) in plan.iter().enumerate() {
        let open: Vec<&Part> = parts.iter().filter(|(n, _)| !stores[*n].has(chunk)).collect();
        if let Some(slice) = open.first().map(|(n, _)| slices[*n]) {
            let starts = open.iter().map(|(n, range)| Starts { passes: &slices[*n].passes, range: range.clone() });
            let found = match &slice.secants {
                Some(secants) => vec![vec![slice.passes.secant_piece(secants, open[0].1.start)?]],
                None => pieces(slice.pass, slice.passes.linear.mode(), &starts.collect::<Vec<_>>())?,
            };
            for ((n, _), pieces) in open.iter().zip(found) {
                pieces.iter().try_for_each(|piece| slices[*n].put(stores[*n], piece))?;
                stores[*n].commit(chunk)?;
            }
        }
        done += parts.iter().map(work).sum::<u64>();
        progress(done, total);
    }
    Ok(())
}

impl Slice<'_> {
    /// Returns the bytes of the blocks of some starts of the pass.
    pub(super) fn chunk_bytes(&self, starts: Range<usize>) -> u64 {
        let pairs = match self.pass {
            Pass::Forward => self.pairs().of(&starts).len(),
            Pass::Adjoint => starts.len() * self.pairs().from().len(),
        };
        // Sums of secants are in f64, and there are three beside the tangent blocks.
        let blocks = if self.secants.is_some() { 7 } else { 1 };
        4 * (pairs * (blocks * self.passes.block() + 4)) as u64
    }

    /// Stores the blocks of a piece with their pairs, singular values and effective ranks.
    fn put(&self, store: &mut dyn Store, piece: &Piece) -> Result<()> {
        let (block, k) = (self.passes.block(), self.passes.source.rank());
        let values: Result<Vec<Vec<f64>>> =
            piece.blocks.par_chunks(block).map(|block| singular_values(block, k)).collect();
        let values = values?;
        let rank: Vec<f32> = values.iter().map(|values| effective_rank(values) as f32).collect();
        let n = block / k.max(self.passes.readout.rank());
        let values: Vec<f32> = values.iter().flatten().map(|x| *x as f32).collect();
        store.put(PAIRS, piece.first * 4, &piece.pairs)?;
        store.put(BLOCKS, piece.first * block, &piece.blocks)?;
        store.put(VALUES, piece.first * n, &values)?;
        for array in 0..piece.secants.first().map_or(0, |row| row.len()) {
            let of_pairs: Vec<f32> = piece.secants.iter().map(|row| row[array]).collect();
            store.put(SECANTS + array, piece.first, &of_pairs)?;
        }
        store.put(RANK, piece.first, &rank)
    }
}

/// Returns `exp(-sum_i p_i ln p_i)` with `p_i = s_i^2 / sum_j s_j^2`: the number of equal singular values with the same
/// entropy.
fn effective_rank(values: &[f64]) -> f64 {
    let total: f64 = values.iter().map(|s| s * s).sum();
    if total == 0.0 {
        return 0.0;
    }
    let entropy = values.iter().map(|s| s * s / total).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum::<f64>();
    entropy.exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_ranks_count_equal_values() {
        assert!((effective_rank(&[2.0, 2.0, 2.0, 0.0]) - 3.0).abs() < 1e-12);
        assert!((effective_rank(&[5.0, 0.0]) - 1.0).abs() < 1e-12);
        let two = effective_rank(&[1.0, 0.5]);
        assert!((two - (0.8f64.ln() * -0.8 - 0.2 * 0.2f64.ln()).exp()).abs() < 1e-12, "{two}");
        assert_eq!(effective_rank(&[0.0; 3]), 0.0);
    }
}
