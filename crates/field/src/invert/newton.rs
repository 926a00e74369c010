//! Steps of Newton's method: each solves the goal linearised at the run with the sources found so far.

use resolvent_model::{Edit, Mode, Run};

use crate::certificate::{dot, norm};
use crate::error::Result;
use crate::linear_map::LinearMap;
use crate::place::Place;
use crate::sensitivity::chi_all;

use super::achieved::{Tried, achieved, edits};
use super::goal::{Goal, System, observables};
use super::problem::Problem;

/// The part of the sources that a step may change.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// All sources at these sites, given as indices into the list of sites.
    Sites(Vec<usize>),
    /// One common factor of all sources.
    Fixed,
}

/// The run, the goals, and the places where sources may act.
#[derive(Clone, Copy)]
pub(super) struct Newton<'a> {
    pub(super) run: &'a Run,
    pub(super) goals: &'a [Goal],
    pub(super) sites: &'a [Place],
    /// The wanted changes.
    pub(super) target: &'a [f32],
}

impl Newton<'_> {
    /// Returns the sources after up to `steps` steps. Ends early if the goal is met, or if no fraction of a step comes
    /// closer to it.
    pub(super) fn steps(
        &self,
        mut x: Vec<f32>,
        shape: &Shape,
        bounds: Option<&[f64]>,
        steps: usize,
    ) -> Result<Vec<f32>> {
        for _ in 0..steps {
            let Some(next) = self.step(&x, shape, bounds)? else { break };
            x = next;
        }
        Ok(x)
    }

    /// Returns the wanted changes minus the achieved ones.
    fn missing(&self, x: &[f32]) -> Result<Vec<f32>> {
        let (run, goals, sites) = (self.run, self.goals, self.sites);
        let got = achieved(&[Tried { run, goals, sites, x: vec![x] }])?.remove(0).remove(0);
        Ok(self.target.iter().zip(got).map(|(b, a)| b - a).collect())
    }

    /// Returns the sources after one step, or `None` where [`Self::steps`] ends.
    fn step(&self, x: &[f32], shape: &Shape, bounds: Option<&[f64]>) -> Result<Option<Vec<f32>>> {
        let rest = self.missing(x)?;
        if norm(&rest) <= 1e-4 * norm(self.target) {
            return Ok(None);
        }
        let all: Vec<Edit> = self.run.edits().iter().cloned().chain(edits(self.run, self.sites, x)).collect();
        let edited = self.run.model().run(self.run.tokens(), &all)?;
        let linear = edited.linearize(Mode::Exact);
        let chi = chi_all(&observables(self.goals).map(|observable| (&edited, observable)).collect::<Vec<_>>())?;
        let mut here = System::new(&linear, (self.goals, &chi), self.sites)?;
        let now = here.apply(&[x.to_vec()])?.remove(0);
        let step: Vec<f32> = match shape {
            Shape::Fixed => {
                let size = dot(&now, &now);
                let factor = if size > 0.0 { dot(&now, &rest) / size } else { 0.0 };
                x.iter().map(|&x| (f64::from(x) * factor) as f32).collect()
            }
            Shape::Sites(sites) => {
                // Without bounds, solve for the least change of x. Bounds limit x, not its change, so with them solve
                // for the least x.
                let base = if bounds.is_none() { vec![0.0; rest.len()] } else { now };
                here.target = base.iter().zip(&rest).map(|(base, rest)| base + rest).collect();
                let problem = Problem { system: &here, bounds, damp: 0.0 };
                let next = problem.spread(&problem.solve_and_turn(sites)?);
                match bounds {
                    None => next,
                    Some(_) => next.iter().zip(x).map(|(next, x)| next - x).collect(),
                }
            }
        };
        for share in [1.0f32, 0.5, 0.25, 0.125] {
            let next: Vec<f32> = x.iter().zip(&step).map(|(x, s)| x + share * s).collect();
            if norm(&self.missing(&next)?) < norm(&rest) {
                return Ok(Some(next));
            }
        }
        Ok(None)
    }
}
