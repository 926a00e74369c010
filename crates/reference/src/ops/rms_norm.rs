//! rms norm:  y = x / sqrt(mean of x^2 + eps) * gain  over each segment of a row; other columns are copied.

use std::ops::Range;

use super::Frozen;
use crate::Scalar;

/// Normalises each segment of each row by its own root mean square. `x [T, n]`, `gain [n]` -> `[T, n]`.
///
/// Segments are disjoint ranges of columns. The gain of a column outside of them is not used.
pub fn rms_norm<S: Scalar>(x: &[S], gain: &[S], segments: &[Range<usize>], eps: f64, frozen: Frozen) -> Vec<S> {
    let n = gain.len();
    assert_eq!(x.len() % n, 0, "rms_norm: {} values are not rows of {n}", x.len());
    let mut y = x.to_vec();
    for (row, x) in y.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
        for segment in segments {
            let mut square = S::from_f64(0.0);
            for i in segment.clone() {
                square += x[i] * x[i];
            }
            let mean = square / S::from_f64(segment.len() as f64);
            let size = (mean + S::from_f64(eps)).sqrt().freeze(frozen.norm);
            for i in segment.clone() {
                row[i] = x[i] / size * gain[i];
            }
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dual;
    use crate::ops::check::{self, Jet};

    /// (1, 7) has a root mean square of 5, and (3, 3, 3) one of 3.
    #[test]
    fn known_rows() {
        let (x, gain) = ([1.0, 7.0, 9.0, 3.0, 3.0, 3.0], [1.0, 2.0, 100.0, 1.0, -1.0, 4.0]);
        let y = rms_norm(&x, &gain, &[0..2, 3..6], 0.0, Frozen::default());
        check::close(&y, &[0.2, 2.8, 9.0, 1.0, -1.0, 4.0], 1e-15);
        // eps avoids a division by zero.
        assert_eq!(rms_norm(&[0.0, 0.0], &[5.0, 5.0], &[0..2; 1], 1e-5, Frozen::default()), [0.0, 0.0]);
        let y = rms_norm(&[1.0, 7.0], &[1.0, 1.0], &[0..2; 1], 11.0, Frozen::default());
        check::close(&y, &[1.0 / 6.0, 7.0 / 6.0], 1e-15);
    }

    #[test]
    fn derivatives() {
        let (x, gain) = (check::numbers(1, 14), check::numbers(2, 7));
        let at = |x: &[_]| rms_norm(x, &check::constants(&gain), &[0..2, 3..6], 1e-2, Frozen::default());
        check::derivatives(&x, at);
    }

    /// With a frozen scale, the response to the tangent x is y.
    #[test]
    fn with_its_scale_frozen_it_is_linear() {
        let (x, gain) = (check::numbers(1, 14), check::numbers(2, 7));
        let duals: Vec<Jet> = x.iter().map(|&x| Dual::new(Dual::new(x, x), Dual::new(0.0, 0.0))).collect();
        let frozen = Frozen { norm: true, ..Frozen::default() };
        let y = rms_norm(&duals, &check::constants(&gain), &[0..2, 3..6], 1e-5, frozen);
        let want: Vec<f64> = y.iter().map(|y| y.value()).collect();
        check::close(&y.iter().map(|y| y.primal.tangent).collect::<Vec<_>>(), &want, 1e-14);
    }
}
