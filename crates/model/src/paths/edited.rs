//! Edits on the way of an edge: those of the stream between a writer and what reads it, and those of the values that a
//! reader computes.

use std::ops::RangeInclusive;

use resolvent_engine::Device;
use resolvent_ops::Span;

use super::node::Writer;
use crate::arch::Sizes;
use crate::batch::{Batch, PassDirection, ScheduledChange, ScheduledEdit, Sequence};
use crate::edit::{Change, Edit};
use crate::error::Result;
use crate::program::ValueId;
use crate::read::dot;
use crate::run::{Run, scheduled};
use crate::site::Site;
use crate::taken::resolved;

/// The linear parts of a run's edits of the residual stream, which the outputs of writers pass on their way to readers.
///
/// An edit of attention's whole output is on the way of the heads of its block, one of the stream on the way of all
/// writers before it. Edits of embeddings, heads, neurons and MLP outputs are in the outputs of these.
#[derive(Clone, Debug, Default)]
pub struct StreamEdits(Vec<Passed>);

/// The linear part of an edit.
#[derive(Clone, Debug)]
struct Passed {
    place: usize,
    token: usize,
    linear: Linear,
}

#[derive(Clone, Debug)]
enum Linear {
    Scale(f32),
    Project(Vec<f32>),
}

impl Linear {
    fn apply(&self, row: &mut [f32]) {
        match self {
            Self::Scale(amount) => row.iter_mut().for_each(|x| *x *= amount),
            Self::Project(s) => {
                let square = dot(s, s);
                if square > 0.0 {
                    let share = dot(row, s) / square;
                    row.iter_mut().zip(s).for_each(|(x, s)| *x = (f64::from(*x) - share * f64::from(*s)) as f32);
                }
            }
        }
    }
}

/// Returns where a site lies on the way of the stream; `None` for sites beside it.
fn place(site: Site) -> Option<usize> {
    match site {
        Site::ResidPre(l) => Some(3 * l),
        Site::AttnOut(l) => Some(3 * l + 1),
        Site::ResidMid(l) | Site::MlpOut(l) => Some(3 * l + 2),
        Site::ResidPost(l) => Some(3 * l + 3),
        _ => None,
    }
}

impl StreamEdits {
    /// Returns those of a run.
    pub fn of(run: &Run) -> Self {
        let mut passed: Vec<Passed> = Self::all(run).filter_map(Passed::of).collect();
        passed.sort_by_key(|edit| edit.place);
        Self(passed)
    }

    /// Returns the edits of a run that no writer's output contains.
    pub fn all(run: &Run) -> impl Iterator<Item = &Edit> {
        let beside = |edit: &&Edit| !matches!(edit.site, Site::ResidPre(0) | Site::MlpOut(_));
        run.edits().iter().filter(beside).filter(|edit| place(edit.site).is_some())
    }

    /// Applies them to `rows` of width `d` that a writer adds at consecutive tokens from `first` on, as far as `to`: a
    /// site of the stream, or the site of the writer.
    pub fn pass(&self, writer: Writer, to: Site, (first, d): (usize, usize), rows: &mut [f32]) {
        self.between(writer, to).for_each(|edit| edit.apply((first, d), rows));
    }

    /// Applies the transposed of [`StreamEdits::pass`] to derivatives by the rows of `to`, which become derivatives by
    /// what the writer adds.
    pub fn back(&self, writer: Writer, to: Site, (first, d): (usize, usize), rows: &mut [f32]) {
        self.between(writer, to).rev().for_each(|edit| edit.apply((first, d), rows));
    }

    /// Returns whether any edit lies between a writer and `to`.
    pub fn lie_between(&self, writer: Writer, to: Site) -> bool {
        self.between(writer, to).next().is_some()
    }

    /// Returns whether nothing that a writer adds at a token reaches `to`.
    pub(super) fn stop(&self, writer: Writer, to: Site, token: usize) -> bool {
        self.between(writer, to).any(|edit| edit.token == token && matches!(edit.linear, Linear::Scale(0.0)))
    }

    fn between(&self, writer: Writer, to: Site) -> impl DoubleEndedIterator<Item = &Passed> {
        let from = match writer {
            Writer::Embedding => 0,
            Writer::Head(l, _) => 3 * l,
            Writer::Mlp(l) => 3 * l + 2,
        };
        let own = match writer {
            Writer::Head(l, _) => 3 * l + 1,
            Writer::Embedding | Writer::Mlp(_) => from,
        };
        let to = place(to).unwrap_or(from);
        let of_all = move |place: usize| place % 3 != 1 || place == own;
        self.0.iter().filter(move |edit| edit.place > from && edit.place <= to && of_all(edit.place))
    }
}

impl Passed {
    fn of(edit: &Edit) -> Option<Self> {
        let linear = match &edit.change {
            Change::Add(_) => return None,
            Change::Put(_) | Change::Take(_) => Linear::Scale(0.0),
            Change::Scale(amount) => Linear::Scale(*amount),
            Change::Project(s) => Linear::Project(s.clone()),
        };
        Some(Self { place: place(edit.site)?, token: edit.token, linear })
    }

    fn apply(&self, (first, d): (usize, usize), rows: &mut [f32]) {
        let row = self.token.checked_sub(first).and_then(|t| rows.get_mut(t * d..(t + 1) * d));
        if let Some(row) = row {
            self.linear.apply(row);
        }
    }
}

/// Schedules all edits of a run, or their linear parts if `change` returns these.
pub(super) fn own_edits(
    run: &Run,
    change: impl Fn(&Edit, &Sizes) -> Option<ScheduledChange>,
) -> Result<Vec<ScheduledEdit>> {
    let edits = resolved(run.device(), run.program(), None, run.edits())?;
    scheduled(run.sizes(), run.program(), &edits, change)
}

/// Returns a batch of `spans` whose rows branch together, with the edits at `values`.
pub(super) fn batch_of(
    device: &Device,
    spans: &[Span],
    edits: &[ScheduledEdit],
    values: RangeInclusive<ValueId>,
) -> Result<Batch> {
    let here: Vec<&ScheduledEdit> = edits.iter().filter(|edit| values.contains(&edit.value)).collect();
    let sequence = |(id, &span): (usize, &Span)| {
        let owned = here.iter().filter(|edit| (span.start..span.end).contains(&edit.token));
        Sequence { id, span, join: 0, scheduled: owned.map(|&edit| edit.clone()).collect() }
    };
    let sequences: Vec<Sequence> = spans.iter().enumerate().map(sequence).collect();
    Ok(Batch::new(device, &sequences, PassDirection::Forward)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(of: &[(Site, Change)]) -> StreamEdits {
        let edits = of.iter().map(|(site, change)| Edit { site: *site, token: 1, change: change.clone() });
        let mut passed: Vec<Passed> = edits.filter_map(|edit| Passed::of(&edit)).collect();
        passed.sort_by_key(|edit| edit.place);
        StreamEdits(passed)
    }

    /// Each writer passes the edits between itself and its reader, at their tokens, in their order.
    #[test]
    fn edits_lie_between() {
        let scale = |site, amount| (site, Change::Scale(amount));
        let all = edits(&[
            scale(Site::ResidPre(1), 2.0),
            scale(Site::AttnOut(0), 3.0),
            scale(Site::ResidMid(0), 5.0),
            scale(Site::AttnOut(1), 7.0),
            (Site::ResidMid(1), Change::Add(vec![1.0])),
        ]);
        let of = |writer, to| {
            let mut rows = vec![1.0, 1.0];
            all.pass(writer, to, (0, 1), &mut rows);
            assert_eq!(rows[0], 1.0, "another token");
            assert_eq!(all.lie_between(writer, to), rows[1] != 1.0);
            rows[1]
        };
        let last = Site::ResidPost(1);
        assert_eq!(of(Writer::Embedding, last), 10.0);
        assert_eq!(of(Writer::Head(0, 2), last), 30.0);
        assert_eq!(of(Writer::Head(0, 2), Site::AttnOut(0)), 3.0);
        assert_eq!(of(Writer::Mlp(0), last), 2.0);
        assert_eq!(of(Writer::Mlp(0), Site::MlpOut(0)), 1.0);
        assert_eq!(of(Writer::Head(1, 0), last), 7.0);
        assert_eq!(of(Writer::Embedding, Site::ResidPre(0)), 1.0);
        assert_eq!(of(Writer::Embedding, Site::ResidMid(0)), 5.0);
        let mut later = vec![1.0];
        all.pass(Writer::Embedding, last, (1, 1), &mut later);
        assert_eq!(later, [10.0], "rows from a later token on");
    }

    /// What passes and what goes back are adjoint, though the edits do not commute.
    #[test]
    fn back_is_the_transposed() {
        let all = edits(&[
            (Site::ResidMid(0), Change::Project(vec![1.0, 2.0])),
            (Site::ResidPre(1), Change::Project(vec![1.0, 0.0])),
        ]);
        let (mut a, mut b) = (vec![0.0, 0.0, 3.0, 1.0], vec![0.0, 0.0, 2.0, -5.0]);
        let product = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let (x, y) = (a.clone(), b.clone());
        all.pass(Writer::Embedding, Site::ResidPre(1), (0, 2), &mut a);
        all.back(Writer::Embedding, Site::ResidPre(1), (0, 2), &mut b);
        assert!((product(&a, &y) - product(&x, &b)).abs() < 1e-6 && a != b);
        assert_eq!(a[2], 0.0, "the last projection is the last to act");
        let put = edits(&[(Site::ResidPre(1), Change::Put(vec![4.0]))]);
        assert!(put.stop(Writer::Mlp(0), Site::ResidPre(1), 1) && !put.stop(Writer::Mlp(0), Site::ResidPre(1), 0));
        assert!(!put.stop(Writer::Mlp(1), Site::ResidPost(1), 1), "a later writer");
    }
}
