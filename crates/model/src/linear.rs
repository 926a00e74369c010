//! The tangent map of a run: passes of K tangents, or of K cotangents, over one shared primal.

use std::collections::BTreeMap;
use std::sync::Arc;

use resolvent_engine::Device;
use resolvent_ops::splice::{RowEdit, RowSource};
use resolvent_ops::{Op, Rows, Span};

use crate::batch::{Batch, Order, PassDirection, ScheduledEdit, Sequence};
use crate::checkpoint::first_non_finite;
use crate::config::Config;
use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::head::{HeadRow, NormRows};
use crate::mode::Mode;
use crate::observable::Observable;
use crate::passes::{DeviceSeeds, adjoint, tangent};
use crate::points::{HeadFunction, Part, Point};
use crate::program::Program;
use crate::run::{Run, scheduled};
use crate::site::Site;
use crate::sweep::{Chunk, groups, most_rows, split_by};

/// A tangent at a site and a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Site of the model.
    pub site: Site,
    /// Token, from 0.
    pub token: usize,
    /// `[width of the site]`
    pub vector: Vec<f32>,
}

/// A cotangent with which a backward pass starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Seed {
    /// At h\[level, token\].
    Field {
        /// Level, 0 to L.
        level: usize,
        /// Token, from 0.
        token: usize,
        /// `[d]`
        vector: Vec<f32>,
    },
    /// At one logit.
    Logit {
        /// Token position, from 0.
        position: usize,
        /// Vocabulary entry.
        id: u32,
        /// Its weight.
        weight: f32,
    },
    /// At what an observable reads: its derivative at the run.
    Observable(Observable),
}

/// K fields `[L+1, T, d]`: responses to K sources, or sensitivities of K observables.
#[derive(Clone, Debug)]
pub struct Fields {
    size: usize,
    data: Vec<f32>,
}

impl Fields {
    pub(crate) fn zeros(run: &Run, count: usize) -> Self {
        let size = run.program().field.len() * run.tokens().len() * run.config().n_embd;
        Self { size, data: vec![0.0; count * size] }
    }

    /// Copies a chunk into its field and level.
    pub(crate) fn put(&mut self, chunk: Chunk<'_>, tokens: usize, d: usize) {
        let at = chunk.sequence * self.size + (chunk.site * tokens + chunk.token) * d;
        self.data[at..at + chunk.rows.len()].copy_from_slice(chunk.rows);
    }

    /// Returns the `k`-th field `[L+1, T, d]`.
    pub fn get(&self, k: usize) -> &[f32] {
        &self.data[k * self.size..][..self.size]
    }

    /// Returns the number of fields.
    pub fn len(&self) -> usize {
        self.data.len() / self.size
    }

    /// Returns whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Returns the field, if there is only one; otherwise all of them, one after another.
    pub fn into_single(self) -> Vec<f32> {
        self.data
    }
}

/// The derivative of the model at a run.
///
/// Tangents and cotangents are computed only for the rows that they can reach.
pub struct Linearization<'a> {
    pub(crate) run: &'a Run,
    mode: Mode,
    /// The list of operations in this mode; `None` if it is the run's own list.
    program: Option<Program>,
    /// The final norm in this mode.
    ln_f: Arc<dyn Op>,
}

impl<'a> Linearization<'a> {
    pub(crate) fn new(run: &'a Run, mode: Mode) -> Self {
        let (frozen, ln_f) = (mode.frozen(), &run.model().0.weights.ln_f);
        let program = (mode != Mode::Exact).then(|| run.program().freeze(frozen));
        Self { run, mode, program, ln_f: ln_f.freeze(frozen).unwrap_or_else(|| Arc::new(ln_f.clone())) }
    }

    /// Returns the mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn program(&self) -> &Program {
        self.program.as_ref().unwrap_or_else(|| self.run.program())
    }

    /// Returns the run.
    pub fn run(&self) -> &'a Run {
        self.run
    }

    pub(crate) fn config(&self) -> &Config {
        self.run.config()
    }

    pub(crate) fn device(&self) -> &Device {
        self.run.device()
    }

    /// Returns the response fields `[L+1, T, d]`, one for each superposition of sources.
    ///
    /// They are exactly zero outside of the causal cone.
    ///
    /// # Errors
    /// A source that does not fit the model or the prompt, or a device error.
    pub fn jvp<S: AsRef<[Source]>>(&self, sources: &[S]) -> Result<Fields> {
        let mut fields = Fields::zeros(self.run, sources.len());
        let (tokens, d) = (self.run.tokens().len(), self.config().n_embd);
        self.jvp_at(sources, &self.run.levels(), &mut |chunk| fields.put(chunk, tokens, d))?;
        Ok(fields)
    }

    /// Computes the responses at `sites` for each superposition of sources, and passes them to `visit` in chunks, batch
    /// by batch.
    ///
    /// Use this if the responses do not fit in memory at once. Values that are not visited are zero.
    ///
    /// # Errors
    /// As [`Linearization::jvp`], or a fused output that [`crate::RunOptions::sites`] did not name.
    pub fn jvp_at<S: AsRef<[Source]>>(
        &self,
        sources: &[S],
        sites: &[Site],
        visit: &mut dyn FnMut(Chunk<'_>),
    ) -> Result<()> {
        let wanted = self.run.values_of_sites(sites)?;
        let sequences = self.sequences(sources, self.run.tokens().len())?;
        for group in groups(self.run.model(), wanted.len(), sequences) {
            let batch = Batch::new(self.device(), &group, PassDirection::Forward)?;
            let (mut rec, trace) = (self.device().record(), &self.run.base.trace);
            let dots = tangent(self.program(), &mut rec, &batch, trace, (&wanted, Order::First))?;
            self.device().submit(rec)?;
            self.run.visit(&batch, &dots, ("the response", sites), visit)?;
        }
        Ok(())
    }

    /// Returns a sequence for each superposition that has a source before token `end`.
    ///
    /// A sequence owns the tokens from that of its first source to `end - 1`.
    pub(crate) fn sequences<S: AsRef<[Source]>>(&self, sources: &[S], end: usize) -> Result<Vec<Sequence>> {
        let (program, config, tokens) = (self.run.program(), self.config(), self.run.tokens().len());
        let base_scheduled = scheduled(config, program, self.run.edits(), Edit::linear)?;
        let mut sequences = Vec::with_capacity(sources.len());
        for (id, sources) in sources.iter().enumerate() {
            let mut adds = Vec::new();
            for source in sources.as_ref() {
                let edit = Edit::add(source.site, source.token, source.vector.clone());
                edit.check(config, tokens)?;
                adds.push(edit);
            }
            let mut adds = scheduled(config, program, &adds, Edit::primal_edit)?;
            adds.retain(|e| e.token < end);
            let first = adds.iter().map(|e| e.value).min();
            let start = adds.iter().map(|e| e.token).min();
            let (Some(first), Some(start)) = (first, start) else { continue };
            let join = program.cut_point_before(first);
            // A source acts on the edited value, so the edits' linear parts come first.
            let scheduled = base_scheduled.iter().filter(|e| e.value > join).cloned().chain(adds).collect();
            sequences.push(Sequence { id, span: self.run.span(start, end), join, scheduled });
        }
        Ok(sequences)
    }

    /// Returns the sensitivity field `[L+1, T, d]` of an observable: its derivative by every h\[l, t\].
    ///
    /// # Errors
    /// An observable that does not fit, or a device error.
    pub fn gradient(&self, observable: &Observable) -> Result<Vec<f32>> {
        Ok(self.vjp(&[self.run.seeds(observable)?])?.into_single())
    }

    /// Returns the sensitivity fields `[L+1, T, d]`, one for each superposition of seeds.
    ///
    /// A field is the derivative, by every h\[l, t\], of the scalar that the seeds define.
    ///
    /// # Errors
    /// A seed that does not fit the model or the prompt, or a device error.
    pub fn vjp<S: AsRef<[Seed]>>(&self, cotangents: &[S]) -> Result<Fields> {
        let mut fields = Fields::zeros(self.run, cotangents.len());
        let (tokens, d) = (self.run.tokens().len(), self.config().n_embd);
        self.vjp_at(cotangents, &self.run.levels(), &mut |chunk| fields.put(chunk, tokens, d))?;
        Ok(fields)
    }

    /// Computes the sensitivities at `sites` for each superposition of seeds, and passes them to `visit` in chunks,
    /// batch by batch.
    ///
    /// Values that are not visited are zero.
    ///
    /// # Errors
    /// As [`Linearization::vjp`], or a fused output that [`crate::RunOptions::sites`] did not name.
    pub fn vjp_at<S: AsRef<[Seed]>>(
        &self,
        cotangents: &[S],
        sites: &[Site],
        visit: &mut dyn FnMut(Chunk<'_>),
    ) -> Result<()> {
        let (program, config) = (self.program(), self.config());
        let wanted = self.run.values_of_sites(sites)?;
        let mut linear_scheduled = scheduled(config, program, self.run.edits(), Edit::linear)?;
        // The linear part of each edit is symmetric, but several at one place need not commute. So a cotangent passes
        // through the last one first.
        linear_scheduled.reverse();
        let starts: Vec<Start> =
            cotangents.iter().map(|seeds| self.split_seeds(seeds.as_ref())).collect::<Result<_>>()?;
        let last = program.field[config.n_layer];
        let mut sequences = Vec::with_capacity(starts.len());
        for (id, start) in starts.iter().enumerate() {
            let tokens = start.edits.iter().map(|edit| edit.token).chain(start.heads.keys().copied());
            let Some(end) = tokens.max().map(|token| token + 1) else { continue };
            let values = start.edits.iter().map(|edit| edit.value).chain((!start.heads.is_empty()).then_some(last));
            let join = values.max().unwrap_or(0);
            sequences.push(Sequence { id, span: self.run.span(0, end), join, scheduled: start.edits.clone() });
        }
        // Functions of all logits need rows of them, so they bound a batch too.
        let most = self.run.model().most_logit_rows();
        let curved = |s: &Sequence| starts[s.id].heads.values().filter(|f| !f.is_linear()).count();
        let groups = groups(self.run.model(), wanted.len(), sequences);
        for group in groups.iter().flat_map(|group| split_by(group, most, curved)) {
            let linear: Vec<Sequence> =
                group.iter().map(|s| Sequence { scheduled: linear_scheduled.clone(), ..s.clone() }).collect();
            let linear = Batch::new(self.device(), &linear, PassDirection::Backward)?;
            let batch = Batch::new(self.device(), group, PassDirection::Backward)?;
            let (mut rec, trace) = (self.device().record(), &self.run.base.trace);
            let heads: Vec<((usize, usize), &HeadFunction)> =
                group.iter().flat_map(|s| starts[s.id].heads.iter().map(|(t, f)| ((s.id, *t), f))).collect();
            let bars = match heads.is_empty() {
                true => adjoint(program, &mut rec, [&batch, &linear], (trace, None), None, &wanted)?,
                false => {
                    let first = self.run.span(0, 0).primal;
                    let reads: Vec<HeadRow<'_>> = heads.iter().map(|((_, t), f)| (first + t, *f)).collect();
                    let spans: Vec<Span> = heads.iter().map(|((_, t), _)| self.run.span(*t, t + 1)).collect();
                    let base = &self.run.base;
                    let norm = NormRows { ln_f: &self.ln_f, residuals: &base.head_residuals, spans: &spans };
                    let seeds = &self.run.model().head_vjp(&mut rec, &base.normed, &reads, &norm)?;
                    let place = |sequence: &Sequence, t: usize| {
                        let found = heads.binary_search_by_key(&(sequence.id, t), |(place, _)| *place);
                        found.map_or(RowSource::Zero, RowSource::Base)
                    };
                    let extra = DeviceSeeds { at: last, seeds, place: &place };
                    adjoint(program, &mut rec, [&batch, &linear], (trace, None), Some(&extra), &wanted)?
                }
            };
            self.device().submit(rec)?;
            self.run.visit(&batch, &bars, ("the sensitivity", sites), visit)?;
        }
        Ok(())
    }

    /// Returns the most rows of a batch whose pass is read at `sites` sites; larger batches are split.
    pub fn batch_rows(&self, sites: usize) -> usize {
        most_rows(self.run.model(), sites)
    }

    /// Returns the first-order change of all logits at `position`, `[n, V]`, along each of n vectors `[d]` at
    /// h\[L, position\].
    ///
    /// The vectors pass through the final norm, linearised at the run in this mode.
    ///
    /// # Errors
    /// A position outside of the prompt, vectors of another width, or a device error.
    pub fn logit_tangents(&self, position: usize, vectors: &[Vec<f32>]) -> Result<Vec<f32>> {
        let (config, n) = (self.config(), vectors.len());
        let site = Site::level(config.n_layer, config);
        for vector in vectors {
            Edit::add(site, position, vector.clone()).check(config, self.run.tokens().len())?;
        }
        if n == 0 {
            return Ok(Vec::new());
        }
        let x = self.device().upload("source", &[("rows", n), ("d", config.n_embd)], &vectors.concat())?;
        let rows = Rows::new(self.device(), &vec![self.run.span(position, position + 1); n])?;
        let mut rec = self.device().record();
        rec.scope("ln_f");
        let x = self.ln_f.jvp(&mut rec, &rows, &self.run.base.head_residuals, &[&x])?;
        let logits = self.run.base.all_logits(rec, &x, &(0..n).collect::<Vec<usize>>())?;
        match first_non_finite(&logits) {
            Some(at) => Err(self.run.not_finite("a tangent of the logits", logits[at], &format!("token {position}"))),
            None => Ok(logits),
        }
    }

    /// Splits seeds into edits that add cotangents to the field, and functions of the logits by token.
    fn split_seeds(&self, seeds: &[Seed]) -> Result<Start> {
        let (config, tokens) = (self.config(), self.run.tokens());
        let mut start = Start::default();
        for seed in seeds {
            match seed {
                Seed::Field { level, .. } if *level > config.n_layer => {
                    return Err(Error::Place(format!("level {level}: the field has levels 0 to {}", config.n_layer)));
                }
                Seed::Field { level, token, vector } => {
                    Edit::add(Site::level(*level, config), *token, vector.clone()).check(config, tokens.len())?;
                    start.edits.push(self.seed_edit((*level, *token), vector));
                }
                Seed::Logit { position, id, weight } => {
                    Observable::logit(*id, *position).check(config, tokens)?;
                    let function = start.heads.entry(*position).or_default();
                    *function.logits.entry(*id).or_default() += f64::from(*weight);
                }
                Seed::Observable(observable) => {
                    observable.check(config, tokens)?;
                    for Point { level, token, part } in observable.points(config)? {
                        match part {
                            Part::Projection(u) => start.edits.push(self.seed_edit((level, token), &u)),
                            Part::Logits(function) => start.heads.entry(token).or_default().merge(&function)?,
                        }
                    }
                }
            }
        }
        Ok(start)
    }

    /// Returns the edit that adds the cotangent `vector` at h\[level, token\].
    pub(crate) fn seed_edit(&self, (level, token): (usize, usize), vector: &[f32]) -> ScheduledEdit {
        let change = RowEdit::Add { amount: 1.0, s: vector.to_vec() };
        ScheduledEdit { value: self.run.program().field[level], token, from: 0, change }
    }
}

/// Where the backward pass of one superposition of seeds starts.
#[derive(Default)]
struct Start {
    /// Edits that add cotangents to the field.
    edits: Vec<ScheduledEdit>,
    /// Functions of the logits, by token.
    heads: BTreeMap<usize, HeadFunction>,
}
