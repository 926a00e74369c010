//! The strongest pairs of a slice.
//!
//! A block `B = readout^T G source` has the triplet `B b = s a`. Its source is `source b` and its response is
//! `readout a`, both in the width of the field.

use super::Slice;
use super::passes::Passes;
use crate::certificate::narrow;
use crate::dense::{svd, wide};
use crate::error::Result;
use crate::place::Place;
use crate::readings::{Pair, Reading, read_all};
use crate::store::Store;

/// Number of pairs within one token, and of pairs between two tokens.
const PAIRS: usize = 5;
/// Elements read from a store at once.
const AT_ONCE: usize = 1 << 20;

/// A pair of places whose block is strong.
struct Strong {
    from: Place,
    to: Place,
    value: f32,
    effective_rank: Option<f32>,
    /// Source and response.
    vectors: [Vec<f32>; 2],
}

/// Returns the strongest pairs of each slice within one token, then those between two tokens, read at the positions of
/// the slices.
pub(super) fn strongest(slices: &[&Slice<'_>], stores: &mut [&mut dyn Store]) -> Result<Vec<Vec<Reading>>> {
    let found = slices.iter().zip(stores).map(|(slice, store)| strong(&slice.passes, *store));
    let found = found.collect::<Result<Vec<Vec<Strong>>>>()?;
    let pairs = slices.iter().zip(&found).flat_map(|(slice, found)| {
        let (linear, position) = (slice.passes.linear, slice.position);
        found.iter().map(move |strong| Pair { linear, position, vectors: strong.vectors.clone() })
    });
    let mut read = read_all(&pairs.collect::<Vec<_>>())?.into_iter();
    let mut reading = |strong: Strong| {
        let [reads, writes] = read.next().unwrap_or_default();
        let Strong { from, to, value, effective_rank, .. } = strong;
        Reading { from, to, value, effective_rank, reads, writes }
    };
    Ok(found.into_iter().map(|found| found.into_iter().map(&mut reading).collect()).collect())
}

/// Returns the strongest pairs of a slice within one token, then those between two tokens.
fn strong(passes: &Passes<'_>, store: &mut dyn Store) -> Result<Vec<Strong>> {
    let (m, k) = (passes.readout.rank(), passes.source.rank());
    let mut found: [Vec<(f32, usize)>; 2] = Default::default();
    let (n, count) = (m.min(k), passes.pairs.len());
    let step = (AT_ONCE / n.max(4)).max(1);
    for from in (0..count).step_by(step) {
        let end = (from + step).min(count);
        let values = store.read(super::VALUES, from * n..end * n)?;
        let pairs = store.read(super::PAIRS, from * 4..end * 4)?;
        for ((pair, values), place) in (from..end).zip(values.chunks(n)).zip(pairs.chunks(4)) {
            let best = &mut found[usize::from(place[1] != place[3])];
            let at = best.partition_point(|(value, _)| *value >= values[0]);
            if at < PAIRS && values[0] > 0.0 {
                best.insert(at, (values[0], pair));
                best.truncate(PAIRS);
            }
        }
    }
    let mut strong = Vec::new();
    for (value, pair) in found.into_iter().flatten() {
        let Some((from, to)) = passes.pairs.get(pair) else { continue };
        let block = store.read(super::BLOCKS, pair * m * k..(pair + 1) * m * k)?;
        let effective_rank = store.read(super::RANK, pair..pair + 1)?.first().copied();
        let triplet = svd(&wide(&block), k)?;
        let source = combined(passes.source.at(from)?, &triplet.right[0]);
        let response = combined(passes.readout.at(to)?, &triplet.left[0]);
        strong.push(Strong { from, to, value, effective_rank, vectors: [source, response] });
    }
    Ok(strong)
}

/// Returns `sum_i weight_i v_i` of a frame's vectors.
fn combined(frame: &[f32], weights: &[f64]) -> Vec<f32> {
    let mut x = vec![0.0; frame.len() / weights.len()];
    for (v, weight) in frame.chunks(x.len()).zip(weights) {
        x.iter_mut().zip(v).for_each(|(x, v)| *x += weight * f64::from(*v));
    }
    narrow(&x)
}
