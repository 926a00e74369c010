//! Baselines of the inverse problem: what one would do without solving it, scaled to the same predicted change.

use resolvent_model::gaussian;

use crate::certificate::{dot, norm};
use crate::error::Result;
use crate::linear_map::LinearMap;
use crate::lsqr::LsqrOptions;

use super::goal::System;
use super::sparse::{gain, least_energy};

/// Each baseline with its sources `[sites d]`; `sites` is how many sites the solution uses.
///
/// - `uniform`: the same amplitude at every allowed site, each along its own sensitivity to the goal;
/// - `last_level`: sources of least energy at the last allowed level only;
/// - `top_sensitivity`: sources of least energy at the most sensitive sites, as many as the solution has (one, where it
///   has all);
/// - `random`: a random direction of the same amplitude at every allowed site.
pub(super) fn all(system: &System<'_>, (sites, seed): (usize, u64)) -> Result<Vec<(&'static str, Vec<f32>)>> {
    let (d, count) = (system.width(), system.sites().len());
    let options = LsqrOptions::default();
    let toward = system.apply_transpose(std::slice::from_ref(&system.target))?.remove(0);
    let last = system.sites().iter().map(|place| place.0).max();
    let last: Vec<usize> = (0..count).filter(|&i| Some(system.sites()[i].0) == last).collect();
    let gains = gain(system, &system.target)?;
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| gains[b].total_cmp(&gains[a]));
    order.truncate(if sites == count { 1 } else { sites });
    Ok(vec![
        ("uniform", scaled(system, even(&toward, d))?),
        ("last_level", least_energy(system, &last, options)?),
        ("top_sensitivity", least_energy(system, &order, options)?),
        ("random", scaled(system, even(&gaussian(seed, toward.len()), d))?),
    ])
}

/// Each site's vector at length 1; zeros stay.
fn even(x: &[f32], d: usize) -> Vec<f32> {
    let unit = |x: &[f32]| {
        let size = norm(x);
        x.iter().map(|&x| if size > 0.0 { (f64::from(x) / size) as f32 } else { 0.0 }).collect::<Vec<f32>>()
    };
    x.chunks(d).flat_map(unit).collect()
}

/// Sources at the one scale that comes closest to the goal.
fn scaled(system: &System<'_>, x: Vec<f32>) -> Result<Vec<f32>> {
    let reached = system.apply(std::slice::from_ref(&x))?.remove(0);
    let size = dot(&reached, &reached);
    let factor = if size > 0.0 { dot(&reached, &system.target) / size } else { 0.0 };
    Ok(x.into_iter().map(|x| (f64::from(x) * factor) as f32).collect())
}
