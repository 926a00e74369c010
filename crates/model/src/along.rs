//! Derivatives of observables to second order along sources, by jets: of one run, or of several runs of one batch.

use std::collections::BTreeSet;
use std::ops::Range;

use resolvent_engine::{Tensor, stepped};
use resolvent_ops::{Rows, Span};

use crate::batch::{Batch, PassDirection, Sequence};
use crate::curvature::Curvature;
use crate::error::Result;
use crate::grouped::group_by;
use crate::head::HeadRow;
use crate::linear::{Linearization, Source, SourcedRun};
use crate::mode::Mode;
use crate::observable::Observable;
use crate::order::Order;
use crate::passes::tangent;
use crate::points::{HeadFunction, Part, Point};
use crate::read::dot;
use crate::run::Run;
use crate::splits::split;

/// Derivatives of an observable J along a superposition of sources, `J(h + a s)` at a = 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Along {
    /// `dJ/da`
    pub first: f64,
    /// `d2J/da2`
    pub second: f64,
}

/// A superposition of sources in one of several runs, and the observable whose derivatives are wanted.
#[derive(Clone, Copy)]
pub struct ProbedRun<'a> {
    /// The run.
    pub run: &'a Run,
    /// The sources, which act together.
    pub sources: &'a [Source],
    /// The observable of the run.
    pub observable: &'a Observable,
}

/// Returns the first and second derivative of each observable along its sources; see [`Linearization::along`].
///
/// Runs of one call of [`crate::Model::run_all`] share batches.
///
/// # Errors
/// A source or an observable that does not fit the model or its prompt, or a device error.
pub fn along_of(probed: &[ProbedRun<'_>]) -> Result<Vec<Along>> {
    let mut along = vec![Along::default(); probed.len()];
    for part in group_by(probed, |a, b| a.run.shares_batch(b.run)) {
        let found = part.items[0].run.linearize(Mode::Exact).along_probed(&part.items)?;
        part.places.iter().zip(found).for_each(|(&place, of)| along[place] = of);
    }
    Ok(along)
}

impl Linearization<'_> {
    /// Returns the first and second derivative of `observable` along each superposition of sources.
    ///
    /// Only rows up to the observable's position are computed, and only its own row passes through the final norm and
    /// the unembedding.
    ///
    /// # Errors
    /// Another mode than [`crate::Mode::Exact`], a source or an observable that does not fit the model or the prompt,
    /// or a device error.
    pub fn along<S: AsRef<[Source]>>(&self, sources: &[S], observable: &Observable) -> Result<Vec<Along>> {
        self.mode().second_order("along")?;
        observable.check(self.sizes(), self.run.tokens())?;
        let probed = sources.iter().map(|s| ProbedRun { run: self.run, sources: s.as_ref(), observable });
        self.along_probed(&probed.collect::<Vec<_>>())
    }

    /// Computes the derivatives in runs of this run's base.
    fn along_probed(&self, probed: &[ProbedRun<'_>]) -> Result<Vec<Along>> {
        let mut along = vec![Along::default(); probed.len()];
        let expansions = self.expansions(probed)?;
        for (first, expansion) in &expansions {
            let part = &probed[*first..][..expansion.of.len()];
            let found = self.along_expanded(part, expansion)?;
            along[*first..][..part.len()].copy_from_slice(&found);
        }
        for (derivatives, ProbedRun { run, sources, .. }) in along.iter().zip(probed) {
            let each = || sources.iter().map(|s| format!("{}, token {}", s.site, s.token));
            let place = || format!("a source at {}", each().collect::<Vec<_>>().join(" and "));
            for derivative in [derivatives.first, derivatives.second] {
                if !derivative.is_finite() {
                    return Err(run.not_finite("the derivative of J", derivative as f32, &place()));
                }
            }
        }
        Ok(along)
    }

    /// Computes the derivatives along sources of runs whose observables are expanded together.
    fn along_expanded(&self, probed: &[ProbedRun<'_>], expansion: &Expansion) -> Result<Vec<Along>> {
        let (program, mut along) = (self.run.program(), vec![Along::default(); probed.len()]);
        let wanted: BTreeSet<usize> = expansion.points.iter().map(|(_, p)| program.read_from(p)).collect();
        if wanted.is_empty() {
            return Ok(along);
        }
        let sourced: Vec<SourcedRun<'_>> =
            probed.iter().map(|p| SourcedRun { run: p.run, sources: p.sources }).collect();
        let sequences = self.sequences(&sourced, |id| probed[id].observable.position() + 1)?.into_iter();
        let read = |s: &Sequence| expansion.of[s.id].clone().any(|point| s.owns(expansion.points[point].1.token));
        let sequences = sequences.map(|s| s.within_cone(program)).filter(read).collect();
        // Functions of all logits need rows of them.
        let most = if expansion.curvature.is_some() { self.run.model().most_logit_rows() } else { usize::MAX };
        for group in stepped("jets", split(self.most_jets(wanted.len()), sequences), Vec::len) {
            let batch = Batch::new(self.device(), &group, PassDirection::Forward)?;
            let (mut rec, trace) = (self.device().record(), &self.run.base.trace);
            let results = tangent(program, &mut rec, &batch, trace, (&wanted, Order::Second))?;
            self.device().submit(rec)?;
            let here = |&value: &usize| {
                Some((
                    results[value].as_ref()?,
                    reads_at(&batch, value, expansion, |point| program.read_from(point) == value),
                ))
            };
            let reads: Vec<(&Tensor, [Vec<Read>; 2])> = wanted.iter().filter_map(here).collect();
            let parts = reads.iter().flat_map(|(jets, reads)| reads.iter().map(move |reads| (*jets, reads)));
            let parts = parts.flat_map(|(jets, reads)| reads.chunks(most).map(move |reads| (jets, reads)));
            let pending =
                parts.map(|(jets, reads)| self.record_along(jets, reads, expansion)).collect::<Result<Vec<_>>>()?;
            let tensors: Vec<&Tensor> = pending.iter().flat_map(PendingAlong::tensors).collect();
            let mut read = self.device().read_many(&tensors)?.into_iter();
            pending.iter().for_each(|p| p.finish(expansion, &mut read, &mut along));
        }
        Ok(along)
    }

    /// Records the parts that are read from rows of the jets of one level: all of them projections, or all functions of
    /// logits.
    fn record_along<'b>(&self, jets: &Tensor, reads: &'b [Read], expansion: &Expansion) -> Result<PendingAlong<'b>> {
        let (base, device, mut rec) = (&self.run.base, self.device(), self.device().record());
        let model = &base.model;
        let both: Vec<usize> = reads.iter().flat_map(|read| [2 * read.row, 2 * read.row + 1]).collect();
        let mut pending = PendingAlong { reads, jet: model.select_rows(&mut rec, jets, &both)?, moments: None };
        if reads.iter().any(|read| matches!(expansion.points[read.point].1.part, Part::Logits(_))) {
            rec.scope("ln_f");
            let spans: Vec<Span> = reads.iter().map(|read| expansion.points[read.point].0).collect();
            let table = Rows::new(device, &spans)?;
            pending.jet = base.program.final_norm.jet(&mut rec, &table, &base.head_residuals, &[&pending.jet])?;
            let curved = reads.iter().enumerate().filter_map(|(i, read)| Some((i, expansion.place(read.point)?)));
            let pairs: Vec<(usize, u32)> = curved.map(|(i, place)| (2 * i, place)).collect();
            if let (Some(curvature), false) = (&expansion.curvature, pairs.is_empty()) {
                pending.moments = Some(curvature.spread(&mut rec, model, &pending.jet, &pairs)?.moments);
            }
        }
        device.submit(rec)?;
        Ok(pending)
    }

    /// Expands the observables around their runs: as many together as their rows of all logits allow. Returns each
    /// expansion with the index of its first item.
    fn expansions(&self, probed: &[ProbedRun<'_>]) -> Result<Vec<(usize, Expansion)>> {
        let most = self.run.model().most_logit_rows();
        let mut expansions = Vec::new();
        let (mut points, mut of, mut first, mut curved) = (Vec::new(), Vec::<Range<usize>>::new(), 0, 0);
        for (i, &ProbedRun { run, observable, .. }) in probed.iter().enumerate() {
            let same = |last: &ProbedRun<'_>| std::ptr::eq(last.run, run) && std::ptr::eq(last.observable, observable);
            if let Some(known) = of.last().filter(|_| same(&probed[i - 1])).cloned() {
                of.push(known);
                continue;
            }
            observable.check(self.sizes(), run.tokens())?;
            let here = observable.points(self.sizes())?;
            let more = here.iter().filter(|p| matches!(&p.part, Part::Logits(f) if run.model().is_curved(f))).count();
            if curved + more > most && i > first {
                expansions.push((first, self.expand(std::mem::take(&mut points), std::mem::take(&mut of))?));
                (first, curved) = (i, 0);
            }
            curved += more;
            of.push(points.len()..points.len() + here.len());
            points.extend(here.into_iter().map(|point| (run.span(point.token, point.token + 1), point)));
        }
        expansions.push((first, self.expand(points, of)?));
        Ok(expansions)
    }

    fn expand(&self, points: Vec<(Span, Point)>, of: Vec<Range<usize>>) -> Result<Expansion> {
        let mut slopes: Vec<Vec<f32>> = Vec::with_capacity(points.len());
        let (mut places, mut reads): (Vec<usize>, Vec<HeadRow<'_>>) = (Vec::new(), Vec::new());
        for (n, (span, point)) in points.iter().enumerate() {
            match &point.part {
                Part::Projection(u) => slopes.push(u.clone()),
                Part::Logits(function) => {
                    slopes.push(Vec::new());
                    places.push(n);
                    reads.push((span.primal + point.token, function as &HeadFunction));
                }
            }
        }
        let mut curvature = None;
        if !reads.is_empty() {
            let (model, mut rec) = (self.run.model(), self.device().record());
            rec.scope("unembed");
            let (bars, curved) = model.normed_vjp(&mut rec, &self.run.base.normed, &reads)?;
            self.device().submit(rec)?;
            let bars = self.device().read(&bars)?;
            places.iter().zip(bars.chunks(self.sizes().d)).for_each(|(&n, bar)| slopes[n] = bar.to_vec());
            curvature = curved;
        }
        Ok(Expansion { points, of, slopes, places, curvature })
    }
}

/// A row of the jets of a level, the point that is read there, and the item whose derivatives it adds to.
struct Read {
    row: usize,
    point: usize,
    item: usize,
}

/// Returns what is read from the jets of a value: projections, and functions of logits.
fn reads_at(batch: &Batch, value: usize, expansion: &Expansion, here: impl Fn(&Point) -> bool) -> [Vec<Read>; 2] {
    let (active, mut reads) = (batch.active(value, PassDirection::Forward), [Vec::new(), Vec::new()]);
    // A sequence that joins above the level does not change it.
    for i in (0..batch.len()).filter(|&i| batch.range(i).end <= active) {
        let (first, sequence) = (batch.range(i).start, batch.sequence(i));
        for point in expansion.of[sequence.id].clone() {
            let at = &expansion.points[point].1;
            let Point { token, part, .. } = at;
            // Nor does one that does not own the token.
            if here(at) && sequence.owns(*token) {
                let row = first + token - sequence.span.start;
                reads[usize::from(matches!(part, Part::Logits(_)))].push(Read { row, point, item: sequence.id });
            }
        }
    }
    reads
}

/// Parts whose recordings are submitted, before they are read.
struct PendingAlong<'a> {
    reads: &'a [Read],
    /// The jets of the rows, of the field or of the final norm's output, `[2 reads, d]`.
    jet: Tensor,
    /// The moments of those that have curvature, in their order, `[curved, 4]`.
    moments: Option<Tensor>,
}

impl PendingAlong<'_> {
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        [&self.jet].into_iter().chain(&self.moments)
    }

    /// Adds the parts to the derivatives of their items. `read` has the contents of the tensors, in their order.
    fn finish(&self, expansion: &Expansion, read: &mut dyn Iterator<Item = Vec<f32>>, along: &mut [Along]) {
        let jet = read.next().unwrap_or_default();
        let moments = self.moments.as_ref().and_then(|_| read.next()).unwrap_or_default();
        let (d, mut moments) = (jet.len() / (2 * self.reads.len()), moments.chunks(4));
        for (read, pair) in self.reads.iter().zip(jet.chunks(2 * d)) {
            let (slope, (dot_row, ddot_row)) = (&expansion.slopes[read.point], pair.split_at(d));
            let sum = &mut along[read.item];
            sum.first += dot(slope, dot_row);
            sum.second += dot(slope, ddot_row);
            let curved = expansion.curvature.as_ref().zip(expansion.place(read.point));
            if let (Some((curvature, place)), Some(moments)) = (curved, curved.and_then(|_| moments.next())) {
                sum.second += curvature.second(place, moments);
            }
        }
    }
}

/// Observables to second order around their runs.
struct Expansion {
    /// The places that they are read from, as spans of one token, and the parts.
    points: Vec<(Span, Point)>,
    /// The points of each item.
    of: Vec<Range<usize>>,
    /// The derivative of each part by its row: of the field, or of the final norm's output.
    slopes: Vec<Vec<f32>>,
    /// The parts that read logits, in the order in which the curvature numbers them.
    places: Vec<usize>,
    curvature: Option<Curvature>,
}

impl Expansion {
    /// Returns the place of a part among those that have curvature, if it has any.
    fn place(&self, point: usize) -> Option<u32> {
        self.curvature.as_ref()?.point(self.places.binary_search(&point).ok()?)
    }
}
