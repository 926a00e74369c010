//! The theory: one analysis a file, each returning a [`Labelled`] result with axes, certificates and provenance.
//!
//! | analysis | what it computes |
//! |---|---|
//! | [`forward`] | field and logits of a run |
//! | [`sensitivity`] | `chi[l, t] = dJ / dh[l, t]` |
//! | [`patch`] | the effect of putting each clean h\[l, t\] into a corrupted run, beside its first-order prediction |
//! | [`green`] | the response field of a source |
//! | [`Slice`] | blocks of the Green operator between two bases, for all causal pairs |
//! | [`spectrum`] | leading singular triplets of the operator between places |
//!
//! A certificate that does not hold is an error: no analysis returns numbers that fail their own check.

mod bases;
mod certificate;
mod composition;
mod dense;
mod direction;
mod error;
mod file;
mod forward;
mod geometry;
mod green;
mod input;
mod invert;
mod labelled;
mod linear_map;
mod lsqr;
mod norms;
mod operator;
mod patch;
mod radius;
mod read;
mod readings;
mod regime;
mod rsvd;
mod scale;
mod sensitivity;
mod site_kind;
mod slice;
mod spectrum;
pub mod stats;
mod store;
pub mod study;
mod superposition;
mod transfer;

pub use bases::{Basis, BasisContext, End, Frames, RANK};
pub use certificate::{ADJOINT, Certificate, SAME, SLOPE, adjoint, dot, norm, norms};
pub use composition::composition;
pub use direction::{Context, Direction, make_unit};
pub use error::{Error, Result};
pub use file::{check_writable, write_whole};
pub use forward::forward;
pub use geometry::Geometry;
pub use green::{GreenOptions, gains, green, green_with};
pub use invert::{Goal, InvertOptions, Method, invert};
pub use labelled::{Array, Labelled};
pub use linear_map::{LinearMap, adjoint_of};
pub use lsqr::{Lsqr, LsqrOptions, lsqr};
pub use norms::{BlockNorms, Probes, block_norms};
pub use operator::Operator;
pub use patch::{Case, Effects, effects, patch, patch_at};
pub use readings::Reading;
pub use regime::{LINEAR, RegimeOptions, regime};
pub use rsvd::{Rsvd, RsvdOptions, rsvd};
pub use scale::{PREDICTORS, QUANTITIES, ScaleOptions, scale};
pub use sensitivity::{Place, sensitivity, sensitivity_along};
pub use site_kind::SiteKind;
pub use slice::{Pairs, Progress, Slice, Sliced, Walk};
pub use spectrum::{Spectrum, spectrum};
pub use superposition::superposition;
pub use transfer::{TransferOptions, transfer};
