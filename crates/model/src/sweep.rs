//! Sweeps: many edited runs over their base runs, as ragged batches.
//!
//! Each edited run computes only the rows that its edits can reach; all other rows are those of its base run. The
//! edited runs of a batch pass through the layers together, so every weight is read once a batch.

use std::collections::BTreeSet;
use std::sync::Arc;

use resolvent_ops::Span;

use crate::batch::{Batch, Order, PassDirection, Sequence};
use crate::edit::{Change, Edit};
use crate::error::Result;
use crate::model::Model;
use crate::observable::Observable;
use crate::passes::{Keep, Origin, PassResults, forward};
use crate::program::ValueId;
use crate::read::Read;
use crate::run::{Base, Run, columns, retained, scheduled};
use crate::site::Site;

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

/// Returns the value of each edited run's observable.
///
/// Edited runs share batches if their base runs come from one call of [`Model::run_all`].
///
/// # Errors
/// An edit or an observable that does not fit its run, or a device error.
pub fn values_of(edited_runs: &[EditedRun<'_>]) -> Result<Vec<f64>> {
    let mut values = vec![0.0; edited_runs.len()];
    let mut bases: Vec<(&Arc<Base>, Vec<Sequence>)> = Vec::new();
    let mut last: Option<(*const Run, *const Observable, f64)> = None;
    for (id, &EditedRun { run, edits, observable }) in edited_runs.iter().enumerate() {
        let (config, tokens) = (run.config(), run.tokens().len());
        observable.check(config, tokens)?;
        edits.iter().try_for_each(|e| e.check(config, tokens))?;
        // If no edit reaches the observable, its value is exactly that of the base run.
        values[id] = match last {
            Some((of, j, value)) if std::ptr::eq(of, run) && std::ptr::eq(j, observable) => value,
            _ => run.value(observable)?,
        };
        last = Some((run, observable, values[id]));
        let end = observable.position() + 1;
        let Some(start) = edits.iter().map(|e| e.token).min().filter(|&start| start < end) else { continue };
        if !edits.iter().any(|edit| reaches(run, edit, observable)) {
            continue;
        }
        let sequence = sequence(run, id, edits, run.span(start, end))?;
        match bases.iter_mut().find(|(base, _)| Arc::ptr_eq(base, &run.base)) {
            Some((_, sequences)) => sequences.push(sequence),
            None => bases.push((&run.base, vec![sequence])),
        }
    }
    for (base, sequences) in bases {
        sweep(base, sequences, edited_runs, &mut values)?;
    }
    for (edited, &value) in edited_runs.iter().zip(&values) {
        let each = || edited.edits.iter().map(|e| format!("{}, token {}", e.site, e.token));
        edited.run.finite_value(value, || format!("an edit of {}", each().collect::<Vec<_>>().join(" and ")))?;
    }
    Ok(values)
}

/// Computes the edited runs of one base, in as many batches as memory requires.
fn sweep(base: &Base, sequences: Vec<Sequence>, edited_runs: &[EditedRun<'_>], values: &mut [f64]) -> Result<()> {
    let (device, config) = (base.model.device(), base.model.config());
    let level = |s: &Sequence| edited_runs[s.id].observable.level(config);
    for group in groups(&base.model, 1, sequences) {
        let batch = Batch::new(device, &group, PassDirection::Forward)?;
        let levels: BTreeSet<usize> = group.iter().map(level).collect();
        // Only the last row of each sequence is read. If all are read at one level, the pass computes only these rows
        // above the last attention below it.
        let mixed = levels.first().filter(|_| levels.len() == 1).and_then(|&level| base.program.mixed(level));
        let narrow = match mixed {
            Some(at) => batch.last_rows(device, at, config.n_embd)?,
            None => None,
        };
        let is_narrow = narrow.is_some();
        let read_values = levels.iter().map(|&l| base.program.field[l]).collect();
        let keep = Keep { values: read_values, residuals: false, narrow };
        let mut rec = device.record();
        let trace = forward(&base.program, &mut rec, &batch, Origin::Base(&base.trace), &keep)?;
        device.submit(rec)?;
        for of_level in levels {
            let value = base.program.field[of_level];
            // A sequence that joins above the level that is read does not change it.
            let active = batch.active(value, PassDirection::Forward);
            let here = (0..group.len()).filter(|&i| level(&group[i]) == of_level);
            let reached: Vec<usize> = here.filter(|&i| batch.range(i).end <= active).collect();
            if reached.is_empty() {
                continue;
            }
            let row = |i| if is_narrow { batch.place(i) } else { batch.range(i).end - 1 };
            let read = |&i: &usize| (row(i), edited_runs[group[i].id].observable);
            let (of_field, of_logits): (Vec<usize>, Vec<usize>) =
                reached.into_iter().partition(|&i| matches!(read(&i).1, Observable::Field { .. }));
            let h = retained(&trace, value)?;
            for (part, head) in [(of_field, false), (of_logits, true)] {
                let reads: Vec<Read<'_>> = part.iter().map(read).collect();
                if reads.is_empty() {
                    continue;
                }
                let rec = device.record();
                let got = if head { base.read_last(rec, h, &reads) } else { base.read_field(rec, h, &reads) }?;
                for (&i, value) in part.iter().zip(got) {
                    values[group[i].id] = value;
                }
            }
        }
    }
    Ok(())
}

impl Run {
    /// Returns the observable's value under each list of edits, on top of this run's own edits; see [`values_of`].
    ///
    /// # Errors
    /// An edit or an observable that does not fit, or a device error.
    pub fn values_under<E: AsRef<[Edit]>>(&self, edit_lists: &[E], observable: &Observable) -> Result<Vec<f64>> {
        observable.check(self.config(), self.tokens().len())?;
        let edited_runs: Vec<EditedRun<'_>> =
            edit_lists.iter().map(|edits| EditedRun { run: self, edits: edits.as_ref(), observable }).collect();
        values_of(&edited_runs)
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
        let (config, tokens) = (self.config(), self.tokens().len());
        let mut sequences = Vec::new();
        for (id, edits) in edit_lists.iter().enumerate() {
            let edits = edits.as_ref();
            edits.iter().try_for_each(|e| e.check(config, tokens))?;
            let Some(start) = edits.iter().map(|e| e.token).min() else { continue };
            sequences.push(sequence(self, id, edits, self.span(start, tokens))?);
        }
        let keep = Keep { values: self.values_of_sites(sites)?, residuals: false, narrow: None };
        for group in groups(self.model(), sites.len(), sequences) {
            let batch = Batch::new(self.device(), &group, PassDirection::Forward)?;
            let mut rec = self.device().record();
            let trace = forward(self.program(), &mut rec, &batch, Origin::Base(&self.base.trace), &keep)?;
            self.device().submit(rec)?;
            self.visit(&batch, &trace.values, ("the edited value", sites), visit)?;
        }
        Ok(())
    }

    /// Returns the levels of the field as sites, 0 to L.
    pub fn levels(&self) -> Vec<Site> {
        (0..=self.config().n_layer).map(|level| Site::level(level, self.config())).collect()
    }

    pub(crate) fn values_of_sites(&self, sites: &[Site]) -> Result<BTreeSet<ValueId>> {
        sites.iter().map(|&site| self.value_of(site)).collect()
    }

    /// Reads the results of a pass at the values of `sites`, and passes them to `visit` sequence by sequence.
    ///
    /// `what` names the results in the message about a value that is not finite.
    pub(crate) fn visit(
        &self,
        batch: &Batch,
        results: &PassResults,
        (what, sites): (&str, &[Site]),
        visit: &mut dyn FnMut(Chunk<'_>),
    ) -> Result<()> {
        self.visit_orders(batch, results, (what, sites, Order::First), &mut |_, chunk| visit(chunk))
    }

    /// Like [`Run::visit`], for each order of the results: 0 is the first order, and 1 the second.
    pub(crate) fn visit_orders(
        &self,
        batch: &Batch,
        results: &PassResults,
        (what, sites, order): (&str, &[Site], Order),
        visit: &mut dyn FnMut(usize, Chunk<'_>),
    ) -> Result<()> {
        for value in self.values_of_sites(sites)? {
            let Some(tensor) = &results[value] else { continue };
            let (data, width) = (self.device().read(tensor)?, tensor.shape().lengths()[1]);
            for (n, data) in order.split(data, width).iter().enumerate() {
                let of_value = |site: &&Site| self.program().value(**site) == Some(value);
                for (site, at) in sites.iter().enumerate().filter(|(_, site)| of_value(site)) {
                    let wanted = at.columns(self.config());
                    for i in 0..batch.len() {
                        let (rows, sequence) = (batch.range(i), batch.sequence(i));
                        // A sequence that has not joined at this value has no rows there.
                        if rows.end * width > data.len() {
                            continue;
                        }
                        let (sequence, token) = (sequence.id, sequence.span.start);
                        let whole = &data[rows.start * width..rows.end * width];
                        let part;
                        let rows = match wanted.len() == width {
                            true => whole,
                            false => {
                                part = columns(whole, width, wanted.clone());
                                &part[..]
                            }
                        };
                        self.finite(what, *at, token, rows)?;
                        visit(n, Chunk { sequence, site, token, rows });
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns whether `edit` changes a value that `observable` can depend on.
///
/// It can depend on all values below the level that is read, and on its own token at this level. It does not depend on
/// values above this level.
fn reaches(run: &Run, edit: &Edit, observable: &Observable) -> bool {
    let top = run.program().field[observable.level(run.config())];
    let below = |value| value < top || (value == top && edit.token == observable.position());
    let changes_value = match &edit.change {
        Change::Add(s) => s.iter().any(|x| *x != 0.0),
        Change::Scale(factor) => *factor != 1.0,
        Change::Put(_) | Change::Project(_) => true,
    };
    // A site without a value counts as reaching, so that applying the edit reports the error.
    changes_value && run.program().value(edit.site).is_none_or(below)
}

/// Returns the sequence that branches from `run` where the first of `edits` acts.
fn sequence(run: &Run, id: usize, edits: &[Edit], span: Span) -> Result<Sequence> {
    let (config, program) = (run.config(), run.program());
    let further = scheduled(config, program, edits, Edit::primal_edit)?;
    let first = further.iter().map(|e| e.value).min().unwrap_or(0);
    let join = program.cut_point_before(first);
    // Values above the join are recomputed, so the base run's own edits act there again. The value at the join already
    // contains them.
    let mut scheduled = scheduled(config, program, run.edits(), Edit::primal_edit)?;
    scheduled.retain(|e| e.value > join);
    scheduled.extend(further);
    Ok(Sequence { id, span, join, scheduled })
}

/// Returns the most rows of a batch that fit the device's bindings and its memory for a batch.
///
/// `extra` is how many vectors of width d a row stores to the end, besides what is alive while a block is computed.
pub(crate) fn most_rows(model: &Model, extra: usize) -> usize {
    let (device, config) = (model.device(), model.config());
    let (d, inner) = (config.n_embd, config.n_inner());
    let widest = inner.max(3 * d);
    let by_binding = (device.info().max_binding / (4 * widest as u64)) as usize;
    let by_memory = device.batch_bytes() as usize / (4 * (2 * inner + (8 + extra) * d));
    // The grid of attention has one workgroup for each row.
    by_binding.min(by_memory).clamp(1, resolvent_engine::MAX_GROUPS as usize)
}

/// Splits sequences into batches of at most [`most_rows`] rows.
pub(crate) fn groups(model: &Model, extra: usize, sequences: Vec<Sequence>) -> Vec<Vec<Sequence>> {
    split(most_rows(model, extra), sequences)
}

/// Splits sequences into batches of at most `most` rows, or of one sequence.
pub(crate) fn split(most: usize, sequences: Vec<Sequence>) -> Vec<Vec<Sequence>> {
    let mut groups: Vec<Vec<Sequence>> = Vec::new();
    let mut rows = usize::MAX;
    for sequence in sequences {
        if rows.saturating_add(sequence.span.rows()) > most {
            groups.push(Vec::new());
            rows = 0;
        }
        rows += sequence.span.rows();
        if let Some(group) = groups.last_mut() {
            group.push(sequence);
        }
    }
    groups
}
