//! Gram matrices of the operators of places, and their products with responses, summed in f64 from rows in f32.
//!
//! Both come from the same rows. So the rest that the evidence weighs, `|r|^2 - b^T (G^T G)^-1 b`, has the rounding
//! error of the rest itself. With products from another pass it would have that of the whole response.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use rayon::prelude::*;

use crate::certificate::norm;
use crate::error::Result;

use super::evidence::decomposed;
use super::observed::Observed;

/// What the evidence takes from the operator of a place, and its products with N responses.
pub(super) struct Gram {
    of: Operator,
    /// `G^T r`, `[d, N]`
    pub(super) products: Mat<f64>,
}

/// The smaller of two matrices that have the same eigenvalues.
enum Operator {
    /// `G^T G`, `[d, d]`
    Gram(Mat<f64>),
    /// `G^T`, `[d, M]`, where M, the number of observed numbers, is at most half of d.
    Rows(Mat<f64>),
}

impl Gram {
    /// Takes a gram matrix `[d, d]` and the products `[d, N]`.
    pub(super) fn new(gram: Mat<f64>, products: Mat<f64>) -> Self {
        Self { of: Operator::Gram(gram), products }
    }

    /// Returns the gram matrix `G^T G`, `[d, d]`.
    pub(super) fn gram(&self) -> Mat<f64> {
        match &self.of {
            Operator::Gram(gram) => gram.clone(),
            Operator::Rows(rows) => rows * rows.transpose(),
        }
    }

    /// Returns the eigenvalues that are not zero, and their eigenvectors as columns. Of M rows, there are M at most:
    /// those of `G G^T`, whose decomposition takes `(d / M)^3` times less.
    ///
    /// # Errors
    /// Elements that are not finite.
    pub(super) fn decomposed(&self) -> Result<(Vec<f64>, Mat<f64>)> {
        let rows = match &self.of {
            Operator::Gram(gram) => return decomposed(gram.as_ref()),
            Operator::Rows(rows) => rows,
        };
        let (values, across) = decomposed((rows.transpose() * rows).as_ref())?;
        let most = values.iter().copied().fold(0.0, f64::max);
        let nonzero: Vec<usize> = (0..values.len()).filter(|&i| values[i] > ROUNDING * most).collect();
        let along = rows * across;
        let vectors =
            Mat::from_fn(rows.nrows(), nonzero.len(), |i, j| along[(i, nonzero[j])] / values[nonzero[j]].sqrt());
        Ok((nonzero.into_iter().map(|i| values[i]).collect(), vectors))
    }
}

/// Eigenvalues below this share of the largest are rounding errors of f64.
const ROUNDING: f64 = 1e-13;

/// Computes the gram matrices of every place of `levels`, `[levels, T]`, and their products with responses `[M]` each.
///
/// # Errors
/// A device error.
pub(super) fn grams(observed: &Observed<'_>, levels: &[usize], responses: &[Vec<f32>]) -> Result<Vec<Gram>> {
    let (d, (_, tokens)) = (observed.width(), observed.places());
    let (places, n) = (levels.len() * tokens, responses.len());
    let few = Some(observed.count()).filter(|count| 2 * count <= d);
    let operator = || few.map_or_else(|| Operator::Gram(Mat::zeros(d, d)), |m| Operator::Rows(Mat::zeros(d, m)));
    let zero = || Gram { of: operator(), products: Mat::zeros(d, n) };
    let mut all: Vec<Gram> = (0..places).map(|_| zero()).collect();
    observed.rows(levels, &mut |first, rows| {
        let count = rows.len() / (places * d);
        all.par_iter_mut().enumerate().for_each(|(place, Gram { of, products })| {
            let row = |m: usize| &rows[(m * places + place) * d..][..d];
            // What a source at the place cannot reach has rows of zeros.
            let reached: Vec<usize> = (0..count).filter(|&m| norm(row(m)) > 0.0).collect();
            let x = Mat::from_fn(d, reached.len(), |i, m| f64::from(row(reached[m])[i]));
            let r = Mat::from_fn(reached.len(), n, |m, k| f64::from(responses[k][first + reached[m]]));
            match of {
                Operator::Gram(gram) => matmul(gram.as_mut(), Accum::Add, x.as_ref(), x.transpose(), 1.0, Par::Seq),
                Operator::Rows(all) => {
                    reached.iter().zip(x.col_iter()).for_each(|(m, row)| all.col_mut(first + m).copy_from(row));
                }
            }
            matmul(products.as_mut(), Accum::Add, x.as_ref(), r.as_ref(), 1.0, Par::Seq);
        });
    })?;
    Ok(all)
}

/// Returns how many levels fit into `memory` bytes at once, one at least.
pub(super) fn levels_at_once(observed: &Observed<'_>, responses: usize, memory: u64) -> usize {
    let (d, (levels, tokens)) = (observed.width(), observed.places());
    // The gram matrix and its eigenvectors; the products and those with eigenvectors.
    let level = (16 * tokens * d * (d + responses)) as u64;
    usize::try_from(memory / level.max(1)).unwrap_or(usize::MAX).clamp(1, levels)
}
