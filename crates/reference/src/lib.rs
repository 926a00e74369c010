//! The truth: a naive GPT-2 from the formulas, generic over the scalar.
//!
//! Only the primal is written. Run on `f64` it is the value; on [`Dual<f64>`](Dual) it is the value and its first
//! derivative; on `Dual<Dual<f64>>` the second as well. So there is one formula to read an op and none to mistrust:
//! the kernels, their hand-written derivatives and their fused forms are all checked against this crate, which
//! depends on nothing of theirs.
//!
//! Slices are row-major, shapes are written `[rows, columns]`. Wrong shapes panic with a message: this is test code.
//!
//! ```
//! use resolvent_reference::{Dual, Scalar, ops};
//!
//! // d/dx of gelu at 0 is 1/2, exactly.
//! let y = ops::gelu(&[Dual::new(0.0, 1.0)], ops::GeluForm::Tanh, ops::Held::default());
//! assert_eq!(y[0].value(), 0.0);
//! assert_eq!(y[0].tangent, 0.5);
//! ```

pub mod derivative;
mod dual;
pub mod gpt2;
mod observable;
pub mod ops;
mod scalar;
mod site;

pub use derivative::Source;
pub use dual::Dual;
pub use gpt2::{BlockTrace, Config, Gpt2, Trace, Weights};
pub use observable::{LogProbability, Logit, Observable, Projection};
pub use scalar::Scalar;
pub use site::Site;
