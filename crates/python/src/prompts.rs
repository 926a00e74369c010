//! The class `Prompts`: many prompts of a model, and the analyses over all of them at once.

use numpy::PyArrayDyn;
use pyo3::prelude::*;
use pyo3::types::PyList;
use resolvent::Labelled;
use resolvent::field::{
    AttributeOptions, BesidePatches, EdgeOptions, EdgePredictor, FlowOptions, GreenOptions, Joint, LensOptions,
    Predictor, Prompts as Found, ReduceOptions, RegimeOptions, SHARD, TransferOptions, attribute_of_prompts,
    edges_of_prompts, flow_of_prompts, forward_of_prompts, identities_of_prompts, lens_of_prompts, patch_of_prompts,
    sensitivity_of_prompts, transfer_of_prompts,
};
use resolvent::model::{EditedPrompt, Model, PromptCase, Run, from_end, logits_of};

use crate::analyses;
use crate::arguments::interacting;
use crate::arrays::to_numpy;
use crate::averaged_operator::PyAveragedOperator;
use crate::failure::{Failure, Result};
use crate::lists::{List, Many, Pair, Seed, count, counts};
use crate::prompt_sources::{self, EachAlong};
use crate::result::PyResultOf;
use crate::shard_target;
use crate::work::{Bar, Raised, detached};

/// Many prompts of one model, of any lengths, or pairs of prompts. Analyses take all of them at once, in batches that
/// fit the device's memory, and each returns one `Result` whose arrays have a first axis `prompt`.
///
/// Arrays are padded with NaN after the end of shorter prompts. `NAME.mean`, `NAME.low` and `NAME.high` are means over
/// prompts with 95 % intervals, aligned from the end.
#[pyclass(frozen, name = "Prompts", module = "resolvent")]
pub(crate) struct PyPrompts {
    pub(crate) model: Model,
    pub(crate) cases: Vec<PromptCase>,
    /// The row of each prompt among all that were read, ascending.
    pub(crate) rows: Vec<usize>,
    pub(crate) left_out: Vec<(String, String)>,
}

impl PyPrompts {
    /// Runs an analysis that has a result for each prompt, with a progress bar.
    pub(crate) fn each(
        &self,
        py: Python<'_>,
        mut analysis: impl FnMut(&Model, &[PromptCase], &mut dyn FnMut(u64, u64)) -> resolvent::field::Result<Found> + Send,
    ) -> Result<PyResultOf> {
        if let Some(rows) = shard_target::take() {
            let part = self.of_rows(&rows);
            shard_target::store(detached(py, |_| analysis(&self.model, part, &mut |_, _| {}))?);
            return PyResultOf::new(py, Labelled::default(), None, None);
        }
        self.analysed(py, |progress| {
            let (all, mut before, mut results) = (self.cases.len() as u64, 0, Found::default());
            // The parts are those of shards, so that shards have the same batches.
            let mut first = 0;
            for rows in self.rows.chunk_by(|a, b| a / SHARD == b / SHARD) {
                let part = &self.cases[first..first + rows.len()];
                first += rows.len();
                results.append(analysis(&self.model, part, &mut |done, _| progress(before + done, all))?);
                before += part.len() as u64;
            }
            results.stack()
        })
    }

    /// Runs an analysis with a progress bar.
    pub(crate) fn analysed(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut dyn FnMut(u64, u64)) -> resolvent::field::Result<Labelled> + Send,
    ) -> Result<PyResultOf> {
        let mut bar = Bar::new(py, ("prompts", "prompt"))?;
        let result = detached(py, |raised: &Raised| {
            let result = work(&mut |done, all| bar.show(raised, (done, all), None))?;
            Ok::<_, Failure>(result)
        })?;
        drop(bar);
        PyResultOf::new(py, result, None, None)
    }
}

#[pymethods]
impl PyPrompts {
    /// Names of the prompts: their labels, lines or numbers.
    #[getter]
    fn names(&self) -> Vec<&str> {
        self.cases.iter().map(|case| case.name.as_str()).collect()
    }

    /// Token ids of each clean prompt.
    #[getter]
    fn tokens<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyList>> {
        Ok(PyList::new(py, self.cases.iter().map(|case| case.clean.clone()))?)
    }

    /// The observable of each prompt as text, or None.
    #[getter]
    fn observables(&self) -> Vec<Option<String>> {
        self.cases.iter().map(|case| case.observable.as_ref().map(ToString::to_string)).collect()
    }

    /// Rows that do not fit the model: name and reason.
    #[getter]
    fn left_out(&self) -> Vec<(String, String)> {
        self.left_out.clone()
    }

    fn __len__(&self) -> usize {
        self.cases.len()
    }

    fn __repr__(&self) -> String {
        let (count, left_out) = (self.cases.len(), self.left_out.len());
        format!("<resolvent.Prompts: {count} prompts of {}, {left_out} rows left out>", self.model.name())
    }

    /// Logits [P, V] at one position of each clean prompt; -1 is its last.
    #[pyo3(signature = (position = -1), text_signature = "($self, position=-1)")]
    fn logits<'py>(&self, py: Python<'py>, position: i64) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        let (model, cases) = (&self.model, &self.cases);
        let logits = detached(py, |_| {
            let mut logits = Vec::with_capacity(cases.len() * model.sizes().vocab);
            let prompts = cases.iter().map(|case| EditedPrompt { tokens: &case.clean, edits: &case.edits });
            for part in model.passes(&prompts.collect::<Vec<_>>(), |prompt| prompt.tokens.len()) {
                let runs = model.run_edited(part, &[])?;
                let at = |run: &'_ Run| from_end("position", position, run.tokens().len());
                let places = runs.iter().map(|run| Ok((run, at(run)?))).collect::<Result<Vec<(&Run, usize)>>>()?;
                logits.extend(logits_of(&places)?);
            }
            Ok::<_, Failure>(logits)
        })?;
        Ok(to_numpy(py, logits, &[cases.len(), model.sizes().vocab])?)
    }

    /// The fields [P, L+1, T, d] and the logits [P, 1, V] of the last position of the clean prompts.
    fn run(&self, py: Python<'_>) -> Result<PyResultOf> {
        self.each(py, forward_of_prompts)
    }

    /// Sensitivities of each prompt's observable: `sensitivity` [P, L+1, T, d], `norm` [P, L+1, T], `value` [P, 1].
    #[pyo3(signature = (*, sites = Many::default()), text_signature = "($self, *, sites=())")]
    fn sensitivity(&self, py: Python<'_>, sites: Many<String>) -> Result<PyResultOf> {
        let kinds = analyses::kinds(&sites.0)?;
        self.each(py, |model, cases, progress| sensitivity_of_prompts(model, cases, &kinds, progress))
    }

    /// Patch effects of each pair; arguments and arrays as those of `Model.patch_sweep`, with an axis `prompt`. Places
    /// of `interactions` may name a role in place of a position: its last token.
    #[pyo3(
        signature = (*, sites = Many::one("resid"), predictors = Many::default(), interactions = None, joint = "put"),
        text_signature = "($self, *, sites=[\"resid\"], predictors=(), interactions=None, joint=\"put\")"
    )]
    fn patch(
        &self,
        py: Python<'_>,
        sites: Many<String>,
        predictors: Many<String>,
        interactions: Option<&Bound<'_, PyAny>>,
        joint: &str,
    ) -> Result<PyResultOf> {
        let others = predictors.0.iter().map(|name| Ok(name.parse()?)).collect::<Result<Vec<Predictor>>>()?;
        let kinds = analyses::kinds(&sites.0)?;
        let predictors = if others.is_empty() { Vec::new() } else { Predictor::beside_first_order(&others) };
        let (interactions, joint) = (interacting(interactions)?, joint.parse::<Joint>()?);
        let beside = BesidePatches {
            predictors: &predictors,
            interactions: interactions.as_ref().map(|which| (which, joint)),
            ..BesidePatches::default()
        };
        self.each(py, |model, cases, progress| patch_of_prompts(model, cases, &kinds, beside, progress))
    }

    /// Transfer fractions of each pair, whose donor is the corrupted prompt: `fraction` [P, L+1, T], and controls in
    /// `controls` random directions.
    #[pyo3(
        signature = (*, scale = 1.0, controls = 8, seed = Seed(0)),
        text_signature = "($self, *, scale=1.0, controls=8, seed=0)"
    )]
    fn transfer(&self, py: Python<'_>, scale: f32, controls: i64, seed: Seed) -> Result<PyResultOf> {
        let options = TransferOptions { scale, random: count("controls", controls)?, seed: seed.0 };
        self.each(py, |model, cases, progress| transfer_of_prompts(model, cases, &options, progress))
    }

    /// The flow of the difference of each pair; arrays as those of `Run.flow`, with an axis `prompt`.
    #[pyo3(signature = (*, steps = 0), text_signature = "($self, *, steps=0)")]
    fn flow(&self, py: Python<'_>, steps: i64) -> Result<PyResultOf> {
        let options = FlowOptions { steps: count("steps", steps)? };
        self.each(py, |model, cases, progress| flow_of_prompts(model, cases, options, progress))
    }

    /// Checks the identities of the derivatives of each clean prompt; arrays as those of `Run.identities`, with an axis
    /// `prompt`.
    fn identities(&self, py: Python<'_>) -> Result<PyResultOf> {
        self.each(py, identities_of_prompts)
    }

    /// Responses to a source at `at` = (level, position) of each prompt, counted from the end if negative; arrays as
    /// those of `Run.green`, with an axis `prompt`. A displacement is to the row's corrupted prompt. `nodes` adds the
    /// responses to the whole source: `finite` by a run, and `secant` from derivatives at so many amplitudes.
    #[pyo3(
        signature = (at, direction = None, *, unit = false, geometry = false, directions = 0, nodes = 0),
        text_signature = "($self, at, direction=None, *, unit=False, geometry=False, directions=0, nodes=0)"
    )]
    fn green(
        &self,
        py: Python<'_>,
        at: Pair,
        direction: Option<&Bound<'_, PyAny>>,
        unit: bool,
        geometry: bool,
        directions: i64,
        nodes: i64,
    ) -> Result<PyResultOf> {
        let (directions, nodes) = ((count("directions", directions)?, 0), count("nodes", nodes)?);
        let options = GreenOptions { geometry, directions, nodes };
        let along = EachAlong::new(&self.model, direction, unit)?;
        self.each(py, |model, cases, progress| prompt_sources::green((&at, &along), options, (model, cases), progress))
    }

    /// Linear regimes of each prompt's observable; arguments and arrays as those of `Run.regime`, with an axis
    /// `prompt`.
    #[pyo3(
        signature = (direction = None, *, unit = false, sites = None, amplitudes = None, absolute = false, field = false,
            nodes = 0),
        text_signature = "($self, direction=None, *, unit=False, sites=None, amplitudes=None, absolute=False, field=False, \
            nodes=0)"
    )]
    fn regime(
        &self,
        py: Python<'_>,
        direction: Option<&Bound<'_, PyAny>>,
        unit: bool,
        sites: Option<Many<Pair>>,
        amplitudes: Option<Many<f32>>,
        absolute: bool,
        field: bool,
        nodes: i64,
    ) -> Result<PyResultOf> {
        let amplitudes = amplitudes.map_or(RegimeOptions::default().amplitudes, |amplitudes| amplitudes.0);
        let options = RegimeOptions { amplitudes, absolute, field, nodes: count("nodes", nodes)? };
        let along = EachAlong::new(&self.model, direction, unit)?;
        let about = (sites.as_ref().map(|sites| &sites.0[..]), &along);
        self.each(py, |model, cases, progress| prompt_sources::regime(about, &options, (model, cases), progress))
    }

    /// Sources that change each prompt's observable by `change`; arguments and arrays as those of `Run.invert`, with an
    /// axis `prompt`.
    #[pyo3(
        signature = (change, *, sites = None, sparse = None, choose = "greedy", limit = None, damp = 0.0, refine = 0,
            seed = Seed(0)),
        text_signature = "($self, change, *, sites=None, sparse=None, choose=\"greedy\", limit=None, damp=0.0, refine=0, seed=0)"
    )]
    fn invert(
        &self,
        py: Python<'_>,
        change: f64,
        sites: Option<Many<Pair>>,
        sparse: Option<i64>,
        choose: &str,
        limit: Option<f32>,
        damp: f64,
        refine: i64,
        seed: Seed,
    ) -> Result<PyResultOf> {
        let options = analyses::inversion((sparse, choose), limit, damp, (refine, seed))?;
        let goal = (change, sites.as_ref().map(|sites| &sites.0[..]));
        self.each(py, |model, cases, progress| prompt_sources::invert(goal, &options, (model, cases), progress))
    }

    /// Edges of each pair; arrays as those of `Model.edges`, with an axis `prompt`. `controls` other pairs give
    /// `other_prompts` [P, E]: the scores of their displacements, at the same norms (root mean square).
    #[pyo3(
        signature = (*, predictors = Many::default(), steps = 8, exact = false, controls = 0, random = 0, seed = Seed(0),
            by_token = false),
        text_signature = "($self, *, predictors=(), steps=8, exact=False, controls=0, random=0, seed=0, by_token=False)"
    )]
    fn edges(
        &self,
        py: Python<'_>,
        predictors: Many<String>,
        steps: i64,
        exact: bool,
        controls: i64,
        random: i64,
        seed: Seed,
        by_token: bool,
    ) -> Result<PyResultOf> {
        let predictors = predictors.0.iter().map(|name| Ok(name.parse()?)).collect::<Result<Vec<EdgePredictor>>>()?;
        let (steps, controls) = (count("steps", steps)?, count("controls", controls)?);
        let (random, seed) = (count("random", random)?, seed.0);
        let options = EdgeOptions { predictors, steps, exact, by_token, controls, random, seed };
        self.each(py, |model, cases, progress| edges_of_prompts(model, (cases, &self.cases), &options, progress))
    }

    /// Contributions to each clean prompt's observable; arrays as those of `Model.attribute`, with an axis `prompt`.
    /// `controls` other prompts give `other_prompts_direct` and `other_prompts_first_order` [P, W, T]: the
    /// contributions of their outputs, at the same norms (root mean square).
    #[pyo3(
        signature = (*, neurons = false, patterns = false, controls = 0),
        text_signature = "($self, *, neurons=False, patterns=False, controls=0)"
    )]
    fn attribute(&self, py: Python<'_>, neurons: bool, patterns: bool, controls: i64) -> Result<PyResultOf> {
        let options = AttributeOptions { neurons, patterns, listed: 0, controls: count("controls", controls)? };
        self.each(py, |model, cases, progress| attribute_of_prompts(model, (cases, &self.cases), options, progress))
    }

    /// The logit lens of each clean prompt; arrays as those of `Model.lens` but those of the most likely tokens, with
    /// an axis `prompt`. With `averaged`, through averaged operators.
    #[pyo3(signature = (*, averaged = None), text_signature = "($self, *, averaged=None)")]
    fn lens(&self, py: Python<'_>, averaged: Option<&Bound<'_, PyAveragedOperator>>) -> Result<PyResultOf> {
        let options = LensOptions { top: 0, averaged: averaged.map(|one| &one.get().averaged) };
        self.each(py, |model, cases, progress| lens_of_prompts(model, cases, options, progress))
    }

    /// Reduced descriptions: effects of patches of the last pairs through few directions of a level, which come from
    /// the first `train` pairs (half of them if `None`), by seven methods.
    ///
    /// `level` is the middle one if `None`. `sensitivities` are `averaged` (over `steps` runs with the level between
    /// the prompts), `first_order` or `relp`.
    ///
    /// Arrays: `ranks` [R], `error`, `error_low`, `error_high` [2, M, R] for one basis and one by role (names in the
    /// metadata: `methods`, `roles`), `floor` [1], `said` [2, R], `dimension` [2], `learning`, `by_tokens`, `spectrum`;
    /// `read` and `write` [S, K, d], the directions.
    #[pyo3(
        signature = (*, level = None, train = None, ranks = None, sensitivities = "averaged", steps = 8, seed = Seed(0)),
        text_signature = "($self, *, level=None, train=None, ranks=None, sensitivities=\"averaged\", steps=8, seed=0)"
    )]
    fn reduce(
        &self,
        py: Python<'_>,
        level: Option<i64>,
        train: Option<i64>,
        ranks: Option<List<i64>>,
        sensitivities: &str,
        steps: i64,
        seed: Seed,
    ) -> Result<PyResultOf> {
        let ranks = match ranks {
            Some(ranks) => ranks.0.into_iter().map(|rank| count("ranks", rank)).collect::<Result<_>>()?,
            None => ReduceOptions::default().ranks,
        };
        let levels = self.model.sizes().layers + 1;
        let options = ReduceOptions {
            level: level.map(|level| from_end("level", level, levels)).transpose()?,
            train: counts("train", train)?,
            ranks,
            sensitivities: sensitivities.parse()?,
            steps: count("steps", steps)?,
            seed: seed.0,
        };
        let this = self.without_edits("reduce")?;
        this.analysed(py, |progress| resolvent::field::reduce(&self.model, &self.cases, &options, progress))
    }
}
