//! The reference: naive models from the formulas, generic over the scalar. [`Gpt2`], and [`FamilyModel`] for the
//! others.
//!
//! Only the primal is written. On `f64` it computes the value; on [`Dual<f64>`](Dual) also the first derivative; on
//! `Dual<Dual<f64>>` also the second. So each op is one formula, with no derivative that might be wrong. The kernels,
//! their hand-written derivatives and their fused forms are all checked against this crate, which depends on none of
//! them.
//!
//! Slices are row-major, shapes are written `[rows, columns]`. Wrong shapes panic with a message: this is test code.
//!
//! ```
//! use resolvent_reference::{Dual, Scalar, ops};
//!
//! // d/dx of gelu at 0 is 1/2, exactly.
//! let y = ops::gelu(&[Dual::new(0.0, 1.0)], ops::GeluForm::Tanh, ops::Frozen::default());
//! assert_eq!(y[0].value(), 0.0);
//! assert_eq!(y[0].tangent, 0.5);
//! ```

pub mod derivative;
mod dual;
pub mod family;
pub mod gpt2;
mod norm;
mod observable;
pub mod ops;
mod scalar;
mod site;

pub use derivative::{Model, Source};
pub use dual::Dual;
pub use family::FamilyModel;
pub use gpt2::{BlockTrace, Config, Gpt2, Trace, Weights};
pub use observable::{LogProbability, Logit, Observable, Projection};
pub use scalar::Scalar;
pub use site::{Hook, Norm, Site};
