//! gate:  y = act(a) b  for rows [a | b], with act one of
//! - silu:  a / (1 + exp(-a)) = a/2 (1 + tanh(a/2)), which does not overflow
//! - gelu, in both forms of `gelu`

use super::Frozen;
use super::gelu::{GeluForm, ratio as gelu_ratio};
use crate::Scalar;

/// The activation of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateForm {
    /// `silu`, also called swish.
    Silu,
    /// GELU.
    Gelu(GeluForm),
}

/// Multiplies the activation of the first part of each row by the second. `x [T, 2n]` -> `[T, n]`.
///
/// With its ratio frozen, each of both factors gets one half of the derivatives, and the other factor is a constant.
pub fn gate<S: Scalar>(x: &[S], n: usize, form: GateForm, frozen: Frozen) -> Vec<S> {
    assert_eq!(x.len() % (2 * n), 0, "gate: {} values are not rows of 2 x {n}", x.len());
    let half = S::from_f64(0.5);
    let product = |a: S, b: S| {
        let ratio = match form {
            GateForm::Silu => half * (S::from_f64(1.0) + (half * a).tanh()),
            GateForm::Gelu(form) => gelu_ratio(a, form),
        };
        if !frozen.ratio {
            return a * ratio * b;
        }
        let (ratio, act) = (ratio.freeze(true), (a * ratio).freeze(true));
        half * (ratio * a * b.freeze(true) + act * b)
    };
    x.chunks_exact(2 * n).flat_map(|row| (0..n).map(|i| product(row[i], row[n + i])).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dual;
    use crate::ops::{check, gelu};

    const FORMS: [GateForm; 3] = [GateForm::Silu, GateForm::Gelu(GeluForm::Tanh), GateForm::Gelu(GeluForm::Erf)];

    #[test]
    fn known_values() {
        // silu at -3, -1, 0, 0.5 and 2, computed with 40 digits and rounded.
        let silu = [
            -0.142_277_619_532_700_35,
            -0.268_941_421_369_995_1,
            0.0,
            0.311_229_665_600_927_3,
            1.761_594_155_955_764_9,
        ];
        let (a, b) = ([-3.0, -1.0, 0.0, 0.5, 2.0], [1.0, 2.0, 3.0, -4.0, 0.5]);
        let x = [a, b].concat();
        let want = [0, 1, 2, 3, 4].map(|i| silu[i] * b[i]);
        check::close(&gate(&x, 5, GateForm::Silu, Frozen::default()), &want, 1e-15);
        for form in [GeluForm::Tanh, GeluForm::Erf] {
            let act = gelu(&a, form, Frozen::default());
            let want = [0, 1, 2, 3, 4].map(|i| act[i] * b[i]);
            check::close(&gate(&x, 5, GateForm::Gelu(form), Frozen::default()), &want, 1e-15);
        }
    }

    #[test]
    fn rows_are_independent() {
        let x = check::numbers(4, 12);
        let at = |x: &[f64]| gate(x, 3, GateForm::Silu, Frozen::default());
        assert_eq!(at(&x), [at(&x[..6]), at(&x[6..])].concat());
    }

    #[test]
    fn derivatives() {
        for form in FORMS {
            check::derivatives(&check::numbers(6, 12), |x| gate(x, 3, form, Frozen::default()));
        }
    }

    /// Frozen, the map is homogeneous of degree one: the response to the tangent x is y. It has the same value.
    #[test]
    fn with_its_ratio_frozen_it_is_homogeneous() {
        let frozen = Frozen { ratio: true, ..Frozen::default() };
        let x = check::numbers(6, 12);
        let duals: Vec<Dual<f64>> = x.iter().map(|&x| Dual::new(x, x)).collect();
        for form in FORMS {
            let y = gate(&duals, 3, form, frozen);
            let value: Vec<f64> = y.iter().map(|y| y.primal).collect();
            check::close(&value, &gate(&x, 3, form, Frozen::default()), 1e-15);
            check::close(&y.iter().map(|y| y.tangent).collect::<Vec<_>>(), &value, 1e-15);
        }
    }

    /// The derivatives along a alone and along b alone are half the value over a, and half the value over b.
    #[test]
    fn the_half_rule_gives_each_factor_one_half() {
        let frozen = Frozen { ratio: true, ..Frozen::default() };
        let (a, b) = (-0.7, 1.3);
        for form in FORMS {
            let y = gate(&[a, b], 1, form, frozen)[0];
            let along_a = gate(&[Dual::new(a, 1.0), Dual::new(b, 0.0)], 1, form, frozen)[0].tangent;
            let along_b = gate(&[Dual::new(a, 0.0), Dual::new(b, 1.0)], 1, form, frozen)[0].tangent;
            check::close(&[along_a, along_b], &[0.5 * y / a, 0.5 * y / b], 1e-15);
        }
    }
}
