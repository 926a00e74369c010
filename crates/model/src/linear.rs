//! The tangent map of a run: passes of K tangents, or of K cotangents, over one shared primal.

use resolvent_engine::{Device, stepped};

use crate::arch::Sizes;
use crate::batch::{Batch, PassDirection, Sequence};
use crate::edit::Edit;
use crate::error::Result;
use crate::grouped::group_by;
use crate::mode::Mode;
use crate::order::Order;
use crate::passes::tangent;
use crate::program::Program;
use crate::run::{Run, scheduled};
use crate::site::Site;
use crate::splits::{groups, most_rows};
use crate::sweep::Chunk;

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

/// A superposition of sources in one of several runs.
#[derive(Clone, Copy)]
pub struct SourcedRun<'a> {
    /// The run.
    pub run: &'a Run,
    /// The sources, which act together.
    pub sources: &'a [Source],
}

impl<'a> SourcedRun<'a> {
    /// Returns superpositions of sources, all in one run.
    pub(crate) fn all_of<S: AsRef<[Source]>>(run: &'a Run, sources: &'a [S]) -> Vec<Self> {
        sources.iter().map(|sources| Self { run, sources: sources.as_ref() }).collect()
    }
}

/// K fields `[L+1, T, d]`: responses to K sources, or sensitivities of K observables.
#[derive(Clone, Debug)]
pub struct Fields {
    size: usize,
    data: Vec<f32>,
}

impl Fields {
    pub(crate) fn zeros(run: &Run, count: usize) -> Self {
        let size = run.program().field.len() * run.tokens().len() * run.sizes().d;
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
}

impl Run {
    /// Returns the tangent map of the model at this run.
    pub fn linearize(&self, mode: Mode) -> Linearization<'_> {
        Linearization::new(self, mode)
    }
}

impl<'a> Linearization<'a> {
    pub(crate) fn new(run: &'a Run, mode: Mode) -> Self {
        let program = (mode != Mode::Exact).then(|| run.program().freeze(mode.frozen()));
        Self { run, mode, program }
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

    pub(crate) fn sizes(&self) -> &Sizes {
        self.run.sizes()
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
        let (tokens, d) = (self.run.tokens().len(), self.sizes().d);
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
        self.push_forward(&SourcedRun::all_of(self.run, sources), sites, visit)
    }

    /// Computes the responses of superpositions in runs of this run's base.
    fn push_forward(&self, sourced: &[SourcedRun<'_>], sites: &[Site], visit: &mut dyn FnMut(Chunk<'_>)) -> Result<()> {
        let wanted = self.run.values_of_sites(sites)?;
        let program = self.program();
        let sequences = self.sequences(sourced, |_| usize::MAX)?.into_iter().map(|s| s.within_cone(program)).collect();
        for group in stepped("responses", groups(self.run.model(), wanted.len(), sequences), Vec::len) {
            let batch = Batch::new(self.device(), &group, PassDirection::Forward)?;
            let (mut rec, trace) = (self.device().record(), &self.run.base.trace);
            let dots = tangent(program, &mut rec, &batch, trace, (&wanted, Order::First))?;
            self.device().submit(rec)?;
            self.run.visit(&batch, &dots, ("the response", sites), visit)?;
        }
        Ok(())
    }

    /// Returns a sequence for each superposition that has a source before token `end` of its index.
    ///
    /// A sequence owns the tokens from that of its first source to `end - 1`, or to the end of its prompt.
    pub(crate) fn sequences(&self, sourced: &[SourcedRun<'_>], end: impl Fn(usize) -> usize) -> Result<Vec<Sequence>> {
        let (program, sizes) = (self.run.program(), self.sizes());
        let mut sequences = Vec::with_capacity(sourced.len());
        for (id, SourcedRun { run, sources }) in sourced.iter().enumerate() {
            let (tokens, mut adds) = (run.tokens().len(), Vec::new());
            for source in *sources {
                let edit = Edit::add(source.site, source.token, source.vector.clone());
                edit.check(sizes, tokens)?;
                adds.push(edit);
            }
            let end = end(id).min(tokens);
            let mut adds = scheduled(sizes, program, &adds, Edit::primal_edit)?;
            adds.retain(|e| e.token < end);
            let first = adds.iter().map(|e| e.value).min();
            let start = adds.iter().map(|e| e.token).min();
            let (Some(first), Some(start)) = (first, start) else { continue };
            let join = program.cut_point_before(first);
            // A source acts on the edited value, so the edits' linear parts come first.
            let mut all = scheduled(sizes, program, run.edits(), Edit::linear)?;
            all.retain(|e| e.value > join);
            all.extend(adds);
            sequences.push(Sequence { id, span: run.span(start, end), join, scheduled: all });
        }
        Ok(sequences)
    }

    /// Returns the most rows of a batch whose pass is read at `sites` sites; larger batches are split.
    pub fn batch_rows(&self, sites: usize) -> usize {
        most_rows(self.run.model(), sites * self.sizes().d)
    }
}

/// Computes the responses at `sites` to superpositions of sources in several runs, and passes them to `visit` in
/// chunks.
///
/// Runs of one call of [`crate::Model::run_all`] share batches. Values that are not visited are zero.
///
/// # Errors
/// As [`Linearization::jvp_at`], for any of the runs.
pub fn jvp_of(mode: Mode, sourced: &[SourcedRun<'_>], sites: &[Site], visit: &mut dyn FnMut(Chunk<'_>)) -> Result<()> {
    for part in group_by(sourced, |a, b| a.run.shares_batch(b.run)) {
        let linear = part.items[0].run.linearize(mode);
        linear.push_forward(&part.items, sites, &mut |chunk| {
            visit(Chunk { sequence: part.places[chunk.sequence], ..chunk });
        })?;
    }
    Ok(())
}
