//! Sources of least energy at given sites, within bounds on their lengths.

use crate::certificate::norm;
use crate::error::Result;
use crate::linear_map::LinearMap;
use crate::lsqr::{LsqrOptions, lsqr};

use super::goal::System;
use super::proximal::proximal;

/// Largest miss, relative to the goal, at which the goal counts as met.
const MET: f64 = 1e-5;
/// Largest difference of two misses, relative to the goal, at which they count as equal. The energy then decides.
const ALIKE: f64 = 1e-4;

/// A system with bounds and an energy weight for its sources.
pub(super) struct Problem<'a> {
    pub(super) system: &'a System<'a>,
    /// Largest |s| at each site.
    pub(super) bounds: Option<&'a [f64]>,
    /// Weight of the energy.
    pub(super) damp: f64,
}

/// A solution: sources at some of the sites.
#[derive(Clone)]
pub(super) struct Solution {
    /// Indices into the list of sites.
    pub(super) sites: Vec<usize>,
    /// The sources at those sites, side by side.
    pub(super) x: Vec<f32>,
    /// `|A x - b|`
    miss: f64,
    energy: f64,
}

impl Problem<'_> {
    fn lsqr(&self) -> LsqrOptions {
        LsqrOptions { damp: self.damp, ..LsqrOptions::default() }
    }

    /// Returns the solution without sources.
    pub(super) fn nothing(&self) -> Solution {
        Solution { sites: Vec::new(), x: Vec::new(), miss: norm(&self.system.target), energy: 0.0 }
    }

    /// Returns the sources of least energy at `sites`. A source that is too long is cut to its bound and fixed there,
    /// and the other sites are solved again for the rest of the goal. For one observable the result is optimal, because
    /// the sources keep their directions.
    pub(super) fn solve(&self, sites: &[usize]) -> Result<Solution> {
        let system = self.system.at(sites)?;
        let d = system.width();
        let Some(bounds) = self.bounds else {
            let x = lsqr(&system, &system.target, self.lsqr())?.x;
            return self.measured(&system, sites, x);
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
        self.measured(&system, sites, x)
    }

    /// As [`Problem::solve`]; but if the bounds leave a part of the goal unmet, the directions of the sources change
    /// too.
    pub(super) fn solve_and_turn(&self, sites: &[usize]) -> Result<Solution> {
        let solution = self.solve(sites)?;
        match self.bounds {
            Some(bounds) if solution.miss > MET * norm(&self.system.target) && self.damp == 0.0 => {
                let system = self.system.at(sites)?;
                let bounds: Vec<f64> = sites.iter().map(|&i| bounds[i]).collect();
                let mut clip = |x: &mut [f32], _: f64| shorten(x, system.width(), &bounds);
                let x = proximal(&system, solution.x.clone(), &mut clip)?;
                let turned = self.measured(&system, sites, x)?;
                Ok(if self.better(&turned, &solution) { turned } else { solution })
            }
            _ => Ok(solution),
        }
    }

    /// Returns the sources with their miss and energy.
    fn measured(&self, system: &System<'_>, sites: &[usize], x: Vec<f32>) -> Result<Solution> {
        let (miss, energy) = (norm(&system.rest(&x)?), norm(&x).powi(2));
        Ok(Solution { sites: sites.to_vec(), x, miss, energy })
    }

    /// Returns whether a solution meets the goal.
    pub(super) fn met(&self, solution: &Solution) -> bool {
        solution.miss <= MET * norm(&self.system.target)
    }

    /// Returns whether `a` is better than `b`: closer to the goal or, if both are equally close, of less energy. With a
    /// positive `damp`, the weighted sum of squared miss and energy decides.
    pub(super) fn better(&self, a: &Solution, b: &Solution) -> bool {
        if self.damp > 0.0 {
            let cost = |s: &Solution| s.miss.powi(2) + self.damp.powi(2) * s.energy;
            return cost(a) < (1.0 - ALIKE) * cost(b);
        }
        let apart = ALIKE * norm(&self.system.target);
        if (a.miss - b.miss).abs() > apart { a.miss < b.miss } else { a.energy < (1.0 - ALIKE) * b.energy }
    }

    /// Returns a solution as vectors for all sites, with zeros where it has no source.
    pub(super) fn spread(&self, solution: &Solution) -> Vec<f32> {
        self.system.spread(&solution.sites, &solution.x)
    }
}

/// Shortens the vector of each site to its bound.
pub(super) fn shorten(x: &mut [f32], d: usize, bounds: &[f64]) {
    for (x, bound) in x.chunks_mut(d).zip(bounds) {
        let size = norm(x);
        if size > *bound {
            x.iter_mut().for_each(|x| *x = (f64::from(*x) * bound / size) as f32);
        }
    }
}
