//! The noise floor of an observable: how far rounding alone moves J.
//!
//! A run rounds what it adds to the stream at every level by about eps of its size, eps being the unit of f32. With the
//! sensitivity chi, J moves by `sum <chi[l, t], delta[l, t]>`, whose terms are independent:
//!
//! ```text
//! floor  =  ROUNDINGS eps sqrt( sum over l, t, i of (chi[l, t]_i h[l, t]_i)^2 )
//! ```
//!
//! Two runs of one prompt that round in another order, as a batch and a single run do, differ by less. The floor depends
//! on the model, the prompt and J alone, so statistics that know it are the same on every executor.

use resolvent_model::Run;

use crate::error::Result;

/// Roundings of a level, in units of f32's epsilon: measured, the largest difference between a value in a batch and the
/// same alone is below a third of the floor.
const ROUNDINGS: f64 = 4.0;

/// Where the metadata of a result have the floor.
pub(crate) const NAME: &str = "noise_floor";

/// The noise floor of an observable with the sensitivity chi `[L+1, T, d]` at `run`.
///
/// # Errors
/// A device error.
pub(crate) fn floor(run: &Run, chi: &[f32]) -> Result<f64> {
    Ok(from_square(square(chi, &run.field()?)))
}

/// The sum of the squared products `chi_i h_i`.
pub(crate) fn square(chi: &[f32], h: &[f32]) -> f64 {
    chi.iter().zip(h).map(|(chi, h)| (f64::from(*chi) * f64::from(*h)).powi(2)).sum()
}

/// What rounding does to a number h of the field.
pub(crate) fn rounded(h: f32) -> f64 {
    ROUNDINGS * f64::from(f32::EPSILON) * f64::from(h.abs())
}

/// The floor from that sum.
pub(crate) fn from_square(square: f64) -> f64 {
    ROUNDINGS * f64::from(f32::EPSILON) * square.sqrt()
}
