//! A run: one forward pass, kept on the device with what linearising needs.

use std::collections::BTreeSet;

use resolvent_engine::{Device, Recording, Tensor};
use resolvent_ops::splice::{Plan, Source};
use resolvent_ops::{Kept, Op, Rows, Span};

use crate::batch::{Act, Batch, Direction, Member, Order};
use crate::config::Config;
use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::linear::{Linearization, Mode};
use crate::model::{Model, RunOptions};
use crate::observable::Observable;
use crate::program::{Program, ValueId};
use crate::prompt::check_prompt;
use crate::site::Site;
use crate::walk::{Keep, Origin, Trace, forward};

/// A forward pass of one prompt: its field, its logits, and the base that sweeps and linearisations share.
pub struct Run {
    pub(crate) model: Model,
    pub(crate) program: Program,
    tokens: Vec<u32>,
    pub(crate) edits: Vec<Edit>,
    pub(crate) trace: Trace,
    /// ln_f of the last level, `[T, d]`, and its residuals.
    normed: Tensor,
    pub(crate) head_kept: Kept,
}

impl Run {
    pub(crate) fn new(model: &Model, tokens: &[u32], options: &RunOptions) -> Result<Self> {
        let (config, device) = (model.config(), model.device());
        check_prompt(config, tokens)?;
        options.edits.iter().try_for_each(|e| e.check(config, tokens.len()))?;
        options.sites.iter().try_for_each(|s| s.check(config).map(|_| ()))?;
        let sites: BTreeSet<Site> =
            options.edits.iter().map(|e| e.site).chain(options.sites.iter().copied()).collect();
        let fused = !sites.iter().any(|s| matches!(s, Site::AttnOut(_) | Site::MlpOut(_)));
        let program = match fused {
            true => model.0.program.clone(),
            false => Program::new(config, &model.0.weights, &sites),
        };

        let t = tokens.len();
        let span = Span { primal: 0, start: 0, end: t };
        let acts = acts(config, &program, &options.edits, Edit::primal_act)?;
        let batch = Batch::new(device, &[Member { id: 0, span, join: 0, acts }], Direction::Forward)?;
        let mut rec = device.record();
        rec.scope("embed");
        let positions: Vec<u32> = (0..t as u32).collect();
        let ids = device.upload("tokens", &[("rows", t)], tokens)?;
        let positions = device.upload("positions", &[("rows", t)], &positions)?;
        let h0 = model.0.weights.embed.primal(&mut rec, &ids, &positions)?;
        let keep = Keep { values: program.site_values(), residuals: true };
        let trace = forward(&program, &mut rec, &batch, Origin::Embedded(h0), &keep)?;
        rec.scope("ln_f");
        let last = kept(&trace, program.field[config.n_layer])?;
        let head = model.0.weights.ln_f.primal(&mut rec, &batch.rows, None, &[last])?;
        device.submit(rec)?;
        let (tokens, edits) = (tokens.to_vec(), options.edits.clone());
        Ok(Self { model: model.clone(), program, tokens, edits, trace, normed: head.y, head_kept: head.kept })
    }

    /// The prompt.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The edits under which it ran.
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// The model that ran.
    pub fn model(&self) -> &Model {
        &self.model
    }

    fn device(&self) -> &Device {
        self.model.device()
    }

    fn config(&self) -> &Config {
        self.model.config()
    }

    /// The field `[L+1, T, d]`: h\[0\] to h\[L\], before the final norm.
    ///
    /// # Errors
    /// A device error.
    pub fn field(&self) -> Result<Vec<f32>> {
        let mut field =
            Vec::with_capacity(self.program.field.len() * self.tokens.len() * self.config().n_embd);
        for &v in &self.program.field {
            field.extend(self.device().read(kept(&self.trace, v)?)?);
        }
        Ok(field)
    }

    /// The value of `site` at every token, `[T, width]`.
    ///
    /// # Errors
    /// A site that the model lacks, or a fused output that [`RunOptions::sites`] did not name.
    pub fn capture(&self, site: Site) -> Result<Vec<f32>> {
        let value = self.value_of(site)?;
        let tensor = kept(&self.trace, value)?;
        let all = self.device().read(tensor)?;
        let (width, columns) = (tensor.shape().lengths()[1], site.columns(self.config()));
        Ok(all.chunks(width).flat_map(|row| &row[columns.clone()]).copied().collect())
    }

    pub(crate) fn value_of(&self, site: Site) -> Result<ValueId> {
        site.check(self.config())?;
        self.program.value(site).ok_or_else(|| not_prepared(site))
    }

    /// Logits `[T, V]` of every position.
    ///
    /// # Errors
    /// A device error.
    pub fn logits(&self) -> Result<Vec<f32>> {
        let step = (self.device().info().max_binding / (4 * self.config().vocab_size as u64)).max(1) as usize;
        let mut logits = Vec::with_capacity(self.tokens.len() * self.config().vocab_size);
        for first in (0..self.tokens.len()).step_by(step) {
            logits.extend(self.logits_rows(first..(first + step).min(self.tokens.len()))?);
        }
        Ok(logits)
    }

    /// Logits `[V]` at one position.
    ///
    /// # Errors
    /// A position outside of the prompt, or a device error.
    pub fn logits_at(&self, position: usize) -> Result<Vec<f32>> {
        self.check_position(position)?;
        self.logits_rows(position..position + 1)
    }

    fn logits_rows(&self, rows: std::ops::Range<usize>) -> Result<Vec<f32>> {
        let mut rec = self.device().record();
        rec.scope("unembed");
        let x = self.picked(&mut rec, &self.normed, rows)?;
        let logits = self.model.0.weights.unembed.primal_all(&mut rec, &x)?;
        self.device().submit(rec)?;
        Ok(self.device().read(&logits)?)
    }

    /// Some rows of a `[_, d]` tensor.
    pub(crate) fn picked(
        &self,
        rec: &mut Recording,
        x: &Tensor,
        rows: impl ExactSizeIterator<Item = usize>,
    ) -> Result<Tensor> {
        let sources: Vec<Source> = rows.map(Source::X).collect();
        let all = (0..x.shape().lengths()[0]).map(Source::X);
        if all.eq(sources.iter().copied()) {
            return Ok(x.clone());
        }
        let plan = Plan::new(self.device(), self.config().n_embd, &sources, &[])?;
        Ok(plan.primal(rec, x, x)?)
    }

    fn check_position(&self, position: usize) -> Result<()> {
        let last = self.tokens.len() - 1;
        match position > last {
            true => Err(Error::Place(format!("position {position}: the prompt has tokens 0 to {last}"))),
            false => Ok(()),
        }
    }

    /// The value of an observable.
    ///
    /// # Errors
    /// An observable that does not fit the model or the prompt, or a device error.
    pub fn value(&self, observable: &Observable) -> Result<f64> {
        observable.check(self.config(), self.tokens.len())?;
        match observable {
            Observable::Logits { position, terms } => {
                let mut rec = self.device().record();
                let x = self.picked(&mut rec, &self.normed, *position..*position + 1)?;
                Ok(self.weighted_logits(rec, &x, terms)?.iter().sum())
            }
            Observable::Field { level, token, direction } => {
                let h = self.device().read(kept(&self.trace, self.program.field[*level])?)?;
                Ok(dot(direction, &h[token * direction.len()..]))
            }
        }
    }

    /// The observable's value under each list of edits, put on top of this run's own.
    ///
    /// All of them share this run as their base: each computes only the rows that its edits can reach, and they go
    /// through the layers together, so a sweep reads every weight once a batch.
    ///
    /// # Errors
    /// An edit or an observable that does not fit, or a device error.
    pub fn values_under<E: AsRef<[Edit]>>(
        &self,
        variants: &[E],
        observable: &Observable,
    ) -> Result<Vec<f64>> {
        observable.check(self.config(), self.tokens.len())?;
        let unedited = self.value(observable)?;
        let mut values = vec![unedited; variants.len()];
        let end = observable.position() + 1;
        let mut members = Vec::new();
        for (id, edits) in variants.iter().enumerate() {
            let edits = edits.as_ref();
            edits.iter().try_for_each(|e| e.check(self.config(), self.tokens.len()))?;
            // Nothing at or before the observable is touched: its value stays, exactly.
            let Some(start) = edits.iter().map(|e| e.token).min().filter(|&start| start < end) else {
                continue;
            };
            members.push(self.member(id, edits, Span { primal: 0, start, end })?);
        }
        let levels = self.program.field.len();
        for group in groups(self.device(), self.config(), (0, Order::First), members) {
            let ids: Vec<usize> = group.iter().map(|m| m.id).collect();
            let batch = Batch::new(self.device(), &group, Direction::Forward)?;
            let level = match observable {
                Observable::Logits { .. } => levels - 1,
                Observable::Field { level, .. } => *level,
            };
            let value = self.program.field[level];
            let mut rec = self.device().record();
            let keep = Keep { values: [value].into(), residuals: false };
            let trace = forward(&self.program, &mut rec, &batch, Origin::Base(&self.trace), &keep)?;
            // A member that joins above the level that is read does not touch it.
            let active = batch.active(value, Direction::Forward);
            let reached: Vec<usize> = (0..ids.len()).filter(|&i| batch.range(i).end <= active).collect();
            if reached.is_empty() {
                continue;
            }
            let last: Vec<usize> = reached.iter().map(|&i| batch.range(i).end - 1).collect();
            let h = self.picked(&mut rec, kept(&trace, value)?, last.into_iter())?;
            let read = self.read_observable(rec, &h, observable)?;
            for (&i, value) in reached.iter().zip(read) {
                values[ids[i]] = value;
            }
        }
        Ok(values)
    }

    /// A run that leaves this one where the first of `edits` acts.
    fn member(&self, id: usize, edits: &[Edit], span: Span) -> Result<Member> {
        let config = self.config();
        let mine = acts(config, &self.program, edits, Edit::primal_act)?;
        let first = mine.iter().map(|a| a.value).min().unwrap_or(0);
        let join = self.program.cut_before(first);
        // The base run's own edits above the join are recomputed, so they act again; at the join its value has them.
        let mut acts = acts(config, &self.program, &self.edits, Edit::primal_act)?;
        acts.retain(|a| a.value > join);
        acts.extend(mine);
        Ok(Member { id, span, join, acts })
    }

    /// The observable for rows `h [rows, d]` at its level.
    fn read_observable(&self, mut rec: Recording, h: &Tensor, observable: &Observable) -> Result<Vec<f64>> {
        match observable {
            Observable::Logits { position, terms } => {
                rec.scope("unembed");
                let count = h.shape().lengths()[0];
                let span = Span { primal: 0, start: *position, end: position + 1 };
                let rows = Rows::new(self.device(), &vec![span; count])?;
                let x = self.model.0.weights.ln_f.primal(&mut rec, &rows, None, &[h])?.y;
                self.weighted_logits(rec, &x, terms)
            }
            Observable::Field { direction, .. } => {
                self.device().submit(rec)?;
                Ok(self.device().read(h)?.chunks(direction.len()).map(|row| dot(direction, row)).collect())
            }
        }
    }

    /// `sum_i weight_i logit[id_i]` for each row of `x [rows, d]`, the final norm's output. Submits what is recorded.
    fn weighted_logits(&self, mut rec: Recording, x: &Tensor, terms: &[(u32, f32)]) -> Result<Vec<f64>> {
        let ids: Vec<u32> = terms.iter().map(|(id, _)| *id).collect();
        let ids = self.device().upload("wanted", &[("wanted", ids.len())], &ids)?;
        let logits = self.model.0.weights.unembed.primal(&mut rec, x, &ids)?;
        self.device().submit(rec)?;
        let logits = self.device().read(&logits)?;
        Ok(logits.chunks(terms.len()).map(|row| weighted(terms, row)).collect())
    }

    /// The tangent map of the model at this run.
    pub fn linearize(&self, mode: Mode) -> Linearization<'_> {
        Linearization::new(self, mode)
    }
}

impl Edit {
    pub(crate) fn primal_act(&self, config: &Config) -> Option<resolvent_ops::splice::Change> {
        Some(self.primal(config))
    }
}

/// Edits as acts on values.
pub(crate) fn acts(
    config: &Config,
    program: &Program,
    edits: &[Edit],
    change: impl Fn(&Edit, &Config) -> Option<resolvent_ops::splice::Change>,
) -> Result<Vec<Act>> {
    let mut acts = Vec::new();
    for edit in edits {
        let value = program.value(edit.site).ok_or_else(|| not_prepared(edit.site))?;
        let from = edit.site.columns(config).start;
        acts.extend(change(edit, config).map(|change| Act { value, token: edit.token, from, change }));
    }
    Ok(acts)
}

fn not_prepared(site: Site) -> Error {
    Error::Place(format!("{site} is fused into the residual add in this run; name it in RunOptions::sites"))
}

/// A value that the forward pass was told to keep.
pub(crate) fn kept(trace: &Trace, value: ValueId) -> Result<&Tensor> {
    trace.values[value]
        .as_ref()
        .ok_or_else(|| Error::Place(format!("value {value} was not kept by this run")))
}

pub(crate) fn weighted(terms: &[(u32, f32)], logits: &[f32]) -> f64 {
    terms.iter().zip(logits).map(|(&(_, w), &logit)| f64::from(w) * f64::from(logit)).sum()
}

pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Memory that a batch of a sweep may take on the device.
const BATCH_BYTES: usize = 512 << 20;

/// Cuts members into batches that fit the device's bindings and the memory budget; `levels` is how many levels of the
/// field each batch keeps, and `order` that of its tensors.
pub(crate) fn groups(
    device: &Device,
    config: &Config,
    (levels, order): (usize, Order),
    members: Vec<Member>,
) -> Vec<Vec<Member>> {
    let (d, inner) = (config.n_embd, config.n_inner());
    let widest = inner.max(3 * d);
    let by_binding = (device.info().max_binding / (4 * widest as u64)) as usize;
    let by_memory = BATCH_BYTES / (4 * (2 * inner + (8 + levels) * d));
    // A splice has a row a workgroup.
    let most = by_binding.min(by_memory).min(resolvent_engine::MAX_GROUPS as usize);
    let most = (most / order.rows()).max(1);
    let mut groups: Vec<Vec<Member>> = Vec::new();
    let mut rows = usize::MAX;
    for member in members {
        if rows.saturating_add(member.span.rows()) > most {
            groups.push(Vec::new());
            rows = 0;
        }
        rows += member.span.rows();
        if let Some(group) = groups.last_mut() {
            group.push(member);
        }
    }
    groups
}
