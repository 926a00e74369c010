//! Sweeps: many edited runs over their base runs, as ragged batches.
//!
//! Each edited run computes only the rows that its edits can reach; all other rows are those of its base run. The
//! edited runs of a batch pass through the layers together, so every weight is read once a batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use resolvent_engine::{Recording, stepped};
use resolvent_ops::Span;

use crate::batch::{Batch, PassDirection, Sequence};
use crate::edit::{Change, Edit};
use crate::error::Result;
use crate::grouped::group_by;
use crate::observable::Observable;
use crate::passes::{Keep, Origin, forward};
use crate::points::Point;
use crate::program::ValueId;
use crate::read::{Pending, Read, finish};
use crate::run::{Base, Run, retained, scheduled};
use crate::site::Site;
use crate::splits::groups;
use crate::taken::resolved;
use crate::values::{parts, total};

/// A run with further edits on top of its own.
#[derive(Clone, Copy)]
pub struct EditedRun<'a> {
    /// The base run, from which the edited run branches where its first edit acts.
    pub run: &'a Run,
    /// The further edits, in the order in which they act.
    pub edits: &'a [Edit],
    /// The observable to compute.
    pub observable: &'a Observable,
}

/// Rows of one sequence of a batch at one site, for consecutive tokens.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Index of the sequence's sources, seeds or edits in the caller's list.
    pub sequence: usize,
    /// Index of the site in the caller's list.
    pub site: usize,
    /// Token of the first row.
    pub token: usize,
    /// `[n, width of the site]`
    pub rows: &'a [f32],
}

impl<'a> Chunk<'a> {
    /// Returns the row of a token, of the site's width; `None` if the chunk has no such row.
    pub fn row(&self, token: usize, width: usize) -> Option<&'a [f32]> {
        let at = token.checked_sub(self.token)? * width;
        self.rows.get(at..at + width)
    }
}

/// Returns the value of each edited run's observable.
///
/// Edited runs share batches if their base runs come from one call of [`crate::Model::run_all`].
///
/// # Errors
/// An edit or an observable that does not fit its run, or a device error.
pub fn values_of(edited_runs: &[EditedRun<'_>]) -> Result<Vec<f64>> {
    // The observables as they are read, each with the values of its parts in the base run.
    let mut distinct: Vec<(&Run, &Observable)> = Vec::new();
    let mut reading_of = Vec::with_capacity(edited_runs.len());
    for &EditedRun { run, edits, observable } in edited_runs {
        edits.iter().try_for_each(|e| e.check(run.sizes(), run.tokens().len()))?;
        let same = |(of, j): &(&Run, &Observable)| std::ptr::eq(*of, run) && std::ptr::eq(*j, observable);
        if !distinct.last().is_some_and(same) {
            distinct.push((run, observable));
        }
        reading_of.push(distinct.len() - 1);
    }
    let distinct = parts(&distinct)?;
    let readings: Vec<&Reading> = reading_of.iter().map(|&n| &distinct[n]).collect();
    let branches: Vec<Branch<'_>> = edited_runs.iter().map(|e| (e.run, e.edits, e.observable.position() + 1)).collect();
    let values: Vec<f64> = parts_under(&branches, &readings)?.iter().map(|parts| total(parts)).collect();
    for (edited, &value) in edited_runs.iter().zip(&values) {
        edited.run.finite_value(value, || place_of(edited.edits))?;
    }
    Ok(values)
}

/// Computes the values of `sites` in runs with further edits, and passes them to `visit` in chunks; see
/// [`Run::fields_under`].
///
/// Edited runs share batches if their base runs come from one call of [`crate::Model::run_all`].
///
/// # Errors
/// As [`Run::fields_under`], for any of the runs.
pub fn fields_of(edited: &[(&Run, &[Edit])], sites: &[Site], visit: &mut dyn FnMut(Chunk<'_>)) -> Result<()> {
    for part in group_by(edited, |(a, _), (b, _)| a.shares_batch(b)) {
        part.items[0].0.sweep_fields(&part.items, sites, &mut |chunk| {
            visit(Chunk { sequence: part.places[chunk.sequence], ..chunk });
        })?;
    }
    Ok(())
}

/// Names the edits of an edited run in the message about a value that is not finite.
pub(crate) fn place_of(edits: &[Edit]) -> String {
    let each = edits.iter().map(|e| format!("{}, token {}", e.site, e.token));
    format!("an edit of {}", each.collect::<Vec<_>>().join(" and "))
}

/// A base run, further edits, and one past the last token that is read.
type Branch<'a> = (&'a Run, &'a [Edit], usize);

/// Returns the values of all parts of each branch's reading. If no edit reaches a part, its value is exactly that of
/// the base run.
fn parts_under(branches: &[Branch<'_>], readings: &[&Reading]) -> Result<Vec<Vec<f64>>> {
    let mut bases: Vec<(&Arc<Base>, Vec<Sequence>)> = Vec::new();
    for (id, (&(run, edits, end), (points, _))) in branches.iter().zip(readings).enumerate() {
        let Some(sequence) = branch((run, edits, end), id, points)? else { continue };
        match bases.iter_mut().find(|(base, _)| Arc::ptr_eq(base, &run.base)) {
            Some((_, sequences)) => sequences.push(sequence),
            None => bases.push((&run.base, vec![sequence])),
        }
    }
    let mut swept = Vec::new();
    for (base, sequences) in bases {
        swept.extend(sweep(base, sequences, readings)?);
    }
    let mut values: Vec<Vec<f64>> = readings.iter().map(|(_, base)| base.clone()).collect();
    if let Some((run, ..)) = branches.first() {
        finish_parts(run, swept, readings)?.into_iter().for_each(|(id, parts)| values[id] = parts);
    }
    Ok(values)
}

/// Returns the sequence of an edited run, or `None` if its edits do not reach any of the points.
pub(crate) fn branch((run, edits, end): Branch<'_>, id: usize, points: &[Point]) -> Result<Option<Sequence>> {
    let start = edits.iter().map(|e| e.token).min().filter(|&start| start < end);
    match start {
        Some(start) if edits.iter().any(|edit| reaches(run, edit, points)) => {
            Ok(Some(sequence(run, id, edits, run.span(start, end))?))
        }
        _ => Ok(None),
    }
}

/// The places that an observable is read from, and the values of its parts in the base run.
pub(crate) type Reading = (Vec<Point>, Vec<f64>);

/// One value of one batch of edited runs: for each row that is read, the edited run and the part of its observable.
pub(crate) type Swept<'a> = (Vec<(usize, usize)>, Pending<'a>);

/// Records the edited runs of one base, in as many batches as memory requires.
fn sweep<'a>(base: &Base, sequences: Vec<Sequence>, readings: &[&'a Reading]) -> Result<Vec<Swept<'a>>> {
    let device = base.model.device();
    let mut swept = Vec::new();
    for group in stepped("edited runs", groups(&base.model, 1, sequences), Vec::len) {
        let mut rec = device.record();
        swept.extend(record_swept(base, &mut rec, &group, Origin::Base(&base.trace), &|id| readings[id])?);
        device.submit(rec)?;
    }
    Ok(swept)
}

/// Records one batch of sequences that branch from `base`, and what is read of each. `reading` returns it by the number
/// of a sequence.
pub(crate) fn record_swept<'a>(
    base: &Base,
    rec: &mut Recording,
    group: &[Sequence],
    origin: Origin<'_>,
    reading: &dyn Fn(usize) -> &'a Reading,
) -> Result<Vec<Swept<'a>>> {
    let device = base.model.device();
    let batch = Batch::new(device, group, PassDirection::Forward)?;
    let points = |s: &Sequence| reading(s.id).0.iter();
    let levels: BTreeSet<usize> = group.iter().flat_map(points).map(|point| point.level).collect();
    // If only the last row of each sequence is read, all at one level, the pass computes only these rows above the
    // last attention below it.
    let ends = |s: &Sequence| points(s).all(|point| point.token + 1 == s.span.end);
    let mixed = levels.first().filter(|_| levels.len() == 1 && group.iter().all(ends));
    let narrow = match mixed.and_then(|&level| base.program.mixed(level)) {
        Some(at) => batch.last_rows(device, at)?,
        None => None,
    };
    let is_narrow = narrow.is_some();
    let values: BTreeSet<ValueId> = group.iter().flat_map(points).map(|point| base.program.read_from(point)).collect();
    let keep = Keep { values: values.clone(), residuals: false, narrow };
    let trace = forward(&base.program, rec, &batch, origin, &keep)?;
    let mut swept = Vec::new();
    for value in values {
        // A sequence that joins above the value that is read does not change it.
        let active = batch.active(value, PassDirection::Forward);
        let (mut reads, mut places) = (Vec::new(), Vec::new());
        for (i, s) in group.iter().enumerate().filter(|&(i, _)| batch.range(i).end <= active) {
            let here = |point: &Point| base.program.read_from(point) == value && s.owns(point.token);
            for (n, point) in points(s).enumerate().filter(|(_, point)| here(point)) {
                let row = if is_narrow { batch.place(i) } else { batch.range(i).start + point.token - s.span.start };
                reads.push(Read { row, token: point.token, part: &point.part });
                places.push((s.id, n));
            }
        }
        if !reads.is_empty() {
            swept.push((places, base.record_rows(rec, retained(&trace, value)?, reads)?));
        }
    }
    Ok(swept)
}

/// Waits for all that was swept, and sums the parts of each edited run's observable.
pub(crate) fn finish_sweep(run: &Run, swept: Vec<Swept<'_>>, readings: &[&Reading], values: &mut [f64]) -> Result<()> {
    finish_parts(run, swept, readings)?.into_iter().for_each(|(id, parts)| values[id] = total(&parts));
    Ok(())
}

/// Waits for all that was swept, and returns the parts of each edited run that changed. Parts that an edited run does
/// not change have the value of the base run.
fn finish_parts(run: &Run, swept: Vec<Swept<'_>>, readings: &[&Reading]) -> Result<BTreeMap<usize, Vec<f64>>> {
    let (places, pending): (Vec<_>, Vec<_>) = swept.into_iter().unzip();
    let mut parts: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (places, found) in places.into_iter().zip(finish(run.device(), &pending)?) {
        for ((id, n), value) in places.into_iter().zip(found) {
            parts.entry(id).or_insert_with(|| readings[id].1.clone())[n] = value;
        }
    }
    Ok(parts)
}

impl Run {
    /// Returns the observable's value under each list of edits, on top of this run's own edits; see [`values_of`].
    ///
    /// # Errors
    /// An edit or an observable that does not fit, or a device error.
    pub fn values_under<E: AsRef<[Edit]>>(&self, edit_lists: &[E], observable: &Observable) -> Result<Vec<f64>> {
        observable.check(self.sizes(), self.tokens())?;
        let edited_runs: Vec<EditedRun<'_>> =
            edit_lists.iter().map(|edits| EditedRun { run: self, edits: edits.as_ref(), observable }).collect();
        values_of(&edited_runs)
    }

    /// Returns the values of several observables under each list of edits, `[lists, observables]`: one sweep for all of
    /// them.
    ///
    /// # Errors
    /// As [`Run::values_under`].
    pub fn values_under_each<E: AsRef<[Edit]>>(
        &self,
        edit_lists: &[E],
        observables: &[Observable],
    ) -> Result<Vec<f64>> {
        for edits in edit_lists {
            edits.as_ref().iter().try_for_each(|e| e.check(self.sizes(), self.tokens().len()))?;
        }
        let each = parts(&observables.iter().map(|observable| (self, observable)).collect::<Vec<_>>())?;
        let ends: Vec<usize> = each.iter().map(|(points, _)| points.len()).collect();
        let (points, base): (Vec<Vec<Point>>, Vec<Vec<f64>>) = each.into_iter().unzip();
        let reading = (points.concat(), base.concat());
        let end = observables.iter().map(|observable| observable.position() + 1).max().unwrap_or(0);
        let branches: Vec<Branch<'_>> = edit_lists.iter().map(|edits| (self, edits.as_ref(), end)).collect();
        let mut values = Vec::with_capacity(edit_lists.len() * observables.len());
        for (edits, parts) in edit_lists.iter().zip(parts_under(&branches, &vec![&reading; branches.len()])?) {
            let mut from = 0;
            for many in &ends {
                let value = total(&parts[from..from + many]);
                values.push(self.finite_value(value, || place_of(edits.as_ref()))?);
                from += many;
            }
        }
        Ok(values)
    }

    /// Computes the values of `sites` under each list of edits, on top of this run's own edits, and passes them to
    /// `visit` in chunks.
    ///
    /// Rows that the edits cannot reach are neither computed nor visited; they are equal to this run's.
    ///
    /// # Errors
    /// An edit or a site that does not fit, a fused output that [`crate::RunOptions::sites`] did not name, or a device
    /// error.
    pub fn fields_under<E: AsRef<[Edit]>>(
        &self,
        edit_lists: &[E],
        sites: &[Site],
        visit: &mut dyn FnMut(Chunk<'_>),
    ) -> Result<()> {
        let edited: Vec<(&Self, &[Edit])> = edit_lists.iter().map(|edits| (self, edits.as_ref())).collect();
        self.sweep_fields(&edited, sites, visit)
    }

    /// Computes the values of `sites` in edited runs of this run's base.
    fn sweep_fields(
        &self,
        edited: &[(&Self, &[Edit])],
        sites: &[Site],
        visit: &mut dyn FnMut(Chunk<'_>),
    ) -> Result<()> {
        let mut sequences = Vec::new();
        for (id, (run, edits)) in edited.iter().enumerate() {
            let tokens = run.tokens().len();
            edits.iter().try_for_each(|e| e.check(run.sizes(), tokens))?;
            let Some(start) = edits.iter().map(|e| e.token).min() else { continue };
            sequences.push(sequence(run, id, edits, run.span(start, tokens))?);
        }
        let keep = Keep { values: self.values_of_sites(sites)?, residuals: false, narrow: None };
        for group in stepped("edited runs", groups(self.model(), sites.len(), sequences), Vec::len) {
            let batch = Batch::new(self.device(), &group, PassDirection::Forward)?;
            let mut rec = self.device().record();
            let trace = forward(self.program(), &mut rec, &batch, Origin::Base(&self.base.trace), &keep)?;
            self.device().submit(rec)?;
            self.visit(&batch, &trace.values, ("the edited value", sites), visit)?;
        }
        Ok(())
    }
}

/// Returns whether `edit` changes a value that one of these points can depend on.
///
/// A point can depend on all values below its level up to its token, as far back as the windows of attention allow, and
/// on its own token at this level. It does not depend on values above this level.
fn reaches(run: &Run, edit: &Edit, points: &[Point]) -> bool {
    let below = |value| {
        let cone = edit.token..run.program().cone_end(value, edit.token);
        points.iter().any(|point| {
            let top = run.program().read_from(point);
            (value < top && cone.contains(&point.token)) || (value == top && edit.token == point.token)
        })
    };
    let changes_value = match &edit.change {
        Change::Add(s) => s.iter().any(|x| *x != 0.0),
        Change::Scale(factor) => *factor != 1.0,
        Change::Put(_) | Change::Project(_) | Change::Take(_) => true,
    };
    // A site without a value counts as reaching, so that applying the edit reports the error.
    changes_value && run.program().edited(edit.site).is_none_or(below)
}

/// Returns the sequence that branches from `run` where the first of `edits` acts.
fn sequence(run: &Run, id: usize, edits: &[Edit], span: Span) -> Result<Sequence> {
    let (sizes, program) = (run.sizes(), run.program());
    let edits = resolved(run.device(), program, Some(&run.base.trace), edits)?;
    let further = scheduled(sizes, program, &edits, Edit::primal_edit)?;
    let first = further.iter().map(|e| e.value).min().unwrap_or(0);
    let join = program.cut_point_before(first);
    // Values above the join are recomputed, so the base run's own edits act there again. The value at the join already
    // contains them.
    let own = resolved(run.device(), program, Some(&run.base.trace), run.edits())?;
    let mut scheduled = scheduled(sizes, program, &own, Edit::primal_edit)?;
    scheduled.retain(|e| e.value > join);
    scheduled.extend(further);
    Ok(Sequence { id, span, join, scheduled }.within_cone(program))
}
