//! Ragged batches: runs sorted by where they join, and what happens to their rows at each value.

use std::ops::Range;

use resolvent_engine::{Device, Result};
use resolvent_ops::splice::{RowEdit, RowPlan, RowSource};
use resolvent_ops::{Rows, Span};

use crate::program::ValueId;

/// Something done to one row of one member when a value has been made.
#[derive(Clone)]
pub(crate) struct ScheduledEdit {
    pub(crate) value: ValueId,
    pub(crate) token: usize,
    /// First column.
    pub(crate) from: usize,
    pub(crate) change: RowEdit,
}

/// One run of a batch: the tokens that it owns, the value at which it joins, and its acts in order.
#[derive(Clone)]
pub(crate) struct Sequence {
    /// The caller's number for it.
    pub(crate) id: usize,
    pub(crate) span: Span,
    pub(crate) join: ValueId,
    pub(crate) scheduled: Vec<ScheduledEdit>,
}

/// Members in the order in which they join, so that those that are active are always the first rows.
pub(crate) struct Batch {
    pub(crate) rows: Rows,
    sequences: Vec<Sequence>,
    /// First row of each member, and the number of rows.
    offsets: Vec<usize>,
    /// Place in `sequences` of the caller's i-th.
    order: Vec<usize>,
}

/// How far a tangent goes: to first order, or to second, as a jet whose two orders are rows in turn.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Order {
    First,
    Second,
}

impl Order {
    /// Rows of its tensors for each row of the batch.
    pub(crate) fn rows(self) -> usize {
        match self {
            Self::First => 1,
            Self::Second => 2,
        }
    }

    /// Each order of `data`, whose rows of `d` numbers come in turn.
    pub(crate) fn split(self, data: Vec<f32>, d: usize) -> Vec<Vec<f32>> {
        match self {
            Self::First => vec![data],
            Self::Second => {
                [0, 1].map(|order| data.chunks(d).skip(order).step_by(2).flatten().copied().collect()).into()
            }
        }
    }
}

/// From the value `at` on, only some rows of a batch are computed: those that are read, where nothing later moves numbers
/// from one token to another. Nothing may join or act above it.
pub(crate) struct Narrow {
    /// What attention of the last block makes.
    pub(crate) at: ValueId,
    /// A row of each member.
    pub(crate) plan: RowPlan,
    pub(crate) rows: Rows,
}

/// What happens to rows at a value: where each comes from, and edits as (row, first column, change), sorted by row.
type Changes<'a> = (Vec<RowSource>, Vec<(usize, usize, &'a RowEdit)>);

/// Which way a walk goes: members join at low values first, or at high ones.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum PassDirection {
    Forward,
    Backward,
}

impl Batch {
    pub(crate) fn new(device: &Device, sequences: &[Sequence], direction: PassDirection) -> Result<Self> {
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
        let spans: Vec<Span> = sequences.iter().map(|m| m.span).collect();
        let mut offsets = vec![0];
        for span in &spans {
            offsets.push(offsets[offsets.len() - 1] + span.rows());
        }
        Ok(Self { rows: Rows::new(device, &spans)?, sequences, offsets, order })
    }

    /// The rows that are active at `value`: those of members that have joined by then.
    pub(crate) fn active(&self, value: ValueId, direction: PassDirection) -> usize {
        let joined = self.sequences.iter().take_while(|m| match direction {
            PassDirection::Forward => m.join <= value,
            PassDirection::Backward => m.join >= value,
        });
        self.offsets[joined.count()]
    }

    /// Rows of the caller's i-th member.
    pub(crate) fn range(&self, i: usize) -> Range<usize> {
        let place = self.order[i];
        self.offsets[place]..self.offsets[place + 1]
    }

    /// Place of the caller's i-th member in the order in which they join.
    pub(crate) fn place(&self, i: usize) -> usize {
        self.order[i]
    }

    /// The last row of every member, in the order in which they join. `None` where one acts above `at`, or where members have
    /// no other rows.
    pub(crate) fn last_rows(&self, device: &Device, at: ValueId, width: usize) -> Result<Option<Narrow>> {
        let above = |m: &Sequence| m.join > at || m.scheduled.iter().any(|scheduled| scheduled.value > at);
        if self.sequences.iter().any(above) || self.sequences.len() == self.rows.count() {
            return Ok(None);
        }
        let rows: Vec<RowSource> = self.offsets[1..].iter().map(|end| RowSource::X(end - 1)).collect();
        let last = |m: &Sequence| Span { start: m.span.end - 1, ..m.span };
        let spans: Vec<Span> = self.sequences.iter().map(last).collect();
        let (plan, rows) = (RowPlan::new(device, width, &rows, &[])?, Rows::new(device, &spans)?);
        Ok(Some(Narrow { at, plan, rows }))
    }

    /// The same members with their last rows alone, and what puts those back among all rows, the others zero: for a walk back, down
    /// to the value `at`, from `top`. `None` where one joins or acts elsewhere, or is `seeded` at an earlier token, or where members
    /// have no other rows.
    pub(crate) fn ends(
        &self,
        device: &Device,
        [at, top]: [ValueId; 2],
        width: usize,
        seeded: impl Fn(&Sequence, usize) -> bool,
    ) -> Result<Option<(Self, RowPlan)>> {
        let elsewhere = |m: &Sequence| {
            let (mut earlier, last) = (m.span.start..m.span.end - 1, m.span.end - 1);
            m.join != top
                || m.scheduled.iter().any(|scheduled| scheduled.value > at && scheduled.token != last)
                || earlier.any(|t| seeded(m, t))
        };
        if self.sequences.iter().any(elsewhere) || self.sequences.len() == self.rows.count() {
            return Ok(None);
        }
        let last = |m: &Sequence| Sequence { span: Span { start: m.span.end - 1, ..m.span }, ..m.clone() };
        let sequences: Vec<Sequence> = self.sequences.iter().map(last).collect();
        let mut rows = vec![RowSource::Zero; self.rows.count()];
        for (i, end) in self.offsets[1..].iter().enumerate() {
            rows[end - 1] = RowSource::X(i);
        }
        Ok(Some((Self::new(device, &sequences, PassDirection::Backward)?, RowPlan::new(device, width, &rows, &[])?)))
    }

    /// Whether nobody acts at a value above `at`.
    pub(crate) fn is_quiet_above(&self, at: ValueId) -> bool {
        self.sequences.iter().all(|m| m.scheduled.iter().all(|scheduled| scheduled.value <= at))
    }

    /// The caller's i-th member.
    pub(crate) fn sequence(&self, i: usize) -> &Sequence {
        &self.sequences[self.order[i]]
    }

    /// How many members there are.
    pub(crate) fn len(&self) -> usize {
        self.sequences.len()
    }

    /// What brings `before` rows to `after` at `value`: newcomers come from `newcomer(sequence, token)`, then everyone's acts
    /// there. `None` if there is nothing to do.
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
            let here = sequence.scheduled.iter().filter(|a| a.value == value && (start..end).contains(&a.token));
            let from = edits.len();
            edits.extend(here.map(|a| (first + a.token - start, a.from, &a.change)));
            edits[from..].sort_by_key(|(row, ..)| *row);
        }
        (!edits.is_empty() || before != after).then_some((sources, edits))
    }

    /// The plan that brings `before` rows to `after` at `value`; newcomers come from `newcomer(sequence, token)`. `None` if
    /// there is nothing to do.
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

    /// [`Batch::plan`] of tangents, which join as zeros.
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
            // A source is of first order: what it adds to the second is nothing. What edits do is linear, and done to both.
            let second = edits.iter().filter(|(_, _, change)| !matches!(change, RowEdit::Add { .. }));
            let second = second.map(|&(row, from, change)| (2 * row + 1, from, change));
            edits = edits.iter().map(|&(row, from, change)| (2 * row, from, change)).chain(second).collect();
            edits.sort_by_key(|(row, ..)| *row);
        }
        RowPlan::new(device, width, &sources, &edits).map(Some)
    }
}

/// The two rows of a jet whose tangent would come from `source`.
fn both(source: RowSource) -> [RowSource; 2] {
    match source {
        RowSource::X(row) => [RowSource::X(2 * row), RowSource::X(2 * row + 1)],
        other => [other; 2],
    }
}
