//! Randomised singular values of a linear map (Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1).
//!
//! With w = k + p random vectors O, `Y = A O` is made orthonormal to Q, and q times `Q <- orth(A orth(A^T Q))`; then the
//! singular values of `Q^T A` are those of A as far as Q holds its range. Applications: (q + 1) of the map and (q + 1) of
//! its transpose, of width w. Re-orthonormalising between them keeps the directions that a power of A would drown.
//!
//! What was found is then measured, not trusted: residuals of each triplet by k more applications each way, and a bound of
//! what is left, `|A - U S V^T| <= a sqrt(2 / pi) max_i |(A - U S V^T) o_i|` over r fresh normal vectors o_i, which fails with
//! a probability of at most `a^-r` (lemma 4.1 there).

use resolvent_model::gaussian;

use crate::certificate::{narrow, norm};
use crate::dense::{inner, orthonormal, svd, wide};
use crate::error::{Error, Result};
use crate::linear_map::LinearMap;

/// How to look for singular values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RsvdOptions {
    /// k: triplets wanted.
    pub rank: usize,
    /// p: vectors besides.
    pub oversampling: usize,
    /// q: subspace iterations. Where singular values decay slowly, one at least is needed.
    pub power: usize,
    /// r: vectors of the bound.
    pub probes: usize,
    /// Of all random vectors.
    pub seed: u64,
}

impl Default for RsvdOptions {
    fn default() -> Self {
        Self { rank: 8, oversampling: 8, power: 2, probes: 10, seed: 0 }
    }
}

/// a of the bound: with ten vectors it fails once in a million.
const FACTOR: f64 = 4.0;

/// The largest singular values of a map, with what is known of their errors.
#[derive(Clone, Debug, PartialEq)]
pub struct Rsvd {
    /// `[k]`, largest first.
    pub values: Vec<f64>,
    /// Left vectors, k of `[rows]`.
    pub left: Vec<Vec<f32>>,
    /// Right vectors, k of `[columns]`.
    pub right: Vec<Vec<f32>>,
    /// `|A v - s u|` and `|A^T u - s v|` of each triplet.
    pub residual: Vec<[f64; 2]>,
    /// `|A - U S V^T|` is at most this, in the spectral norm, but for the probability [`Rsvd::failure`].
    pub bound: f64,
    /// Most probability that the bound does not hold.
    pub failure: f64,
}

/// The `options.rank` largest singular triplets of `map`.
///
/// # Errors
/// A rank of 0 or larger than the map, no vectors for the bound, or a device error.
pub fn rsvd(map: &dyn LinearMap, options: &RsvdOptions) -> Result<Rsvd> {
    let (rows, columns) = (map.rows(), map.columns());
    let most = rows.min(columns);
    if !(1..=most).contains(&options.rank) {
        let rank = options.rank;
        return Err(Error::Input(format!(
            "a {rows} x {columns} operator has {most} singular values; --rank {rank} asks for others"
        )));
    }
    if options.probes == 0 {
        return Err(Error::Input("a bound needs one random vector or more".to_owned()));
    }
    let width = options.rank.saturating_add(options.oversampling).min(most);
    let random = |seed: u64, count: usize| -> Vec<Vec<f32>> {
        gaussian(seed, count * columns).chunks(columns).map(<[f32]>::to_vec).collect()
    };
    let mut q = range(&map.apply(&random(options.seed, width))?);
    for _ in 0..options.power {
        q = range(&map.apply(&range(&map.apply_transpose(&q)?))?);
    }
    // Rows of Q^T A.
    let b: Vec<f64> = map.apply_transpose(&q)?.iter().flat_map(|row| wide(row)).collect();
    let small = svd(&b, columns)?;
    let k = options.rank;
    let values = small.values[..k].to_vec();
    let right: Vec<Vec<f32>> = small.right[..k].iter().map(|v| narrow(v)).collect();
    let left: Vec<Vec<f32>> = small.left[..k].iter().map(|u| combined(&q, u)).collect();
    let residual = residuals(map, &values, &left, &right)?;
    // A seed of its own: the bound does not hold of vectors that Q has seen.
    let probes = random(options.seed ^ 0x5EED, options.probes);
    let mut largest = 0.0f64;
    for (probe, image) in probes.iter().zip(map.apply(&probes)?) {
        let weights: Vec<f64> = values.iter().zip(&right).map(|(s, v)| s * crate::certificate::dot(v, probe)).collect();
        let approximation = combined(&left, &weights);
        let rest: Vec<f32> = image.iter().zip(&approximation).map(|(a, b)| a - b).collect();
        largest = crate::certificate::worse(largest, norm(&rest));
    }
    let bound = FACTOR * (2.0 / std::f64::consts::PI).sqrt() * largest;
    Ok(Rsvd { values, left, right, residual, bound, failure: FACTOR.powi(-(options.probes as i32)) })
}

/// Orthonormal vectors of the same span.
fn range(y: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut q: Vec<Vec<f64>> = y.iter().map(|y| wide(y)).collect();
    orthonormal(&mut q);
    q.iter().map(|q| narrow(q)).collect()
}

/// `sum_i weight_i x_i`
fn combined(x: &[Vec<f32>], weights: &[f64]) -> Vec<f32> {
    let mut sum = vec![0.0; x.first().map_or(0, Vec::len)];
    for (x, weight) in x.iter().zip(weights) {
        sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += weight * f64::from(*x));
    }
    narrow(&sum)
}

fn residuals(map: &dyn LinearMap, values: &[f64], left: &[Vec<f32>], right: &[Vec<f32>]) -> Result<Vec<[f64; 2]>> {
    let apart = |image: &[f32], s: f64, x: &[f32]| {
        let rest: Vec<f64> = image.iter().zip(x).map(|(a, x)| f64::from(*a) - s * f64::from(*x)).collect();
        inner(&rest, &rest).sqrt()
    };
    let (forward, backward) = (map.apply(right)?, map.apply_transpose(left)?);
    let each = values.iter().enumerate();
    Ok(each.map(|(i, &s)| [apart(&forward[i], s, &left[i]), apart(&backward[i], s, &right[i])]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsqr::tests::Dense;

    /// `U diag(values) V^T` of random orthonormal U and V.
    fn with_spectrum(rows: usize, columns: usize, values: &[f64]) -> Dense {
        let turned = |n: usize, seed| {
            let mut q: Vec<Vec<f64>> = gaussian(seed, values.len() * n).chunks(n).map(wide).collect();
            orthonormal(&mut q);
            q
        };
        let (u, v) = (turned(rows, 1), turned(columns, 2));
        let number = |i: usize, j: usize| values.iter().enumerate().map(|(n, s)| u[n][i] * s * v[n][j]).sum::<f64>();
        let data = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))).map(|(i, j)| number(i, j) as f32);
        Dense { rows, columns, data: data.collect() }
    }

    #[test]
    fn a_slow_spectrum_needs_iterations() {
        // s_i = i^-1/2: the tail holds most of the energy.
        let values: Vec<f64> = (1..=60).map(|i| 1.0 / f64::from(i).sqrt()).collect();
        let map = with_spectrum(90, 70, &values);
        let error = |power| {
            let got =
                rsvd(&map, &RsvdOptions { rank: 6, oversampling: 6, power, ..Default::default() }).expect("computes");
            let apart = got.values.iter().zip(&values).map(|(g, w)| (g - w).abs() / w);
            // The best that six triplets can leave is the seventh value; what is left is below the bound.
            assert!(got.bound >= values[6], "{} {}", got.bound, values[6]);
            // A singular value is as near to one of A as its residual is large (Weyl).
            for (s, [a, b]) in got.values.iter().zip(&got.residual) {
                let nearest = values.iter().map(|v| (v - s).abs()).fold(f64::MAX, f64::min);
                assert!(nearest <= a.max(*b) + 1e-5, "{s}: {nearest} {a} {b}");
            }
            apart.fold(0.0f64, f64::max)
        };
        let errors = [0, 1, 2, 4, 8].map(error);
        assert!(errors[0] > 0.1, "{errors:?}");
        assert!(errors[1] < 0.1 && errors[2] < 0.03 && errors[4] < 2e-3, "{errors:?}");
    }

    /// Of a map of low rank everything is found, and the bound says so.
    #[test]
    fn a_low_rank_is_found_whole() {
        let values = [3.0, 2.0, 0.5];
        let map = with_spectrum(40, 80, &values);
        let got = rsvd(&map, &RsvdOptions { rank: 4, power: 1, ..Default::default() }).expect("computes");
        for (g, w) in got.values.iter().zip([3.0, 2.0, 0.5, 0.0]) {
            assert!((g - w).abs() < 2e-6, "{g} {w}");
        }
        assert!(got.bound < 1e-4 && got.residual.iter().flatten().all(|r| *r < 1e-5), "{got:?}");
    }

    /// The bound is above the true norm of what is left, and not by more than its factor times the longest that ten images
    /// of normal vectors get: three times the Frobenius norm of what is left, and seldom half of that.
    #[test]
    fn the_bound_bounds() {
        for seed in 0..20 {
            let values: Vec<f64> = (0..30).map(|i| 0.8f64.powi(i)).collect();
            let map = with_spectrum(50, 45, &values);
            let options = RsvdOptions { rank: 5, power: 2, seed, ..Default::default() };
            let got = rsvd(&map, &options).expect("computes");
            let tail = values[5..].iter().map(|s| s * s).sum::<f64>().sqrt();
            assert!(got.bound >= values[5] && got.bound < 3.0 * FACTOR * tail, "{seed}: {} {tail}", got.bound);
            assert!(got.failure < 1e-6);
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let map = with_spectrum(5, 4, &[1.0]);
        for options in [
            RsvdOptions { rank: 0, ..Default::default() },
            RsvdOptions { rank: 5, ..Default::default() },
            RsvdOptions { rank: 1, probes: 0, ..Default::default() },
        ] {
            assert!(rsvd(&map, &options).is_err());
        }
        // A map of zeros has singular values of zero.
        let nothing = Dense { rows: 5, columns: 4, data: vec![0.0; 20] };
        let got = rsvd(&nothing, &RsvdOptions { rank: 2, ..Default::default() }).expect("computes");
        assert_eq!((got.values, got.bound), (vec![0.0; 2], 0.0));
    }
}
