//! A norm of the residual stream with its hooks.

use crate::Scalar;
use crate::ops::{self, Frozen};
use crate::site::{Hook, Norm, Site};

/// Computes a norm of `x [T, d]`: the hook receives the scales `[T, 1]`, and then the rows that the scales have
/// divided.
pub(crate) fn norm<S: Scalar>(
    x: &[S],
    [gain, bias]: [&[S]; 2],
    (form, frozen): ((bool, f64), Frozen),
    (at, hook): (Norm, &mut Hook<'_, S>),
) -> Vec<S> {
    let d = gain.len();
    let both = ops::norm_scale(x, d, form, frozen);
    let mut scales = ops::columns(&both, d + 1, d..d + 1);
    hook(Site::NormScale(at), &mut scales);
    let rows = both.chunks_exact(d + 1).zip(&scales);
    let both: Vec<S> = rows.flat_map(|(row, &s)| [&row[..d], &[s]].concat()).collect();
    let mut normalized = ops::divide(&both, d);
    hook(Site::Normalized(at), &mut normalized);
    ops::gain(&normalized, gain, bias)
}
