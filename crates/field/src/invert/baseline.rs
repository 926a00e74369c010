//! Baselines of the inverse problem: sources chosen by simple rules, scaled to the same predicted change.

use resolvent_model::gaussian;

use crate::certificate::{dot, norm};
use crate::error::Result;
use crate::linear_map::LinearMap;

use super::goal::System;
use super::newton::Shape;
use super::problem::Problem;

/// A baseline: its sources at all sites `[sites d]`, and which part of them steps of Newton's method may change.
pub(super) struct Baseline {
    pub(super) name: &'static str,
    pub(super) x: Vec<f32>,
    pub(super) shape: Shape,
}

/// Returns the baselines. `sites` is the number of sites that the solution uses. The baselines ignore the bounds on
/// amplitudes.
///
/// - `uniform`: the same amplitude at every allowed site, along the sensitivity of the goal at that site;
/// - `last_level`: sources of least energy at the last allowed level only; left out if all allowed sites are there,
///   because it is then the solution itself;
/// - `top_sensitivity`: sources of least energy at the most sensitive sites, as many as the solution uses, or one if
///   the solution uses all sites;
/// - `random`: a random direction of the same amplitude at every allowed site.
pub(super) fn all(system: &System<'_>, (sites, seed): (usize, u64)) -> Result<Vec<Baseline>> {
    let (d, count) = (system.width(), system.sites().len());
    let toward = system.apply_transpose(std::slice::from_ref(&system.target))?.remove(0);
    let last = system.sites().iter().map(|place| place.0).max();
    let last: Vec<usize> = (0..count).filter(|&i| Some(system.sites()[i].0) == last).collect();
    let gains = system.gain(&system.target)?;
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| gains[b].total_cmp(&gains[a]));
    order.truncate(if sites == count { 1 } else { sites });
    let problem = Problem { system, bounds: None, damp: 0.0 };
    let least = |name, sites: Vec<usize>| -> Result<Baseline> {
        let x = problem.spread(&problem.solve(&sites)?);
        Ok(Baseline { name, x, shape: Shape::Sites(sites) })
    };
    let fixed =
        |name, x: Vec<f32>| -> Result<Baseline> { Ok(Baseline { name, x: scaled(system, x)?, shape: Shape::Fixed }) };
    let mut all = vec![fixed("uniform", unit_lengths(&toward, d))?];
    if last.len() < count {
        all.push(least("last_level", last)?);
    }
    all.push(least("top_sensitivity", order)?);
    all.push(fixed("random", unit_lengths(&gaussian(seed, toward.len()), d))?);
    Ok(all)
}

/// Scales the vector of each site to length 1; zero vectors stay zero.
fn unit_lengths(x: &[f32], d: usize) -> Vec<f32> {
    let unit = |x: &[f32]| {
        let size = norm(x);
        x.iter().map(|&x| if size > 0.0 { (f64::from(x) / size) as f32 } else { 0.0 }).collect::<Vec<f32>>()
    };
    x.chunks(d).flat_map(unit).collect()
}

/// Scales all sources by the one factor that comes closest to the goal.
fn scaled(system: &System<'_>, x: Vec<f32>) -> Result<Vec<f32>> {
    let reached = system.apply(std::slice::from_ref(&x))?.remove(0);
    let size = dot(&reached, &reached);
    let factor = if size > 0.0 { dot(&reached, &system.target) / size } else { 0.0 };
    Ok(x.into_iter().map(|x| (f64::from(x) * factor) as f32).collect())
}
