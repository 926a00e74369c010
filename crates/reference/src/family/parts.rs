//! The parts of a block, each a written formula on row-major slices.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::features::{Activation, Norm};
use super::rotary::Rotary;
use crate::Scalar;
use crate::ops::{Frozen, KeyEdit, Keys};

/// norm:  y = x / sqrt(mean(x^2) + eps) * gain + bias,  where x is first centred if the norm is a layer norm.
///
/// `x [.., n]`, `gain [n]` (without the 1 that Gemma adds), `bias [n]` or nothing -> `[.., n]`.
pub fn norm<S: Scalar>(x: &[S], gain: &[f64], bias: Option<&[f64]>, form: Norm, frozen: Frozen) -> Vec<S> {
    let n = gain.len();
    assert_eq!(x.len() % n, 0, "norm: {} values are not rows of {n}", x.len());
    let mean = |row: &[S]| {
        let mut sum = S::from_f64(0.0);
        for &x in row {
            sum += x;
        }
        sum / S::from_f64(n as f64)
    };
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks_exact(n) {
        let centre = if form.centred { mean(row) } else { S::from_f64(0.0) };
        let row: Vec<S> = row.iter().map(|&x| x - centre).collect();
        let square = mean(&row.iter().map(|&x| x * x).collect::<Vec<S>>());
        let root = (square + S::from_f64(form.eps)).sqrt().freeze(frozen.norm);
        for (i, &x) in row.iter().enumerate() {
            let gain = if form.plus_one { 1.0 + gain[i] } else { gain[i] };
            y.push(x / root * S::from_f64(gain) + S::from_f64(bias.map_or(0.0, |bias| bias[i])));
        }
    }
    y
}

/// linear:  `y[t, o] = sum_i w[o, i] x[t, i] + b[o]`.  `x [T, in]`, `weight [out, in]`, `bias [out]` -> `[T, out]`.
pub fn linear<S: Scalar>(x: &[S], tokens: usize, weight: &[f64], bias: Option<&[f64]>) -> Vec<S> {
    let d_in = x.len() / tokens;
    let d_out = weight.len() / d_in;
    assert_eq!(weight.len(), d_out * d_in, "linear: {} weights are not rows of {d_in}", weight.len());
    assert!(bias.is_none_or(|bias| bias.len() == d_out), "linear: the bias has not {d_out} values");
    let mut y = Vec::with_capacity(tokens * d_out);
    for x in x.chunks_exact(d_in) {
        for (o, w) in weight.chunks_exact(d_in).enumerate() {
            let mut sum = S::from_f64(bias.map_or(0.0, |bias| bias[o]));
            for (&w, &x) in w.iter().zip(x) {
                sum += S::from_f64(w) * x;
            }
            y.push(sum);
        }
    }
    y
}

/// rotate:  the pairs `(x[i], x[i + n])`, i < n, of every head turn by the angle `t f[i]`; columns from 2n on stay.
///
/// `x [T, heads, width]` -> the same shape.
pub fn rotate<S: Scalar>(x: &[S], tokens: usize, width: usize, rotary: &Rotary) -> Vec<S> {
    let n = rotary.frequencies.len();
    assert!(2 * n <= width, "rotate: {n} pairs do not fit into {width} columns");
    let mut y = x.to_vec();
    for (row, y) in y.chunks_exact_mut(x.len() / tokens).enumerate() {
        for head in y.chunks_exact_mut(width) {
            for (i, frequency) in rotary.frequencies.iter().enumerate() {
                let angle = row as f64 * frequency;
                let cos = S::from_f64(rotary.scale * libm::cos(angle));
                let sin = S::from_f64(rotary.scale * libm::sin(angle));
                let (a, b) = (head[i], head[i + n]);
                head[i] = a * cos - b * sin;
                head[i + n] = b * cos + a * sin;
            }
        }
    }
    y
}

/// cap:  y = c tanh(x / c).
pub fn cap<S: Scalar>(x: S, limit: Option<f64>) -> S {
    limit.map_or(x, |c| (x / S::from_f64(c)).tanh() * S::from_f64(c))
}

/// The form of attention in one block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` neighbouring heads of the queries.
    pub kv_heads: usize,
    /// Columns per head.
    pub width: usize,
    /// Factor of the scores.
    pub scale: f64,
    /// Cap of the scores.
    pub cap: Option<f64>,
    /// Keys that a query sees, the one at its own token included; all up to it if nothing.
    pub window: Option<usize>,
}

/// attention:  `z[t] = sum_s p[t, s] v[s]`, where `p[t, .]` is the softmax over `t - window < s <= t` of
/// `cap(scale <q[t], k[s]>)`.
///
/// `q [T, heads, width]`, `k` and `v` `[T, kv_heads, width]` -> `z [T, heads, width]`.
///
/// `edit` changes the scores and weights `[t + 1]` of each query; a key outside of the window has minus infinity.
pub fn attention<S: Scalar>(
    [q, k, v]: [&[S]; 3],
    form: Attention,
    frozen: Frozen,
    edit: &mut KeyEdit<'_, S>,
) -> Vec<S> {
    let Attention { heads, kv_heads, width, scale, cap: limit, window } = form;
    assert_eq!(heads % kv_heads, 0, "attention: {heads} heads do not share {kv_heads} evenly");
    let tokens = q.len() / (heads * width);
    assert_eq!(k.len(), tokens * kv_heads * width, "attention: the shape of k");
    assert_eq!(v.len(), k.len(), "attention: k and v differ in length");
    let row = |x: &[S], count: usize, t: usize, head: usize| x[(t * count + head) * width..][..width].to_vec();
    let mut z = Vec::with_capacity(q.len());
    for t in 0..tokens {
        let first = window.map_or(0, |window| (t + 1).saturating_sub(window));
        for head in 0..heads {
            let shared = head / (heads / kv_heads);
            let q = row(q, heads, t, head);
            let mut scores = vec![S::from_f64(f64::NEG_INFINITY); first];
            scores.extend((first..=t).map(|s| cap(dot(&q, &row(k, kv_heads, s, shared)) * S::from_f64(scale), limit)));
            edit(Keys::Scores, [head, t], &mut scores);
            let largest = scores.iter().map(|x| x.value()).fold(f64::NEG_INFINITY, f64::max);
            let powers: Vec<S> = scores.iter().map(|&x| (x - S::from_f64(largest)).exp()).collect();
            let total = dot(&powers, &vec![S::from_f64(1.0); powers.len()]);
            let mut mixed = vec![S::from_f64(0.0); width];
            let mut weights: Vec<S> = powers.into_iter().map(|power| power / total).collect();
            edit(Keys::Weights, [head, t], &mut weights);
            for (s, p) in weights.into_iter().enumerate() {
                let p = p.freeze(frozen.pattern);
                for (z, v) in mixed.iter_mut().zip(row(v, kv_heads, s, shared)) {
                    *z += p * v;
                }
            }
            z.extend(mixed);
        }
    }
    z
}

fn dot<S: Scalar>(a: &[S], b: &[S]) -> S {
    let mut sum = S::from_f64(0.0);
    for (&a, &b) in a.iter().zip(b) {
        sum += a * b;
    }
    sum
}

/// The activation of the MLP, y = x r(x); `frozen.ratio` freezes r.
/// - silu:  r = 1 / (1 + e^-x) = (1 + tanh(x / 2)) / 2
/// - erf:   r = (1 + erf(x / sqrt 2)) / 2
/// - tanh:  r = (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2
pub fn activation<S: Scalar>(x: S, form: Activation, frozen: Frozen) -> S {
    let c = S::from_f64;
    let step = match form {
        Activation::Silu => (x * c(0.5)).tanh(),
        Activation::Erf => (x * c(FRAC_1_SQRT_2)).erf(),
        Activation::Tanh => (c(FRAC_2_SQRT_PI * FRAC_1_SQRT_2) * (x + c(0.044715) * x * x * x)).tanh(),
    };
    x * ((c(1.0) + step) * c(0.5)).freeze(frozen.ratio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dual;
    use crate::ops::check::{self, Jet};

    const FROZEN: Frozen = Frozen { norm: true, pattern: true, ratio: true };
    const RMS: Norm = Norm { centred: false, plus_one: false, eps: 1e-5 };
    const FORM: Attention = Attention { heads: 2, kv_heads: 1, width: 2, scale: 1.0, cap: None, window: None };

    #[test]
    fn norms_by_hand() {
        // (3, 4): mean square 12.5. Centred, (-1/2, 1/2): mean square 1/4.
        let rms = 12.5_f64.sqrt();
        let exact = Norm { eps: 0.0, ..RMS };
        check::close(&norm(&[3.0, 4.0], &[1.0, 2.0], None, exact, Frozen::default()), &[3.0 / rms, 8.0 / rms], 1e-15);
        let gemma = Norm { plus_one: true, ..exact };
        check::close(&norm(&[3.0, 4.0], &[0.0, 2.0], None, gemma, Frozen::default()), &[3.0 / rms, 12.0 / rms], 1e-15);
        let layer = Norm { centred: true, ..exact };
        let y = norm(&[3.0, 4.0], &[1.0, 2.0], Some(&[5.0, 0.0]), layer, Frozen::default());
        check::close(&y, &[4.0, 2.0], 1e-15);
        assert_eq!(norm(&[0.0, 0.0], &[1.0, 2.0], None, RMS, Frozen::default()), [0.0, 0.0]);
    }

    #[test]
    fn a_quarter_turn_by_hand() {
        // One token of zeros, then a head (1, 2, 9): the pair (1, 2) turns by a right angle and doubles; 9 stays.
        let rotary = Rotary { frequencies: vec![std::f64::consts::FRAC_PI_2], scale: 2.0 };
        let y = rotate(&[0.0, 0.0, 0.0, 1.0, 2.0, 9.0], 2, 3, &rotary);
        check::close(&y, &[0.0, 0.0, 0.0, -4.0, 2.0, 9.0], 1e-15);
    }

    #[test]
    fn scores_depend_on_the_distance_of_tokens_only() {
        let rotary = Rotary { frequencies: vec![0.7, 0.1], scale: 1.0 };
        let (q, k) = (check::numbers(1, 4), check::numbers(2, 4));
        let [q, k] = [q, k].map(|x| rotate(&x.repeat(6), 6, 4, &rotary));
        let score = |t: usize, s: usize| dot(&q[t * 4..][..4], &k[s * 4..][..4]);
        assert!((score(5, 3) - score(2, 0)).abs() < 1e-14);
        assert!((score(5, 3) - score(5, 2)).abs() > 1e-2);
    }

    #[test]
    fn a_window_of_two_takes_the_mean_of_two_values() {
        let (q, k) = ([0.0; 12], [0.0; 6]);
        let v = [1.0, 10.0, 3.0, 20.0, 8.0, 60.0];
        let z = plain([&q, &k, &v], Attention { window: Some(2), ..FORM }, Frozen::default());
        check::close(&z, &[1.0, 10.0, 1.0, 10.0, 2.0, 15.0, 2.0, 15.0, 5.5, 40.0, 5.5, 40.0], 1e-15);
    }

    #[test]
    fn neighbouring_heads_share_keys_and_values() {
        let form = Attention { heads: 4, kv_heads: 2, ..FORM };
        let z = plain([&[0.0; 8], &[0.0; 4], &[1.0, 2.0, 3.0, 4.0]], form, Frozen::default());
        assert_eq!(z, [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0]);
    }

    #[test]
    fn a_cap_bounds_the_scores() {
        // Scores of +-1000 are capped to +-ln(3)/2: the weights are three to one.
        let limit = 3f64.ln() / 2.0;
        assert_eq!(cap(1000.0, Some(limit)), limit);
        let form = Attention { heads: 1, cap: Some(limit), ..FORM };
        let z = plain([&[1e3, 0.0, 1e3, 0.0], &[1.0, 0.0, -1.0, 0.0], &[4.0, 0.0, 8.0, 4.0]], form, Frozen::default());
        check::close(&z[2..], &[5.0, 1.0], 1e-15);
    }

    #[test]
    fn activations_by_hand() {
        let at = |x: f64, form| activation(x, form, Frozen::default());
        check::close(&[at(3f64.ln(), Activation::Silu)], &[0.75 * 3f64.ln()], 1e-15);
        assert_eq!([at(-1e3, Activation::Silu), at(1e3, Activation::Silu)], [0.0, 1e3]);
        check::close(&[at(0.5, Activation::Erf)], &[0.345_731_230_637_006_56], 1e-15);
        check::close(&[at(0.5, Activation::Tanh)], &[0.345_714_009_825_143_94], 1e-15);
    }

    fn plain<S: Scalar>(qkv: [&[S]; 3], form: Attention, frozen: Frozen) -> Vec<S> {
        attention(qkv, form, frozen, &mut |_, _, _| ())
    }

    /// Applies every part, with every feature on, to `[2 tokens, 4]`.
    fn all_parts<S: Scalar>(x: &[S], form: Activation, frozen: Frozen) -> Vec<S> {
        let gain = [0.5, -1.0, 2.0, 1.5];
        let x = norm(x, &gain, None, Norm { plus_one: true, ..RMS }, frozen);
        let weights = |seed, len| check::numbers(seed, len).iter().map(|w| 0.4 * w).collect::<Vec<f64>>();
        let q = linear(&x, 2, &weights(1, 16), None);
        let [k, v] = [2, 3].map(|seed| linear(&x, 2, &weights(seed, 8), None));
        let rotary = Rotary { frequencies: vec![0.8], scale: 1.3 };
        let [q, k] = [q, k].map(|x| rotate(&x, 2, 2, &rotary));
        let z = plain([&q, &k, &v], Attention { cap: Some(0.7), ..FORM }, frozen);
        let x = norm(&z, &gain, None, Norm { centred: true, ..RMS }, frozen);
        x.iter().map(|&x| activation(x, form, frozen)).collect()
    }

    #[test]
    fn derivatives() {
        for form in [Activation::Silu, Activation::Erf, Activation::Tanh] {
            check::derivatives(&check::numbers(8, 8), |x| all_parts(x, form, Frozen::default()));
        }
    }

    /// With everything frozen, the response to the tangent x is y.
    #[test]
    fn with_all_factors_frozen_the_parts_are_linear() {
        let x: Vec<Jet> =
            check::numbers(8, 8).iter().map(|&x| Dual::new(Dual::new(x, x), Dual::from_f64(0.0))).collect();
        for (frozen, linear) in [(FROZEN, true), (Frozen { pattern: false, ..FROZEN }, false)] {
            let y = all_parts(&x, Activation::Silu, frozen);
            let worst = y.iter().map(|y| (y.primal.tangent - y.value()).abs()).fold(0.0, f64::max);
            assert_eq!(worst < 1e-14, linear, "{worst}");
        }
    }
}
