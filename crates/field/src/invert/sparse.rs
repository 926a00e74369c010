//! Sources at few sites: greedy choice, and the group lasso.

use crate::certificate::norm;
use crate::error::Result;
use crate::linear_map::LinearMap;
use crate::lsqr::{LsqrOptions, lsqr};

use super::goal::System;

/// A system whose sources act at some of its sites only.
struct Restricted<'a> {
    system: &'a System<'a>,
    sites: &'a [usize],
}

impl Restricted<'_> {
    /// Sources at the sites, with zeros elsewhere.
    fn spread(&self, x: &[f32]) -> Vec<f32> {
        let d = self.system.width();
        let mut all = vec![0.0; self.system.columns()];
        for (&site, x) in self.sites.iter().zip(x.chunks(d)) {
            all[site * d..(site + 1) * d].copy_from_slice(x);
        }
        all
    }
}

impl LinearMap for Restricted<'_> {
    fn rows(&self) -> usize {
        self.system.rows()
    }

    fn columns(&self) -> usize {
        self.sites.len() * self.system.width()
    }

    fn apply(&self, x: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        self.system.apply(&x.iter().map(|x| self.spread(x)).collect::<Vec<_>>())
    }

    fn apply_transpose(&self, y: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let d = self.system.width();
        let pick = |all: Vec<f32>| self.sites.iter().flat_map(|&s| all[s * d..(s + 1) * d].to_vec()).collect();
        Ok(self.system.apply_transpose(y)?.into_iter().map(pick).collect())
    }

    fn scratch(&self, count: usize) -> usize {
        self.system.scratch(count) + 4 * count * self.system.columns()
    }
}

/// Sources of least energy at `sites` (places in the system's list), spread over all of its sites.
pub(super) fn least_energy(system: &System<'_>, sites: &[usize], options: LsqrOptions) -> Result<Vec<f32>> {
    let restricted = Restricted { system, sites };
    Ok(restricted.spread(&lsqr(&restricted, &system.target, options)?.x))
}

/// `|A_g^T y|` for each site g: what the site can do for a change y.
pub(super) fn gain(system: &System<'_>, y: &[f32]) -> Result<Vec<f64>> {
    let all = system.apply_transpose(&[y.to_vec()])?.remove(0);
    Ok(all.chunks(system.width()).map(norm).collect())
}

/// Up to `count` sites, each chosen for what it can do about what is left of the goal, and the sources of least energy
/// at them (orthogonal matching pursuit over groups, Tropp, Gilbert and Strauss 2006). Ends early when nothing is left.
pub(super) fn greedy(system: &System<'_>, count: usize, options: LsqrOptions) -> Result<Vec<f32>> {
    let (mut chosen, mut x): (Vec<usize>, Vec<f32>) = (Vec::new(), vec![0.0; system.columns()]);
    let mut rest = system.target.clone();
    while chosen.len() < count.min(system.sites().len()) && norm(&rest) > 1e-5 * norm(&system.target) {
        let gains = gain(system, &rest)?;
        let free = (0..gains.len()).filter(|i| !chosen.contains(i));
        let Some(best) = free.max_by(|&a, &b| gains[a].total_cmp(&gains[b])) else { break };
        if gains[best] == 0.0 {
            break;
        }
        chosen.push(best);
        x = least_energy(system, &chosen, options)?;
        let reached = system.apply(std::slice::from_ref(&x))?.remove(0);
        rest = system.target.iter().zip(reached).map(|(b, a)| b - a).collect();
    }
    Ok(x)
}

/// Steps of the proximal gradient for one penalty.
const STEPS: usize = 200;
/// The penalty shrinks by this factor until enough sites are active.
const SHRINK: f64 = 0.7;

/// Up to `count` sites by the group lasso, `min 1/2 |A x - b|^2 + penalty sum_g |x_g|`, by accelerated proximal gradient
/// (Beck and Teboulle 2009) from the penalty at which no site is active downwards, each from the last; then the sources of
/// least energy at the sites that it chose.
pub(super) fn lasso(system: &System<'_>, count: usize, options: LsqrOptions) -> Result<Vec<f32>> {
    let most = gain(system, &system.target)?.into_iter().fold(0.0, f64::max);
    let step = 1.0 / largest(system)?.max(f64::MIN_POSITIVE);
    let (mut x, mut penalty, mut active) = (vec![0.0f32; system.columns()], most, Vec::new());
    for _ in 0..60 {
        penalty *= SHRINK;
        let next = proximal(system, x.clone(), &mut |x| shrink(x, system.width(), penalty * step), step)?;
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
        return greedy(system, count, options);
    }
    least_energy(system, &active, options)
}

/// Sources with `|x_g| <= bounds[g]` that come closest to the goal, from `x` on, by projected accelerated gradient.
pub(super) fn bounded(system: &System<'_>, x: Vec<f32>, bounds: &[f64]) -> Result<Vec<f32>> {
    let (d, step) = (system.width(), 1.0 / largest(system)?.max(f64::MIN_POSITIVE));
    let active: Vec<bool> = x.chunks(d).map(|x| norm(x) > 0.0).collect();
    let mut project = |x: &mut [f32]| {
        for ((x, bound), active) in x.chunks_mut(d).zip(bounds).zip(&active) {
            let size = norm(x);
            let factor = if !active {
                0.0
            } else if size > *bound {
                bound / size
            } else {
                1.0
            };
            x.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
        }
    };
    let mut x = x;
    project(&mut x);
    proximal(system, x, &mut project, step)
}

/// Minimises `1/2 |A x - b|^2` plus what `prox` is the proximal map of.
fn proximal(system: &System<'_>, start: Vec<f32>, prox: &mut dyn FnMut(&mut [f32]), step: f64) -> Result<Vec<f32>> {
    let (mut x, mut y, mut t) = (start.clone(), start, 1.0f64);
    for _ in 0..STEPS {
        let reached = system.apply(std::slice::from_ref(&y))?.remove(0);
        let rest: Vec<f32> = reached.iter().zip(&system.target).map(|(a, b)| a - b).collect();
        let gradient = system.apply_transpose(&[rest])?.remove(0);
        let mut next: Vec<f32> =
            y.iter().zip(&gradient).map(|(y, g)| (f64::from(*y) - step * f64::from(*g)) as f32).collect();
        prox(&mut next);
        let moved: Vec<f32> = next.iter().zip(&x).map(|(n, x)| n - x).collect();
        // Momentum that points uphill is dropped (O'Donoghue and Candes 2015).
        let uphill: f64 = y.iter().zip(&next).zip(&moved).map(|((y, n), m)| f64::from((y - n) * m)).sum();
        let later = if uphill > 0.0 { 1.0 } else { (1.0 + (1.0 + 4.0 * t * t).sqrt()) / 2.0 };
        let momentum = if uphill > 0.0 { 0.0 } else { (t - 1.0) / later };
        y = next.iter().zip(&moved).map(|(n, m)| (f64::from(*n) + momentum * f64::from(*m)) as f32).collect();
        let done = norm(&moved) <= 1e-6 * norm(&next);
        (x, t) = (next, later);
        if done {
            break;
        }
    }
    Ok(x)
}

/// The group soft threshold: each site's vector shortened by `amount`.
fn shrink(x: &mut [f32], d: usize, amount: f64) {
    for x in x.chunks_mut(d) {
        let size = norm(x);
        let factor = if size > amount { 1.0 - amount / size } else { 0.0 };
        x.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
    }
}

/// Sites at which there is a source.
pub(super) fn sites(x: &[f32], d: usize) -> Vec<usize> {
    x.chunks(d).enumerate().filter(|(_, x)| norm(x) > 0.0).map(|(i, _)| i).collect()
}

/// The largest eigenvalue of `A^T A`, from power iteration, with a margin: a step that is too long diverges.
fn largest(system: &System<'_>) -> Result<f64> {
    let mut x = resolvent_model::gaussian(1, system.columns());
    let mut value = 0.0;
    for _ in 0..12 {
        let size = norm(&x);
        if size == 0.0 {
            return Ok(0.0);
        }
        x.iter_mut().for_each(|x| *x = (f64::from(*x) / size) as f32);
        let y = system.apply(std::slice::from_ref(&x))?;
        x = system.apply_transpose(&y)?.remove(0);
        value = norm(&x);
    }
    Ok(1.2 * value)
}
