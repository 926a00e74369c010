//! The theory: one analysis a file, each returning a [`Labelled`] result with axes, certificates and provenance.
//!
//! | analysis | what it computes |
//! |---|---|
//! | [`forward`] | field and logits of a run |
//! | [`sensitivity`] | `chi[l, t] = dJ / dh[l, t]` |
//! | [`patch`] | the effect of putting each clean h\[l, t\] into a corrupted run, beside its first-order prediction |
//! | [`green`] | the response field of a source |
//!
//! A certificate that does not hold is an error: no analysis returns numbers that fail their own check.

mod certificate;
mod direction;
mod error;
mod forward;
mod geometry;
mod green;
mod invert;
mod labelled;
mod linear_map;
mod lsqr;
mod operator;
mod patch;
mod scale;
mod sensitivity;
mod site_kind;
pub mod stats;
mod superposition;
mod transfer;

pub use certificate::{ADJOINT, Certificate, SAME, SLOPE, adjoint, dot, norm, norms};
pub use direction::{Context, Direction};
pub use error::{Error, Result};
pub use forward::forward;
pub use geometry::Geometry;
pub use green::{GreenOptions, gains, green, green_with};
pub use invert::{Goal, InvertOptions, Method, invert};
pub use labelled::{Array, Labelled};
pub use linear_map::{LinearMap, adjoint_of};
pub use lsqr::{Lsqr, LsqrOptions, lsqr};
pub use operator::Operator;
pub use patch::{Case, Effects, effects, patch, patch_at};
pub use scale::{PREDICTORS, QUANTITIES, ScaleOptions, ScalePrompt, scale};
pub use sensitivity::{Place, sensitivity, sensitivity_along};
pub use site_kind::SiteKind;
pub use superposition::superposition;
pub use transfer::{TransferOptions, transfer};
