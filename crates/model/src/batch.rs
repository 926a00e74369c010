//! Ragged batches: runs sorted by where they join, and what happens to their rows at each value.

use std::ops::Range;

use resolvent_engine::{Device, Result};
use resolvent_ops::splice::{Change, Plan, Source};
use resolvent_ops::{Rows, Span};

use crate::program::ValueId;

/// Something done to one row of one member when a value has been made.
#[derive(Clone)]
pub(crate) struct Act {
    pub(crate) value: ValueId,
    pub(crate) token: usize,
    /// First column.
    pub(crate) from: usize,
    pub(crate) change: Change,
}

/// One run of a batch: the tokens that it owns, the value at which it joins, and its acts in order.
#[derive(Clone)]
pub(crate) struct Member {
    /// The caller's number for it.
    pub(crate) id: usize,
    pub(crate) span: Span,
    pub(crate) join: ValueId,
    pub(crate) acts: Vec<Act>,
}

/// Members in the order in which they join, so that those that are active are always the first rows.
pub(crate) struct Batch {
    pub(crate) rows: Rows,
    members: Vec<Member>,
    /// First row of each member, and the number of rows.
    offsets: Vec<usize>,
    /// Place in `members` of the caller's i-th.
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
    pub(crate) plan: Plan,
    pub(crate) rows: Rows,
}

/// What happens to rows at a value: where each comes from, and edits as (row, first column, change), sorted by row.
type Changes<'a> = (Vec<Source>, Vec<(usize, usize, &'a Change)>);

/// Which way a walk goes: members join at low values first, or at high ones.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

impl Batch {
    pub(crate) fn new(device: &Device, members: &[Member], direction: Direction) -> Result<Self> {
        let mut places: Vec<usize> = (0..members.len()).collect();
        places.sort_by_key(|&i| match direction {
            Direction::Forward => members[i].join as isize,
            Direction::Backward => -(members[i].join as isize),
        });
        let mut order = vec![0; members.len()];
        for (place, &i) in places.iter().enumerate() {
            order[i] = place;
        }
        let members: Vec<Member> = places.iter().map(|&i| members[i].clone()).collect();
        let spans: Vec<Span> = members.iter().map(|m| m.span).collect();
        let mut offsets = vec![0];
        for span in &spans {
            offsets.push(offsets[offsets.len() - 1] + span.rows());
        }
        Ok(Self { rows: Rows::new(device, &spans)?, members, offsets, order })
    }

    /// The rows that are active at `value`: those of members that have joined by then.
    pub(crate) fn active(&self, value: ValueId, direction: Direction) -> usize {
        let joined = self.members.iter().take_while(|m| match direction {
            Direction::Forward => m.join <= value,
            Direction::Backward => m.join >= value,
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
        let above = |m: &Member| m.join > at || m.acts.iter().any(|act| act.value > at);
        if self.members.iter().any(above) || self.members.len() == self.rows.count() {
            return Ok(None);
        }
        let rows: Vec<Source> = self.offsets[1..].iter().map(|end| Source::X(end - 1)).collect();
        let last = |m: &Member| Span { start: m.span.end - 1, ..m.span };
        let spans: Vec<Span> = self.members.iter().map(last).collect();
        let (plan, rows) = (Plan::new(device, width, &rows, &[])?, Rows::new(device, &spans)?);
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
        seeded: impl Fn(&Member, usize) -> bool,
    ) -> Result<Option<(Self, Plan)>> {
        let elsewhere = |m: &Member| {
            let (mut earlier, last) = (m.span.start..m.span.end - 1, m.span.end - 1);
            m.join != top
                || m.acts.iter().any(|act| act.value > at && act.token != last)
                || earlier.any(|t| seeded(m, t))
        };
        if self.members.iter().any(elsewhere) || self.members.len() == self.rows.count() {
            return Ok(None);
        }
        let last = |m: &Member| Member { span: Span { start: m.span.end - 1, ..m.span }, ..m.clone() };
        let members: Vec<Member> = self.members.iter().map(last).collect();
        let mut rows = vec![Source::Zero; self.rows.count()];
        for (i, end) in self.offsets[1..].iter().enumerate() {
            rows[end - 1] = Source::X(i);
        }
        Ok(Some((Self::new(device, &members, Direction::Backward)?, Plan::new(device, width, &rows, &[])?)))
    }

    /// Whether nobody acts at a value above `at`.
    pub(crate) fn is_quiet_above(&self, at: ValueId) -> bool {
        self.members.iter().all(|m| m.acts.iter().all(|act| act.value <= at))
    }

    /// The caller's i-th member.
    pub(crate) fn member(&self, i: usize) -> &Member {
        &self.members[self.order[i]]
    }

    /// How many members there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// What brings `before` rows to `after` at `value`: newcomers come from `newcomer(member, token)`, then everyone's acts
    /// there. `None` if there is nothing to do.
    fn changes(
        &self,
        value: ValueId,
        [before, after]: [usize; 2],
        newcomer: impl Fn(&Member, usize) -> Source,
    ) -> Option<Changes<'_>> {
        let mut edits = Vec::new();
        let mut sources: Vec<Source> = (0..before).map(Source::X).collect();
        for (member, &first) in self.members.iter().zip(&self.offsets).filter(|(_, first)| **first < after) {
            let Span { start, end, .. } = member.span;
            if first >= before {
                sources.extend((start..end).map(|t| newcomer(member, t)));
            }
            let here = member.acts.iter().filter(|a| a.value == value && (start..end).contains(&a.token));
            let from = edits.len();
            edits.extend(here.map(|a| (first + a.token - start, a.from, &a.change)));
            edits[from..].sort_by_key(|(row, ..)| *row);
        }
        (!edits.is_empty() || before != after).then_some((sources, edits))
    }

    /// The plan that brings `before` rows to `after` at `value`; newcomers come from `newcomer(member, token)`. `None` if
    /// there is nothing to do.
    pub(crate) fn plan(
        &self,
        device: &Device,
        value: ValueId,
        width: usize,
        rows: [usize; 2],
        newcomer: impl Fn(&Member, usize) -> Source,
    ) -> Result<Option<Plan>> {
        let changes = self.changes(value, rows, newcomer);
        changes.map(|(sources, edits)| Plan::new(device, width, &sources, &edits)).transpose()
    }

    /// [`Batch::plan`] of tangents, which join as zeros.
    pub(crate) fn tangent_plan(
        &self,
        device: &Device,
        value: ValueId,
        width: usize,
        rows: [usize; 2],
        order: Order,
    ) -> Result<Option<Plan>> {
        let Some((mut sources, mut edits)) = self.changes(value, rows, |_, _| Source::Zero) else {
            return Ok(None);
        };
        if order == Order::Second {
            sources = sources.into_iter().flat_map(both).collect();
            // A source is of first order: what it adds to the second is nothing. What edits do is linear, and done to both.
            let second = edits.iter().filter(|(_, _, change)| !matches!(change, Change::Add { .. }));
            let second = second.map(|&(row, from, change)| (2 * row + 1, from, change));
            edits = edits.iter().map(|&(row, from, change)| (2 * row, from, change)).chain(second).collect();
            edits.sort_by_key(|(row, ..)| *row);
        }
        Plan::new(device, width, &sources, &edits).map(Some)
    }
}

/// The two rows of a jet whose tangent would come from `source`.
fn both(source: Source) -> [Source; 2] {
    match source {
        Source::X(row) => [Source::X(2 * row), Source::X(2 * row + 1)],
        other => [other; 2],
    }
}
