//! gelu, two forms:
//! - tanh (`gelu_new`, GPT-2):  y = x/2 (1 + tanh u),  u = sqrt(2/pi) (x + 0.044715 x^3)
//! - erf (`gelu`, exact):       y = x/2 (1 + erf(x / sqrt 2))

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::Frozen;
use crate::Scalar;

/// The form of GELU, with its name in `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeluForm {
    /// `gelu_new`.
    Tanh,
    /// `gelu`.
    Erf,
}

/// Applies GELU to each element. `x [..]` -> `[..]`.
pub fn gelu<S: Scalar>(x: &[S], form: GeluForm, frozen: Frozen) -> Vec<S> {
    x.iter().map(|&x| x * ratio(x, form).freeze(frozen.ratio)).collect()
}

/// Returns `gelu(x) / x`, also at 0.
pub(super) fn ratio<S: Scalar>(x: S, form: GeluForm) -> S {
    let c = S::from_f64;
    let step = match form {
        GeluForm::Tanh => (c(FRAC_2_SQRT_PI * FRAC_1_SQRT_2) * (x + c(0.044715) * x * x * x)).tanh(),
        GeluForm::Erf => (x * c(FRAC_1_SQRT_2)).erf(),
    };
    c(0.5) * (c(1.0) + step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dual;
    use crate::ops::check;

    #[test]
    fn known_values() {
        let x = [-3.0, -1.0, 0.0, 0.5, 2.0];
        // Computed with 40 digits and rounded.
        check::close(&gelu(&x, GeluForm::Erf, Frozen::default()), &ERF_VALUES, 1e-12);
        check::close(&gelu(&x, GeluForm::Tanh, Frozen::default()), &TANH_VALUES, 1e-12);
    }

    const ERF_VALUES: [f64; 5] = [
        -0.004_049_694_094_890_283_5,
        -0.158_655_253_931_457_05,
        0.0,
        0.345_731_230_637_006_56,
        1.954_499_736_103_641_6,
    ];
    const TANH_VALUES: [f64; 5] =
        [-0.003_637_392_081_773_019, -0.158_808_009_391_723_3, 0.0, 0.345_714_009_825_143_94, 1.954_597_694_087_775];

    #[test]
    fn far_out_it_is_zero_or_the_identity() {
        for form in [GeluForm::Tanh, GeluForm::Erf] {
            assert_eq!(gelu(&[-60.0, 60.0], form, Frozen::default()), [0.0, 60.0]);
        }
    }

    #[test]
    fn derivatives() {
        for form in [GeluForm::Tanh, GeluForm::Erf] {
            check::derivatives(&check::numbers(6, 9), |x| gelu(x, form, Frozen::default()));
        }
    }

    #[test]
    fn with_its_ratio_frozen_it_is_homogeneous() {
        let frozen = Frozen { ratio: true, ..Frozen::default() };
        let x: Vec<Dual<f64>> = check::numbers(6, 9).iter().map(|&x| Dual::new(x, x)).collect();
        for form in [GeluForm::Tanh, GeluForm::Erf] {
            assert!(gelu(&x, form, frozen).iter().all(|y| y.tangent == y.primal));
        }
    }
}
