//! Circuits, chosen paths and writers of a place, of a set of prompts.

use pyo3::prelude::*;
use resolvent::field::{CircuitOptions, edges_from_to, edges_into_of_prompts, paths_of_prompts};
use resolvent::model::from_end;

use crate::failure::Result;
use crate::lists::{List, Many, Pair, Seed, count};
use crate::prompts::PyPrompts;
use crate::result::PyResultOf;

#[pymethods]
impl PyPrompts {
    /// The writers of each pair's difference at a place (level, token); arrays as those of `Model.edges_into`, with an
    /// axis `prompt`. A negative token counts from the end of each prompt.
    fn edges_into(&self, py: Python<'_>, place: Pair) -> Result<PyResultOf> {
        let place = (from_end("level", place.0, self.model.sizes().layers + 1)?, place.1);
        self.each(py, |model, cases, progress| edges_into_of_prompts(model, cases, place, progress))
    }

    /// Patches of chosen paths of each pair; arrays as those of `Model.paths`, with an axis `prompt`.
    #[pyo3(
        signature = (senders, receivers = Many::one("logits")),
        text_signature = "($self, senders, receivers=\"logits\")"
    )]
    fn paths(&self, py: Python<'_>, senders: Many<String>, receivers: Many<String>) -> Result<PyResultOf> {
        let edges = edges_from_to(self.model.architecture(), &senders.0, &receivers.0)?;
        self.each(py, |model, cases, progress| paths_of_prompts(model, cases, &edges, progress))
    }

    /// Circuits: ranks all edges by their mean score over the pairs, and measures what remains of J if only the first
    /// ones carry the clean prompt.
    ///
    /// `score` is `first_order`, `integrated` (with `steps` runs between the prompts), `integrated_activations` (with
    /// `steps` runs for each MLP and each block's heads), `relp` or `exact`; `selection` is `top` or `greedy`; `prune`
    /// removes edges one by one, as long as |1 - faithfulness| grows by less than it for each (ACDC); the other edges
    /// carry `ablation`: `corrupted`, `zero`, `mean`, or `resample` (outputs of `resamples` other clean prompts;
    /// `deviation` is over them). `shares` are the included shares of all edges, ascending; without them those of the
    /// MIB benchmark. Instead, `thresholds` are sizes of mean scores, descending: a circuit includes the edges whose
    /// score is as large or larger. `controls` random circuits of each size are measured too. With `ranked_on`, so
    /// many pairs rank the edges and the others measure. Of prompts with edits, all runs have these.
    ///
    /// Arrays: `edges` [E, 2], `score`, `rank` [E], `size`, `threshold` [S]; `faithfulness`, `completeness`, `random`,
    /// `value` [P, S], `area`, `distance` [P, 1], with their means and intervals.
    #[pyo3(
        signature = (*, score = "integrated", steps = 8, selection = "top", prune = None, ablation = "corrupted", resamples = 4,
            shares = None, thresholds = None, controls = 2, seed = Seed(0), ranked_on = 0),
        text_signature = "($self, *, score=\"integrated\", steps=8, selection=\"top\", prune=None, ablation=\"corrupted\", \
            resamples=4, shares=None, thresholds=None, controls=2, seed=0, ranked_on=0)"
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
        thresholds: Option<List<f64>>,
        controls: i64,
        seed: Seed,
        ranked_on: i64,
    ) -> Result<PyResultOf> {
        let thresholds = thresholds.map_or(Vec::new(), |thresholds| thresholds.0);
        let shares = match shares {
            None if thresholds.is_empty() => CircuitOptions::default().shares,
            shares => shares.map_or(Vec::new(), |shares| shares.0),
        };
        let options = CircuitOptions {
            score: score.parse()?,
            steps: count("steps", steps)?,
            selection: selection.parse()?,
            prune,
            ablation: ablation.parse()?,
            resamples: count("resamples", resamples)?,
            shares,
            thresholds,
            random: count("controls", controls)?,
            seed: seed.0,
            ranked_on: count("ranked_on", ranked_on)?,
        };
        self.analysed(py, |progress| resolvent::field::circuit(&self.model, &self.cases, &options, progress))
    }
}
