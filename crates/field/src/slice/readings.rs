//! The strongest pairs of a slice, read as tokens.
//!
//! A block `B = readout^T G source` has the triplet `B b = s a`. The source that it stands for is `source b`, the response
//! `readout a`, both in the width of the field. A vector x is read by the logits that it moves where it stands at
//! h\[L, p\]: `W_U dln_f(x)`, the final norm linearised at the run's own h\[L, p\]. Of the two signs of a triplet, the one is taken
//! under which the response moves some logit up by more than any other down.

use resolvent_model::Linearization;
use serde_json::{Value, json};

use super::walks::Walks;
use crate::certificate::narrow;
use crate::dense::{svd, wide};
use crate::error::Result;
use crate::sensitivity::Place;
use crate::store::Store;

/// One of the strongest pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Source (l, t).
    pub from: Place,
    /// Target (l', t').
    pub to: Place,
    /// Largest singular value of the block.
    pub value: f32,
    /// Effective rank of the block.
    pub effective_rank: f32,
    /// Tokens whose logits the response moves up most, with how far, for a source of unit length in the basis.
    pub writes: Vec<(u32, f32)>,
    /// Tokens whose logits the source itself would move up most.
    pub reads: Vec<(u32, f32)>,
}

/// How many pairs along one token, and how many from one token to another.
const PAIRS: usize = 5;
/// Tokens named of each vector.
const TOKENS: usize = 5;
/// Numbers read from a store at once.
const AT_ONCE: usize = 1 << 20;

/// The strongest pairs along one token, then those between two.
pub(super) fn strongest(walks: &Walks<'_>, store: &mut dyn Store, position: usize) -> Result<Vec<Reading>> {
    let (m, k) = (walks.readout.rank(), walks.source.rank());
    let mut found: [Vec<(f32, usize)>; 2] = Default::default();
    let (n, count) = (m.min(k), walks.pairs.len());
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
    let mut readings = Vec::new();
    for (value, pair) in found.into_iter().flatten() {
        let block = store.read(super::BLOCKS, pair * m * k..(pair + 1) * m * k)?;
        let effective_rank = store.read(super::RANK, pair..pair + 1)?[0];
        if let Some((from, to)) = walks.pairs.get(pair) {
            let [reads, writes] = read(walks, (from, to), &block, position)?;
            readings.push(Reading { from, to, value, effective_rank, writes, reads });
        }
    }
    Ok(readings)
}

/// Tokens of the leading triplet of a block: of its source, and of its response.
fn read(
    walks: &Walks<'_>,
    (from, to): (Place, Place),
    block: &[f32],
    position: usize,
) -> Result<[Vec<(u32, f32)>; 2]> {
    let d = walks.source.width();
    let found = svd(&wide(block), walks.source.rank())?;
    let combined = |frame: &[f32], weights: &[f64]| {
        let mut x = vec![0.0; d];
        for (v, weight) in frame.chunks(d).zip(weights) {
            x.iter_mut().zip(v).for_each(|(x, v)| *x += weight * f64::from(*v));
        }
        narrow(&x)
    };
    let source = combined(walks.source.at(from)?, &found.right[0]);
    let response = combined(walks.readout.at(to)?, &found.left[0]);
    let logits = walks.linear.logit_tangents(position, &[source, response])?;
    let (mut source, mut response) = logits.split_at(logits.len() / 2);
    let flipped = logits.iter().map(|x| -x).collect::<Vec<f32>>();
    if upside_down(response) {
        (source, response) = flipped.split_at(flipped.len() / 2);
    }
    Ok([top(source), top(response)])
}

/// Whether the largest departure from the mean is downwards.
fn upside_down(logits: &[f32]) -> bool {
    let mean = logits.iter().map(|&x| f64::from(x)).sum::<f64>() / logits.len() as f64;
    let largest = logits
        .iter()
        .map(|&x| f64::from(x) - mean)
        .fold(0.0f64, |m, x| if x.abs() > m.abs() { x } else { m });
    largest < 0.0
}

fn top(logits: &[f32]) -> Vec<(u32, f32)> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    ids.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    ids.into_iter().take(TOKENS).map(|id| (id, logits[id as usize])).collect()
}

/// Readings as JSON, for the metadata of a result.
pub(super) fn to_json(readings: &[Reading], linear: &Linearization<'_>) -> String {
    let tokenizer = linear.run().model().tokenizer();
    let tokens = |tokens: &[(u32, f32)]| -> Vec<Value> {
        let text = |id| tokenizer.map_or_else(String::new, |t| t.token(id).chars().take(LONGEST).collect());
        tokens.iter().map(|&(id, logit)| json!([id, text(id), logit])).collect()
    };
    let each = readings.iter().map(|r| {
        let pair = [r.to.0, r.to.1, r.from.0, r.from.1];
        json!({
            "pair": pair, "value": r.value, "effective_rank": r.effective_rank,
            "reads": tokens(&r.reads), "writes": tokens(&r.writes),
        })
    });
    Value::Array(each.collect()).to_string()
}

/// Characters of a token's text, so that metadata has a bounded length.
const LONGEST: usize = 32;
