//! Sources of least energy at given sites, within bounds of their lengths.

use crate::certificate::norm;
use crate::error::Result;
use crate::linear_map::LinearMap;
use crate::lsqr::{LsqrOptions, lsqr};

use super::goal::System;
use super::proximal::proximal;

/// What is left of a goal, relative to it, that counts as nothing.
const MET: f64 = 1e-5;
/// Misses that differ by less, relative to the goal, are alike, and the energy decides.
const ALIKE: f64 = 1e-4;

/// A system with what sources may be.
pub(super) struct Problem<'a> {
    pub(super) system: &'a System<'a>,
    /// The most that |s| may be at each site.
    pub(super) bounds: Option<&'a [f64]>,
    /// Weight of the energy.
    pub(super) damp: f64,
}

/// Sources at some of the sites.
#[derive(Clone)]
pub(super) struct Solution {
    /// Places in the list of sites.
    pub(super) sites: Vec<usize>,
    /// At those sites, side by side.
    pub(super) x: Vec<f32>,
    /// `|A x - b|`
    miss: f64,
    energy: f64,
}

impl Problem<'_> {
    fn lsqr(&self) -> LsqrOptions {
        LsqrOptions { damp: self.damp, ..LsqrOptions::default() }
    }

    /// No sources.
    pub(super) fn nothing(&self) -> Solution {
        Solution { sites: Vec::new(), x: Vec::new(), miss: norm(&self.system.target), energy: 0.0 }
    }

    /// Sources of least energy at `sites`. A site whose source is too long gets it at its bound, and the others make up for
    /// it: for one observable that is the optimum, since sources keep their directions.
    pub(super) fn solve(&self, sites: &[usize]) -> Result<Solution> {
        let system = self.system.at(sites)?;
        let d = system.width();
        let Some(bounds) = self.bounds else {
            let x = lsqr(&system, &system.target, self.lsqr())?.x;
            return self.judged(&system, sites, x);
        };
        let mut x = vec![0.0; system.columns()];
        let mut free: Vec<usize> = (0..sites.len()).collect();
        while !free.is_empty() {
            let part = system.at(&free)?;
            let y = system.spread(&free, &lsqr(&part, &system.rest(&x)?, self.lsqr())?.x);
            let over = |i: &usize| norm(&y[i * d..(i + 1) * d]) > bounds[sites[*i]];
            let all = !free.iter().any(over);
            for &i in free.iter().filter(|i| all || over(i)) {
                let here = i * d..(i + 1) * d;
                let size = norm(&y[here.clone()]);
                let factor = if size > 0.0 { (bounds[sites[i]] / size).min(1.0) } else { 0.0 };
                for (x, y) in x[here.clone()].iter_mut().zip(&y[here]) {
                    *x = (f64::from(*y) * factor) as f32;
                }
            }
            free.retain(|i| !all && !over(i));
        }
        self.judged(&system, sites, x)
    }

    /// As [`Problem::solve`]; where bounds leave a part of the goal, directions turn towards it as well.
    pub(super) fn solve_well(&self, sites: &[usize]) -> Result<Solution> {
        let solution = self.solve(sites)?;
        match self.bounds {
            Some(bounds) if solution.miss > MET * norm(&self.system.target) && self.damp == 0.0 => {
                let system = self.system.at(sites)?;
                let bounds: Vec<f64> = sites.iter().map(|&i| bounds[i]).collect();
                let mut clip = |x: &mut [f32], _: f64| shorten(x, system.width(), &bounds);
                let x = proximal(&system, solution.x.clone(), &mut clip)?;
                let turned = self.judged(&system, sites, x)?;
                Ok(if self.better(&turned, &solution) { turned } else { solution })
            }
            _ => Ok(solution),
        }
    }

    fn judged(&self, system: &System<'_>, sites: &[usize], x: Vec<f32>) -> Result<Solution> {
        let (miss, energy) = (norm(&system.rest(&x)?), norm(&x).powi(2));
        Ok(Solution { sites: sites.to_vec(), x, miss, energy })
    }

    /// Whether a solution meets the goal.
    pub(super) fn met(&self, solution: &Solution) -> bool {
        solution.miss <= MET * norm(&self.system.target)
    }

    /// Whether one solution is better than another: nearer to the goal or, where both are as near, of less energy. With a
    /// weight of the energy, their weighted sum decides.
    pub(super) fn better(&self, a: &Solution, b: &Solution) -> bool {
        if self.damp > 0.0 {
            let cost = |s: &Solution| s.miss.powi(2) + self.damp.powi(2) * s.energy;
            return cost(a) < (1.0 - ALIKE) * cost(b);
        }
        let apart = ALIKE * norm(&self.system.target);
        if (a.miss - b.miss).abs() > apart { a.miss < b.miss } else { a.energy < (1.0 - ALIKE) * b.energy }
    }

    /// A solution over all sites.
    pub(super) fn spread(&self, solution: &Solution) -> Vec<f32> {
        self.system.spread(&solution.sites, &solution.x)
    }
}

/// Cuts each site's vector to its bound.
pub(super) fn shorten(x: &mut [f32], d: usize, bounds: &[f64]) {
    for (x, bound) in x.chunks_mut(d).zip(bounds) {
        let size = norm(x);
        if size > *bound {
            x.iter_mut().for_each(|x| *x = (f64::from(*x) * bound / size) as f32);
        }
    }
}
