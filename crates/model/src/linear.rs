//! The tangent map of a run: passes of K tangents, or of K cotangents, over one shared primal.

use std::collections::BTreeSet;
use std::sync::Arc;

use resolvent_engine::{Device, Recording, Tensor};
use resolvent_ops::splice::{RowEdit, RowSource};
use resolvent_ops::{Op, Rows, Span};

use crate::batch::{Batch, Order, PassDirection, ScheduledEdit, Sequence};
use crate::checkpoint::first_non_finite;
use crate::config::Config;
use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::observable::Observable;
use crate::passes::{DeviceSeeds, adjoint, tangent};
use crate::program::Program;
use crate::run::{Run, scheduled};
use crate::site::Site;
use crate::sweep::{Chunk, groups, most_rows};

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
        let mut sequences = Vec::with_capacity(cotangents.len());
        for (id, seeds) in cotangents.iter().enumerate() {
            let seeds = seeds.as_ref();
            seeds.iter().try_for_each(|seed| self.check(seed))?;
            let Some(end) = seeds.iter().map(|s| s.place(config).1 + 1).max() else { continue };
            let join = seeds.iter().map(|s| program.field[s.place(config).0]).max().unwrap_or(0);
            let scheduled = seeds.iter().filter_map(|seed| self.scheduled(seed)).collect();
            sequences.push(Sequence { id, span: self.run.span(0, end), join, scheduled });
        }
        for group in groups(self.run.model(), wanted.len(), sequences) {
            let linear: Vec<Sequence> =
                group.iter().map(|s| Sequence { scheduled: linear_scheduled.clone(), ..s.clone() }).collect();
            let linear = Batch::new(self.device(), &linear, PassDirection::Backward)?;
            let logit_seeds = LogitSeeds::new(&group, cotangents);
            let batch = Batch::new(self.device(), &group, PassDirection::Backward)?;
            let (mut rec, trace) = (self.device().record(), &self.run.base.trace);
            let bars = match logit_seeds.rows.is_empty() {
                true => adjoint(program, &mut rec, [&batch, &linear], (trace, None), None, &wanted)?,
                false => {
                    rec.scope("unembed");
                    let seeds = &self.seed_cotangents(&mut rec, &logit_seeds)?;
                    let place = |sequence: &Sequence, t: usize| logit_seeds.source(sequence.id, t);
                    let at = program.field[config.n_layer];
                    let extra = DeviceSeeds { at, seeds, place: &place };
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

    /// Computes the cotangents of h\[L\] `[rows, d]` for logit seeds.
    fn seed_cotangents(&self, rec: &mut Recording, seeds: &LogitSeeds) -> Result<Tensor> {
        let (weights, n) = (&self.run.model().0.weights, seeds.rows.len());
        let ids = self.device().upload("wanted", &[("wanted", seeds.ids.len())], &seeds.ids)?;
        let dims = [("rows", n), ("wanted", seeds.ids.len())];
        let bar = self.device().upload("logits.bar", &dims, &seeds.weights)?;
        let bar = weights.unembed.vjp(rec, &bar, &ids)?;
        let spans: Vec<Span> = seeds.rows.iter().map(|&(_, t)| self.run.span(t, t + 1)).collect();
        let rows = Rows::new(self.device(), &spans)?;
        let bars = self.ln_f.vjp(rec, &rows, &self.run.base.head_residuals, &bar, &[None])?;
        bars.into_iter().next().ok_or_else(|| Error::Place("layer norm has one input".to_owned()))
    }

    fn check(&self, seed: &Seed) -> Result<()> {
        let (config, tokens) = (self.config(), self.run.tokens().len());
        match seed {
            Seed::Field { level, .. } if *level > config.n_layer => {
                Err(Error::Place(format!("level {level}: the field has levels 0 to {}", config.n_layer)))
            }
            Seed::Field { level, token, vector } => {
                Edit::add(Site::level(*level, config), *token, vector.clone()).check(config, tokens)
            }
            Seed::Logit { position, id, .. } => Observable::logit(*id, *position).check(config, tokens),
        }
    }

    fn scheduled(&self, seed: &Seed) -> Option<ScheduledEdit> {
        let Seed::Field { level, token, vector } = seed else { return None };
        Some(self.seed_edit((*level, *token), vector))
    }

    /// Returns the edit that adds the cotangent `vector` at h\[level, token\].
    pub(crate) fn seed_edit(&self, (level, token): (usize, usize), vector: &[f32]) -> ScheduledEdit {
        let change = RowEdit::Add { amount: 1.0, s: vector.to_vec() };
        ScheduledEdit { value: self.run.program().field[level], token, from: 0, change }
    }
}

impl Seed {
    /// Returns level and token.
    fn place(&self, config: &Config) -> (usize, usize) {
        match self {
            Self::Field { level, token, .. } => (*level, *token),
            Self::Logit { position, .. } => (config.n_layer, *position),
        }
    }
}

/// The logit seeds of a batch as a matrix of weights.
///
/// It has a row for each (sequence, position), and a column for each vocabulary entry that a seed names.
struct LogitSeeds {
    rows: Vec<(usize, usize)>,
    ids: Vec<u32>,
    weights: Vec<f32>,
}

impl LogitSeeds {
    fn new<S: AsRef<[Seed]>>(sequences: &[Sequence], cotangents: &[S]) -> Self {
        let mut terms = Vec::new();
        for sequence in sequences {
            for seed in cotangents[sequence.id].as_ref() {
                if let Seed::Logit { position, id, weight } = *seed {
                    terms.push(((sequence.id, position), id, weight));
                }
            }
        }
        let rows: BTreeSet<(usize, usize)> = terms.iter().map(|t| t.0).collect();
        let ids: BTreeSet<u32> = terms.iter().map(|t| t.1).collect();
        let (rows, ids): (Vec<_>, Vec<_>) = (rows.into_iter().collect(), ids.into_iter().collect());
        let mut weights = vec![0.0; rows.len() * ids.len()];
        for (place, id, weight) in terms {
            let (row, column) = (rows.binary_search(&place), ids.binary_search(&id));
            if let (Ok(row), Ok(column)) = (row, column) {
                weights[row * ids.len() + column] += weight;
            }
        }
        Self { rows, ids, weights }
    }

    fn source(&self, sequence: usize, token: usize) -> RowSource {
        self.rows.binary_search(&(sequence, token)).map_or(RowSource::Zero, RowSource::Base)
    }
}
