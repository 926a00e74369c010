//! Hessian-vector products of a run: how sources change the sensitivities of an observable, by forward over reverse.
//!
//! Let `h + a s` be the run in which `a` times every source of a superposition s is added. `H s` is `d/da` at a = 0 of
//! the sensitivities `dJ/dh`. K superpositions share one tangent pass. They also share one backward pass, which has the
//! shared cotangent of each J as one more sequence. Runs of one batch, each with its J, share both passes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use resolvent_engine::{Recording, Tensor, stepped};
use resolvent_ops::splice::{RowPlan, RowSource};
use resolvent_ops::{Paired, Residuals, Rows, Span};

use crate::along::ProbedRun;
use crate::batch::{Batch, PassDirection, Sequence};
use crate::error::Result;
use crate::grouped::group_by;
use crate::head::{HeadRow, single};
use crate::linear::{Fields, Linearization, Source, SourcedRun};
use crate::mode::Mode;
use crate::observable::Observable;
use crate::passes::{DeviceSeeds, Tangents, adjoint, tangents};
use crate::points::{HeadFunction, Part, Point};
use crate::program::ValueId;
use crate::run::Run;
use crate::site::Site;
use crate::splits::most_rows;
use crate::sweep::Chunk;

/// Computes `H s` at `sites` for each superposition of sources and its observable, and passes it to `visit` in chunks.
/// See [`Linearization::hvp_at`].
///
/// Runs of one call of [`crate::Model::run_all`] share batches. Values that are not visited are zero.
///
/// # Errors
/// As [`Linearization::hvp_at`], for any of the runs.
pub fn hvp_of(probed: &[ProbedRun<'_>], sites: &[Site], visit: &mut dyn FnMut(Chunk<'_>)) -> Result<()> {
    for part in group_by(probed, |a, b| a.run.shares_batch(b.run)) {
        part.items[0].run.linearize(Mode::Exact).hvp_probed(&part.items, sites, &mut |chunk| {
            visit(Chunk { sequence: part.places[chunk.sequence], ..chunk });
        })?;
    }
    Ok(())
}

impl Linearization<'_> {
    /// Returns `H s` as fields `[L+1, T, d]`, one for each superposition of sources s.
    ///
    /// `H s` is the derivative along s of `dJ/dh[l, t]` at every place, where H is the Hessian of J by all places
    /// together. So `<u, H s>` is the second derivative of J along the sources u and s, and `<s, H s>` is the second
    /// derivative that [`Linearization::along`] returns.
    ///
    /// # Errors
    /// Another mode than [`crate::Mode::Exact`], a source or an observable that does not fit the model or the prompt,
    /// or a device error.
    pub fn hvp<S: AsRef<[Source]>>(&self, sources: &[S], observable: &Observable) -> Result<Fields> {
        let mut fields = Fields::zeros(self.run, sources.len());
        let (tokens, d) = (self.run.tokens().len(), self.sizes().d);
        self.hvp_at(sources, observable, &self.run.levels(), &mut |chunk| fields.put(chunk, tokens, d))?;
        Ok(fields)
    }

    /// Computes `H s` at `sites` for each superposition of sources, and passes it to `visit` in chunks, batch by batch.
    ///
    /// Values that are not visited are zero.
    ///
    /// # Errors
    /// As [`Linearization::hvp`], or a fused output that [`crate::RunOptions::sites`] did not name.
    pub fn hvp_at<S: AsRef<[Source]>>(
        &self,
        sources: &[S],
        observable: &Observable,
        sites: &[Site],
        visit: &mut dyn FnMut(Chunk<'_>),
    ) -> Result<()> {
        self.mode().second_order("hvp")?;
        let probed = sources.iter().map(|s| ProbedRun { run: self.run, sources: s.as_ref(), observable });
        observable.check(self.sizes(), self.run.tokens())?;
        self.hvp_probed(&probed.collect::<Vec<_>>(), sites, visit)
    }

    /// Computes the products in runs of this run's base.
    fn hvp_probed(&self, probed: &[ProbedRun<'_>], sites: &[Site], visit: &mut dyn FnMut(Chunk<'_>)) -> Result<()> {
        let (program, wanted) = (self.run.program(), self.run.values_of_sites(sites)?);
        let (mut heads, mut of): (Vec<Head<'_>>, Vec<usize>) = (Vec::new(), Vec::with_capacity(probed.len()));
        for ProbedRun { run, observable, .. } in probed {
            if !heads
                .last()
                .is_some_and(|head| std::ptr::eq(head.run, *run) && std::ptr::eq(head.observable, *observable))
            {
                heads.push(Head::new(run, observable)?);
            }
            of.push(heads.len() - 1);
        }
        let sourced: Vec<SourcedRun<'_>> =
            probed.iter().map(|p| SourcedRun { run: p.run, sources: p.sources }).collect();
        let mut sequences = self.sequences(&sourced, |id| heads[of[id]].end)?;
        // A sequence that joins above the level of J does not change it.
        sequences.retain(|s| s.join <= heads[of[s.id]].top && !heads[of[s.id]].is_empty());
        // The backward pass reaches all earlier tokens, so every sequence owns its tokens from 0 on.
        sequences.iter_mut().for_each(|s| s.span = heads[of[s.id]].span());
        sequences.sort_by_key(|s| s.join);
        // A tangent pass ends at one level.
        let tops: BTreeSet<ValueId> = sequences.iter().map(|s| heads[of[s.id]].top).collect();
        let mut groups = Vec::new();
        for top in tops {
            let here = sequences.iter().filter(|s| heads[of[s.id]].top == top).cloned();
            groups.extend(self.hvp_groups(here.collect(), (&heads, &of), wanted.len()));
        }
        for group in stepped("Hessian-vector products", groups, Vec::len) {
            let joint = Joint::new(&group, &heads, &of);
            let batch = Batch::new(self.device(), &group, PassDirection::Forward)?;
            let (mut rec, trace) = (self.device().record(), &self.run.base.trace);
            let dots = tangents(program, &mut rec, &batch, trace, joint.top)?;
            let (back, shared) = self.backward_sequences(&group, &joint, probed.len());
            let run = |s: &Sequence| joint.heads[joint.place(s, (&of, probed.len()))].run;
            let linear = Batch::new(self.device(), &self.linear_sequences(&back, run)?, PassDirection::Backward)?;
            let back = Batch::paired(self.device(), &back, &shared)?;
            let seeds = match joint.heads.iter().all(|head| head.reads.is_empty()) {
                true => None,
                false => self.head_cotangents(&mut rec, (&dots, &batch), (&joint, &of), probed.len())?,
            };
            let place = |sequence: &Sequence, t: usize| {
                let tokens = &joint.heads[joint.place(sequence, (&of, probed.len()))].tokens;
                let first = seeds.as_ref().and_then(|(_, rows)| rows.get(&sequence.id));
                match (first, tokens.contains(&t)) {
                    (Some(first), true) => RowSource::Base(first + t - tokens.start),
                    _ => RowSource::Zero,
                }
            };
            let extra = seeds.as_ref().map(|(seeds, _)| DeviceSeeds { at: joint.top, seeds, place: &place });
            let bars = adjoint(program, &mut rec, [&back, &linear], (trace, Some(&dots)), extra.as_ref(), &wanted)?;
            self.device().submit(rec)?;
            self.run.visit(&back, &bars, ("the product with the Hessian", sites), &mut |chunk| {
                // The others have the shared cotangents.
                if chunk.sequence < probed.len() {
                    visit(chunk);
                }
            })?;
        }
        Ok(())
    }

    /// Splits sequences into batches. Each observable of a batch has a sequence for its shared cotangent too.
    fn hvp_groups(
        &self,
        sequences: Vec<Sequence>,
        (heads, of): (&[Head<'_>], &[usize]),
        extra: usize,
    ) -> Vec<Vec<Sequence>> {
        // Each sequence has a row of all logits for each function of them, and so has the run itself.
        let (most_rows, most_logits) = (self.most_rows_of_hvp(extra), self.run.model().most_logit_rows());
        let is_curved = |(_, f): &&(usize, HeadFunction)| self.run.model().is_curved(f);
        let curved: Vec<usize> = heads.iter().map(|head| head.reads.iter().filter(is_curved).count()).collect();
        let (mut groups, mut known): (Vec<Vec<Sequence>>, BTreeSet<usize>) = (Vec::new(), BTreeSet::new());
        let (mut rows, mut logits) = (0, 0);
        for sequence in sequences {
            let head = of[sequence.id];
            let new = usize::from(!known.contains(&head));
            let more = [(1 + new) * heads[head].end, (1 + new) * curved[head]];
            let is_full = rows + more[0] > most_rows || logits + more[1] > most_logits;
            match groups.last_mut().filter(|_| !is_full) {
                Some(group) => {
                    group.push(sequence);
                    (rows, logits) = (rows + more[0], logits + more[1]);
                }
                None => {
                    groups.push(vec![sequence]);
                    known.clear();
                    (rows, logits) = (2 * heads[head].end, 2 * curved[head]);
                }
            }
            known.insert(head);
        }
        groups
    }

    /// Returns the sequences of the backward pass: those of `group`, then one for each shared cotangent, whose ids
    /// follow the `count` ids of the caller. Also returns, for each, the index of the one with its shared cotangent.
    fn backward_sequences(&self, group: &[Sequence], joint: &Joint<'_>, count: usize) -> (Vec<Sequence>, Vec<usize>) {
        let paired = group.iter().map(|s| Sequence { join: joint.top, scheduled: Vec::new(), ..s.clone() });
        let shared = joint.heads.iter().enumerate().map(|(n, head)| {
            let scheduled = head.projections.iter().map(|(place, u)| self.seed_edit(*place, u)).collect();
            Sequence { id: count + n, span: head.span(), join: joint.top, scheduled }
        });
        let places = joint.of.iter().copied().chain(0..joint.heads.len()).map(|n| group.len() + n).collect();
        (paired.chain(shared).collect(), places)
    }

    /// Computes the cotangents of what the head reads for functions of the logits, and their tangents for each
    /// sequence.
    ///
    /// Returns rows `[rows, d]`, those of [`Head::tokens`] for each sequence, and the first row of each by its id. A
    /// sequence whose tangent does not reach the head has no rows. Returns `None` if no tangent reaches it.
    fn head_cotangents(
        &self,
        rec: &mut Recording,
        (dots, batch): (&Tangents, &Batch),
        (joint, of): (&Joint<'_>, &[usize]),
        count: usize,
    ) -> Result<Option<(Tensor, BTreeMap<usize, usize>)>> {
        let Some(h_dot) = &dots.last else { return Ok(None) };
        let (base, device, model) = (&self.run.base, self.device(), self.run.model());
        let final_norm = &base.program.final_norm;
        let active = h_dot.shape().lengths()[0];
        let head_of = |i: usize| joint.place(batch.sequence(i), (of, count));
        let here: Vec<usize> = (0..batch.len())
            .filter(|&i| batch.range(i).end <= active && !joint.heads[head_of(i)].reads.is_empty())
            .collect();
        if here.is_empty() {
            return Ok(None);
        }
        let reading: Vec<usize> = (0..joint.heads.len()).filter(|&n| !joint.heads[n].reads.is_empty()).collect();
        let (mut rows, mut spans, mut shared, mut firsts) = (Vec::new(), Vec::new(), Vec::new(), vec![0]);
        for &i in &here {
            let Head { tokens, run, .. } = joint.heads[head_of(i)];
            rows.extend(tokens.clone().map(|t| batch.range(i).start + t));
            spans.push(run.span(tokens.start, tokens.end));
            shared.push(here.len() + reading.binary_search(&head_of(i)).unwrap_or(0));
            firsts.push(rows.len());
        }
        let (n, mut all) = (here.len(), rows.len());
        for &head in &reading {
            let Head { tokens, run, .. } = joint.heads[head];
            spans.push(run.span(tokens.start, tokens.end));
            shared.push(shared.len());
            all += tokens.len();
            firsts.push(all);
        }
        let h_dot = model.select_rows(rec, h_dot, &rows)?;
        rec.scope("unembed");
        let reads: Vec<HeadRow<'_>> = reading.iter().flat_map(|&head| joint.heads[head].rows()).collect();
        let (x_bar, curvature) = model.normed_vjp(rec, &base.normed, &reads)?;
        // Rows of the cotangents' tangents, which only curved functions have, then those of the shared cotangents.
        let mut sources = vec![RowSource::Zero; all];
        // The first read of each of `joint.heads`.
        let mut read_from = vec![0; joint.heads.len()];
        let mut read = 0;
        for (k, &head) in reading.iter().enumerate() {
            let Head { reads, tokens, .. } = joint.heads[head];
            read_from[head] = read;
            for (token, _) in reads {
                sources[firsts[n + k] + token - tokens.start] = RowSource::Base(read);
                read += 1;
            }
        }
        let turned = match &curvature {
            None => x_bar.clone(),
            Some(curvature) => {
                let table = Rows::new(device, &spans[..n])?;
                let x_dot = final_norm.jvp(rec, &table, &base.head_residuals, &[&h_dot])?;
                let mut pairs = Vec::new();
                for (k, &i) in here.iter().enumerate() {
                    let Head { reads, tokens, .. } = joint.heads[head_of(i)];
                    for (read, (token, _)) in (read_from[head_of(i)]..).zip(reads) {
                        let Some(point) = curvature.point(read) else { continue };
                        let row = firsts[k] + token - tokens.start;
                        sources[row] = RowSource::X(pairs.len());
                        pairs.push((row, point));
                    }
                }
                match pairs.is_empty() {
                    true => x_bar.clone(),
                    false => {
                        let turning = curvature.spread(rec, model, &x_dot, &pairs)?;
                        curvature.turned(rec, model, &turning)?
                    }
                }
            }
        };
        let bar = RowPlan::new(device, self.sizes().d, &sources, &[])?.primal(rec, &turned, &x_bar)?;
        let residuals = Residuals::new(&[&h_dot]);
        let paired = Paired { residuals: &residuals, rows: rows.len() };
        rec.scope("ln_f");
        let table = Rows::paired(device, &spans, &shared)?;
        let bar = single(final_norm.hvp(rec, &table, (&base.head_residuals, paired), &bar, &[None])?)?;
        let ids = here.iter().map(|&i| batch.sequence(i).id).chain(reading.iter().map(|head| count + head));
        Ok(Some((bar, ids.zip(firsts).collect())))
    }

    /// Returns the most batch rows that fit, those of shared cotangents included.
    ///
    /// Each row stores `extra` vectors of width d to the end, and what the backward pass needs of every block: the
    /// inputs of both norms, q, k, v, z, and the hidden layer.
    fn most_rows_of_hvp(&self, extra: usize) -> usize {
        let (model, sizes) = (self.run.model(), self.sizes());
        let block = model.architecture().block_elements();
        most_rows(model, extra * sizes.d + block * sizes.layers)
    }
}

/// The observables of a batch, each with a sequence for its shared cotangent.
struct Joint<'a> {
    heads: Vec<&'a Head<'a>>,
    /// Where the heads are among those of the caller.
    numbers: Vec<usize>,
    /// The place in `heads` of each sequence's observable.
    of: Vec<usize>,
    /// The value at which all of them are read.
    top: ValueId,
}

impl<'a> Joint<'a> {
    /// Collects the heads of the sequences of a batch. `of` has the head of each sequence by its id.
    fn new(group: &[Sequence], heads: &'a [Head<'a>], of: &[usize]) -> Self {
        let numbers: BTreeSet<usize> = group.iter().map(|s| of[s.id]).collect();
        let numbers: Vec<usize> = numbers.into_iter().collect();
        let of_group = group.iter().map(|s| numbers.binary_search(&of[s.id]).unwrap_or(0)).collect();
        let heads: Vec<&Head<'_>> = numbers.iter().map(|&n| &heads[n]).collect();
        let top = heads.iter().map(|head| head.top).max().unwrap_or(0);
        Self { heads, numbers, of: of_group, top }
    }

    /// Returns the place in `heads` of a sequence's observable. Ids from `count` on are those of shared cotangents.
    fn place(&self, sequence: &Sequence, (of, count): (&[usize], usize)) -> usize {
        match sequence.id.checked_sub(count) {
            Some(place) => place,
            None => self.numbers.binary_search(&of[sequence.id]).unwrap_or(0),
        }
    }
}

/// An observable of a run by what its backward pass starts from.
struct Head<'a> {
    run: &'a Run,
    observable: &'a Observable,
    /// The functions of the logits, with their tokens in order.
    reads: Vec<(usize, HeadFunction)>,
    /// From the first of these tokens to the last.
    tokens: Range<usize>,
    /// Projections of the field: level and token, and the vector.
    projections: Vec<((usize, usize), Vec<f32>)>,
    /// The highest value that is read.
    top: ValueId,
    /// One past the last token that is read.
    end: usize,
}

impl<'a> Head<'a> {
    fn new(run: &'a Run, observable: &'a Observable) -> Result<Self> {
        observable.check(run.sizes(), run.tokens())?;
        let (mut reads, mut projections) = (Vec::new(), Vec::new());
        let mut top = 0;
        for point in observable.points(run.sizes())? {
            top = top.max(run.program().read_from(&point));
            let Point { level, token, part } = point;
            match part {
                Part::Projection(u) => projections.push(((level, token), u)),
                Part::Logits(function) => reads.push((token, function)),
            }
        }
        let tokens = match (reads.first(), reads.last()) {
            (Some((first, _)), Some((last, _))) => *first..last + 1,
            _ => 0..0,
        };
        Ok(Self { run, observable, reads, tokens, projections, top, end: observable.position() + 1 })
    }

    /// Returns whether the observable has no terms.
    fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.projections.is_empty()
    }

    /// Returns the tokens that a sequence owns.
    fn span(&self) -> Span {
        self.run.span(0, self.end)
    }

    /// Returns the functions with their rows in the base run.
    fn rows(&self) -> impl Iterator<Item = HeadRow<'_>> {
        let first = self.run.span(0, 0).primal;
        self.reads.iter().map(move |(token, function)| (first + token, function))
    }
}
