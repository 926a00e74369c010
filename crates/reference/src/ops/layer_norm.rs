//! layer norm:  y = (x - mean) / sqrt(var + eps) * gain + bias,  mean and var (divided by d) over each row.

use super::Frozen;
use crate::Scalar;

/// Normalises each row. `x [T, d]`, `gain [d]`, `bias [d]` -> `[T, d]`.
pub fn layer_norm<S: Scalar>(x: &[S], gain: &[S], bias: &[S], eps: f64, frozen: Frozen) -> Vec<S> {
    let d = gain.len();
    assert_eq!(bias.len(), d, "layer_norm: gain and bias differ in length");
    assert_eq!(x.len() % d, 0, "layer_norm: {} values are not rows of {d}", x.len());
    let n = S::from_f64(d as f64);
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks_exact(d) {
        let mut mean = S::from_f64(0.0);
        for &x in row {
            mean += x / n;
        }
        let mut variance = S::from_f64(0.0);
        for &x in row {
            variance += (x - mean) * (x - mean) / n;
        }
        let scale = (variance + S::from_f64(eps)).sqrt().freeze(frozen.norm);
        for i in 0..d {
            y.push((row[i] - mean) / scale * gain[i] + bias[i]);
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dual;
    use crate::ops::check::{self, Jet};

    #[test]
    fn known_rows() {
        // (1, 2, 3, 4): mean 5/2, variance 5/4.
        let s = 1.25_f64.sqrt();
        let y = layer_norm(&[1.0, 2.0, 3.0, 4.0], &[1.0, 1.0, 2.0, 1.0], &[0.0, 0.0, 0.0, 7.0], 0.0, Frozen::default());
        check::close(&y, &[-1.5 / s, -0.5 / s, 1.0 / s, 7.0 + 1.5 / s], 1e-15);
        // Of a constant row only the bias remains; eps avoids a division by zero.
        assert_eq!(layer_norm(&[3.0, 3.0], &[5.0, 5.0], &[0.5, -1.0], 1e-5, Frozen::default()), [0.5, -1.0]);
    }

    #[test]
    fn derivatives() {
        let x = check::numbers(1, 15);
        let gain = check::numbers(2, 5);
        let bias = check::numbers(3, 5);
        let frozen = Frozen::default();
        let at = |x: &[_]| layer_norm(x, &check::constants(&gain), &check::constants(&bias), 1e-5, frozen);
        check::derivatives(&x, at);
    }

    /// With a frozen scale, the response to the tangent x is y - bias.
    #[test]
    fn with_its_scale_frozen_it_is_linear() {
        let (x, gain, bias) = (check::numbers(1, 15), check::numbers(2, 5), check::numbers(3, 5));
        let duals: Vec<Jet> = x.iter().map(|&x| Dual::new(Dual::new(x, x), Dual::new(0.0, 0.0))).collect();
        let frozen = Frozen { norm: true, ..Frozen::default() };
        let y = layer_norm(&duals, &check::constants(&gain), &check::constants(&bias), 1e-5, frozen);
        let want: Vec<f64> = y.iter().enumerate().map(|(i, y)| y.value() - bias[i % 5]).collect();
        check::close(&y.iter().map(|y| y.primal.tangent).collect::<Vec<_>>(), &want, 1e-14);
    }
}
