//! norm scale:  `[c | s]`,  c = x - mean of a layer norm, or x,  s = sqrt(mean of c^2 + eps)  over each row.

use super::Frozen;
use crate::Scalar;

/// Returns each row after its mean is subtracted, if it is `centred`, with the scale that a norm divides it by.
/// `x [T, d]` -> `[T, d + 1]`.
pub fn norm_scale<S: Scalar>(x: &[S], d: usize, (centred, eps): (bool, f64), frozen: Frozen) -> Vec<S> {
    assert_eq!(x.len() % d, 0, "norm_scale: {} values are not rows of {d}", x.len());
    let n = S::from_f64(d as f64);
    let mut y = Vec::with_capacity(x.len() / d * (d + 1));
    for row in x.chunks_exact(d) {
        let mut mean = S::from_f64(0.0);
        if centred {
            for &x in row {
                mean += x / n;
            }
        }
        let mut square = S::from_f64(0.0);
        for &x in row {
            square += (x - mean) * (x - mean) / n;
            y.push(x - mean);
        }
        y.push((square + S::from_f64(eps)).sqrt().freeze(frozen.norm));
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    #[test]
    fn known_rows() {
        let (free, x) = (Frozen::default(), [1.0, 2.0, 3.0, 4.0]);
        let s = [1.25_f64, 7.5].map(f64::sqrt);
        check::close(&norm_scale(&x, 4, (true, 0.0), free), &[-1.5, -0.5, 0.5, 1.5, s[0]], 1e-15);
        check::close(&norm_scale(&x, 4, (false, 0.0), free), &[1.0, 2.0, 3.0, 4.0, s[1]], 1e-15);
        check::close(
            &norm_scale(&[1.0, 7.0, 0.0, 0.0], 2, (false, 11.0), free)[2..],
            &[6.0, 0.0, 0.0, 11f64.sqrt()],
            1e-15,
        );
    }

    #[test]
    fn derivatives() {
        let x = check::numbers(1, 15);
        for centred in [false, true] {
            check::derivatives(&x, |x| norm_scale(x, 5, (centred, 1e-2), Frozen::default()));
        }
    }
}
