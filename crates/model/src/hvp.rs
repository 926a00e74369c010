//! Hessian-vector products of a run: how sources change the sensitivities of an observable, by forward over reverse.
//!
//! Let `h + a s` be the run in which `a` times every source of a superposition s is added. `H s` is `d/da` at a = 0 of
//! the sensitivities `dJ/dh`. K superpositions share one tangent pass. They also share one backward pass, which has the
//! shared cotangent of J as one more sequence.

use std::collections::BTreeMap;
use std::ops::Range;

use resolvent_engine::{Recording, Tensor, stepped};
use resolvent_ops::splice::{RowPlan, RowSource};
use resolvent_ops::{Paired, Residuals, Rows};

use crate::batch::{Batch, PassDirection, Sequence};
use crate::error::Result;
use crate::head::{HeadRow, single};
use crate::linear::{Fields, Linearization, Source, SourcedRun};
use crate::observable::Observable;
use crate::passes::{DeviceSeeds, Tangents, adjoint, tangents};
use crate::points::{HeadFunction, Part, Point};
use crate::program::ValueId;
use crate::run::Run;
use crate::site::Site;
use crate::splits::{most_rows, split, split_by};
use crate::sweep::Chunk;

/// The id of the sequence that has the shared cotangent. No sequence of a caller has this id.
const SHARED_COTANGENT: usize = usize::MAX;

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
        let (run, sizes) = (self.run, self.sizes());
        observable.check(sizes, run.tokens())?;
        let wanted = run.values_of_sites(sites)?;
        let (head, end) = (Head::new(run, observable)?, observable.position() + 1);
        let top = run.program().field[observable.level(sizes)];
        let mut sequences = self.sequences(&SourcedRun::all_of(run, sources), |_| end)?;
        // A sequence that joins above the level of J does not change it.
        sequences.retain(|s| s.join <= top);
        // The backward pass reaches all earlier tokens, so every sequence owns its tokens from 0 on.
        sequences.iter_mut().for_each(|s| s.span = run.span(0, end));
        sequences.sort_by_key(|s| s.join);
        if observable.terms().is_empty() {
            return Ok(());
        }
        // Each sequence has a row of all logits for each function of them, and the run itself has one.
        let most = run.model().most_logit_rows();
        let curved = head.reads.iter().filter(|(_, f)| self.run.model().is_curved(f)).count();
        let groups = split(self.most_rows_of_hvp(wanted.len(), end), sequences);
        let most = most.saturating_sub(curved).max(1);
        let groups: Vec<&[Sequence]> = groups.iter().flat_map(|group| split_by(group, most, |_| curved)).collect();
        for group in stepped("Hessian-vector products", groups, |group| group.len()) {
            let batch = Batch::new(self.device(), group, PassDirection::Forward)?;
            let (mut rec, trace) = (self.device().record(), &run.base.trace);
            let dots = tangents(run.program(), &mut rec, &batch, trace, top)?;
            let back = self.backward_sequences(group, &head, (top, end));
            let linear = self.linear_sequences(&back, |_| run)?;
            let [back, linear] = [&back, &linear].map(|s| Batch::new(self.device(), s, PassDirection::Backward));
            let (back, linear) = (back?, linear?);
            let point = (trace, Some((&dots, batch.rows.count())));
            let seeds = match head.reads.is_empty() {
                true => None,
                false => self.head_cotangents(&mut rec, (&dots, &batch), &head)?,
            };
            let place = |sequence: &Sequence, t: usize| {
                let first = seeds.as_ref().and_then(|(_, rows)| rows.get(&sequence.id));
                match (first, head.tokens.contains(&t)) {
                    (Some(first), true) => RowSource::Base(first + t - head.tokens.start),
                    _ => RowSource::Zero,
                }
            };
            let extra = seeds.as_ref().map(|(seeds, _)| DeviceSeeds { at: top, seeds, place: &place });
            let bars = adjoint(run.program(), &mut rec, [&back, &linear], point, extra.as_ref(), &wanted)?;
            self.device().submit(rec)?;
            run.visit(&back, &bars, ("the product with the Hessian", sites), &mut |chunk| {
                if chunk.sequence != SHARED_COTANGENT {
                    visit(chunk);
                }
            })?;
        }
        Ok(())
    }

    /// Returns the sequences of the backward pass: those of `group`, and one for the shared cotangent.
    fn backward_sequences(&self, group: &[Sequence], head: &Head, (top, end): (ValueId, usize)) -> Vec<Sequence> {
        let paired = group.iter().map(|s| Sequence { join: top, scheduled: Vec::new(), ..s.clone() });
        let scheduled = head.projections.iter().map(|(place, u)| self.seed_edit(*place, u)).collect();
        let span = self.run.span(0, end);
        paired.chain([Sequence { id: SHARED_COTANGENT, span, join: top, scheduled }]).collect()
    }

    /// Computes the cotangents of h\[L\] for functions of the logits, and their tangents for each sequence.
    ///
    /// Returns rows `[rows, d]`, those of [`Head::tokens`] for each sequence, and the first row of each by its id. A
    /// sequence whose tangent does not reach h\[L\] has no rows. Returns `None` if no tangent reaches h\[L\].
    fn head_cotangents(
        &self,
        rec: &mut Recording,
        (dots, batch): (&Tangents, &Batch),
        head: &Head,
    ) -> Result<Option<(Tensor, BTreeMap<usize, usize>)>> {
        let Some(h_dot) = &dots.last else { return Ok(None) };
        let (base, device, model) = (&self.run.base, self.device(), self.run.model());
        let weights = &model.0.weights;
        let active = h_dot.shape().lengths()[0];
        let here: Vec<usize> = (0..batch.len()).filter(|&i| batch.range(i).end <= active).collect();
        let (n, tokens) = (here.len(), head.tokens.len());
        let rows: Vec<usize> =
            here.iter().flat_map(|&i| head.tokens.clone().map(move |t| batch.range(i).start + t)).collect();
        let h_dot = model.select_rows(rec, h_dot, &rows)?;
        let spans = vec![self.run.span(head.tokens.start, head.tokens.end); n + 1];
        rec.scope("unembed");
        let (x_bar, curvature) = model.normed_vjp(rec, &base.normed, &head.reads())?;
        // Rows of the cotangents' tangents, which only curved functions have, then those of the shared cotangent.
        let mut sources = vec![RowSource::Zero; (n + 1) * tokens];
        for (read, (token, _)) in head.reads.iter().enumerate() {
            sources[n * tokens + token - head.tokens.start] = RowSource::Base(read);
        }
        let turned = match &curvature {
            None => x_bar.clone(),
            Some(curvature) => {
                let table = Rows::new(device, &spans[1..])?;
                let x_dot = weights.final_norm.jvp(rec, &table, &base.head_residuals, &[&h_dot])?;
                let mut pairs = Vec::with_capacity(n * curvature.points());
                for i in 0..n {
                    for (read, (token, _)) in head.reads.iter().enumerate() {
                        let Some(point) = curvature.point(read) else { continue };
                        let row = i * tokens + token - head.tokens.start;
                        sources[row] = RowSource::X(pairs.len());
                        pairs.push((row, point));
                    }
                }
                let turning = curvature.spread(rec, model, &x_dot, &pairs)?;
                curvature.turned(rec, model, &turning)?
            }
        };
        let bar = RowPlan::new(device, self.sizes().d, &sources, &[])?.primal(rec, &turned, &x_bar)?;
        let residuals = Residuals::new(&[&h_dot]);
        let paired = Paired { residuals: &residuals, rows: n * tokens, shared_cotangent: n * tokens };
        rec.scope("ln_f");
        let table = Rows::new(device, &spans)?;
        let bar = single(weights.final_norm.hvp(rec, &table, (&base.head_residuals, paired), &bar, &[None])?)?;
        let ids = here.iter().map(|&i| batch.sequence(i).id).chain([SHARED_COTANGENT]);
        Ok(Some((bar, ids.zip((0..).step_by(tokens)).collect())))
    }

    /// Returns the most batch rows that fit besides the `shared_rows` rows of the shared cotangent.
    ///
    /// Each row stores `extra` vectors of width d to the end, and what the backward pass needs of every block: the
    /// inputs of both norms, q, k, v, z, and the hidden layer.
    fn most_rows_of_hvp(&self, extra: usize, shared_rows: usize) -> usize {
        let (model, sizes) = (self.run.model(), self.sizes());
        let block = model.architecture().block_elements();
        most_rows(model, extra * sizes.d + block * sizes.layers).saturating_sub(shared_rows).max(1)
    }
}

/// An observable by what its backward pass starts from.
struct Head {
    /// The functions of the logits, with their tokens in order.
    reads: Vec<(usize, HeadFunction)>,
    /// From the first of these tokens to the last.
    tokens: Range<usize>,
    /// The base run's row of token 0.
    first: usize,
    /// Projections of the field: level and token, and the vector.
    projections: Vec<((usize, usize), Vec<f32>)>,
}

impl Head {
    fn new(run: &Run, observable: &Observable) -> Result<Self> {
        let (mut reads, mut projections) = (Vec::new(), Vec::new());
        for Point { level, token, part } in observable.points(run.sizes())? {
            match part {
                Part::Projection(u) => projections.push(((level, token), u)),
                Part::Logits(function) => reads.push((token, function)),
            }
        }
        let tokens = match (reads.first(), reads.last()) {
            (Some((first, _)), Some((last, _))) => *first..last + 1,
            _ => 0..0,
        };
        Ok(Self { reads, tokens, first: run.span(0, 0).primal, projections })
    }

    /// Returns the functions with their rows in the base run.
    fn reads(&self) -> Vec<HeadRow<'_>> {
        self.reads.iter().map(|(token, function)| (self.first + token, function)).collect()
    }
}
