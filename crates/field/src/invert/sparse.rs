//! Sources at few sites: greedy choice with exchanges, and the group lasso.

use crate::certificate::norm;
use crate::error::Result;
use crate::linear_map::LinearMap;
use crate::lsqr::{LsqrOptions, lsqr};

use super::goal::System;
use super::problem::{Problem, Solution, shorten};
use super::proximal::proximal;

/// Number of candidate sites from each ranking: for a system that needs no pass through the model, and for one that
/// does.
const CANDIDATES: [usize; 2] = [12, 2];
/// Largest number of rounds of exchanges.
const ROUNDS: usize = 4;

/// Returns sources at up to `count` sites, chosen greedily. Each site is the best of a short list. Then chosen sites
/// are exchanged for others as long as this helps.
///
/// This is orthogonal matching pursuit over groups (Tropp, Gilbert and Strauss 2006), except that it continues after
/// the goal is met, as long as the energy falls.
pub(super) fn greedy(problem: &Problem<'_>, count: usize) -> Result<Solution> {
    let mut best = problem.nothing();
    while best.sites.len() < count {
        let next = extended(problem, &best)?;
        let Some(next) = next.filter(|next| problem.better(next, &best)) else { break };
        best = next;
    }
    let rounds = if problem.system.is_cheap() && best.sites.len() > 1 { ROUNDS } else { 0 };
    for _ in 0..rounds {
        let mut changed = false;
        for place in 0..best.sites.len() {
            let mut others = best.sites.clone();
            others.remove(place);
            let without = problem.solve(&others)?;
            if let Some(next) = extended(problem, &without)?.filter(|next| problem.better(next, &best)) {
                (best, changed) = (next, true);
            }
        }
        if !changed {
            break;
        }
    }
    problem.solve_and_turn(&best.sites)
}

/// Returns the best solution with one more site, over the candidates.
fn extended(problem: &Problem<'_>, solution: &Solution) -> Result<Option<Solution>> {
    let mut best: Option<Solution> = None;
    for site in candidates(problem, solution)? {
        let mut sites = solution.sites.clone();
        // Sites stay in the order of the system, so that an exchange of a site for itself restores the same solution.
        sites.insert(sites.partition_point(|&s| s < site), site);
        let next = problem.solve(&sites)?;
        if best.as_ref().is_none_or(|best| problem.better(&next, best)) {
            best = Some(next);
        }
    }
    Ok(best)
}

/// Returns the most promising sites. While the goal is not met, these contribute most to the rest of it. Afterwards,
/// these can take over most of the energy.
fn candidates(problem: &Problem<'_>, solution: &Solution) -> Result<Vec<usize>> {
    let system = problem.system;
    let y = match problem.met(solution) {
        false => system.rest(&problem.spread(solution))?,
        true => multipliers(problem, solution)?,
    };
    let gains = system.gain(&y)?;
    let free: Vec<usize> = (0..gains.len()).filter(|i| gains[*i] > 0.0 && !solution.sites.contains(i)).collect();
    let most = CANDIDATES[usize::from(!system.is_cheap())];
    let ranked = |worth: &dyn Fn(usize) -> f64| {
        let mut order = free.clone();
        order.sort_by(|&a, &b| worth(b).total_cmp(&worth(a)));
        order.truncate(most);
        order
    };
    let mut all = ranked(&|i| gains[i]);
    if let Some(bounds) = problem.bounds {
        all.extend(ranked(&|i| bounds[i] * gains[i]));
        all.sort_unstable();
        all.dedup();
    }
    Ok(all)
}

/// Returns y with `x = A^T y` at the sites whose source is below its bound. y is in proportion to the energy that
/// relaxing each goal saves.
fn multipliers(problem: &Problem<'_>, solution: &Solution) -> Result<Vec<f32>> {
    let d = problem.system.width();
    let sizes: Vec<f64> = solution.x.chunks(d).map(norm).collect();
    let inside = |i: &usize| problem.bounds.is_none_or(|bounds| sizes[*i] < 0.999 * bounds[solution.sites[*i]]);
    let inner: Vec<usize> = (0..sizes.len()).filter(inside).collect();
    if inner.is_empty() {
        return Ok(problem.system.target.clone());
    }
    let chosen: Vec<usize> = inner.iter().map(|&i| solution.sites[i]).collect();
    let x: Vec<f32> = inner.iter().flat_map(|&i| &solution.x[i * d..(i + 1) * d]).copied().collect();
    Ok(lsqr(&Transposed(problem.system.at(&chosen)?), &x, LsqrOptions::default())?.x)
}

/// `A^T` as a linear map.
struct Transposed<'a>(System<'a>);

impl LinearMap for Transposed<'_> {
    fn rows(&self) -> usize {
        self.0.columns()
    }

    fn columns(&self) -> usize {
        self.0.rows()
    }

    fn apply(&self, x: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        self.0.apply_transpose(x)
    }

    fn apply_transpose(&self, y: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        self.0.apply(y)
    }

    fn scratch(&self, count: usize) -> usize {
        self.0.scratch(count)
    }
}

/// Factor by which the penalty shrinks until enough sites are active.
const SHRINK: f64 = 0.7;

/// Returns sources at up to `count` sites, chosen by the group lasso: `min 1/2 |A x - b|^2 + penalty sum_g |x_g|`
/// within the bounds.
///
/// The penalty starts where no site is active and falls; each solution starts from the previous one. The result has the
/// sources of least energy at the chosen sites. If the lasso chooses none, the choice is [`greedy`].
pub(super) fn lasso(problem: &Problem<'_>, count: usize) -> Result<Solution> {
    let system = problem.system;
    let mut penalty = system.gain(&system.target)?.into_iter().fold(0.0, f64::max);
    let (mut x, mut active) = (vec![0.0f32; system.columns()], Vec::new());
    for _ in 0..60 {
        penalty *= SHRINK;
        let mut prox = |x: &mut [f32], step: f64| {
            threshold(x, system.width(), penalty * step);
            if let Some(bounds) = problem.bounds {
                shorten(x, system.width(), bounds);
            }
        };
        let next = proximal(system, x.clone(), &mut prox)?;
        let now: Vec<usize> = sites(&next, system.width());
        if now.len() > count {
            break;
        }
        (x, active) = (next, now);
        if active.len() == count {
            break;
        }
    }
    if active.is_empty() {
        return greedy(problem, count);
    }
    problem.solve_and_turn(&active)
}

/// Applies the group soft threshold: shortens the vector of each site by `amount`.
fn threshold(x: &mut [f32], d: usize, amount: f64) {
    for x in x.chunks_mut(d) {
        let size = norm(x);
        let factor = if size > amount { 1.0 - amount / size } else { 0.0 };
        x.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
    }
}

/// Returns the indices of sites whose source is not zero.
pub(super) fn sites(x: &[f32], d: usize) -> Vec<usize> {
    x.chunks(d).enumerate().filter(|(_, x)| norm(x) > 0.0).map(|(i, _)| i).collect()
}
