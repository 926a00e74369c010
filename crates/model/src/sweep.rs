//! Sweeps: many edited runs over their base runs, as ragged batches.
//!
//! Each edited run computes only the rows that its edits can reach, all of them pass the layers together, and every
//! weight is read once a batch. What a variant does not own is its base run's.

use std::collections::BTreeSet;
use std::sync::Arc;

use resolvent_ops::Span;

use crate::batch::{Batch, Order, PassDirection, Sequence};
use crate::edit::{Change, Edit};
use crate::error::Result;
use crate::model::Model;
use crate::observable::Observable;
use crate::passes::{Harvest, Keep, Origin, forward};
use crate::program::ValueId;
use crate::read::Read;
use crate::run::{Base, Run, columns, retained, scheduled};
use crate::site::Site;

/// A run with further edits on top of its own.
#[derive(Clone, Copy)]
pub struct EditedRun<'a> {
    /// The run that it leaves where its first edit acts.
    pub run: &'a Run,
    /// Its edits, in the order in which they act.
    pub edits: &'a [Edit],
    /// What is read.
    pub observable: &'a Observable,
}

/// Rows of one sequence of a batch at one site: `[n, width]`, of tokens `token` on.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Which source, cotangent or variant, by its place in what was given.
    pub sequence: usize,
    /// Which site, by its place in what was given.
    pub site: usize,
    /// Token of the first row.
    pub token: usize,
    /// `[n, width of the site]`
    pub rows: &'a [f32],
}

/// The value of each variant's observable. Runs that were made by one [`Model::run_all`] share batches.
///
/// # Errors
/// An edit or an observable that does not fit its run, or a device error.
pub fn values_of(variants: &[EditedRun<'_>]) -> Result<Vec<f64>> {
    let mut values = vec![0.0; variants.len()];
    let mut bases: Vec<(&Arc<Base>, Vec<Sequence>)> = Vec::new();
    let mut last: Option<(*const Run, *const Observable, f64)> = None;
    for (id, &EditedRun { run, edits, observable }) in variants.iter().enumerate() {
        let (config, tokens) = (run.config(), run.tokens().len());
        observable.check(config, tokens)?;
        edits.iter().try_for_each(|e| e.check(config, tokens))?;
        // Where no edit reaches the observable, its value stays, exactly.
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
        sweep(base, sequences, variants, &mut values)?;
    }
    for (variant, &value) in variants.iter().zip(&values) {
        let each = || variant.edits.iter().map(|e| format!("{}, token {}", e.site, e.token));
        variant.run.finite_value(value, || format!("an edit of {}", each().collect::<Vec<_>>().join(" and ")))?;
    }
    Ok(values)
}

/// The variants of one base, in as many batches as memory asks for.
fn sweep(base: &Base, sequences: Vec<Sequence>, variants: &[EditedRun<'_>], values: &mut [f64]) -> Result<()> {
    let (device, config) = (base.model.device(), base.model.config());
    let level = |m: &Sequence| variants[m.id].observable.level(config);
    for group in groups(&base.model, 1, sequences) {
        let batch = Batch::new(device, &group, PassDirection::Forward)?;
        let levels: BTreeSet<usize> = group.iter().map(level).collect();
        // All that is read of a run is its last row, at one level or another.
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
            let read = |&i: &usize| (row(i), variants[group[i].id].observable);
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
    /// The observable's value under each list of edits, put on top of this run's own; see [`values_of`].
    ///
    /// # Errors
    /// An edit or an observable that does not fit, or a device error.
    pub fn values_under<E: AsRef<[Edit]>>(&self, variants: &[E], observable: &Observable) -> Result<Vec<f64>> {
        observable.check(self.config(), self.tokens().len())?;
        let variants: Vec<EditedRun<'_>> =
            variants.iter().map(|edits| EditedRun { run: self, edits: edits.as_ref(), observable }).collect();
        values_of(&variants)
    }

    /// The values of `sites` under each list of edits, put on top of this run's own, handed to `visit` chunk by chunk.
    /// Rows that the edits cannot reach are not computed, and not visited: they are this run's.
    ///
    /// # Errors
    /// An edit or a site that does not fit, a fused output that [`crate::RunOptions::sites`] did not name, or a device
    /// error.
    pub fn fields_under<E: AsRef<[Edit]>>(
        &self,
        variants: &[E],
        sites: &[Site],
        visit: &mut dyn FnMut(Chunk<'_>),
    ) -> Result<()> {
        let (config, tokens) = (self.config(), self.tokens().len());
        let mut sequences = Vec::new();
        for (id, edits) in variants.iter().enumerate() {
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

    /// The levels of the field as sites, 0 to L.
    pub fn levels(&self) -> Vec<Site> {
        (0..=self.config().n_layer).map(|level| Site::level(level, self.config())).collect()
    }

    pub(crate) fn values_of_sites(&self, sites: &[Site]) -> Result<BTreeSet<ValueId>> {
        sites.iter().map(|&site| self.value_of(site)).collect()
    }

    /// Reads the results of a pass at the values of `sites`, and hands them over sequence by sequence. `what` it is goes into the
    /// message about a number that is not finite.
    pub(crate) fn visit(
        &self,
        batch: &Batch,
        harvest: &Harvest,
        (what, sites): (&str, &[Site]),
        visit: &mut dyn FnMut(Chunk<'_>),
    ) -> Result<()> {
        self.visit_orders(batch, harvest, (what, sites, Order::First), &mut |_, chunk| visit(chunk))
    }

    /// [`Run::visit`] of each order of the results of a pass, first and second numbered from 0.
    pub(crate) fn visit_orders(
        &self,
        batch: &Batch,
        harvest: &Harvest,
        (what, sites, order): (&str, &[Site], Order),
        visit: &mut dyn FnMut(usize, Chunk<'_>),
    ) -> Result<()> {
        for value in self.values_of_sites(sites)? {
            let Some(tensor) = &harvest[value] else { continue };
            let (data, all) = (self.device().read(tensor)?, tensor.shape().lengths()[1]);
            for (n, data) in order.split(data, all).iter().enumerate() {
                let of_value = |site: &&Site| self.program().value(**site) == Some(value);
                for (site, at) in sites.iter().enumerate().filter(|(_, site)| of_value(site)) {
                    let wanted = at.columns(self.config());
                    for i in 0..batch.len() {
                        let (rows, sequence) = (batch.range(i), batch.sequence(i));
                        // A sequence that had not joined at this value has nothing there.
                        if rows.end * all > data.len() {
                            continue;
                        }
                        let (sequence, token) = (sequence.id, sequence.span.start);
                        let whole = &data[rows.start * all..rows.end * all];
                        let part;
                        let rows = match wanted.len() == all {
                            true => whole,
                            false => {
                                part = columns(whole, all, wanted.clone());
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

/// Whether `edit` can change `observable` at all: it changes a number that the observable depends on. A value at or above
/// the level that is read depends on its own token alone.
fn reaches(run: &Run, edit: &Edit, observable: &Observable) -> bool {
    let top = run.program().field[observable.level(run.config())];
    let below = |value| value < top || (value == top && edit.token == observable.position());
    let scheduled = match &edit.change {
        Change::Add(s) => s.iter().any(|x| *x != 0.0),
        Change::Scale(factor) => *factor != 1.0,
        Change::Put(_) | Change::Project(_) => true,
    };
    // An invalid site is an error where the edit is applied.
    scheduled && run.program().value(edit.site).is_none_or(below)
}

/// A run that leaves `run` where the first of `edits` acts.
fn sequence(run: &Run, id: usize, edits: &[Edit], span: Span) -> Result<Sequence> {
    let (config, program) = (run.config(), run.program());
    let mine = scheduled(config, program, edits, Edit::primal_edit)?;
    let first = mine.iter().map(|a| a.value).min().unwrap_or(0);
    let join = program.cut_point_before(first);
    // The base run's own edits above the join are recomputed, so they act again; at the join its value has them.
    let mut scheduled = scheduled(config, program, run.edits(), Edit::primal_edit)?;
    scheduled.retain(|a| a.value > join);
    scheduled.extend(mine);
    Ok(Sequence { id, span, join, scheduled })
}

/// Rows of a batch that fit the device's bindings and its memory for a batch; `extra` is how many numbers of width d a
/// row keeps to the end, besides what is alive while a block is computed.
pub(crate) fn most_rows(model: &Model, extra: usize) -> usize {
    let (device, config) = (model.device(), model.config());
    let (d, inner) = (config.n_embd, config.n_inner());
    let widest = inner.max(3 * d);
    let by_binding = (device.info().max_binding / (4 * widest as u64)) as usize;
    let by_memory = device.batch_bytes() as usize / (4 * (2 * inner + (8 + extra) * d));
    // Attention's grid has a row a workgroup.
    by_binding.min(by_memory).clamp(1, resolvent_engine::MAX_GROUPS as usize)
}

/// Splits sequences into batches of [`most_rows`].
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
