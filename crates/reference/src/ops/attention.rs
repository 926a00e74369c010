//! attention:  z[t] = sum_{s <= t} p[t, s] v[s],  p[t, .] = softmax over s <= t of scale * <q[t], k[s]>,  head by head.

use std::ops::Range;

use super::Frozen;
use crate::Scalar;

/// The columns of each head in q, k and v, and the factor of the scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// Number of heads.
    pub count: usize,
    /// Columns per head.
    pub width: usize,
    /// Factor of the scores.
    pub scale: f64,
}

impl Heads {
    /// Splits `d` columns into `count` heads, with scores multiplied by 1 / sqrt(d_head).
    pub fn new(count: usize, d: usize) -> Self {
        assert_eq!(d % count, 0, "attention: {d} columns do not split into {count} heads");
        let width = d / count;
        Self { count, width, scale: 1.0 / (width as f64).sqrt() }
    }

    /// Returns the columns of head `head` within q, k, v or z.
    pub fn columns(&self, head: usize) -> Range<usize> {
        head * self.width..(head + 1) * self.width
    }
}

/// Computes causal multi-head attention. `qkv [T, 3d]`, with q, k and v of a token side by side -> `z [T, d]`.
pub fn attention<S: Scalar>(qkv: &[S], heads: Heads, frozen: Frozen) -> Vec<S> {
    let d = heads.count * heads.width;
    assert_eq!(qkv.len() % (3 * d), 0, "attention: {} values are not rows of 3 x {d}", qkv.len());
    let tokens = qkv.len() / (3 * d);
    let q = |t: usize, i: usize| qkv[t * 3 * d + i];
    let k = |t: usize, i: usize| qkv[t * 3 * d + d + i];
    let v = |t: usize, i: usize| qkv[t * 3 * d + 2 * d + i];

    let zero = S::from_f64(0.0);
    let mut z = vec![zero; tokens * d];
    for t in 0..tokens {
        for head in 0..heads.count {
            let mut scores = Vec::with_capacity(t + 1);
            for s in 0..=t {
                let mut dot = zero;
                for i in heads.columns(head) {
                    dot += q(t, i) * k(s, i);
                }
                scores.push(dot * S::from_f64(heads.scale));
            }
            for (s, p) in softmax(&scores).into_iter().enumerate() {
                let p = p.freeze(frozen.pattern);
                for i in heads.columns(head) {
                    z[t * d + i] += p * v(s, i);
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
