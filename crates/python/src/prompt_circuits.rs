//! Circuits of a set of prompts.

use pyo3::prelude::*;
use resolvent::field::CircuitOptions;

use crate::failure::Result;
use crate::lists::{List, Seed, count};
use crate::prompts::PyPrompts;
use crate::result::PyResultOf;

#[pymethods]
impl PyPrompts {
    /// Circuits: ranks all edges by their mean score over the pairs, and measures what remains of J if only the first
    /// ones carry the clean prompt.
    ///
    /// `score` is `first_order`, `integrated` (with `steps` runs between the prompts), `integrated_activations` (with
    /// `steps` runs for each MLP and each block's heads), `relp` or `exact`; `selection` is `top` or `greedy`; `prune`
    /// removes edges one by one, as long as |1 - faithfulness| grows by less than it for each (ACDC); the other edges
    /// carry `ablation`: `corrupted`, `zero`, `mean`, or `resample` (outputs of `resamples` other clean prompts;
    /// `deviation` is over them). `shares` are the included shares of all edges, ascending; without them those of the
    /// MIB benchmark. `controls` random circuits of each size are measured too. With `ranked_on`, so many pairs rank
    /// the edges and the others measure. Of prompts with edits, all runs have these.
    ///
    /// Arrays: `edges` [E, 2], `score`, `rank` [E], `size` [S]; `faithfulness`, `completeness`, `random`, `value` [P,
    /// S], `area`, `distance` [P, 1], with their means and intervals.
    #[pyo3(
        signature = (*, score = "integrated", steps = 8, selection = "top", prune = None, ablation = "corrupted", resamples = 4,
            shares = None, controls = 2, seed = Seed(0), ranked_on = 0),
        text_signature = "($self, *, score=\"integrated\", steps=8, selection=\"top\", prune=None, ablation=\"corrupted\", \
            resamples=4, shares=None, controls=2, seed=0, ranked_on=0)"
    )]
    fn circuit(
        &self,
        py: Python<'_>,
        score: &str,
        steps: i64,
        selection: &str,
        prune: Option<f64>,
        ablation: &str,
        resamples: i64,
        shares: Option<List<f64>>,
        controls: i64,
        seed: Seed,
        ranked_on: i64,
    ) -> Result<PyResultOf> {
        let options = CircuitOptions {
            score: score.parse()?,
            steps: count("steps", steps)?,
            selection: selection.parse()?,
            prune,
            ablation: ablation.parse()?,
            resamples: count("resamples", resamples)?,
            shares: shares.map_or(CircuitOptions::default().shares, |shares| shares.0),
            random: count("controls", controls)?,
            seed: seed.0,
            ranked_on: count("ranked_on", ranked_on)?,
        };
        self.analysed(py, |progress| resolvent::field::circuit(&self.model, &self.cases, &options, progress))
    }
}
