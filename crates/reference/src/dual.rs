//! Dual numbers: a + b e with e^2 = 0, so f(a + b e) = f(a) + f'(a) b e. Forward differentiation without rules for ops.

use std::f64::consts::FRAC_2_SQRT_PI;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use crate::Scalar;

/// A value and its derivative along one direction.
///
/// `Dual<Dual<f64>>` carries two directions and the second derivative along both:
/// value `primal.primal`, first derivatives `primal.tangent` and `tangent.primal`, second `tangent.tangent`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dual<S> {
    /// The value.
    pub primal: S,
    /// Its derivative along the direction.
    pub tangent: S,
}

impl<S> Dual<S> {
    /// Returns `primal + tangent e`.
    pub const fn new(primal: S, tangent: S) -> Self {
        Self { primal, tangent }
    }
}

impl<S: Scalar> Dual<S> {
    /// Returns f(x), given the value and the derivative of f at the primal.
    fn chain(self, value: S, derivative: S) -> Self {
        Self::new(value, derivative * self.tangent)
    }
}

impl<S: Scalar> Add for Dual<S> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::new(self.primal + other.primal, self.tangent + other.tangent)
    }
}

impl<S: Scalar> AddAssign for Dual<S> {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl<S: Scalar> Sub for Dual<S> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::new(self.primal - other.primal, self.tangent - other.tangent)
    }
}

impl<S: Scalar> Mul for Dual<S> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self::new(self.primal * other.primal, self.tangent * other.primal + self.primal * other.tangent)
    }
}

impl<S: Scalar> Div for Dual<S> {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let ratio = self.primal / other.primal;
        Self::new(ratio, (self.tangent - ratio * other.tangent) / other.primal)
    }
}

impl<S: Scalar> Neg for Dual<S> {
    type Output = Self;
    fn neg(self) -> Self {
        Self::new(-self.primal, -self.tangent)
    }
}

impl<S: Scalar> Scalar for Dual<S> {
    fn from_f64(x: f64) -> Self {
        Self::new(S::from_f64(x), S::from_f64(0.0))
    }
    fn value(self) -> f64 {
        self.primal.value()
    }
    fn exp(self) -> Self {
        let y = self.primal.exp();
        self.chain(y, y)
    }
    fn ln(self) -> Self {
        self.chain(self.primal.ln(), S::from_f64(1.0) / self.primal)
    }
    fn sqrt(self) -> Self {
        let y = self.primal.sqrt();
        self.chain(y, S::from_f64(0.5) / y)
    }
    fn tanh(self) -> Self {
        let y = self.primal.tanh();
        self.chain(y, S::from_f64(1.0) - y * y)
    }
    fn erf(self) -> Self {
        let slope = S::from_f64(FRAC_2_SQRT_PI) * (-(self.primal * self.primal)).exp();
        self.chain(self.primal.erf(), slope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns value, slope and curvature of `f` at `x`, by duals of duals.
    fn jet(f: impl Fn(Dual<Dual<f64>>) -> Dual<Dual<f64>>, x: f64) -> [f64; 3] {
        let y = f(Dual::new(Dual::new(x, 1.0), Dual::new(1.0, 0.0)));
        assert_eq!(y.primal.tangent, y.tangent.primal, "both directions are the same one");
        [y.primal.primal, y.primal.tangent, y.tangent.tangent]
    }

    #[track_caller]
    fn check(found: [f64; 3], expected: [f64; 3]) {
        for (a, b) in found.into_iter().zip(expected) {
            assert!((a - b).abs() <= 1e-14 * b.abs().max(1.0), "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn elementary_functions_have_their_textbook_derivatives() {
        let x = 0.7_f64;
        let one = Dual::from_f64(1.0);
        check(jet(|x| x * x * x, x), [x.powi(3), 3.0 * x * x, 6.0 * x]);
        check(jet(|x| one / x, x), [1.0 / x, -1.0 / (x * x), 2.0 / x.powi(3)]);
        check(jet(|x| -x / (x + one), x), [-x / (x + 1.0), -(x + 1.0).powi(-2), 2.0 * (x + 1.0).powi(-3)]);
        check(jet(Dual::exp, x), [x.exp(); 3]);
        check(jet(Dual::ln, x), [x.ln(), 1.0 / x, -1.0 / (x * x)]);
        check(jet(Dual::sqrt, x), [x.sqrt(), 0.5 / x.sqrt(), -0.25 * x.powf(-1.5)]);
        let t = x.tanh();
        check(jet(Dual::tanh, x), [t, 1.0 - t * t, -2.0 * t * (1.0 - t * t)]);
        let g = FRAC_2_SQRT_PI * (-x * x).exp();
        check(jet(Dual::erf, x), [0.677_801_193_837_418_4, g, -2.0 * x * g]);
    }
}
