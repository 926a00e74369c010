//! The noise floor of an observable: how far rounding alone moves J.
//!
//! A product of k terms, summed one by one, errs by `u (1 + sqrt(k/6))` of its size. Here u is the unit roundoff of
//! f32, half of its epsilon, and k is largest in the MLP. So what a run adds to the stream at each level has an error
//! delta, which is this part of the stream. With the sensitivity chi, J moves by `sum <chi[l, t], delta[l, t]>`, whose
//! terms are independent. An effect is the difference of two runs, so its floor is
//!
//! ```text
//! floor  =  2 u (1 + sqrt(n_inner / 6)) sqrt( sum over l, t, i of (chi[l, t]_i h[l, t]_i)^2 )
//! ```
//!
//! Two runs of one prompt that round in different orders, such as a batch and a single run, differ by less. The floor
//! depends only on the model, the prompt and J. So statistics that use it are the same on every executor.

use resolvent_model::{Run, Sizes};

use crate::error::Result;

/// The key of the floor in the metadata of a result.
pub(crate) const NAME: &str = "noise_floor";

/// Returns the noise floor of an observable with the sensitivity chi `[L+1, T, d]` at `run`.
///
/// # Errors
/// A device error.
pub(crate) fn floor(run: &Run, chi: &[f32]) -> Result<f64> {
    Ok(unit(run.model().sizes()) * square(chi, &run.field()?).sqrt())
}

/// Returns the sum of the squared products `chi_i h_i`; its root times [`unit`] is the floor.
pub(crate) fn square(chi: &[f32], h: &[f32]) -> f64 {
    chi.iter().zip(h).map(|(chi, h)| (f64::from(*chi) * f64::from(*h)).powi(2)).sum()
}

/// Returns the relative accuracy of an element of the field in the difference of two runs.
pub(crate) fn unit(sizes: &Sizes) -> f64 {
    f64::from(f32::EPSILON) * (1.0 + (sizes.inner as f64 / 6.0).sqrt())
}
