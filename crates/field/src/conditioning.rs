//! How far rounding can part two routes to one derivative: forward mode and reverse mode through the same run.
//!
//! Both routes compute `<u, J v>` as a product over the operations of the model. An operation that makes y rounds its
//! tangent by `delta`, and the figure moves by `<y_bar, delta>`, with the cotangent y_bar of y. Reverse mode rounds the
//! cotangents instead, and the same products bound that. To first order in the unit of f32, eps,
//!
//! ```text
//! |forward - reverse|  <=  ROUNDINGS eps A,     A = sum over operations of |y_bar| |y_dot| and their cancellations
//! ```
//!
//! The stream and q, k, v, z contribute `|y_bar| |y_dot|`. Attention contributes more, because its derivative cancels:
//! with weights P, scores S, `b_j = <z_bar, v_j>` and means under P,
//!
//! ```text
//! <z_bar, z_dot> = sum_j P_j (S_dot_j - <S_dot>) b_j + ...
//! ```
//!
//! A weight near 1 leaves a difference of order `1 - P` of terms of order 1, and the weight itself is known to
//! `eps (1 + |S_j| + |lse|)` only. So the sum has `P_j w_j |S_dot_j| (|b_j| + <|b|>)` with `w_j = 1 + |S_j| + |lse|`, and
//! the dot products of S_dot and b with the magnitudes of their terms. Saturation and the size of the scores enter the
//! bound in this way. MLP and norm cancel no more than the stream does; [`ROUNDINGS`] covers them.

use rayon::prelude::*;
use resolvent_model::{Linearization, Seed, Site, Slab, Source};

use crate::certificate::norm;
use crate::error::Result;
use crate::place::shape;

/// Roundings of an operation, in units of f32's epsilon: a dot product of hundreds of terms, and the next one.
const ROUNDINGS: f64 = 4.0;

/// The loosest bound that conditioning gives. Beyond it a derivative has fewer than two digits, and its check fails.
const LOOSEST: f64 = 1e-2;

/// The bound of a figure that is relative to `scale`: `bound`, or, where the figure exceeds that, the one that follows
/// from the amplification A.
pub(crate) fn conditioned(
    (value, bound): (f64, f64),
    scale: f64,
    amplification: impl FnOnce() -> Result<f64>,
) -> Result<f64> {
    // NaN fails in any case.
    if value <= bound || !value.is_finite() {
        return Ok(bound);
    }
    let rounding = ROUNDINGS * f64::from(f32::EPSILON) * amplification()? / scale;
    Ok(if rounding.is_finite() { rounding.clamp(bound, LOOSEST.max(bound)) } else { bound })
}

/// The sum A of the module's formula, for a tangent from `sources` and the cotangent of `seeds`.
///
/// # Errors
/// A source or a seed that does not fit, or a device error.
pub(crate) fn amplification(linear: &Linearization<'_>, sources: &[Source], seeds: &[Seed]) -> Result<f64> {
    let (run, (levels, tokens, d)) = (linear.run(), shape(linear.run()));
    let config = run.model().config();
    let heads: Vec<(usize, usize)> =
        (0..levels - 1).flat_map(|l| (0..config.n_head).map(move |h| (l, h))).collect();
    let stream = run.levels().into_iter().chain((0..levels - 1).map(Site::ResidMid));
    let four = heads.iter().flat_map(|&(l, h)| [Site::Q(l, h), Site::K(l, h), Site::V(l, h), Site::Z(l, h)]);
    let streams = levels + levels - 1;
    let sites: Vec<Site> = stream.chain(four).collect();

    let width = config.d_head();
    let zeros = || -> Vec<Vec<f32>> {
        (0..sites.len()).map(|i| vec![0.0; tokens * if i < streams { d } else { width }]).collect()
    };
    let put = |all: &mut Vec<Vec<f32>>, slab: Slab<'_>| {
        let at = slab.token * if slab.site < streams { d } else { width };
        all[slab.site][at..at + slab.rows.len()].copy_from_slice(slab.rows);
    };
    let (mut dot, mut bar) = (zeros(), zeros());
    linear.jvp_at(&[sources], &sites, &mut |slab| put(&mut dot, slab))?;
    linear.vjp_at(&[seeds], &sites, &mut |slab| put(&mut bar, slab))?;
    let value = run.captures(&sites[streams..])?;

    let products: f64 = dot
        .iter()
        .zip(&bar)
        .enumerate()
        .map(|(i, (dot, bar))| {
            let width = if i < streams { d } else { width };
            dot.chunks(width).zip(bar.chunks(width)).map(|(dot, bar)| norm(dot) * norm(bar)).sum::<f64>()
        })
        .sum();
    let attention: f64 = heads
        .par_iter()
        .enumerate()
        .map(|(n, &(l, _))| {
            let (first, scale) = (streams + 4 * n, config.attention_scale(l));
            let head = Head {
                scale,
                width,
                primal: [0, 1, 2].map(|i| &value[4 * n + i][..]),
                dot: [0, 1].map(|i| &dot[first + i][..]),
                z_bar: &bar[first + 3],
            };
            (0..tokens).map(|t| head.cancellation(t)).sum::<f64>()
        })
        .sum();
    Ok(products + attention)
}

/// One head, all tokens: `[T, d_head]` each.
struct Head<'a> {
    scale: f64,
    width: usize,
    /// q, k and v.
    primal: [&'a [f32]; 3],
    /// Tangents of q and k.
    dot: [&'a [f32]; 2],
    z_bar: &'a [f32],
}

impl Head<'_> {
    /// What the derivative of the attention of token `t` adds to A.
    fn cancellation(&self, t: usize) -> f64 {
        let row = |x: &'_ [f32], t: usize| {
            x[t * self.width..(t + 1) * self.width].iter().map(|&x| f64::from(x)).collect::<Vec<f64>>()
        };
        let ([q, k, v], [q_dot, k_dot]) = (self.primal, self.dot);
        let (q, q_dot, z_bar) = (row(q, t), row(q_dot, t), row(self.z_bar, t));
        if z_bar.iter().all(|x| *x == 0.0) {
            return 0.0;
        }
        // Each pair's score, its tangent, <z_bar, v_j>, and the magnitudes of the terms of the latter two.
        let pairs: Vec<[f64; 5]> = (0..=t)
            .map(|j| {
                let (k, k_dot, v) = (row(k, j), row(k_dot, j), row(v, j));
                let (score, _) = inner(&q, &k);
                let ((a, a_size), (b, b_size)) = (inner(&q_dot, &k), inner(&q, &k_dot));
                let (read, read_size) = inner(&z_bar, &v);
                [self.scale * score, self.scale * (a + b), read, self.scale * (a_size + b_size), read_size]
            })
            .collect();
        let most = pairs.iter().fold(f64::NEG_INFINITY, |m, p| m.max(p[0]));
        let total: f64 = pairs.iter().map(|p| (p[0] - most).exp()).sum();
        let lse = most + total.ln();
        let mean =
            |f: &dyn Fn(&[f64; 5]) -> f64| pairs.iter().map(|p| (p[0] - lse).exp() * f(p)).sum::<f64>();
        let known = |p: &[f64; 5]| 1.0 + p[0].abs() + lse.abs();
        let (s_dot, read) = (mean(&|p| p[1]), mean(&|p| p[2]));
        mean(&|p| known(p) * p[1].abs() * p[2].abs())
            + mean(&|p| known(p) * p[1].abs()) * mean(&|p| p[2].abs())
            + mean(&|p| (p[2] - read).abs() * p[3] + (p[1] - s_dot).abs() * p[4])
    }
}

/// `<a, b>`, and the sum of the magnitudes of its terms.
fn inner(a: &[f64], b: &[f64]) -> (f64, f64) {
    a.iter().zip(b).fold((0.0, 0.0), |(sum, size), (a, b)| (sum + a * b, size + (a * b).abs()))
}
