//! Small dense matrices in f64: singular values by faer, and orthonormal vectors in a given order.

use faer::{MatRef, Side};

use crate::error::{Error, Result};

/// A singular value decomposition, largest value first.
#[derive(Clone, Debug)]
pub(crate) struct Dense {
    /// `[n]`, n the smaller side.
    pub(crate) values: Vec<f64>,
    /// Left vectors `[n]` of `[rows]`.
    pub(crate) left: Vec<Vec<f64>>,
    /// Right vectors `[n]` of `[columns]`.
    pub(crate) right: Vec<Vec<f64>>,
}

/// Relative length below which a remainder counts as zero: ten times the f32 rounding error of such a vector.
const DEPENDENT: f64 = 1e-5;

/// Computes the singular values and vectors of a row-major matrix `[rows, columns]`.
pub(crate) fn svd(a: &[f64], columns: usize) -> Result<Dense> {
    let a = MatRef::from_row_major_slice(a, a.len() / columns, columns);
    let svd = a.thin_svd().map_err(|_| diverged())?;
    let vectors = |m: MatRef<'_, f64>| m.col_iter().map(|c| c.iter().copied().collect()).collect();
    let values = svd.S().column_vector().iter().copied().collect();
    Ok(Dense { values, left: vectors(svd.U()), right: vectors(svd.V()) })
}

/// Computes the singular values of a row-major matrix `[rows, columns]`, largest first.
pub(crate) fn singular_values(a: &[f32], columns: usize) -> Result<Vec<f64>> {
    // With the vectors, which no caller needs: one instance of the decomposition compiles in half the time of two.
    Ok(svd(&wide(a), columns)?.values)
}

/// Computes the eigenvalues and eigenvectors of the symmetric part of a row-major matrix `[n, n]`, in descending order
/// of the size of the eigenvalues.
pub(crate) fn symmetric(a: &[f64], n: usize) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
    let even: Vec<f64> = (0..n * n).map(|at| 0.5 * (a[at] + a[at % n * n + at / n])).collect();
    let found = MatRef::from_row_major_slice(&even, n, n).self_adjoint_eigen(Side::Lower).map_err(|_| diverged())?;
    let values: Vec<f64> = found.S().column_vector().iter().copied().collect();
    if values.iter().any(|value| !value.is_finite()) {
        return Err(diverged());
    }
    let vectors: Vec<Vec<f64>> = found.U().col_iter().map(|c| c.iter().copied().collect()).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| values[b].abs().total_cmp(&values[a].abs()));
    Ok((order.iter().map(|&i| values[i]).collect(), order.iter().map(|&i| vectors[i].clone()).collect()))
}

/// Returns the product of two row-major matrices, of which the first has `columns` columns.
pub(crate) fn product(a: &[f64], b: &[f64], columns: usize) -> Vec<f64> {
    let a = MatRef::from_row_major_slice(a, a.len() / columns, columns);
    let b = MatRef::from_row_major_slice(b, columns, b.len() / columns);
    (a * b).row_iter().flat_map(|row| row.iter().copied().collect::<Vec<_>>()).collect()
}

fn diverged() -> Error {
    Error::Input(
        "a decomposition of a matrix with elements that are not finite; run again with `--device host`".to_owned(),
    )
}

/// Orthonormalises vectors, one after another. A vector that depends on those before it becomes zero, so that the
/// indices of the others do not change.
pub(crate) fn orthonormal(vectors: &mut [Vec<f64>]) {
    for i in 0..vectors.len() {
        let (before, rest) = vectors.split_at_mut(i);
        orthonormal_to(before, &mut rest[0]);
    }
}

/// Makes a vector orthogonal to `before`, which are orthonormal or zero, and of unit length; zero if it depends on
/// them.
pub(crate) fn orthonormal_to(before: &[Vec<f64>], x: &mut [f64]) {
    let start = size(x);
    // One pass loses orthogonality if most of x is subtracted; two passes suffice (Kahan and Parlett).
    for _ in 0..2 {
        for b in before {
            let along = inner(b, x);
            x.iter_mut().zip(b).for_each(|(x, b)| *x -= along * b);
        }
    }
    let remaining = size(x);
    let factor = if remaining > DEPENDENT * start { 1.0 / remaining } else { 0.0 };
    x.iter_mut().for_each(|x| *x *= factor);
}

pub(crate) fn inner(a: &[f64], b: &[f64]) -> f64 {
    sum_of(a, b, |a, b| a * b)
}

/// Lanes of a sum: enough to hide the latency of additions.
const LANES: usize = 8;

/// Returns `sum f(a_i, b_i)` in a fixed order: each lane over the blocks, then the rest, then the sum of the lanes.
pub(crate) fn sum_of<T: Copy>(a: &[T], b: &[T], f: impl Fn(T, T) -> f64) -> f64 {
    let n = a.len().min(b.len());
    let ((a, a_rest), (b, b_rest)) = (a[..n].as_chunks::<LANES>(), b[..n].as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(a[lane], b[lane]);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(&a, &b)| f(a, b)).sum();
    lanes.iter().sum::<f64>() + rest
}

/// Computes `sum += a x`.
pub(crate) fn add_scaled(sum: &mut [f64], a: f64, x: &[f64]) {
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += a * x);
}

/// Returns `sum_i weight_i x_i`.
pub(crate) fn combined(x: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; x.first().map_or(0, Vec::len)];
    x.iter().zip(weights).for_each(|(x, weight)| add_scaled(&mut sum, *weight, x));
    sum
}

pub(crate) fn size(a: &[f64]) -> f64 {
    inner(a, a).sqrt()
}

pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_decomposition() {
        // diag(3, 2) with swapped columns, one changed sign, and a third column of zeros.
        let a = [0.0, -3.0, 0.0, 2.0, 0.0, 0.0];
        let got = svd(&a, 3).expect("decomposes");
        assert!((got.values[0] - 3.0).abs() < 1e-14 && (got.values[1] - 2.0).abs() < 1e-14);
        assert_eq!((got.left.len(), got.left[0].len(), got.right[0].len()), (2, 2, 3));
        for i in 0..2 {
            for j in 0..3 {
                let back: f64 = (0..2).map(|n| got.left[n][i] * got.values[n] * got.right[n][j]).sum();
                assert!((back - a[i * 3 + j]).abs() < 1e-14);
            }
        }
        let narrow: Vec<f32> = a.iter().map(|&x| x as f32).collect();
        assert_eq!(singular_values(&narrow, 3).expect("decomposes").len(), 2);
        assert!(singular_values(&[f32::NAN; 4], 2).is_err());
    }

    /// `[[1, 2], [2, 1]]` has the eigenvalues 3 and -1; an antisymmetric part does not count.
    #[test]
    fn eigenvalues_of_a_known_matrix() {
        let (values, vectors) = symmetric(&[1.0, 2.5, 1.5, 1.0], 2).expect("decomposes");
        assert!((values[0] - 3.0).abs() < 1e-14 && (values[1] + 1.0).abs() < 1e-14, "{values:?}");
        assert!((vectors[0][0] - vectors[0][1]).abs() < 1e-14 && (vectors[1][0] + vectors[1][1]).abs() < 1e-14);
        assert!(symmetric(&[f64::NAN; 4], 2).is_err());
    }

    #[test]
    fn a_sum_has_all_terms() {
        for n in [0, 1, 7, 8, 9, 16, 27] {
            let x: Vec<f64> = (1..=n).map(f64::from).collect();
            let squares = f64::from(n * (n + 1) * (2 * n + 1)) / 6.0;
            assert_eq!(inner(&x, &x), squares, "{n}");
        }
        assert_eq!(inner(&[2.0, 3.0], &[5.0]), 10.0);
    }

    #[test]
    fn a_product_of_known_matrices() {
        assert_eq!(
            product(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0, 0.0, 0.0, 1.0, 2.0, 2.0], 3),
            [7.0, 8.0, 16.0, 17.0]
        );
    }

    #[test]
    fn dependent_vectors_become_zero() {
        let mut v = vec![vec![2.0, 0.0, 0.0], vec![-1.0, 0.0, 0.0], vec![1.0, 1.0, 0.0], vec![0.0; 3]];
        orthonormal(&mut v);
        assert_eq!(v, [[1.0, 0.0, 0.0], [0.0; 3], [0.0, 1.0, 0.0], [0.0; 3]]);
    }

    /// Nearly parallel vectors become orthogonal to rounding error, not only relative to their small difference.
    #[test]
    fn two_passes_suffice() {
        let mut v: Vec<Vec<f64>> =
            (0..5).map(|i| (0..40).map(|j| 1.0 + if i == j { 1e-3 } else { 0.0 }).collect()).collect();
        orthonormal(&mut v);
        for i in 0..5 {
            for j in 0..5 {
                let want = if i == j { 1.0 } else { 0.0 };
                assert!((inner(&v[i], &v[j]) - want).abs() < 1e-14, "{i} {j}");
            }
        }
    }
}
