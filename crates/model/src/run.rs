//! A run: one forward pass, stored on the device with what linearisations need.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use resolvent_engine::{Device, Recording, Shape, Tensor};
use resolvent_ops::{Op, Residuals, Span};

use crate::batch::{Batch, PassDirection, ScheduledEdit, Sequence};
use crate::checkpoint::first_non_finite;
use crate::config::Config;
use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::grouped::group_by;
use crate::linear::Linearization;
use crate::mode::Mode;
use crate::model::Model;
use crate::observable::Observable;
use crate::passes::{Keep, Origin, Trace, forward};
use crate::points::Point;
use crate::program::{Program, ValueId};
use crate::prompt::check_prompt;
use crate::pullback::Seed;
use crate::read::finish;
use crate::site::Site;

/// A prompt as tokens, and the edits of its run.
#[derive(Clone, Copy, Debug)]
pub struct EditedPrompt<'a> {
    /// Tokens of the prompt.
    pub tokens: &'a [u32],
    /// Edits, in the order in which they act.
    pub edits: &'a [Edit],
}

/// A forward pass of one prompt: its field, its logits, and the base that sweeps and linearisations share.
///
/// Clones share the base.
#[derive(Clone)]
pub struct Run {
    pub(crate) base: Arc<Base>,
    prompt: usize,
}

/// The forward pass of one prompt, or of several in one batch.
pub(crate) struct Base {
    pub(crate) model: Model,
    pub(crate) program: Program,
    prompts: Vec<Prompt>,
    pub(crate) trace: Trace,
    /// Output of the final norm, `[rows, d]`.
    pub(crate) normed: Tensor,
    /// Residuals of the final norm.
    pub(crate) head_residuals: Residuals,
}

struct Prompt {
    tokens: Vec<u32>,
    edits: Vec<Edit>,
    /// First row of the prompt in the values of the trace.
    first: usize,
}

impl Base {
    fn new(model: &Model, edited: &[EditedPrompt<'_>], program: Program) -> Result<Self> {
        let mut rec = model.device().record();
        let base = Self::record(&mut rec, model, edited, program)?;
        model.device().submit(rec)?;
        Ok(base)
    }

    /// Records the pass. The base can be read once the recording has been submitted.
    fn record(rec: &mut Recording, model: &Model, edited: &[EditedPrompt<'_>], program: Program) -> Result<Self> {
        let (config, device) = (model.config(), model.device());
        let (mut sequences, mut prompts, mut first) = (Vec::with_capacity(edited.len()), Vec::new(), 0);
        for (id, EditedPrompt { tokens, edits }) in edited.iter().enumerate() {
            let span = Span { primal: first, start: 0, end: tokens.len() };
            let scheduled = scheduled(config, &program, edits, Edit::primal_edit)?;
            sequences.push(Sequence { id, span, join: 0, scheduled });
            prompts.push(Prompt { tokens: tokens.to_vec(), edits: edits.to_vec(), first });
            first += tokens.len();
        }
        let batch = Batch::new(device, &sequences, PassDirection::Forward)?;
        rec.scope("embed");
        let positions: Vec<u32> = edited.iter().flat_map(|prompt| 0..prompt.tokens.len() as u32).collect();
        let ids: Vec<u32> = edited.iter().flat_map(|prompt| prompt.tokens).copied().collect();
        let ids = device.upload("tokens", &[("rows", first)], &ids)?;
        let positions = device.upload("positions", &[("rows", first)], &positions)?;
        let h0 = model.0.weights.embed.primal(rec, &ids, &positions)?;
        let keep = Keep { values: program.site_values(), residuals: true, narrow: None };
        let trace = forward(&program, rec, &batch, Origin::Embedded(h0), &keep)?;
        rec.scope("ln_f");
        let last = retained(&trace, program.field[config.n_layer])?;
        let head = model.0.weights.ln_f.primal(rec, &batch.rows, None, &[last])?;
        let model = model.clone();
        Ok(Self { model, program, prompts, trace, normed: head.y, head_residuals: head.residuals })
    }
}

/// Returns the list of operations that runs with values at `sites` need. Fails if a site does not fit the model.
fn prepare(model: &Model, sites: &BTreeSet<Site>) -> Result<Program> {
    let config = model.config();
    sites.iter().try_for_each(|s| s.check(config).map(|_| ()))?;
    let fused = !sites.iter().any(|s| matches!(s, Site::AttnOut(_) | Site::MlpOut(_)));
    Ok(match fused {
        true => model.0.program.clone(),
        false => Program::new(config, &model.0.weights, sites),
    })
}

impl Run {
    /// Runs every prompt under its own edits, with as many prompts in one pass as fit. Values at `sites` can be read.
    pub(crate) fn batch(model: &Model, prompts: &[EditedPrompt<'_>], sites: &[Site]) -> Result<Vec<Self>> {
        let config = model.config();
        for EditedPrompt { tokens, edits } in prompts {
            check_prompt(config, tokens)?;
            edits.iter().try_for_each(|e| e.check(config, tokens.len()))?;
        }
        let edited = prompts.iter().flat_map(|prompt| prompt.edits).map(|e| e.site);
        let program = prepare(model, &edited.chain(sites.iter().copied()).collect())?;
        let most = model.most_prompt_rows();
        let (mut runs, mut rest) = (Vec::with_capacity(prompts.len()), prompts);
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = rest.iter().take_while(|prompt| {
                rows += prompt.tokens.len();
                rows <= most
            });
            let count = fits.count().max(1);
            let base = Arc::new(Base::new(model, &rest[..count], program.clone())?);
            runs.extend((0..count).map(|prompt| Self { base: base.clone(), prompt }));
            rest = &rest[count..];
        }
        Ok(runs)
    }

    /// Returns the tokens of the prompt.
    pub fn tokens(&self) -> &[u32] {
        &self.base.prompts[self.prompt].tokens
    }

    /// Returns the edits of the run.
    pub fn edits(&self) -> &[Edit] {
        &self.base.prompts[self.prompt].edits
    }

    /// Returns the model.
    pub fn model(&self) -> &Model {
        &self.base.model
    }

    /// Returns whether two runs come from one forward pass, so that they share batches.
    pub(crate) fn shares_base(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.base, &other.base)
    }

    pub(crate) fn program(&self) -> &Program {
        &self.base.program
    }

    pub(crate) fn device(&self) -> &Device {
        self.model().device()
    }

    pub(crate) fn config(&self) -> &Config {
        self.model().config()
    }

    /// Returns the span of tokens `start..end` of this prompt, over its rows in the base.
    pub(crate) fn span(&self, start: usize, end: usize) -> Span {
        Span { primal: self.base.prompts[self.prompt].first, start, end }
    }

    /// Returns this prompt's rows of a value of the base, `[T, width]`.
    pub(crate) fn rows_of(&self, value: ValueId) -> Result<Tensor> {
        let all = retained(&self.base.trace, value)?;
        let width = all.shape().lengths()[1];
        let first = all.range().start + self.span(0, 0).primal * width;
        let shape = Shape::new(&[("rows", self.tokens().len()), ("d", width)]);
        Ok(Tensor::view(all.buffer().clone(), first, shape)?)
    }

    /// Returns whether `site` can be captured and edited in this run.
    ///
    /// A fused output cannot: it has a value only if [`RunOptions::sites`] or an edit names it.
    pub fn has(&self, site: Site) -> bool {
        self.value_of(site).is_ok()
    }

    pub(crate) fn value_of(&self, site: Site) -> Result<ValueId> {
        site.check(self.config())?;
        self.program().value(site).ok_or_else(|| not_prepared(site))
    }

    /// Returns the logits `[T, V]` of every position.
    ///
    /// # Errors
    /// A value that is not finite, or a device error.
    pub fn logits(&self) -> Result<Vec<f32>> {
        self.logits_rows(0..self.tokens().len())
    }

    /// Returns the logits `[V]` at one position.
    ///
    /// # Errors
    /// A position outside of the prompt, a value that is not finite, or a device error.
    pub fn logits_at(&self, position: usize) -> Result<Vec<f32>> {
        self.logits_rows(position..position + 1)
    }

    fn logits_rows(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        logits_of(&rows.map(|t| (self, t)).collect::<Vec<_>>())
    }

    /// Returns the value of an observable.
    ///
    /// # Errors
    /// An observable that does not fit the model or the prompt, or a device error.
    pub fn value(&self, observable: &Observable) -> Result<f64> {
        Ok(values(&[(self, observable)])?[0])
    }

    /// Returns the operations of one more forward pass like this one that reads `observable`. The pass is only recorded.
    ///
    /// # Errors
    /// An observable that does not fit the model or the prompt, or a device error.
    pub fn pass_operations(&self, observable: &Observable) -> Result<f64> {
        observable.check(self.config(), self.tokens())?;
        let (mut rec, points) = (self.device().record(), observable.points(self.config())?);
        let prompt = EditedPrompt { tokens: self.tokens(), edits: self.edits() };
        let base = Base::record(&mut rec, self.model(), &[prompt], self.program().clone())?;
        base.record_parts(&mut rec, &[(0, 0, &points)])?;
        Ok(rec.work().flops)
    }

    /// Returns the seeds of an observable's backward pass: its derivative by the logits and by the field of this run.
    ///
    /// # Errors
    /// An observable that does not fit the model or the prompt.
    pub fn seeds(&self, observable: &Observable) -> Result<Vec<Seed>> {
        observable.check(self.config(), self.tokens())?;
        Ok(vec![Seed::Observable(observable.clone())])
    }

    /// Returns the tangent map of the model at this run.
    pub fn linearize(&self, mode: Mode) -> Linearization<'_> {
        Linearization::new(self, mode)
    }
}

/// Returns the value of each observable in its run. Runs of one device wait once, for all of them.
///
/// # Errors
/// An observable that does not fit its run's model or prompt, or a device error.
pub fn values(readings: &[(&Run, &Observable)]) -> Result<Vec<f64>> {
    let parts = parts(readings)?;
    let mut values = Vec::with_capacity(readings.len());
    for ((run, observable), (_, parts)) in readings.iter().zip(parts) {
        values.push(run.finite_value(total(&parts), || format!("token {}", observable.position()))?);
    }
    Ok(values)
}

/// Returns the logits `[V]` at one position of each run, one after another. Runs of one call of [`Model::run_all`] share
/// batches.
///
/// # Errors
/// A position outside of a prompt, a value that is not finite, or a device error.
pub fn logits_of(rows: &[(&Run, usize)]) -> Result<Vec<f32>> {
    let Some((first, _)) = rows.first() else { return Ok(Vec::new()) };
    let vocab = first.config().vocab_size;
    let mut logits = vec![0.0; rows.len() * vocab];
    for (run, position) in rows {
        let last = run.tokens().len() - 1;
        if *position > last {
            return Err(Error::Place(format!("position {position}: the prompt has tokens 0 to {last}")));
        }
    }
    for part in group_by(rows, |(a, _), (b, _)| a.shares_base(b)) {
        let base = &part.items[0].0.base;
        let base_rows: Vec<usize> = part.items.iter().map(|(run, t)| run.span(0, 0).primal + t).collect();
        let found = base.all_logits(first.device().record(), &base.normed, &base_rows)?;
        for (&place, of_row) in part.places.iter().zip(found.chunks(vocab)) {
            logits[place * vocab..][..vocab].copy_from_slice(of_row);
        }
    }
    if let Some(at) = first_non_finite(&logits) {
        let ((run, token), id) = (rows[at / vocab], at % vocab);
        return Err(run.not_finite("the logit", logits[at], &format!("token {token}, entry #{id}")));
    }
    Ok(logits)
}

/// Returns J from the values of its parts; without any it is 0, where `sum` is -0.
pub(crate) fn total(parts: &[f64]) -> f64 {
    parts.iter().fold(0.0, |total, part| total + part)
}

/// Returns the points of each observable, with the values of its parts in its run.
pub(crate) fn parts(readings: &[(&Run, &Observable)]) -> Result<Vec<(Vec<Point>, Vec<f64>)>> {
    let mut all = Vec::with_capacity(readings.len());
    for (run, observable) in readings {
        observable.check(run.config(), run.tokens())?;
        all.push(observable.points(run.config())?);
    }
    let mut values: Vec<Vec<f64>> = all.iter().map(|points| vec![0.0; points.len()]).collect();
    let Some((first, _)) = readings.first() else { return Ok(Vec::new()) };
    let (mut rec, mut places, mut pending) = (first.device().record(), Vec::new(), Vec::new());
    let numbered: Vec<(usize, &Run)> = readings.iter().map(|(run, _)| *run).enumerate().collect();
    for part in group_by(&numbered, |(_, a), (_, b)| a.shares_base(b)) {
        let points = part.items.iter().map(|&(n, run)| (n, run.span(0, 0).primal, &all[n][..]));
        for (of_level, reads) in part.items[0].1.base.record_parts(&mut rec, &points.collect::<Vec<_>>())? {
            places.push(of_level);
            pending.push(reads);
        }
    }
    first.device().submit(rec)?;
    for (of_level, found) in places.into_iter().zip(finish(first.device(), &pending)?) {
        of_level.into_iter().zip(found).for_each(|((n, i), value)| values[n][i] = value);
    }
    Ok(all.into_iter().zip(values).collect())
}

impl Edit {
    pub(crate) fn primal_edit(&self, config: &Config) -> Option<resolvent_ops::splice::RowEdit> {
        Some(self.primal(config))
    }
}

/// Schedules edits at values of the list.
///
/// `change` returns an edit's change of a row; `None` is the identity, which is left out.
pub(crate) fn scheduled(
    config: &Config,
    program: &Program,
    edits: &[Edit],
    change: impl Fn(&Edit, &Config) -> Option<resolvent_ops::splice::RowEdit>,
) -> Result<Vec<ScheduledEdit>> {
    let mut scheduled = Vec::new();
    for edit in edits {
        let value = program.value(edit.site).ok_or_else(|| not_prepared(edit.site))?;
        let from = edit.site.columns(config).start;
        scheduled.extend(change(edit, config).map(|change| ScheduledEdit { value, token: edit.token, from, change }));
    }
    Ok(scheduled)
}

fn not_prepared(site: Site) -> Error {
    Error::Place(format!("{site} is fused into the residual add in this run; name it in RunOptions::sites"))
}

/// Returns a value of the trace. Fails if the forward pass did not retain it.
pub(crate) fn retained(trace: &Trace, value: ValueId) -> Result<&Tensor> {
    trace.values[value].as_ref().ok_or_else(|| Error::Place(format!("this run did not retain value {value}")))
}
