//! Ragged batches: sequences sorted by where they join, and what happens to their rows at each value.

use std::collections::BTreeMap;
use std::ops::Range;

use resolvent_engine::{Device, Error, Recording, Result, Tensor};
use resolvent_ops::attention::Attention;
use resolvent_ops::attention_edit::{EditedHead, HeadEdits, KeyMap};
use resolvent_ops::splice::{RowEdit, RowPlan, RowSource};
use resolvent_ops::{Rows, Span};

use crate::order::Order;
use crate::program::{Program, ValueId};

/// An edit of one row of one sequence, applied once a value has been computed.
#[derive(Clone)]
pub(crate) struct ScheduledEdit {
    pub(crate) value: ValueId,
    pub(crate) token: usize,
    /// First column of an edit of a row.
    pub(crate) from: usize,
    pub(crate) change: ScheduledChange,
}

/// What a scheduled edit changes.
#[derive(Clone)]
pub(crate) enum ScheduledChange {
    /// The row of the value.
    Row(RowEdit),
    /// The attention that computes the row.
    Key(KeyEdit),
}

/// An edit of the score or of the weight that a query of one head gives to a key: `y' = factor y + add`.
#[derive(Clone, Copy)]
pub(crate) struct KeyEdit {
    pub(crate) head: usize,
    /// Token of the key.
    pub(crate) key: usize,
    pub(crate) is_score: bool,
    pub(crate) factor: f32,
    pub(crate) add: f32,
}

impl KeyEdit {
    /// Appends the edit to what others do to the same key. A score of minus infinity stays so until it is replaced.
    fn after(&self, map: &mut KeyMap) {
        if self.is_score && map.hides() && self.factor > 0.0 {
            return;
        }
        let of = if self.is_score { &mut map.score } else { &mut map.weight };
        *of = [self.factor * of[0], self.factor * of[1] + self.add];
    }
}

/// Returns the message about a query all of whose keys are hidden by edits.
pub(crate) fn hides_all(head: usize, token: usize) -> String {
    format!("edits hide every key that head {head} sees at token {token}; leave one")
}

/// Returns head and token of a query all of whose keys are hidden by edits.
pub(crate) fn hidden_query(program: &Program, edits: &[ScheduledEdit]) -> Option<(usize, usize)> {
    let mut maps: BTreeMap<(ValueId, usize, usize, usize), KeyMap> = BTreeMap::new();
    for e in edits {
        if let ScheduledChange::Key(edit) = &e.change {
            edit.after(maps.entry((e.value, e.token, edit.head, edit.key)).or_insert(KeyMap::SAME));
        }
    }
    let mut hidden: BTreeMap<(ValueId, usize, usize), usize> = BTreeMap::new();
    for ((value, token, head, _), _) in maps.into_iter().filter(|(_, map)| map.hides()) {
        *hidden.entry((value, token, head)).or_default() += 1;
    }
    let seen = |value, token| token + 1 - program.attention(value).map_or(0, |attention| attention.first_key(token));
    let all = hidden.into_iter().find(|((value, token, _), count)| *count == seen(*value, *token));
    all.map(|((_, token, head), _)| (head, token))
}

/// One sequence of a batch: the tokens that it owns, the value at which it joins, and its scheduled edits in order.
#[derive(Clone)]
pub(crate) struct Sequence {
    /// The caller's number for it.
    pub(crate) id: usize,
    pub(crate) span: Span,
    pub(crate) join: ValueId,
    pub(crate) scheduled: Vec<ScheduledEdit>,
}

impl Sequence {
    /// Returns whether it owns a token.
    pub(crate) fn owns(&self, token: usize) -> bool {
        (self.span.start..self.span.end).contains(&token)
    }

    /// Leaves out the tokens that its scheduled edits cannot reach, if all attention above them has a window.
    pub(crate) fn within_cone(mut self, program: &Program) -> Self {
        let ends = self.scheduled.iter().map(|edit| program.cone_end(edit.value, edit.token));
        self.span.end = self.span.end.min(ends.max().unwrap_or(usize::MAX));
        self
    }
}

/// Sequences in the order in which they join, so that the active rows always come first.
pub(crate) struct Batch {
    pub(crate) rows: Rows,
    sequences: Vec<Sequence>,
    /// First row of each sequence, then the number of all rows.
    offsets: Vec<usize>,
    /// Index in `sequences` of the caller's i-th.
    order: Vec<usize>,
}

/// The rows that a forward pass computes above the value `at`: only those that are read.
///
/// Above `at` no op mixes tokens, and no sequence may join or be edited.
pub(crate) struct Narrow {
    /// Output of the last block's attention.
    pub(crate) at: ValueId,
    /// Selects one row of each sequence.
    selection: Selection,
    pub(crate) rows: Rows,
}

impl Narrow {
    /// Returns the selected rows of `x`.
    pub(crate) fn of(&self, rec: &mut Recording, x: &Tensor) -> Result<Tensor> {
        self.selection.of(rec, x)
    }
}

/// Rows to take from tensors, which may have different widths.
pub(crate) struct Selection(Vec<RowSource>);

impl Selection {
    /// Returns the selected rows of `x`.
    pub(crate) fn of(&self, rec: &mut Recording, x: &Tensor) -> Result<Tensor> {
        let width = x.shape().lengths()[1..].iter().product();
        RowPlan::new(rec.device(), width, &self.0, &[])?.primal(rec, x, x)
    }
}

/// Changes of rows at a value: the source of each row, and edits as (row, first column, change), sorted by row.
type Changes<'a> = (Vec<RowSource>, Vec<(usize, usize, &'a RowEdit)>);

/// Direction of a pass: sequences that join at low values come first, or those that join at high values.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum PassDirection {
    Forward,
    Backward,
}

impl Batch {
    pub(crate) fn new(device: &Device, sequences: &[Sequence], direction: PassDirection) -> Result<Self> {
        Self::with_rows(sequences, direction, |spans, _| Rows::new(device, spans))
    }

    /// Creates the batch of a backward pass of an hvp. `shared` has, for each sequence, the index of the one that has
    /// its shared cotangent.
    pub(crate) fn paired(device: &Device, sequences: &[Sequence], shared: &[usize]) -> Result<Self> {
        Self::with_rows(sequences, PassDirection::Backward, |spans, order| {
            let mut placed = vec![0; order.len()];
            order.iter().zip(shared).for_each(|(&place, &of)| placed[place] = order[of]);
            Rows::paired(device, spans, &placed)
        })
    }

    /// Sorts sequences, and makes the table of their spans. `table` also gets the place of each of the caller's
    /// sequences.
    fn with_rows(
        sequences: &[Sequence],
        direction: PassDirection,
        table: impl FnOnce(&[Span], &[usize]) -> Result<Rows>,
    ) -> Result<Self> {
        let mut places: Vec<usize> = (0..sequences.len()).collect();
        places.sort_by_key(|&i| match direction {
            PassDirection::Forward => sequences[i].join as isize,
            PassDirection::Backward => -(sequences[i].join as isize),
        });
        let mut order = vec![0; sequences.len()];
        for (place, &i) in places.iter().enumerate() {
            order[i] = place;
        }
        let sequences: Vec<Sequence> = places.iter().map(|&i| sequences[i].clone()).collect();
        let spans: Vec<Span> = sequences.iter().map(|s| s.span).collect();
        let mut offsets = vec![0];
        for span in &spans {
            offsets.push(offsets[offsets.len() - 1] + span.rows());
        }
        Ok(Self { rows: table(&spans, &order)?, sequences, offsets, order })
    }

    /// Returns how many rows are active at `value`: those of the sequences that have joined by then.
    pub(crate) fn active(&self, value: ValueId, direction: PassDirection) -> usize {
        let joined = self.sequences.iter().take_while(|s| match direction {
            PassDirection::Forward => s.join <= value,
            PassDirection::Backward => s.join >= value,
        });
        self.offsets[joined.count()]
    }

    /// Returns the rows of the caller's i-th sequence.
    pub(crate) fn range(&self, i: usize) -> Range<usize> {
        let place = self.order[i];
        self.offsets[place]..self.offsets[place + 1]
    }

    /// Returns the index of the caller's i-th sequence in joining order.
    pub(crate) fn place(&self, i: usize) -> usize {
        self.order[i]
    }

    /// Selects the last row of every sequence, in joining order.
    ///
    /// Returns `None` if a sequence joins or is edited above `at`, or if all sequences have only one row.
    pub(crate) fn last_rows(&self, device: &Device, at: ValueId) -> Result<Option<Narrow>> {
        let above = |s: &Sequence| s.join > at || s.scheduled.iter().any(|scheduled| scheduled.value > at);
        if self.sequences.iter().any(above) || self.sequences.len() == self.rows.count() {
            return Ok(None);
        }
        let rows: Vec<RowSource> = self.offsets[1..].iter().map(|end| RowSource::X(end - 1)).collect();
        let last = |s: &Sequence| Span { start: s.span.end - 1, ..s.span };
        let spans: Vec<Span> = self.sequences.iter().map(last).collect();
        Ok(Some(Narrow { at, selection: Selection(rows), rows: Rows::new(device, &spans)? }))
    }

    /// Reduces every sequence to its last row, for a backward pass from `top` down to the value `at`.
    ///
    /// Also returns the selection that puts these rows back among all rows, with zeros elsewhere. Returns `None` if a
    /// sequence joins elsewhere, or is edited or `seeded` at an earlier token, or if all sequences have only one row.
    pub(crate) fn ends(
        &self,
        device: &Device,
        [at, top]: [ValueId; 2],
        seeded: impl Fn(&Sequence, usize) -> bool,
    ) -> Result<Option<(Self, Selection)>> {
        let elsewhere = |s: &Sequence| {
            let (mut earlier, last) = (s.span.start..s.span.end - 1, s.span.end - 1);
            s.join != top
                || s.scheduled.iter().any(|scheduled| scheduled.value > at && scheduled.token != last)
                || earlier.any(|t| seeded(s, t))
        };
        if self.sequences.iter().any(elsewhere) || self.sequences.len() == self.rows.count() {
            return Ok(None);
        }
        let last = |s: &Sequence| Sequence { span: Span { start: s.span.end - 1, ..s.span }, ..s.clone() };
        let sequences: Vec<Sequence> = self.sequences.iter().map(last).collect();
        let mut rows = vec![RowSource::Zero; self.rows.count()];
        for (i, end) in self.offsets[1..].iter().enumerate() {
            rows[end - 1] = RowSource::X(i);
        }
        Ok(Some((Self::new(device, &sequences, PassDirection::Backward)?, Selection(rows))))
    }

    /// Returns whether no edit is scheduled above the value `at`.
    pub(crate) fn is_quiet_above(&self, at: ValueId) -> bool {
        self.sequences.iter().all(|s| s.scheduled.iter().all(|scheduled| scheduled.value <= at))
    }

    /// Returns the caller's i-th sequence.
    pub(crate) fn sequence(&self, i: usize) -> &Sequence {
        &self.sequences[self.order[i]]
    }

    /// Returns the number of sequences.
    pub(crate) fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Returns the edits of scores and weights in the attention that computes `value`, over the first `rows` rows.
    ///
    /// # Errors
    /// Edits that hide every key of a query.
    pub(crate) fn head_edits(
        &self,
        device: &Device,
        (attention, value): (Attention, ValueId),
        rows: usize,
    ) -> Result<Option<HeadEdits>> {
        let mut edited: BTreeMap<(usize, usize), (usize, Vec<KeyMap>)> = BTreeMap::new();
        for (sequence, &first) in self.sequences.iter().zip(&self.offsets).filter(|(_, first)| **first < rows) {
            for e in sequence.scheduled.iter().filter(|e| e.value == value && sequence.owns(e.token)) {
                let ScheduledChange::Key(edit) = e.change else { continue };
                let row = first + e.token - sequence.span.start;
                let maps = edited.entry((row, edit.head)).or_insert_with(|| (e.token, vec![KeyMap::SAME; e.token + 1]));
                edit.after(&mut maps.1[edit.key]);
            }
        }
        let mut heads = Vec::with_capacity(edited.len());
        for ((row, head), (token, maps)) in edited {
            if maps[attention.first_key(token)..].iter().all(KeyMap::hides) {
                return Err(Error::shape("attention_edit", hides_all(head, token)));
            }
            heads.push(EditedHead { row, head, maps });
        }
        match heads.is_empty() {
            true => Ok(None),
            false => HeadEdits::new(device, [rows, attention.heads], &heads).map(Some),
        }
    }

    /// Lists the changes that bring `before` rows to `after` at `value`: joining rows, then all edits scheduled there.
    ///
    /// Joining rows come from `newcomer(sequence, token)`. Returns `None` if there is nothing to do.
    fn changes(
        &self,
        value: ValueId,
        [before, after]: [usize; 2],
        newcomer: impl Fn(&Sequence, usize) -> RowSource,
    ) -> Option<Changes<'_>> {
        let mut edits = Vec::new();
        let mut sources: Vec<RowSource> = (0..before).map(RowSource::X).collect();
        for (sequence, &first) in self.sequences.iter().zip(&self.offsets).filter(|(_, first)| **first < after) {
            let Span { start, end, .. } = sequence.span;
            if first >= before {
                sources.extend((start..end).map(|t| newcomer(sequence, t)));
            }
            let here = sequence.scheduled.iter().filter(|e| e.value == value && (start..end).contains(&e.token));
            let from = edits.len();
            edits.extend(here.filter_map(|e| match &e.change {
                ScheduledChange::Row(change) => Some((first + e.token - start, e.from, change)),
                ScheduledChange::Key(_) => None,
            }));
            edits[from..].sort_by_key(|(row, ..)| *row);
        }
        (!edits.is_empty() || before != after).then_some((sources, edits))
    }

    /// Plans the joins and edits at `value`, where `rows` is the number of rows before and after.
    ///
    /// Joining rows come from `newcomer(sequence, token)`. Returns `None` if there is nothing to do.
    pub(crate) fn plan(
        &self,
        device: &Device,
        value: ValueId,
        width: usize,
        rows: [usize; 2],
        newcomer: impl Fn(&Sequence, usize) -> RowSource,
    ) -> Result<Option<RowPlan>> {
        let changes = self.changes(value, rows, newcomer);
        changes.map(|(sources, edits)| RowPlan::new(device, width, &sources, &edits)).transpose()
    }

    /// Plans the joins and edits of tangents: like [`Batch::plan`], but joining rows are zero.
    pub(crate) fn tangent_plan(
        &self,
        device: &Device,
        value: ValueId,
        width: usize,
        rows: [usize; 2],
        order: Order,
    ) -> Result<Option<RowPlan>> {
        let Some((mut sources, mut edits)) = self.changes(value, rows, |_, _| RowSource::Zero) else {
            return Ok(None);
        };
        if order == Order::Second {
            sources = sources.into_iter().flat_map(both).collect();
            // A source adds to the first order only. The linear parts of edits apply to both orders.
            let second = edits.iter().filter(|(_, _, change)| !matches!(change, RowEdit::Add { .. }));
            let second = second.map(|&(row, from, change)| (2 * row + 1, from, change));
            edits = edits.iter().map(|&(row, from, change)| (2 * row, from, change)).chain(second).collect();
            edits.sort_by_key(|(row, ..)| *row);
        }
        RowPlan::new(device, width, &sources, &edits).map(Some)
    }
}

/// Returns the sources of a jet's two rows, given the source of its tangent.
fn both(source: RowSource) -> [RowSource; 2] {
    match source {
        RowSource::X(row) => [RowSource::X(2 * row), RowSource::X(2 * row + 1)],
        other => [other; 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_key_stays_hidden_until_it_is_replaced() {
        let edit = |factor, add| KeyEdit { head: 0, key: 0, is_score: true, factor, add };
        let mut map = KeyMap::SAME;
        for (factor, add, hides) in [(0.0, -1e30, true), (0.5, 0.0, true), (1.0, 1e30, true), (0.0, 2.0, false)] {
            edit(factor, add).after(&mut map);
            assert_eq!(map.hides(), hides, "{factor} {add}: {map:?}");
        }
        assert_eq!(map.score, [0.0, 2.0]);
    }
}
