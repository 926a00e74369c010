//! A run: one forward pass, stored on the device with what linearisations need.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use resolvent_engine::{Device, Shape, Tensor};
use resolvent_ops::{Op, Residuals, Span};

use crate::batch::{Batch, PassDirection, ScheduledEdit, Sequence};
use crate::checkpoint::first_non_finite;
use crate::config::Config;
use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::linear::{Linearization, Seed};
use crate::mode::Mode;
use crate::model::{Model, RunOptions};
use crate::observable::Observable;
use crate::passes::{Keep, Origin, Trace, forward};
use crate::points::Point;
use crate::program::{Program, ValueId};
use crate::prompt::check_prompt;
use crate::read::{Pending, Read, finish};
use crate::site::Site;
use crate::sweep::most_rows;

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
    edits: Vec<Edit>,
    pub(crate) trace: Trace,
    /// Output of the final norm, `[rows, d]`.
    pub(crate) normed: Tensor,
    /// Residuals of the final norm.
    pub(crate) head_residuals: Residuals,
}

struct Prompt {
    tokens: Vec<u32>,
    /// First row of the prompt in the values of the trace.
    first: usize,
}

impl Base {
    fn new(model: &Model, prompts: &[&[u32]], options: &RunOptions) -> Result<Self> {
        let (config, device) = (model.config(), model.device());
        let program = prepare(model, options)?;
        let scheduled = scheduled(config, &program, &options.edits, Edit::primal_edit)?;
        let (mut sequences, mut first) = (Vec::with_capacity(prompts.len()), 0);
        for (id, tokens) in prompts.iter().enumerate() {
            let span = Span { primal: first, start: 0, end: tokens.len() };
            sequences.push(Sequence { id, span, join: 0, scheduled: scheduled.clone() });
            first += tokens.len();
        }
        let batch = Batch::new(device, &sequences, PassDirection::Forward)?;
        let mut rec = device.record();
        rec.scope("embed");
        let positions: Vec<u32> = prompts.iter().flat_map(|tokens| 0..tokens.len() as u32).collect();
        let ids = device.upload("tokens", &[("rows", first)], &prompts.concat())?;
        let positions = device.upload("positions", &[("rows", first)], &positions)?;
        let h0 = model.0.weights.embed.primal(&mut rec, &ids, &positions)?;
        let keep = Keep { values: program.site_values(), residuals: true, narrow: None };
        let trace = forward(&program, &mut rec, &batch, Origin::Embedded(h0), &keep)?;
        rec.scope("ln_f");
        let last = retained(&trace, program.field[config.n_layer])?;
        let head = model.0.weights.ln_f.primal(&mut rec, &batch.rows, None, &[last])?;
        device.submit(rec)?;
        let prompts = prompts.iter().zip(&sequences);
        let prompts = prompts.map(|(&tokens, s)| Prompt { tokens: tokens.to_vec(), first: s.span.primal });
        let (model, prompts, edits) = (model.clone(), prompts.collect(), options.edits.clone());
        Ok(Self { model, program, prompts, edits, trace, normed: head.y, head_residuals: head.residuals })
    }
}

/// Returns the list of operations that `options` need. Fails if one of their sites does not fit the model.
fn prepare(model: &Model, options: &RunOptions) -> Result<Program> {
    let config = model.config();
    options.sites.iter().try_for_each(|s| s.check(config).map(|_| ()))?;
    let sites: BTreeSet<Site> = options.edits.iter().map(|e| e.site).chain(options.sites.iter().copied()).collect();
    let fused = !sites.iter().any(|s| matches!(s, Site::AttnOut(_) | Site::MlpOut(_)));
    Ok(match fused {
        true => model.0.program.clone(),
        false => Program::new(config, &model.0.weights, &sites),
    })
}

impl Run {
    pub(crate) fn new(model: &Model, tokens: &[u32], options: &RunOptions) -> Result<Self> {
        let mut runs = Self::batch(model, &[tokens], options)?;
        runs.pop().ok_or_else(|| Error::Place("a prompt has a run".to_owned()))
    }

    /// Runs every prompt, with as many prompts in one pass as fit.
    pub(crate) fn batch<P: AsRef<[u32]>>(model: &Model, prompts: &[P], options: &RunOptions) -> Result<Vec<Self>> {
        let config = model.config();
        for tokens in prompts {
            check_prompt(config, tokens.as_ref())?;
            options.edits.iter().try_for_each(|e| e.check(config, tokens.as_ref().len()))?;
        }
        // A base stores every site of every block, so its rows need more memory than those of a sweep.
        let most = most_rows(model, 10 * config.n_layer);
        let (mut runs, mut rest) = (Vec::with_capacity(prompts.len()), prompts);
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = rest.iter().take_while(|tokens| {
                rows += tokens.as_ref().len();
                rows <= most
            });
            let count = fits.count().max(1);
            let tokens: Vec<&[u32]> = rest[..count].iter().map(AsRef::as_ref).collect();
            let base = Arc::new(Base::new(model, &tokens, options)?);
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
        &self.base.edits
    }

    /// Returns the model.
    pub fn model(&self) -> &Model {
        &self.base.model
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
        let last = self.tokens().len() - 1;
        if position > last {
            return Err(Error::Place(format!("position {position}: the prompt has tokens 0 to {last}")));
        }
        self.logits_rows(position..position + 1)
    }

    fn logits_rows(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        let first = self.span(0, 0).primal;
        let (rec, start) = (self.device().record(), rows.start);
        let rows: Vec<usize> = rows.map(|t| first + t).collect();
        let logits = self.base.all_logits(rec, &self.base.normed, &rows)?;
        if let Some(at) = first_non_finite(&logits) {
            let (token, id) = (start + at / self.config().vocab_size, at % self.config().vocab_size);
            return Err(self.not_finite("the logit", logits[at], &format!("token {token}, entry #{id}")));
        }
        Ok(logits)
    }

    /// Returns the value of an observable.
    ///
    /// # Errors
    /// An observable that does not fit the model or the prompt, or a device error.
    pub fn value(&self, observable: &Observable) -> Result<f64> {
        Ok(values(&[(self, observable)])?[0])
    }

    /// Returns the operations of one more forward pass like this one that reads `observable`. It runs the pass and does not
    /// wait for it.
    ///
    /// # Errors
    /// An observable that does not fit the model or the prompt, or a device error.
    pub fn pass_operations(&self, observable: &Observable) -> Result<f64> {
        observable.check(self.config(), self.tokens())?;
        let (before, points) = (self.device().flops(), observable.points(self.config())?);
        self.model().run(self.tokens(), self.edits())?.record_parts(&points)?;
        Ok(self.device().flops() - before)
    }

    /// Records the parts of an observable of this run, level by level: the places of the parts, and the parts.
    pub(crate) fn record_parts<'a>(&self, points: &'a [Point]) -> Result<Vec<(Vec<usize>, Pending<'a>)>> {
        let first = self.span(0, 0).primal;
        let levels: BTreeSet<usize> = points.iter().map(|point| point.level).collect();
        let record = |level: usize| {
            let here = points.iter().enumerate().filter(|(_, point)| point.level == level);
            let (places, reads) = here
                .map(|(i, point)| (i, Read { row: first + point.token, token: point.token, part: &point.part }))
                .unzip();
            Ok((places, self.base.record_own(level, reads)?))
        };
        levels.into_iter().map(record).collect()
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
    let (mut places, mut pending) = (Vec::new(), Vec::new());
    for (n, ((run, _), points)) in readings.iter().zip(&all).enumerate() {
        for (of_level, reads) in run.record_parts(points)? {
            places.push((n, of_level));
            pending.push(reads);
        }
    }
    if let Some((run, _)) = readings.first() {
        for ((n, of_level), found) in places.into_iter().zip(finish(run.device(), &pending)?) {
            of_level.into_iter().zip(found).for_each(|(i, value)| values[n][i] = value);
        }
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
