//! Green operators compose: `G(l'' <- l) = G(l'' <- l') G(l' <- l)` for l <= l' <= l'', over all tokens of each level.
//!
//! The stream of a level is all that the levels above it see, so the chain rule has one term.

use resolvent_model::{Linearization, gaussian};

use crate::certificate::{Certificate, SAME, norm};
use crate::error::{Error, Result};
use crate::linear_map::LinearMap;
use crate::operator::Operator;

/// A random vector sent from level `from` to level `to` at once, and by way of level `between`: their distance over their
/// length.
///
/// # Errors
/// Levels that are not in order or not in the field, or a device error.
pub fn composition(linear: &Linearization<'_>, [from, between, to]: [usize; 3], seed: u64) -> Result<Certificate> {
    if !(from <= between && between <= to) {
        return Err(Error::Input(format!(
            "levels {from}, {between}, {to} are not in order; Green operators compose upwards"
        )));
    }
    let level = |level| Operator::level(linear, level);
    let map = |a: usize, b: usize| Operator::new(linear, &level(a), &level(b));
    let (lower, upper, whole) = (map(from, between)?, map(between, to)?, map(from, to)?);
    let x = vec![gaussian(seed, whole.columns())];
    let (parts, whole) = (upper.apply(&lower.apply(&x)?)?, whole.apply(&x)?);
    let apart: Vec<f32> = parts[0].iter().zip(&whole[0]).map(|(a, b)| a - b).collect();
    let value = norm(&apart) / norm(&whole[0]).max(f64::MIN_POSITIVE);
    Ok(Certificate::new("composition", value, SAME))
}
