//! Growth of one matrix, in f64: singular values, eigenvalues, and the distance from a normal matrix.

use faer::{Mat, MatRef, Side};

use crate::dense::svd;
use crate::error::{Error, Result};

/// Figures of the operator `A = 1 + B` of a block.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// Largest singular value of A.
    pub(super) gain: f64,
    /// Largest size of the eigenvalues of A.
    pub(super) radius: f64,
    /// Largest eigenvalue of the symmetric part of B.
    pub(super) numerical_abscissa: f64,
    /// Largest real part of the eigenvalues of B.
    pub(super) abscissa: f64,
    /// Henrici's departure of B from normality, over its Frobenius norm.
    pub(super) departure: f64,
}

impl Block {
    /// Measures a row-major matrix `[d, d]`.
    pub(super) fn new(a: &[f64], d: usize) -> Result<Self> {
        let gain = svd(a, d)?.values[0];
        let fail = |_| {
            let reason = "a block has elements that are not finite; run again with `--device host`";
            Error::Input(reason.to_owned())
        };
        let b = Mat::from_fn(d, d, |i, j| a[i * d + j] - if i == j { 1.0 } else { 0.0 });
        let symmetric = Mat::from_fn(d, d, |i, j| 0.5 * (b[(i, j)] + b[(j, i)]));
        let rates = symmetric.self_adjoint_eigenvalues(Side::Lower).map_err(fail)?;
        let values = b.eigenvalues().map_err(fail)?;
        let norm: f64 = b.col_iter().map(|column| column.iter().map(|x| x * x).sum::<f64>()).sum();
        let of_values: f64 = values.iter().map(|v| v.re * v.re + v.im * v.im).sum();
        Ok(Self {
            gain,
            radius: values.iter().map(|v| (1.0 + v.re).hypot(v.im)).fold(0.0, f64::max),
            numerical_abscissa: rates.into_iter().fold(f64::NEG_INFINITY, f64::max),
            abscissa: values.iter().map(|v| v.re).fold(f64::NEG_INFINITY, f64::max),
            // Rounding may leave a normal matrix just below 0; a block that does nothing is normal.
            departure: ((norm - of_values).max(0.0) / norm.max(f64::MIN_POSITIVE)).sqrt(),
        })
    }
}

/// Returns the identity, row-major `[d, d]`.
pub(super) fn identity(d: usize) -> Vec<f64> {
    (0..d * d).map(|i| if i / d == i % d { 1.0 } else { 0.0 }).collect()
}

/// Returns the product of two row-major matrices `[d, d]`.
pub(super) fn product(a: &[f64], b: &[f64], d: usize) -> Vec<f64> {
    let [a, b] = [a, b].map(|x| MatRef::from_row_major_slice(x, d, d));
    let product = a * b;
    (0..d * d).map(|i| product[(i / d, i % d)]).collect()
}

/// Returns the product of a row-major matrix with a vector.
pub(super) fn apply(a: &[f64], x: &[f64]) -> Vec<f64> {
    a.chunks(x.len()).map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    /// `1 + c N` with a nilpotent N: all eigenvalues are 1, and yet it amplifies.
    #[test]
    fn a_shear_grows_without_eigenvalues() {
        let c: f64 = 3.0;
        let found = Block::new(&[1.0, c, 0.0, 1.0], 2).expect("measures");
        let gain = (c + (c * c + 4.0).sqrt()) / 2.0;
        assert!(close(found.gain, gain) && close(found.radius, 1.0), "{found:?}");
        assert!(close(found.numerical_abscissa, c / 2.0) && close(found.abscissa, 0.0), "{found:?}");
        assert!(close(found.departure, 1.0), "{found:?}");
    }

    /// A rotation and a diagonal matrix are normal: gain and radius agree.
    #[test]
    fn normal_matrices_have_no_departure() {
        for (a, gain, rate) in [([0.0, -1.0, 1.0, 0.0], 1.0, -1.0), ([2.0, 0.0, 0.0, -3.0], 3.0, 1.0)] {
            let found = Block::new(&a, 2).expect("measures");
            assert!(close(found.gain, gain) && close(found.radius, gain), "{found:?}");
            assert!(close(found.numerical_abscissa, rate) && close(found.abscissa, rate), "{found:?}");
            assert!(found.departure < 1e-7, "{found:?}");
        }
        let nothing = Block::new(&identity(3), 3).expect("measures");
        assert!(close(nothing.gain, 1.0) && nothing.departure == 0.0);
        assert!(Block::new(&[f64::NAN; 4], 2).is_err());
    }

    #[test]
    fn products_are_in_order() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(product(&a, &b, 2), [2.0, 1.0, 4.0, 3.0]);
        assert_eq!(apply(&a, &[1.0, -1.0]), [-1.0, -1.0]);
    }
}
