//! Green operators compose: `G(l'' <- l) = G(l'' <- l') G(l' <- l)` for l <= l' <= l'', over all tokens of each level.
//!
//! A level affects the levels above it only through its stream, so the chain rule has one term.

use resolvent_model::{Linearization, gaussian};

use crate::certificate::{Certificate, SAME, norm};
use crate::error::{Error, Result};
use crate::linear_map::LinearMap;
use crate::operator::{Operator, apply_all};

/// Checks the composition of Green operators on a random vector.
///
/// The vector is sent from level `from` to level `to` at once, and by way of level `between`. The figure is the
/// distance of the two results over the length of the first.
///
/// # Errors
/// Levels that are out of order or outside of the field, or a device error.
pub fn composition(linear: &Linearization<'_>, [from, between, to]: [usize; 3], seed: u64) -> Result<Certificate> {
    Ok(composition_all(&[(linear, [from, between, to])], seed)?.remove(0))
}

/// Returns the check [`composition`] of each operator between three levels. Runs of one batch share passes.
pub(crate) fn composition_all(cases: &[(&Linearization<'_>, [usize; 3])], seed: u64) -> Result<Vec<Certificate>> {
    let (mut maps, mut vectors) = (Vec::with_capacity(cases.len()), Vec::with_capacity(cases.len()));
    for &(linear, [from, between, to]) in cases {
        if !(from <= between && between <= to) {
            return Err(Error::Input(format!(
                "levels {from}, {between}, {to} are not in order; Green operators compose upwards"
            )));
        }
        let level = |level| Operator::level(linear, level);
        let map = |a: usize, b: usize| Operator::new(linear, &level(a), &level(b));
        let each = [map(from, between)?, map(between, to)?, map(from, to)?];
        vectors.push(vec![gaussian(seed, each[2].columns())]);
        maps.push(each);
    }
    let applied = |of: usize, x: &[Vec<Vec<f32>>]| {
        apply_all(&maps.iter().zip(x).map(|(maps, x)| (&maps[of], &x[..])).collect::<Vec<_>>())
    };
    let (parts, whole) = (applied(1, &applied(0, &vectors)?)?, applied(2, &vectors)?);
    let check = |(parts, whole): (&Vec<Vec<f32>>, &Vec<Vec<f32>>)| {
        let difference: Vec<f32> = parts[0].iter().zip(&whole[0]).map(|(a, b)| a - b).collect();
        let value = norm(&difference) / norm(&whole[0]).max(f64::MIN_POSITIVE);
        Certificate::new("composition", value, SAME)
    };
    Ok(parts.iter().zip(&whole).map(check).collect())
}
