//! The class `Model`.

use std::path::PathBuf;

use numpy::{PyArray1, PyArrayDyn};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use resolvent::field::{
    Case, Joint, OperatorOptions, OperatorPairs, Predictor, PredictorOptions, ScaleOptions, SiteKind, answers,
    distinct, operator_pairs, pairs_of_both, patch_at, scale_operators,
};
use resolvent::model::{PromptSet, Run, RunOptions, Site};

use crate::arguments::{check_model, interacting, token, tokens, with_sites};
use crate::arrays::to_numpy;
use crate::classes::{PyModel, PyRun};
use crate::edit::PyEdit;
use crate::failure::{Failure, Result, value_error};
use crate::lists::{DeviceName, List, Many, Seed, count, counts};
use crate::observable::Given;
use crate::opened::Opened;
use crate::prompt_rows::PromptArguments;
use crate::prompts::PyPrompts;
use crate::result::PyResultOf;
use crate::study::{PyStudy, StudyArguments};
use crate::work::detached;

#[pymethods]
impl PyModel {
    /// Opens a model.
    ///
    /// `name` is an embedded model (`atlas-small`), a directory with sizes.json and model.safetensors, a name on the
    /// Hugging Face hub (`gpt2`, `ORG/NAME@REVISION`: from its cache, else downloaded), or `random[:SEED]` for a tiny
    /// one with random weights. `device` is `auto`, `gpu`, `host`, an index of `devices()` (text or int), or part of an
    /// adapter's name. `memory` is for a batch's intermediate values, in bytes; larger work is cut. `f16_weights` keeps
    /// weights as 16-bit floats, in half the memory; `f16_inputs` rounds the inputs of forward products to 16 bits as
    /// well, for GPUs with matrix units.
    #[staticmethod]
    #[pyo3(
        signature = (name = resolvent::model::DEFAULT_MODEL.to_owned().into(), device = DeviceName::auto(), *,
            memory = 512 << 20, progress = true, **precision),
        text_signature = "(name=\"atlas-small\", device=\"auto\", *, memory=536870912, f16_weights=False, f16_inputs=False, progress=True)"
    )]
    fn from_pretrained(
        py: Python<'_>,
        name: PathBuf,
        device: DeviceName,
        memory: i64,
        progress: bool,
        precision: Option<&Bound<'_, PyDict>>,
    ) -> Result<Self> {
        let name = name.to_str().ok_or_else(|| value_error("invalid model path: expected UTF-8 text"))?;
        let rounded = precision.map_or(Ok([false; 2]), crate::arguments::precision)?;
        Opened { name: name.to_owned(), device: device.0, memory: count("memory", memory)?, rounded }.open(py, progress)
    }

    /// What it came from: the embedded model's name, a directory, a repository with its commit, or a seed.
    #[getter]
    fn name(&self) -> &str {
        self.model.name()
    }

    /// Hash of configuration and weights.
    #[getter]
    fn hash(&self) -> &str {
        self.model.hash()
    }

    /// Relative error of the weights that were rounded to 16 bits; None if none was.
    #[getter]
    fn weight_rounding(&self) -> Option<f64> {
        self.model.weight_rounding()
    }

    /// Relative error of a field by rounding the inputs of products to 16 bits; None if they are not rounded.
    #[getter]
    fn input_rounding(&self) -> Option<f64> {
        self.model.input_rounding()
    }

    /// The device that holds the weights.
    #[getter]
    fn device(&self) -> String {
        self.model.device().info().to_string()
    }

    /// Sizes and switches, by the names that TransformerLens gives them: n_layers, d_model, n_heads, d_head, d_mlp,
    /// d_vocab, n_ctx, act_fn, eps.
    #[getter]
    fn cfg<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        let (sizes, cfg) = (self.model.sizes(), PyDict::new(py));
        cfg.set_item("n_layers", sizes.layers)?;
        cfg.set_item("d_model", sizes.d)?;
        cfg.set_item("n_heads", sizes.heads)?;
        cfg.set_item("n_key_value_heads", sizes.kv_heads)?;
        cfg.set_item("d_head", sizes.d_head)?;
        cfg.set_item("d_mlp", sizes.inner)?;
        cfg.set_item("d_vocab", sizes.vocab)?;
        cfg.set_item("n_ctx", sizes.n_ctx)?;
        cfg.set_item("act_fn", self.model.architecture().activation().to_string())?;
        cfg.set_item("eps", self.model.architecture().eps())?;
        Ok(py.import("types")?.getattr("SimpleNamespace")?.call((), Some(&cfg))?)
    }

    /// Token ids [T], uint32, of a text; ids are checked and handed back. A token goes before the text only if
    /// the files of the tokenizer ask for one.
    fn to_tokens<'py>(&self, py: Python<'py>, prompt: &Bound<'py, PyAny>) -> Result<Bound<'py, PyArray1<u32>>> {
        let tokens = tokens(&self.model, prompt)?;
        resolvent::model::check_prompt(self.model.sizes(), &tokens)?;
        Ok(PyArray1::from_vec(py, tokens))
    }

    /// The text of token ids.
    fn to_string(&self, ids: &Bound<'_, PyAny>) -> Result<String> {
        let ids = match ids.extract::<i64>() {
            Ok(_) => vec![token(&self.model, ids)?],
            Err(_) => tokens(&self.model, ids)?,
        };
        match self.model.text_tokenizer()? {
            Some(tokenizer) => Ok(tokenizer.decode(&ids)?),
            None => Err(value_error(format!("{} has no tokenizer; ids have no text", self.model.name()))),
        }
    }

    /// The text of each token of a prompt; `#id` without a tokenizer.
    fn to_str_tokens(&self, prompt: &Bound<'_, PyAny>) -> Result<Vec<String>> {
        let text = |id: u32| self.model.tokenizer().map_or_else(|| format!("#{id}"), |t| t.token(id));
        Ok(tokens(&self.model, prompt)?.into_iter().map(text).collect())
    }

    /// The id of a text that is one token, such as `" Paris"`.
    fn to_single_token(&self, text: &Bound<'_, PyString>) -> Result<u32> {
        token(&self.model, text)
    }

    /// The embedding [d] of a token, by text or id.
    fn embedding<'py>(&self, py: Python<'py>, token: &Bound<'py, PyAny>) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        let (model, id) = (&self.model, self::token(&self.model, token)?);
        let row = detached(py, |_| model.embedding(id))?;
        Ok(to_numpy(py, row, &[model.sizes().d])?)
    }

    /// The unembedding [d] of a token, by text or id: the direction along which the final norm's output raises its
    /// logit.
    fn unembedding<'py>(&self, py: Python<'py>, token: &Bound<'py, PyAny>) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        let (model, id) = (&self.model, self::token(&self.model, token)?);
        let row = detached(py, |_| model.unembedding(id))?;
        Ok(to_numpy(py, row, &[model.sizes().d])?)
    }

    /// Runs a prompt under edits.
    ///
    /// `prompt` is text, or token ids [T] as a list or an array. `sites` names outputs of attention and MLP that are
    /// used as sources or edited later (`blocks.3.hook_attn_out`); all other sites are always there.
    #[pyo3(
        signature = (prompt, edits = Many::default(), *, sites = Many::default()),
        text_signature = "($self, prompt, edits=(), *, sites=())"
    )]
    fn run(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyAny>,
        edits: Many<Py<PyEdit>>,
        sites: Many<String>,
    ) -> Result<PyRun> {
        let (model, tokens) = (&self.model, tokens(&self.model, prompt)?);
        resolvent::model::check_prompt(model.sizes(), &tokens)?;
        let edits = PyEdit::all(&edits.0, model, tokens.len())?;
        let sites = sites.0.iter().map(|site| Ok(site.parse()?)).collect::<Result<_>>()?;
        let options = RunOptions { edits, sites };
        Ok(PyRun { run: detached(py, |_| model.run_with(&tokens, &options))? })
    }

    /// Activation patching: every value of the clean prompt, put into the corrupted one, one site and token at a time.
    ///
    /// Prompts are text, ids or runs, of as many tokens. `sites` are kinds: `resid` (the field, [L+1, T]), `mid`,
    /// `attn_out`,
    /// `mlp_out` ([L, T]), and each head's `q`, `k`, `v`, `z`, `pattern` ([L, H, T]).
    ///
    /// Arrays: `effect` = J(patched) - J(corrupted) and `first_order`, what the sensitivity predicts, [L+1, T]; the
    /// same as `effect.KIND`, `first_order.KIND` of other kinds; `clean_value`, `corrupted_value` [1].
    ///
    /// With `predictors`, of `curvature`, `hvp`, `integrated` and `relp`, also `predicted` [P, ...], first order first,
    /// and `cost` [P] in forward passes; of `hvp` the ratio of second order to first, `reliability`.
    ///
    /// With `interactions`, also the interactions of that many patches of the largest first-order effects at sites of
    /// the first kind, or of those at a list of places (level or block, position), of heads (block, head, position):
    /// `interaction` [N, N] to second order and `interaction_actual` [N, N] by joint runs, which `put` both clean
    /// values in place or `add` both displacements (`joint`).
    #[pyo3(
        signature = (clean, corrupted, observable, *, sites = Many::one("resid"), predictors = Many::default(),
            interactions = None, joint = "put"),
        text_signature = "($self, clean, corrupted, observable, *, sites=[\"resid\"], predictors=(), interactions=None, \
            joint=\"put\")"
    )]
    fn patch_sweep(
        &self,
        py: Python<'_>,
        clean: &Bound<'_, PyAny>,
        corrupted: &Bound<'_, PyAny>,
        observable: Given<'_>,
        sites: Many<String>,
        predictors: Many<String>,
        interactions: Option<&Bound<'_, PyAny>>,
        joint: &str,
    ) -> Result<PyResultOf> {
        let interactions = interacting(interactions)?;
        let others = predictors.0.iter().map(|name| Ok(name.parse()?)).collect::<Result<Vec<Predictor>>>()?;
        let joint: Joint = joint.parse()?;
        let kinds = sites.0.iter().map(|kind| Ok(kind.parse()?)).collect::<Result<Vec<SiteKind>>>()?;
        let sites: Vec<Site> = kinds.iter().flat_map(|kind| kind.sites(self.model.sizes())).collect();
        let [clean, corrupted] = self.pair([clean, corrupted], &sites)?;
        let (j, title) = (observable.get().beside(py, &corrupted, &clean)?, observable.get().title());
        let result = detached(py, |_| {
            let mut result = patch_at(&clean, &corrupted, &j, &kinds)?;
            let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
            if !others.is_empty() {
                let (predictors, options) = (Predictor::beside_first_order(&others), PredictorOptions::default());
                result = result.with_predictors(&case, &kinds, &predictors, options)?;
            }
            match (&interactions, kinds.first()) {
                (Some(which), Some(kind)) => result.with_interactions(&case, *kind, which, joint),
                _ => Ok(result),
            }
        })?;
        PyResultOf::new(py, result, Some(&corrupted), Some(&title))
    }

    /// Many prompts, for analyses of all of them at once.
    ///
    /// `rows` is a prompt file (.json, .jsonl, .csv), or a list whose entries are texts, token ids, or dicts with the
    /// keys `clean`, `corrupted`, `target`, `against`, `observable`, `label` and `roles`; without it, the prompts that
    /// ship with the embedded models. `observable` takes the place of those of the rows. `tasks` chooses among a file's
    /// tasks, `limit` rows of each. Every prompt runs under `edits`. Rows that do not fit the model or the edits are in
    /// `left_out`; with `strict` they are an error.
    #[pyo3(
        signature = (rows = None, *, observable = None, tasks = Many::default(), limit = None, strict = false, edits = Many::default()),
        text_signature = "($self, rows=None, *, observable=None, tasks=(), limit=None, strict=False, edits=())"
    )]
    fn prompts(
        &self,
        py: Python<'_>,
        rows: Option<Bound<'_, PyAny>>,
        observable: Option<Given<'_>>,
        tasks: Many<String>,
        limit: Option<i64>,
        strict: bool,
        edits: Many<Py<PyEdit>>,
    ) -> Result<PyPrompts> {
        let (tasks, limit, edits) = (tasks.0, counts("limit", limit)?, edits.0);
        let observable = observable.map(|one| one.clone().unbind());
        PyPrompts::new(py, &self.model, PromptArguments { rows, observable, tasks, limit, strict, edits })
    }

    /// How well the responses of this model predict those of a larger one, on pairs of prompts that both read alike.
    ///
    /// `prompts` is a prompt file; without one, those that ship with the embedded models. `tokens` are those of the
    /// shared slice; without any, some of the answers.
    ///
    /// Arrays over quantity (effect, sensitivity, slice) and predictor (affine, identity, level_mean, random_model):
    /// `correlation`, `correlation_low`, `correlation_high` and `explained` [3, 4]; of the held-out effects `predicted`
    /// and `actual` [N].
    #[pyo3(
        signature = (large, prompts = None, *, tasks = Many::default(), limit = 12, tokens = List::default(), seed = Seed(0)),
        text_signature = "($self, large, prompts=None, *, tasks=(), limit=12, tokens=(), seed=0)"
    )]
    fn scale(
        &self,
        py: Python<'_>,
        large: Py<PyModel>,
        prompts: Option<PathBuf>,
        tasks: Many<String>,
        limit: i64,
        tokens: List<Bound<'_, PyAny>>,
        seed: Seed,
    ) -> Result<PyResultOf> {
        let (small, large) = (&self.model, &large.get().model);
        let (limit, seed) = (count("limit", limit)?, seed.0);
        let given = tokens.0.iter().map(|t| token(small, t)).collect::<Result<Vec<u32>>>()?;
        let result = detached(py, |_| {
            let set = prompts.as_ref().map_or_else(PromptSet::embedded, |path| PromptSet::open(path))?;
            let pairs = pairs_of_both(&set, &tasks.0, limit, [small, large])?;
            let tokens = if given.is_empty() { answers(&pairs) } else { distinct(given) };
            let options = ScaleOptions { train: pairs.len() / 2, tokens, seed };
            Ok::<_, Failure>(resolvent::scale(small, large, &pairs, &options)?)
        })?;
        PyResultOf::new(py, result, None, None)
    }

    /// Whether the Green operator of this model predicts that of a larger one, through maps between their fields.
    ///
    /// The maps are fitted on half of the prompts; responses to displacements of the other half are predicted. With
    /// `fit_on`, they are fitted on the prompts of these tasks, and those of other tasks are predicted. `levels` are
    /// those of the larger model. Models with different tokenizers are compared at tokens that end at the same place of
    /// the text.
    ///
    /// Arrays over levels and predictors (operator, transport, map, identity, mean, random_model): `error`, `cosine`
    /// [levels, 6] with `_low` and `_high`; `levels`.
    #[pyo3(
        signature = (large, prompts = None, *, tasks = Many::default(), fit_on = Many::default(), limit = 16,
            levels = Many::default(), seed = Seed(0)),
        text_signature = "($self, large, prompts=None, *, tasks=(), fit_on=(), limit=16, levels=(), seed=0)"
    )]
    fn scale_operators(
        &self,
        py: Python<'_>,
        large: Py<PyModel>,
        prompts: Option<PathBuf>,
        tasks: Many<String>,
        fit_on: Many<String>,
        limit: i64,
        levels: Many<usize>,
        seed: Seed,
    ) -> Result<PyResultOf> {
        let (small, large) = (&self.model, &large.get().model);
        let (limit, seed) = (count("limit", limit)?, seed.0);
        let result = detached(py, |_| {
            let set = prompts.as_ref().map_or_else(PromptSet::embedded, |path| PromptSet::open(path))?;
            let OperatorPairs { pairs, train } = operator_pairs(&set, [&fit_on.0, &tasks.0], limit, [small, large])?;
            let options = OperatorOptions { train, levels: distinct(levels.0), seed };
            Ok::<_, Failure>(scale_operators(small, large, &pairs, &options)?)
        })?;
        PyResultOf::new(py, result, None, None)
    }

    /// Every analysis on a set of prompt pairs, each step's result a file in the folder `out`, and one HTML page.
    ///
    /// `prompts` is a file of prompt pairs; without one, those that ship with the embedded models. `tasks` chooses
    /// among its tasks, `limit` pairs of each; `quick` is a first look. Responses of the models in `small` are tried as
    /// predictions. `nulls` repeats all of it with random weights, with permuted weights and with shuffled pairs. A
    /// study that was interrupted is resumed when it is called again.
    #[pyo3(
        signature = (prompts = None, *, tasks = Many::default(), limit = 32, quick = false, small = Many::default(),
            seed = Seed(0), nulls = true, out = "study".into(), progress = true),
        text_signature = "($self, prompts=None, *, tasks=(), limit=32, quick=False, small=(), seed=0, \
            nulls=True, out=\"study\", progress=True)"
    )]
    fn study(
        &self,
        py: Python<'_>,
        prompts: Option<PathBuf>,
        tasks: Many<String>,
        limit: i64,
        quick: bool,
        small: Many<Py<PyModel>>,
        seed: Seed,
        nulls: bool,
        out: PathBuf,
        progress: bool,
    ) -> Result<PyStudy> {
        let small = small.0.iter().map(|model| model.get().model.clone()).collect();
        let (tasks, limit, seed) = (tasks.0, count("limit", limit)?, seed.0);
        let arguments = StudyArguments { prompts, tasks, limit, quick, small, seed, nulls, out, progress };
        PyStudy::run(py, &self.model, arguments)
    }

    fn __repr__(&self) -> String {
        let sizes = self.model.sizes();
        let (layers, d, device) = (sizes.layers, sizes.d, self.device());
        format!("<resolvent.Model {}: {layers} blocks, width {d}, on {device}>", self.model.name())
    }
}

impl PyModel {
    /// Returns the run of a prompt at which `sites` can be captured and edited.
    ///
    /// A given run must be of this model; `what` names it in messages. If it lacks any of the sites, it is repeated
    /// with them.
    pub(crate) fn prepared(&self, prompt: &Bound<'_, PyAny>, sites: &[Site], what: &str) -> Result<Run> {
        if let Ok(run) = prompt.cast::<PyRun>() {
            let run = &run.get().run;
            check_model(&self.model, run, what)?;
            return detached(prompt.py(), |_| with_sites(run, sites));
        }
        let tokens = tokens(&self.model, prompt)?;
        let options = RunOptions { edits: Vec::new(), sites: sites.to_vec() };
        detached(prompt.py(), |_| self.model.run_with(&tokens, &options))
    }

    /// Returns the runs of a clean and a corrupted prompt; see [`PyModel::prepared`].
    pub(crate) fn pair(&self, [clean, corrupted]: [&Bound<'_, PyAny>; 2], sites: &[Site]) -> Result<[Run; 2]> {
        Ok([self.prepared(clean, sites, "the clean run")?, self.prepared(corrupted, sites, "the corrupted run")?])
    }
}
