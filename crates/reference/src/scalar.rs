//! The numbers that the formulas are written in.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// A real number, or one that carries derivatives with it.
///
/// The elementary functions come from `libm`, so that the truth is the same on every platform.
pub trait Scalar:
    Copy
    + Debug
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    /// The constant `x`: no derivative.
    fn from_f64(x: f64) -> Self;
    /// The plain number, without derivatives.
    fn value(self) -> f64;
    /// The number itself, or where `frozen` the constant that it is: without derivatives.
    #[must_use]
    fn freeze(self, frozen: bool) -> Self {
        if frozen { Self::from_f64(self.value()) } else { self }
    }
    /// e^x.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Error function, 2/sqrt(pi) times the integral of e^(-u^2) from 0 to x.
    fn erf(self) -> Self;
}

macro_rules! real {
    ($real:ty, $exp:ident, $ln:ident, $sqrt:ident, $tanh:ident, $erf:ident) => {
        impl Scalar for $real {
            fn from_f64(x: f64) -> Self {
                x as $real
            }
            fn value(self) -> f64 {
                f64::from(self)
            }
            fn exp(self) -> Self {
                libm::$exp(self)
            }
            fn ln(self) -> Self {
                libm::$ln(self)
            }
            fn sqrt(self) -> Self {
                libm::$sqrt(self)
            }
            fn tanh(self) -> Self {
                libm::$tanh(self)
            }
            fn erf(self) -> Self {
                libm::$erf(self)
            }
        }
    };
}

real!(f64, exp, log, sqrt, tanh, erf);
real!(f32, expf, logf, sqrtf, tanhf, erff);
