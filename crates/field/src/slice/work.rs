//! The work of a slice, split into chunks.

use std::ops::Range;

use rayon::prelude::*;

use super::passes::Piece;
use super::{BLOCKS, OnProgress, PAIRS, Pass, RANK, SECANTS, Slice, VALUES};
use crate::dense::singular_values;
use crate::error::Result;
use crate::place::shape;
use crate::store::Store;

impl Slice<'_> {
    /// Splits the starts of the pass into chunks that fit one batch of the device and whose blocks fit a quarter of
    /// memory.
    fn plan(&self) -> Vec<Range<usize>> {
        let starts = self.passes.starts(self.pass);
        if self.secants.is_some() {
            return (0..starts.len()).map(|i| i..i + 1).collect();
        }
        let most = self.passes.linear.batch_rows(shape(self.passes.linear.run()).0);
        let mut plan: Vec<Range<usize>> = Vec::new();
        let mut rows = 0;
        for (i, &place) in starts.iter().enumerate() {
            let more = self.passes.cost(self.pass, place).0;
            match plan.last_mut() {
                Some(chunk) if rows + more <= most && self.chunk_bytes(chunk.start..i + 1) <= self.memory() / 4 => {
                    chunk.end = i + 1;
                    rows += more;
                }
                _ => {
                    plan.push(i..i + 1);
                    rows = more;
                }
            }
        }
        plan
    }

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

    /// Computes the chunks that `store` lacks, and puts them there.
    pub(super) fn fill(&self, store: &mut dyn Store, progress: OnProgress<'_>) -> Result<()> {
        let work = |starts: &Range<usize>| {
            let each = self.passes.starts(self.pass)[starts.clone()].iter();
            each.map(|&place| self.passes.cost(self.pass, place)).map(|(r, b)| (r * b) as u64).sum::<u64>()
        };
        let plan = self.plan();
        let total = plan.iter().map(work).sum();
        let mut done = 0;
        progress(done, total);
        for (chunk, starts) in plan.iter().enumerate() {
            if !store.has(chunk) {
                let pieces = match &self.secants {
                    Some(secants) => vec![self.passes.secant_piece(secants, starts.start)?],
                    None => self.passes.pieces(self.pass, starts.clone())?,
                };
                for piece in pieces {
                    self.put(store, &piece)?;
                }
                store.commit(chunk)?;
            }
            done += work(starts);
            progress(done, total);
        }
        Ok(())
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
