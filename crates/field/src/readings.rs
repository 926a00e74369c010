//! Vectors of the field, read as tokens.
//!
//! A vector x is read as the change of logits that it causes at h\[L, p\]: `W_U dln_f(x)`, with the final norm
//! linearised at the run's h\[L, p\]. The joint sign of a source and its response is arbitrary. We choose it so that
//! the response's largest deviation from the mean logit is positive.

use resolvent_model::{Linearization, LogitTangent, logit_tangents_of};
use serde_json::{Value, json};

use crate::error::Result;
use crate::place::Place;

/// A source and its response, read as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Place of the source, (l, t).
    pub from: Place,
    /// Place of the response, (l', t').
    pub to: Place,
    /// Singular value: length of the response over that of the source.
    pub value: f32,
    /// Effective rank of the block whose first singular triplet they are.
    pub effective_rank: Option<f32>,
    /// Tokens whose logits the source would raise most at the last level, and by how much.
    pub reads: Vec<(u32, f32)>,
    /// Tokens whose logits the response would raise most, and by how much.
    pub writes: Vec<(u32, f32)>,
}

/// Tokens listed for each vector.
const TOKENS: usize = 5;
/// Most characters of a token's text, so that metadata has a bounded length.
const LONGEST: usize = 32;

/// Elements of logits that are read at once.
const AT_ONCE: usize = 16 << 20;

/// A source and its response, `[d]` each, to be read as tokens at a position of a run.
pub(crate) struct Pair<'a> {
    pub(crate) linear: &'a Linearization<'a>,
    pub(crate) position: usize,
    pub(crate) vectors: [Vec<f32>; 2],
}

/// The tokens of a source and those of its response.
pub(crate) type Tokens = [Vec<(u32, f32)>; 2];

/// Reads sources and their responses as tokens. Runs of one batch share passes.
pub(crate) fn read_all(pairs: &[Pair<'_>]) -> Result<Vec<Tokens>> {
    let Some(vocab) = pairs.first().map(|pair| pair.linear.run().model().sizes().vocab) else { return Ok(Vec::new()) };
    let mut found = Vec::with_capacity(pairs.len());
    let of_mode = |a: &Pair<'_>, b: &Pair<'_>| a.linear.mode() == b.linear.mode();
    for pairs in pairs.chunk_by(of_mode).flat_map(|pairs| pairs.chunks((AT_ONCE / (2 * vocab)).max(1))) {
        let each = pairs.iter().flat_map(|Pair { linear, position, vectors }| {
            vectors.iter().map(|vector| LogitTangent { run: linear.run(), position: *position, vector })
        });
        let mut logits = logit_tangents_of(pairs[0].linear.mode(), &each.collect::<Vec<_>>())?;
        for logits in logits.chunks_mut(2 * vocab) {
            if upside_down(&logits[vocab..]) {
                logits.iter_mut().for_each(|x| *x = -*x);
            }
            found.push([top(&logits[..vocab]), top(&logits[vocab..])]);
        }
    }
    Ok(found)
}

/// Returns whether the largest deviation from the mean is negative.
fn upside_down(logits: &[f32]) -> bool {
    let mean = logits.iter().map(|&x| f64::from(x)).sum::<f64>() / logits.len() as f64;
    let deviations = logits.iter().map(|&x| f64::from(x) - mean);
    deviations.fold(0.0f64, |m, x| if x.abs() > m.abs() { x } else { m }) < 0.0
}

/// Returns the tokens with the largest logits, and these.
pub(crate) fn top(logits: &[f32]) -> Vec<(u32, f32)> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    ids.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    ids.into_iter().take(TOKENS).map(|id| (id, logits[id as usize])).collect()
}

/// Returns readings as JSON, for the metadata of a result: tokens as `[id, text, logit]`, pairs as `[l', t', l, t]`.
pub(crate) fn to_json(readings: &[Reading], linear: &Linearization<'_>) -> String {
    let tokenizer = linear.run().model().tokenizer();
    let tokens = |tokens: &[(u32, f32)]| -> Vec<Value> {
        let text = |id| tokenizer.map_or_else(String::new, |t| t.token(id).chars().take(LONGEST).collect());
        tokens.iter().map(|&(id, logit)| json!([id, text(id), logit])).collect()
    };
    let each = readings.iter().map(|r| {
        json!({
            "pair": [r.to.0, r.to.1, r.from.0, r.from.1], "value": r.value, "effective_rank": r.effective_rank,
            "reads": tokens(&r.reads), "writes": tokens(&r.writes),
        })
    });
    Value::Array(each.collect()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_those_of_the_largest_deviation() {
        // All logits rise, one of them less: relative to the mean that one falls.
        assert!(upside_down(&[5.0, 5.0, 5.0, 1.0]));
        assert!(!upside_down(&[-5.0, -5.0, -5.0, -1.0]));
        assert_eq!(top(&[0.0, 3.0, -1.0, 3.0])[..2], [(1, 3.0), (3, 3.0)]);
    }
}
