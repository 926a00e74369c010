//! Backward passes: K cotangents through the tangent map of one run, or of several runs of one batch.

use std::collections::BTreeMap;

use resolvent_engine::stepped;
use resolvent_ops::Span;
use resolvent_ops::splice::{RowEdit, RowSource};

use crate::batch::{Batch, PassDirection, ScheduledChange, ScheduledEdit, Sequence};
use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::grouped::group_by;
use crate::head::{HeadRow, NormRows};
use crate::linear::{Fields, Linearization};
use crate::mode::Mode;
use crate::observable::Observable;
use crate::passes::{DeviceSeeds, adjoint};
use crate::points::{HeadFunction, Part, Point};
use crate::run::{Run, scheduled};
use crate::site::Site;
use crate::splits::{groups, split_by};
use crate::sweep::Chunk;

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

/// A superposition of seeds in one of several runs.
#[derive(Clone, Copy)]
pub struct SeededRun<'a> {
    /// The run.
    pub run: &'a Run,
    /// The seeds, which act together.
    pub seeds: &'a [Seed],
}

/// Computes the sensitivities at `sites` for superpositions of seeds in several runs, and passes them to `visit` in
/// chunks.
///
/// Runs of one call of [`crate::Model::run_all`] share batches. Values that are not visited are zero.
///
/// # Errors
/// As [`Linearization::vjp_at`], for any of the runs.
pub fn vjp_of(mode: Mode, seeded: &[SeededRun<'_>], sites: &[Site], visit: &mut dyn FnMut(Chunk<'_>)) -> Result<()> {
    for part in group_by(seeded, |a, b| a.run.shares_batch(b.run)) {
        let linear = part.items[0].run.linearize(mode);
        linear.pull_back(&part.items, sites, &mut |chunk| {
            visit(Chunk { sequence: part.places[chunk.sequence], ..chunk });
        })?;
    }
    Ok(())
}

impl Run {
    /// Returns the seeds of an observable's backward pass: its derivative by the logits and by the field of this run.
    ///
    /// # Errors
    /// An observable that does not fit the model or the prompt.
    pub fn seeds(&self, observable: &Observable) -> Result<Vec<Seed>> {
        observable.check(self.sizes(), self.tokens())?;
        Ok(vec![Seed::Observable(observable.clone())])
    }
}

impl Linearization<'_> {
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
        let (tokens, d) = (self.run.tokens().len(), self.sizes().d);
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
        let seeded: Vec<SeededRun<'_>> =
            cotangents.iter().map(|seeds| SeededRun { run: self.run, seeds: seeds.as_ref() }).collect();
        self.pull_back(&seeded, sites, visit)
    }

    /// Computes the sensitivities of superpositions of seeds in runs of this run's base.
    fn pull_back(&self, seeded: &[SeededRun<'_>], sites: &[Site], visit: &mut dyn FnMut(Chunk<'_>)) -> Result<()> {
        let program = self.program();
        let wanted = self.run.values_of_sites(sites)?;
        let starts: Vec<Start> = seeded.iter().map(|item| self.split_seeds(item)).collect::<Result<_>>()?;
        let last = program.head_input;
        let mut sequences = Vec::with_capacity(starts.len());
        for (id, start) in starts.iter().enumerate() {
            let tokens = start.edits.iter().map(|edit| edit.token).chain(start.heads.keys().copied());
            let Some(end) = tokens.max().map(|token| token + 1) else { continue };
            let values = start.edits.iter().map(|edit| edit.value).chain((!start.heads.is_empty()).then_some(last));
            let join = values.max().unwrap_or(0);
            let span = seeded[id].run.span(0, end);
            sequences.push(Sequence { id, span, join, scheduled: start.edits.clone() });
        }
        // Functions of all logits need rows of them, so they bound a batch too.
        let most = self.run.model().most_logit_rows();
        let curved = |s: &Sequence| starts[s.id].heads.values().filter(|f| self.run.model().is_curved(f)).count();
        let groups = groups(self.run.model(), wanted.len(), sequences);
        let groups: Vec<&[Sequence]> = groups.iter().flat_map(|group| split_by(group, most, curved)).collect();
        for group in stepped("gradients", groups, |group| group.len()) {
            let linear = self.linear_sequences(group, |s| seeded[s.id].run)?;
            let linear = Batch::new(self.device(), &linear, PassDirection::Backward)?;
            let batch = Batch::new(self.device(), group, PassDirection::Backward)?;
            let (mut rec, trace) = (self.device().record(), &self.run.base.trace);
            let heads: Vec<((usize, usize), &HeadFunction)> =
                group.iter().flat_map(|s| starts[s.id].heads.iter().map(|(t, f)| ((s.id, *t), f))).collect();
            let bars = match heads.is_empty() {
                true => adjoint(program, &mut rec, [&batch, &linear], (trace, None), None, &wanted)?,
                false => {
                    let span = |(id, t): (usize, usize)| seeded[id].run.span(t, t + 1);
                    let spans: Vec<Span> = heads.iter().map(|(place, _)| span(*place)).collect();
                    let rows = spans.iter().map(|span| span.primal + span.start);
                    let reads: Vec<HeadRow<'_>> = rows.zip(&heads).map(|(row, (_, f))| (row, *f)).collect();
                    let base = &self.run.base;
                    let norm =
                        NormRows { final_norm: &program.final_norm, residuals: &base.head_residuals, spans: &spans };
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

    /// Splits seeds into edits that add cotangents to the field, and functions of the logits by token.
    fn split_seeds(&self, SeededRun { run, seeds }: &SeededRun<'_>) -> Result<Start> {
        let (sizes, tokens) = (self.sizes(), run.tokens());
        let mut start = Start::default();
        for seed in *seeds {
            match seed {
                Seed::Field { level, .. } if *level > sizes.layers => {
                    return Err(Error::Place(format!("level {level}: the field has levels 0 to {}", sizes.layers)));
                }
                Seed::Field { level, token, vector } => {
                    Edit::add(Site::level(*level, sizes), *token, vector.clone()).check(sizes, tokens.len())?;
                    start.edits.push(self.seed_edit((*level, *token), vector));
                }
                Seed::Logit { position, id, weight } => {
                    Observable::logit(*id, *position).check(sizes, tokens)?;
                    let function = start.heads.entry(*position).or_default();
                    *function.logits.entry(*id).or_default() += f64::from(*weight);
                }
                Seed::Observable(observable) => {
                    observable.check(sizes, tokens)?;
                    for Point { level, token, part } in observable.points(sizes)? {
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

    /// Returns the same sequences, with the linear parts of the edits of their runs as scheduled edits.
    ///
    /// The linear part of each edit is symmetric, but several at one place need not commute. So a cotangent passes
    /// through the last one first.
    pub(crate) fn linear_sequences<'a>(
        &self,
        sequences: &[Sequence],
        run: impl Fn(&Sequence) -> &'a Run,
    ) -> Result<Vec<Sequence>> {
        let of_run = |s: &Sequence| {
            let mut linear = scheduled(self.sizes(), self.run.program(), run(s).edits(), Edit::linear)?;
            linear.reverse();
            Ok(Sequence { scheduled: linear, ..s.clone() })
        };
        sequences.iter().map(of_run).collect()
    }

    /// Returns the edit that adds the cotangent `vector` at h\[level, token\].
    pub(crate) fn seed_edit(&self, (level, token): (usize, usize), vector: &[f32]) -> ScheduledEdit {
        let change = RowEdit::Add { amount: 1.0, s: vector.to_vec() };
        ScheduledEdit { value: self.run.program().field[level], token, from: 0, change: ScheduledChange::Row(change) }
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
