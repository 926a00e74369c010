//! The class `Run`: the results of a forward pass. Its analyses are in `analyses.rs`.

use std::path::PathBuf;

use numpy::{PyArray1, PyArrayDyn};
use pyo3::prelude::*;
use resolvent::field::{FlowOptions, GreenOptions, RegimeOptions, TransferOptions};
use resolvent::model::from_end;

use crate::analyses::{self, Direct};
use crate::arrays::to_numpy;
use crate::classes::{PyModel, PyRun, labels};
use crate::failure::Result;
use crate::linearization::PyLinearization;
use crate::lists::{List, Many, Pair, Seed, count, counts};
use crate::observable::Given;
use crate::result::PyResultOf;
use crate::slice::{SliceArguments, slice};
use crate::work::detached;

type Array<'py> = Bound<'py, PyArrayDyn<f32>>;

#[pymethods]
impl PyRun {
    /// The model of this run.
    #[getter]
    fn model(&self) -> PyModel {
        PyModel::new(self.run.model().clone())
    }

    /// Token ids [T], uint32.
    #[getter]
    fn tokens<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<u32>> {
        PyArray1::from_slice(py, self.run.tokens())
    }

    /// The text of each token.
    #[getter]
    fn str_tokens(&self) -> Vec<String> {
        labels(&self.run)
    }

    /// The field [L+1, T, d], float32: h[0] is the input of the first block, h[L] the output of the last one, before
    /// the final norm. Each access reads it from the device.
    #[getter]
    fn field<'py>(&self, py: Python<'py>) -> Result<Array<'py>> {
        let (run, sizes) = (&self.run, self.run.model().sizes());
        let field = detached(py, |_| run.field())?;
        Ok(to_numpy(py, field, &[sizes.layers + 1, run.tokens().len(), sizes.d])?)
    }

    /// Logits [T, V], float32. Each access computes them; for one position use `logits_at`.
    #[getter]
    fn logits<'py>(&self, py: Python<'py>) -> Result<Array<'py>> {
        let run = &self.run;
        let logits = detached(py, |_| run.logits())?;
        Ok(to_numpy(py, logits, &[run.tokens().len(), run.model().sizes().vocab])?)
    }

    /// Computes the logits [V] at a position; -1 is the last.
    #[pyo3(signature = (position = -1), text_signature = "($self, position=-1)")]
    fn logits_at<'py>(&self, py: Python<'py>, position: i64) -> Result<Array<'py>> {
        let run = &self.run;
        let position = from_end("position", position, run.tokens().len())?;
        let logits = detached(py, |_| run.logits_at(position))?;
        Ok(to_numpy(py, logits, &[run.model().sizes().vocab])?)
    }

    /// Computes the value of an observable.
    fn value(&self, py: Python<'_>, observable: Given<'_>) -> Result<f64> {
        let (run, j) = (&self.run, observable.get().of(py, &self.run)?);
        detached(py, |_| run.value(&j))
    }

    /// Returns the derivative of the model at this run.
    ///
    /// `mode` is `exact`, or selects the frozen factors: the scales of layer norms (`frozen_norm`), attention patterns
    /// (`frozen_attention`), both (`frozen`), or these and GELU's ratio (`relp`).
    #[pyo3(signature = (mode = "exact"))]
    fn linearize(&self, mode: &str) -> Result<PyLinearization> {
        PyLinearization::new(self.run.clone(), mode)
    }

    /// Returns field and logits as a result with its check, for a file or a figure. With `last`, only the last token
    /// has logits.
    ///
    /// Arrays: `field` [L+1, T, d], `logits` [T, V] or [1, V].
    #[pyo3(signature = (*, last = false))]
    fn result(&self, py: Python<'_>, last: bool) -> Result<PyResultOf> {
        let run = &self.run;
        PyResultOf::new(py, detached(py, |_| resolvent::forward(run, last))?, Some(run), None)
    }

    /// Computes dJ/dh at every level and token, by reverse mode.
    ///
    /// With `direction` (`displacement` with a `donor`, `token:TOKEN`, `random[:SEED]` or a file) also its product with
    /// the direction. `sites` are further kinds of sites, as in `Model.patch_sweep`; a run without
    /// them runs once more.
    ///
    /// Arrays: `sensitivity` [L+1, T, d], `norm` [L+1, T], `value` [1]; `directional` [L+1, T] with a direction;
    /// `sensitivity.KIND` [L, T, width] and `norm.KIND` [L, T] of further kinds, of heads [L, H, T, width] and [L, H,
    /// T].
    #[pyo3(
        signature = (observable, *, sites = Many::default(), direction = None, donor = None),
        text_signature = "($self, observable, *, sites=(), direction=None, donor=None)"
    )]
    fn sensitivity(
        &self,
        observable: Given<'_>,
        sites: Many<String>,
        direction: Option<&str>,
        donor: Option<&Bound<'_, PyAny>>,
    ) -> Result<PyResultOf> {
        analyses::sensitivity(&self.run, &observable, &analyses::kinds(&sites.0)?, direction, donor)
    }

    /// Attention patterns [H, T, T] of a block, queries by keys: TransformerLens' `hook_pattern`.
    fn pattern<'py>(&self, py: Python<'py>, block: i64) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        let block = from_end("block", block, self.run.model().sizes().layers)?;
        let (heads, tokens) = (self.run.model().sizes().heads, self.run.tokens().len());
        let pattern = detached(py, |_| self.run.pattern(block))?;
        Ok(to_numpy(py, pattern, &[heads, tokens, tokens])?)
    }

    /// Computes the response field of one source at `at` = (level, position), by forward mode.
    ///
    /// `direction` is an array [d], or `random[:SEED]`, `token:TOKEN`, `sensitivity` (with `observable`),
    /// `displacement` (with `donor`, another prompt or run), or a file. `unit` scales it to unit length. `geometry`
    /// adds arrays that describe the propagation of the response. `directions` is a number of random directions whose
    /// gains are added. `nodes` adds the response to the source of its whole length, by a run (`finite`) and by so many
    /// derivatives on the way (`secant`).
    ///
    /// Arrays: `response` [L+1, T, d], `norm` [L+1, T]; see the page on result files for the others.
    #[pyo3(
        signature = (at, direction = None, *, unit = false, observable = None, donor = None, geometry = false,
            directions = 0, nodes = 0)
    )]
    fn green(
        &self,
        py: Python<'_>,
        at: Pair,
        direction: Option<&Bound<'_, PyAny>>,
        unit: bool,
        observable: Option<Given<'_>>,
        donor: Option<&Bound<'_, PyAny>>,
        geometry: bool,
        directions: i64,
        nodes: i64,
    ) -> Result<PyResultOf> {
        let (directions, nodes) = ((count("directions", directions)?, 0), count("nodes", nodes)?);
        let along = Direct::new(&self.run, py, (direction, unit), (observable.as_deref(), donor))?;
        analyses::green(py, &self.run, at, along, GreenOptions { geometry, directions, nodes })
    }

    /// Computes by which places the effect of a source reaches an observable: <dJ/dh[l,t], response[l,t]> at every
    /// place, which sums over tokens to dJ at every level from the source on.
    ///
    /// The source is at `at` = (level, position), with a `direction` as in `green`; or, without `at`, it is the
    /// difference of the embeddings from this run to `donor`, a prompt or run. `steps` amplitudes, from 2 on, give the
    /// flow of the whole source too.
    ///
    /// Arrays: `flow` [L+1, T], `effect`, `value` [1]; with `steps`: `secant`, `secant_error` [L+1, T],
    /// `secant_effect`, `secant_effect_error`, `change` [1].
    #[pyo3(signature = (observable, at = None, direction = None, *, unit = false, donor = None, steps = 0))]
    fn flow(
        &self,
        observable: Given<'_>,
        at: Option<Pair>,
        direction: Option<&Bound<'_, PyAny>>,
        unit: bool,
        donor: Option<&Bound<'_, PyAny>>,
        steps: i64,
    ) -> Result<PyResultOf> {
        let steps = count("steps", steps)?;
        let along = Direct::new(&self.run, observable.py(), (direction, unit), (Some(&*observable), donor))?;
        analyses::flow(&self.run, &observable, (at, along), FlowOptions { steps })
    }

    /// Checks the identities of the derivatives that follow from symmetries of the model. One that fails is an error.
    ///
    /// Arrays: `figures` [I], relative to the size of their terms, or -1 for an identity that does not hold; the
    /// metadata have their names as `identities`, and why some do not hold as `left_out.NAME`.
    fn identities(&self, observable: Given<'_>) -> Result<PyResultOf> {
        analyses::identities(&self.run, &observable)
    }

    /// Computes blocks U^T G V of the Green operator between a basis V of sources and a basis U of readouts.
    ///
    /// There is one block for each causal pair of places, or for each pair between `sources` and `targets`, which are
    /// lists of (level, position).
    ///
    /// A basis is an array [d, k], or `pca`, `unembed[:TOKEN,...]`, `embed[:TOKEN,...]`, `sensitivity`, `displacement`
    /// (with `donors`), `krylov[:SEED]`, `curvature[:SEED]`, `random[:SEED]`, or a file. The default `readout` is the
    /// source basis. `rank` is the number of vectors of a named basis. With `out`, a .safetensors file, the result is
    /// written chunk by chunk, and a second call resumes an interrupted slice; `fresh` starts again.
    ///
    /// With `nodes` up to 16, blocks are those of the secant operator: derivatives averaged on the way to sources of
    /// `amplitude` |h[l,t]| times the vectors of the basis.
    ///
    /// Arrays: `pairs` [N, 4] (l', t', l, t), `blocks` [N, m, k], `singular_values` [N, min(m, k)], `effective_rank`
    /// [N]; with `nodes` also `amplitude`, `first_error`, `secant_error` and `secant_bar` [N].
    #[pyo3(
        signature = (basis = None, readout = None, *, rank = None, sources = None, targets = None,
            observable = None, position = -1, donors = List::default(), nodes = 0, amplitude = 0.1, out = None,
            fresh = false, progress = true),
        text_signature = "($self, basis=None, readout=None, *, rank=None, sources=None, targets=None, \
            observable=None, position=-1, donors=(), nodes=0, amplitude=0.1, out=None, fresh=False, progress=True)"
    )]
    fn slice(
        &self,
        py: Python<'_>,
        basis: Option<&Bound<'_, PyAny>>,
        readout: Option<&Bound<'_, PyAny>>,
        rank: Option<i64>,
        sources: Option<Many<Pair>>,
        targets: Option<Many<Pair>>,
        observable: Option<Given<'_>>,
        position: i64,
        donors: List<Bound<'_, PyAny>>,
        nodes: i64,
        amplitude: f64,
        out: Option<PathBuf>,
        fresh: bool,
        progress: bool,
    ) -> Result<PyResultOf> {
        let (rank, nodes) = (counts("rank", rank)?, count("nodes", nodes)?);
        let arguments = SliceArguments { rank, sources, targets, position, nodes, amplitude, out, fresh, progress };
        slice(py, &self.run, [basis, readout], (observable.as_deref(), &donors.0), arguments)
    }

    /// Measures the amplitude up to which the first-order response of an observable to a source is accurate.
    ///
    /// `sites` is a list of (level, position). The default is every place up to the observable's position at which the
    /// direction is defined. `direction` is as in `green`, or an array [N, d] with one row for each site. `amplitudes`
    /// are in units of |h[l,t]| times the direction or, with `absolute`, of the direction itself. `field` also compares
    /// the downstream field.
    ///
    /// Arrays: `sites` [N, 2], `amplitudes` [A], `finite`, `error` [N, A], `radius`, `first_order`, `second` [N];
    /// `field_error` [N, A] with `field`.
    #[pyo3(
        signature = (observable, direction = None, *, unit = false, sites = None, amplitudes = None,
            absolute = false, field = false, nodes = 0, donor = None)
    )]
    fn regime(
        &self,
        observable: Given<'_>,
        direction: Option<&Bound<'_, PyAny>>,
        unit: bool,
        sites: Option<Many<Pair>>,
        amplitudes: Option<Many<f32>>,
        absolute: bool,
        field: bool,
        nodes: i64,
        donor: Option<&Bound<'_, PyAny>>,
    ) -> Result<PyResultOf> {
        let along = Direct::new(&self.run, observable.py(), (direction, unit), (Some(&*observable), donor))?;
        let usual = RegimeOptions::default();
        let amplitudes = amplitudes.map_or(usual.amplitudes, |amplitudes| amplitudes.0);
        let options = RegimeOptions { amplitudes, absolute, field, nodes: count("nodes", nodes)? };
        analyses::regime(&self.run, &observable, along, (sites.as_ref().map(|sites| &sites.0[..]), options))
    }

    /// Finds sources that change observables, or the field, by given amounts, and checks them with a run of the model.
    ///
    /// `goals` is a list of (observable, change) and of ((level, position), vector [d]), or one of them. `sites` lists
    /// the places (level, position) of the sources; the default is all places from which a goal can be reached.
    /// `sparse` is the largest number of places, chosen by `greedy` or `lasso`. `limit` is the largest |s| / |h[l,t]|.
    /// `damp` is the weight of the energy against the goal. `refine` is a number of steps of Newton's method.
    ///
    /// Arrays: `sites` [N, 2], `sources` [N, d], `relative` [N], `target`, `predicted`, `achieved` [M], `energy` [1],
    /// and the baselines'.
    #[pyo3(
        signature = (goals, *, sites = None, sparse = None, choose = "greedy", limit = None, damp = 0.0,
            refine = 0, seed = Seed(0)),
        text_signature = "($self, goals, *, sites=None, sparse=None, choose=\"greedy\", limit=None, damp=0.0, refine=0, seed=0)"
    )]
    fn invert(
        &self,
        goals: &Bound<'_, PyAny>,
        sites: Option<Many<Pair>>,
        sparse: Option<i64>,
        choose: &str,
        limit: Option<f32>,
        damp: f64,
        refine: i64,
        seed: Seed,
    ) -> Result<PyResultOf> {
        let options = analyses::inversion((sparse, choose), limit, damp, (refine, seed))?;
        analyses::invert(&self.run, goals, sites.as_ref().map(|sites| &sites.0[..]), &options)
    }

    /// Measures the fraction of a donor's answer that its h[l,t] transfers, put at one place at a time: 0 is none, 1 is
    /// all.
    ///
    /// `donor` and `others` are prompts or runs with the same number of tokens. The controls are displacements to the
    /// `others`, and as many random directions of the displacement's length as `controls` says.
    ///
    /// Arrays: `fraction` [L+1, T], `value` [2], `random`, `random_low`, `random_high` [L+1, T]; `shuffled...` with
    /// others.
    #[pyo3(
        signature = (donor, observable, *, scale = 1.0, controls = 8, seed = Seed(0), others = List::default()),
        text_signature = "($self, donor, observable, *, scale=1.0, controls=8, seed=0, others=())"
    )]
    fn transfer(
        &self,
        donor: &Bound<'_, PyAny>,
        observable: Given<'_>,
        scale: f32,
        controls: i64,
        seed: Seed,
        others: List<Bound<'_, PyAny>>,
    ) -> Result<PyResultOf> {
        let options = TransferOptions { scale, random: count("controls", controls)?, seed: seed.0 };
        analyses::transfer(&self.run, (donor, &others.0), &observable, &options)
    }

    fn __repr__(&self) -> String {
        let (name, tokens, edits) = (self.run.model().name(), self.run.tokens().len(), self.run.edits().len());
        format!("<resolvent.Run of {name}: {tokens} tokens, {edits} edits>")
    }

    fn _repr_html_(slf: Bound<'_, Self>) -> Result<String> {
        let result = Bound::new(slf.py(), slf.get().result(slf.py(), true)?)?;
        Ok(result.call_method0("_repr_html_")?.extract()?)
    }
}
