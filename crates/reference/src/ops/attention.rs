//! attention:  z[t] = sum_s p[t, s] v[s],  p[t, .] = softmax over t - window < s <= t of cap(scale * <q[t], k[s]>),
//! head by head, where cap(x) = c tanh(x / c). Consecutive query heads share a head of keys and values.

use std::ops::Range;

use super::Frozen;
use crate::Scalar;

/// The columns of each head in q, k and v, and what its scores are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// Number of query heads.
    pub count: usize,
    /// Number of key and value heads.
    pub keys: usize,
    /// Columns per head.
    pub width: usize,
    /// Factor of the scores.
    pub scale: f64,
    /// Soft-cap of the scores.
    pub cap: Option<f64>,
    /// How many tokens a query sees, its own included.
    pub window: Option<usize>,
}

impl Heads {
    /// Splits `d` columns into `count` heads, with scores multiplied by 1 / sqrt(d_head).
    pub fn new(count: usize, d: usize) -> Self {
        assert_eq!(d % count, 0, "attention: {d} columns do not split into {count} heads");
        let width = d / count;
        Self { count, keys: count, width, scale: 1.0 / (width as f64).sqrt(), cap: None, window: None }
    }

    /// Returns the columns of head `head` within q, k, v or z.
    pub fn columns(&self, head: usize) -> Range<usize> {
        head * self.width..(head + 1) * self.width
    }
}

/// What an edit of attention changes of the keys of one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Scores, before the softmax. A key that the query does not see has minus infinity.
    Scores,
    /// Weights, after the softmax.
    Weights,
}

/// Changes scores or weights `[t + 1]` of a query, given its head and its token t.
pub type KeyEdit<'a, S> = dyn FnMut(Keys, [usize; 2], &mut [S]) + 'a;

/// Computes causal multi-head attention. `qkv [T, (count + 2 keys) width]`, with q, k and v of a token side by side ->
/// `z [T, count width]`.
pub fn attention<S: Scalar>(qkv: &[S], heads: Heads, frozen: Frozen) -> Vec<S> {
    edited_attention(qkv, heads, frozen, &mut |_, _, _| ())
}

/// Like [`attention`], with edits of the scores and weights of each head and query.
pub fn edited_attention<S: Scalar>(qkv: &[S], heads: Heads, frozen: Frozen, edit: &mut KeyEdit<'_, S>) -> Vec<S> {
    let (d, kv) = (heads.count * heads.width, heads.keys * heads.width);
    let row = d + 2 * kv;
    assert_eq!(qkv.len() % row, 0, "attention: {} values are not rows of {row}", qkv.len());
    let tokens = qkv.len() / row;
    let q = |t: usize, i: usize| qkv[t * row + i];
    let k = |t: usize, i: usize| qkv[t * row + d + i];
    let v = |t: usize, i: usize| qkv[t * row + d + kv + i];

    let zero = S::from_f64(0.0);
    let mut z = vec![zero; tokens * d];
    for t in 0..tokens {
        for head in 0..heads.count {
            let of_keys = heads.columns(head * heads.keys / heads.count);
            let first = heads.window.map_or(0, |window| (t + 1).saturating_sub(window));
            let mut scores = vec![S::from_f64(f64::NEG_INFINITY); first];
            for s in first..=t {
                let mut dot = zero;
                for (i, j) in heads.columns(head).zip(of_keys.clone()) {
                    dot += q(t, i) * k(s, j);
                }
                let score = dot * S::from_f64(heads.scale);
                scores.push(match heads.cap {
                    Some(cap) => S::from_f64(cap) * (score * S::from_f64(1.0 / cap)).tanh(),
                    None => score,
                });
            }
            edit(Keys::Scores, [head, t], &mut scores);
            let mut weights = softmax(&scores);
            edit(Keys::Weights, [head, t], &mut weights);
            for (s, p) in weights.into_iter().enumerate() {
                let p = p.freeze(frozen.pattern);
                for (i, j) in heads.columns(head).zip(of_keys.clone()) {
                    z[t * d + i] += p * v(s, j);
                }
            }
        }
    }
    z
}

/// Returns e^x / sum e^x. The largest score is subtracted first: this constant cancels, so it has no derivative.
fn softmax<S: Scalar>(scores: &[S]) -> Vec<S> {
    let largest = scores.iter().map(|x| x.value()).fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<S> = scores.iter().map(|&x| (x - S::from_f64(largest)).exp()).collect();
    let mut total = S::from_f64(0.0);
    for &power in &powers {
        total += power;
    }
    powers.into_iter().map(|power| power / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dual;
    use crate::ops::check;

    #[test]
    fn equal_scores_give_the_mean_of_the_values_so_far() {
        // q = 0, so every score is 0; two heads of one column.
        let (k, v) = ([[1.0, -2.0], [3.0, 0.5], [-1.0, 4.0]], [[1.0, 10.0], [3.0, 20.0], [8.0, 60.0]]);
        let qkv: Vec<f64> = k.iter().zip(v).flat_map(|(k, v)| [0.0, 0.0, k[0], k[1], v[0], v[1]]).collect();
        let z = attention(&qkv, Heads::new(2, 2), Frozen::default());
        check::close(&z, &[1.0, 10.0, 2.0, 15.0, 4.0, 30.0], 1e-15);
    }

    #[test]
    fn a_score_gap_of_ln_3_weighs_three_to_one_in_its_own_head_only() {
        // One head of width 4 scales by 1/2: <q, k> = 2 ln 3 on the first token and 0 on the second.
        let ln3 = 3.0_f64.ln();
        let first = [[0.0; 4], [2.0 * ln3, 0.0, 0.0, 0.0], [1.0; 4]].concat();
        let second = [[1.0, 0.0, 0.0, 0.0], [0.0; 4], [5.0; 4]].concat();
        let z = attention(&[first.clone(), second.clone()].concat(), Heads::new(1, 4), Frozen::default());
        check::close(&z[4..], &[2.0; 4], 1e-15);
        // In four heads of width 1 the scale is 1 and only the first head sees the gap of 2 ln 3, nine to one.
        let z = attention(&[first, second].concat(), Heads::new(4, 4), Frozen::default());
        check::close(&z[4..], &[1.4, 3.0, 3.0, 3.0], 1e-15);
    }

    #[test]
    fn two_query_heads_read_one_head_of_keys() {
        // Tokens of [q0, q1, k, v]: both queries see the gap of ln 3, with opposite signs.
        let ln3 = 3.0_f64.ln();
        let qkv = [[0.0, 0.0, ln3, 2.0], [1.0, -1.0, 0.0, 6.0]].concat();
        let heads = Heads { count: 2, keys: 1, ..Heads::new(1, 1) };
        check::close(&attention(&qkv, heads, Frozen::default())[2..], &[3.0, 5.0], 1e-15);
    }

    #[test]
    fn a_window_hides_earlier_tokens_and_a_cap_bounds_scores() {
        let qkv = [[0.0, 0.0, 100.0], [0.0, 0.0, 2.0], [0.0, 0.0, 4.0]].concat();
        let two = Heads { window: Some(2), ..Heads::new(1, 1) };
        assert_eq!(attention(&qkv, two, Frozen::default()), [100.0, 51.0, 3.0]);
        // A score of 1e6 counts as ln 3 / 2, one of -1e6 as its negative: three to one.
        let qkv = [[0.0, 1e3, 1.0], [1e3, -1e3, 5.0]].concat();
        let capped = Heads { cap: Some(3.0_f64.ln() / 2.0), ..Heads::new(1, 1) };
        check::close(&attention(&qkv, capped, Frozen::default())[1..], &[2.0], 1e-15);
    }

    #[test]
    fn a_hidden_key_leaves_its_weight_to_the_others_and_a_zero_weight_does_not() {
        // Three keys with equal scores, values 3, 6 and 12.
        let qkv = [[0.0, 0.0, 3.0], [0.0, 0.0, 6.0], [0.0, 0.0, 12.0]].concat();
        let last = |stage: Keys, to: f64| {
            let mut edit = |found: Keys, [_, t]: [usize; 2], keys: &mut [f64]| {
                if found == stage && t == 2 {
                    keys[2] = to;
                }
            };
            edited_attention(&qkv, Heads::new(1, 1), Frozen::default(), &mut edit)
        };
        check::close(&last(Keys::Scores, f64::NEG_INFINITY), &[3.0, 4.5, 4.5], 1e-15);
        check::close(&last(Keys::Weights, 0.0), &[3.0, 4.5, 3.0], 1e-15);
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let z = attention(&[[1e3, 1e3, 1.0], [1e3, -1e3, 2.0]].concat(), Heads::new(1, 1), Frozen::default());
        assert_eq!(z, [1.0, 1.0]);
    }

    #[test]
    fn later_tokens_have_exactly_no_influence() {
        let (tokens, d) = (5, 6);
        let x = check::numbers(4, tokens * 3 * d);
        for source in 0..tokens {
            let x: Vec<Dual<f64>> = x
                .iter()
                .enumerate()
                .map(|(i, &x)| Dual::new(x, if i / (3 * d) == source { 1.0 + i as f64 } else { 0.0 }))
                .collect();
            let z = attention(&x, Heads::new(3, d), Frozen::default());
            for (i, z) in z.iter().enumerate() {
                assert_eq!(z.tangent != 0.0, i / d >= source, "source {source}, z[{i}] = {z:?}");
            }
        }
    }

    #[test]
    fn derivatives() {
        check::derivatives(&check::numbers(5, 4 * 3 * 6), |x| attention(x, Heads::new(2, 6), Frozen::default()));
        let all = Heads { keys: 2, cap: Some(0.5), window: Some(2), ..Heads::new(4, 8) };
        check::derivatives(&check::numbers(5, 4 * 16), |x| attention(x, all, Frozen::default()));
    }

    #[test]
    fn with_its_pattern_frozen_only_values_have_a_response() {
        let frozen = Frozen { pattern: true, ..Frozen::default() };
        let x = check::numbers(5, 4 * 3 * 6);
        // The tangent of each input is its value. Those of queries and keys must not contribute.
        let x: Vec<Dual<f64>> = x.iter().map(|&x| Dual::new(x, x)).collect();
        let z = attention(&x, Heads::new(2, 6), frozen);
        let apart = z.iter().map(|z| (z.tangent - z.primal).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-15, "{apart}");
    }
}
