//! A bound on the remainder of a map without some of its singular triplets: `|A - U S V^T|` in the spectral norm.
//!
//! Let D = A - U S V^T, and let o_i be r random normal vectors. The spectral norm of `M = (D D^T)^q D` is at most
//! `a sqrt(2 / pi) max_i |M o_i|`, except with a probability of `a^-r` (Halko, Martinsson and Tropp 2011, lemma 4.1).
//! That norm is `|D|^(2q + 1)`, so the root of the bound, of degree 2q + 1, bounds |D|. With q = 0 the bound is a
//! multiple of the Frobenius norm; the root brings the factor to within a fifth of 1.

use resolvent_model::gaussian;

use crate::certificate::{dot, norm};
use crate::error::Result;
use crate::linear_map::LinearMap;

/// The factor a. With ten vectors the bound fails once in a million.
const FACTOR: f64 = 4.0;
/// The power q.
const POWER: usize = 6;

/// Triplets of a map, as vectors of unit length.
pub(crate) struct Triplets<'a> {
    pub(crate) values: &'a [f64],
    pub(crate) left: &'a [Vec<f32>],
    pub(crate) right: &'a [Vec<f32>],
}

/// Returns the largest probability that the bound from `probes` vectors fails.
pub(crate) fn failure(probes: usize) -> f64 {
    FACTOR.powi(-i32::try_from(probes).unwrap_or(i32::MAX))
}

/// Computes the bound from `probes` random vectors of `seed`.
pub(crate) fn remainder(map: &dyn LinearMap, found: &Triplets<'_>, (probes, seed): (usize, u64)) -> Result<f64> {
    let columns = map.columns();
    let mut x: Vec<Vec<f32>> = gaussian(seed, probes * columns).chunks(columns).map(<[f32]>::to_vec).collect();
    // Lengths are logarithms, because powers of lengths leave the range of f32.
    let mut lengths = vec![0.0f64; probes];
    x = deflate(&map.apply(&x)?, &x, found.values, [found.right, found.left]);
    normalise(&mut x, &mut lengths);
    for _ in 0..POWER {
        x = deflate(&map.apply_transpose(&x)?, &x, found.values, [found.left, found.right]);
        normalise(&mut x, &mut lengths);
        x = deflate(&map.apply(&x)?, &x, found.values, [found.right, found.left]);
        normalise(&mut x, &mut lengths);
    }
    let largest = lengths.into_iter().fold(f64::NEG_INFINITY, crate::certificate::worse);
    let whole = (FACTOR * (2.0 / std::f64::consts::PI).sqrt()).ln() + largest;
    Ok((whole / (2 * POWER + 1) as f64).exp())
}

/// Returns `image - sum_i to_i values_i <from_i, x>` for each vector x and its image.
fn deflate(image: &[Vec<f32>], x: &[Vec<f32>], values: &[f64], [from, to]: [&[Vec<f32>]; 2]) -> Vec<Vec<f32>> {
    let each = image.iter().zip(x).map(|(image, x)| {
        let mut rest: Vec<f64> = image.iter().map(|&y| f64::from(y)).collect();
        for ((value, from), to) in values.iter().zip(from).zip(to) {
            let weight = value * dot(from, x);
            rest.iter_mut().zip(to).for_each(|(rest, to)| *rest -= weight * f64::from(*to));
        }
        crate::certificate::narrow(&rest)
    });
    each.collect()
}

/// Scales vectors to unit length, and adds the logarithms of their lengths to `lengths`.
fn normalise(x: &mut [Vec<f32>], lengths: &mut [f64]) {
    for (x, length) in x.iter_mut().zip(lengths) {
        let size = norm(x);
        *length += size.ln();
        if size > 0.0 {
            x.iter_mut().for_each(|x| *x = (f64::from(*x) / size) as f32);
        }
    }
}
