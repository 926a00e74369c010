//! Largest singular values of a linear map: exact for small maps, and by block Krylov iteration for others.
//!
//! A map with few columns (or rows) is applied to every unit vector, and the dense matrix is decomposed. Otherwise the
//! method starts from w = k + p random vectors O. Q is an orthonormal basis of `A O, (A A^T) A O, ...`, with one more
//! block for each iteration (Musco and Musco 2015). The singular values of `Q^T A` approach those of A from below. An
//! iteration costs w applications of the map and w of its transpose. The search ends when every residual is below the
//! tolerance.
//!
//! The errors of the result are then measured. Another k applications of the map and of its transpose give the
//! residuals of the triplets. New random vectors give the norm of the remainder (see [`crate::remainder`]). Both
//! together bound each value.

use resolvent_model::gaussian;

use crate::certificate::{narrow, worse};
use crate::dense::{Dense, combined, inner, orthonormal_to, svd, wide};
use crate::error::{Error, Result};
use crate::linear_map::LinearMap;
use crate::remainder::{Triplets, failure, remainder};

/// Options of [`rsvd`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RsvdOptions {
    /// k: number of triplets.
    pub rank: usize,
    /// p: number of random vectors beyond k.
    pub oversampling: usize,
    /// Largest number of iterations.
    pub power: usize,
    /// Iterations end when all residuals are at most this share of the largest singular value.
    pub tolerance: f64,
    /// Largest size of the smaller side (columns or rows) for which the map is applied to all unit vectors.
    pub exact: usize,
    /// r: number of random vectors for the bound of the remainder.
    pub probes: usize,
    /// Seed of all random vectors.
    pub seed: u64,
}

impl Default for RsvdOptions {
    fn default() -> Self {
        // 16 vectors, 16 iterations and two directions are 512 applications. Up to this size the exact route costs no
        // more.
        Self { rank: 8, oversampling: 8, power: 32, tolerance: 1e-5, exact: 512, probes: 10, seed: 0 }
    }
}

/// How singular values were computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// From the dense matrix, with this many applications of the map or of its transpose.
    Exact(usize),
    /// With this many iterations, and whether they reached the tolerance.
    Iterations(usize, bool),
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(vectors) => write!(f, "exact, from {vectors} unit vectors"),
            Self::Iterations(n, reached) => {
                let (s, not) = (if *n == 1 { "" } else { "s" }, if *reached { "" } else { "not " });
                write!(f, "{n} iteration{s}, tolerance {not}reached")
            }
        }
    }
}

/// The largest singular values of a map, with bounds on their errors.
#[derive(Clone, Debug, PartialEq)]
pub struct Rsvd {
    /// Singular values `[k]`, largest first.
    pub values: Vec<f64>,
    /// The k left vectors, each `[rows]`.
    pub left: Vec<Vec<f32>>,
    /// The k right vectors, each `[columns]`.
    pub right: Vec<Vec<f32>>,
    /// `|A v - s u|` and `|A^T u - s v|` of each triplet. A has a singular value within the larger of the two.
    pub residual: Vec<[f64; 2]>,
    /// Lower and upper bound of each singular value of A, except with probability [`Rsvd::failure`].
    pub range: Vec<[f64; 2]>,
    /// Upper bound of `|A - U S V^T|` in the spectral norm, except with probability [`Rsvd::failure`].
    pub bound: f64,
    /// Upper bound of the probability that `bound` is too low.
    pub failure: f64,
    /// How the values were computed.
    pub route: Route,
}

/// Returns the `options.rank` largest singular triplets of `map`.
///
/// # Errors
/// A rank of 0 or larger than the map, no vectors for the bound, or a device error.
pub fn rsvd(map: &dyn LinearMap, options: &RsvdOptions) -> Result<Rsvd> {
    let (rows, columns, k) = (map.rows(), map.columns(), options.rank);
    let most = rows.min(columns);
    if !(1..=most).contains(&k) {
        return Err(Error::Input(format!(
            "invalid --rank {k}: a {rows} x {columns} operator has {most} singular values; give 1 to {most}"
        )));
    }
    if options.probes == 0 {
        return Err(Error::Input("a bound needs one random vector or more".to_owned()));
    }
    // The bound needs a separate seed: it is not valid for vectors from which the basis was built.
    let probes = (options.probes, options.seed ^ 0x5EED);
    if most <= options.exact {
        let all = dense(map)?;
        // All triplets together are the dense matrix, so only rounding separates them from the map.
        let error = remainder(map, &all.triplets(), probes)?;
        let bound = all.values.get(k).copied().unwrap_or(0.0) + error;
        let found = all.first(k);
        let residual = residuals(map, &found)?;
        let range = found.values.iter().map(|s| [(s - error).max(0.0), s + error]).collect();
        return Ok(found.into_rsvd(residual, (range, bound), options.probes, Route::Exact(most)));
    }
    let (found, iterations) = iterated(map, options)?;
    let residual = residuals(map, &found)?;
    let bound = remainder(map, &found.triplets(), probes)?;
    let range = enclosed(&found.values, &residual, bound);
    let most = options.tolerance * found.values[0];
    let route = Route::Iterations(iterations, residual.iter().flatten().all(|r| *r <= most));
    Ok(found.into_rsvd(residual, (range, bound), options.probes, route))
}

/// Returns the range of each singular value, from the residuals and a bound of the remainder.
///
/// In bases that extend U and V by orthogonal vectors, A is `[[S, 0], [R, D]]`. R has the left residuals, and |D| is at
/// most the bound. Without R, the singular values are those of S and D together. R moves each by |R| at most.
fn enclosed(values: &[f64], residual: &[[f64; 2]], bound: f64) -> Vec<[f64; 2]> {
    let moved = residual.iter().flatten().map(|r| r * r).sum::<f64>().sqrt();
    let each = values.iter().zip(residual);
    each.map(|(s, [a, b])| [(s - worse(*a, *b)).max(0.0), s.max(bound) + moved]).collect()
}

/// Triplets of a map, largest value first.
struct Found {
    values: Vec<f64>,
    left: Vec<Vec<f32>>,
    right: Vec<Vec<f32>>,
}

impl Found {
    fn triplets(&self) -> Triplets<'_> {
        Triplets { values: &self.values, left: &self.left, right: &self.right }
    }

    fn first(mut self, k: usize) -> Self {
        self.values.truncate(k);
        self.left.truncate(k);
        self.right.truncate(k);
        self
    }

    fn into_rsvd(
        self,
        residual: Vec<[f64; 2]>,
        (range, bound): (Vec<[f64; 2]>, f64),
        probes: usize,
        route: Route,
    ) -> Rsvd {
        let Self { values, left, right } = self;
        Rsvd { values, left, right, residual, range, bound, failure: failure(probes), route }
    }
}

/// Returns all triplets, from the map applied to every unit vector of its smaller side.
fn dense(map: &dyn LinearMap) -> Result<Found> {
    let (rows, columns) = (map.rows(), map.columns());
    let most = rows.min(columns);
    let unit = |i: usize| (0..most).map(|j| if i == j { 1.0 } else { 0.0 }).collect::<Vec<f32>>();
    let units: Vec<Vec<f32>> = (0..most).map(unit).collect();
    // Rows of A or, if A has fewer columns than rows, of A^T.
    let images = if rows <= columns { map.apply_transpose(&units)? } else { map.apply(&units)? };
    let matrix: Vec<f64> = images.iter().flat_map(|row| wide(row)).collect();
    let Dense { values, left, right } = svd(&matrix, rows.max(columns))?;
    let [left, right] = [left, right].map(|side| side.iter().map(|v| narrow(v)).collect());
    Ok(if rows <= columns { Found { values, left, right } } else { Found { values, left: right, right: left } })
}

/// Computes triplets by block Krylov iteration. Returns them and the number of iterations.
fn iterated(map: &dyn LinearMap, options: &RsvdOptions) -> Result<(Found, usize)> {
    let (rows, columns, k) = (map.rows(), map.columns(), options.rank);
    let width = k.saturating_add(options.oversampling).min(rows.min(columns));
    let mut start: Vec<Vec<f32>> =
        gaussian(options.seed, width * columns).chunks(columns).map(<[f32]>::to_vec).collect();
    start = map.apply(&start)?;
    // Q, and the rows of Q^T A.
    let (mut basis, mut image): (Vec<Vec<f64>>, Vec<Vec<f32>>) = (Vec::new(), Vec::new());
    let mut done = 0;
    loop {
        let block = extend(&mut basis, &start);
        image.extend(map.apply_transpose(&block)?);
        let found = projected(&basis, &image, [rows, columns], k)?;
        if done == options.power || block.is_empty() {
            return Ok((found, done));
        }
        let last = image.len() - block.len();
        let batch: Vec<Vec<f32>> = found.right.iter().chain(&image[last..]).cloned().collect();
        let mut images = map.apply(&batch)?;
        start = images.split_off(k);
        let most = options.tolerance * found.values[0];
        let each = found.values.iter().zip(&images).zip(&found.left);
        if each.into_iter().all(|((s, image), u)| residual(image, *s, u) <= most) {
            return Ok((found, done));
        }
        done += 1;
    }
}

/// Extends an orthonormal basis by the parts of `vectors` that are orthogonal to it. Returns the new basis vectors.
fn extend(basis: &mut Vec<Vec<f64>>, vectors: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let first = basis.len();
    for vector in vectors {
        let mut x = wide(vector);
        orthonormal_to(basis, &mut x);
        if x.iter().any(|x| *x != 0.0) {
            basis.push(x);
        }
    }
    basis[first..].iter().map(|x| narrow(x)).collect()
}

/// Returns the k largest triplets of `Q Q^T A`, from the rows of `Q^T A`. Triplets beyond the size of the basis are
/// zero.
fn projected(basis: &[Vec<f64>], image: &[Vec<f32>], [rows, columns]: [usize; 2], k: usize) -> Result<Found> {
    let mut found = Found { values: vec![0.0; k], left: vec![vec![0.0; rows]; k], right: vec![vec![0.0; columns]; k] };
    if basis.is_empty() {
        return Ok(found);
    }
    let small = svd(&image.iter().flat_map(|row| wide(row)).collect::<Vec<f64>>(), columns)?;
    for i in 0..k.min(small.values.len()) {
        found.values[i] = small.values[i];
        found.left[i] = narrow(&combined(basis, &small.left[i]));
        found.right[i] = narrow(&small.right[i]);
    }
    Ok(found)
}

/// Returns `|image - s x|`.
fn residual(image: &[f32], s: f64, x: &[f32]) -> f64 {
    let rest: Vec<f64> = image.iter().zip(x).map(|(a, x)| f64::from(*a) - s * f64::from(*x)).collect();
    inner(&rest, &rest).sqrt()
}

/// Returns `[|A v - s u|, |A^T u - s v|]` of each triplet.
fn residuals(map: &dyn LinearMap, Found { values, left, right }: &Found) -> Result<Vec<[f64; 2]>> {
    let (forward, backward) = (map.apply(right)?, map.apply_transpose(left)?);
    let each = values.iter().enumerate();
    Ok(each.map(|(i, &s)| [residual(&forward[i], s, &left[i]), residual(&backward[i], s, &right[i])]).collect())
}

#[cfg(test)]
#[path = "rsvd_tests.rs"]
mod tests;
