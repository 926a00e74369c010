//! The passes over the list of ops: forward, tangent and backward.

use std::collections::BTreeSet;

use resolvent_engine::{Device, Recording, Result, Tensor};
use resolvent_ops::splice::RowSource;
use resolvent_ops::{Op, Paired, Residuals, Rows};

use crate::batch::{Batch, Narrow, PassDirection};
use crate::order::Order;
use crate::program::{Node, Program, ValueId};

/// The values and residuals that a recorded forward pass retains.
pub(crate) struct Trace {
    /// By value.
    pub(crate) values: Vec<Option<Tensor>>,
    /// By node.
    pub(crate) residuals: Vec<Option<Residuals>>,
}

/// Where the first rows of a forward pass come from.
pub(crate) enum Origin<'a> {
    /// The embeddings h\[0\]; every sequence owns its whole prompt.
    Embedded(Tensor),
    /// A base run, from which sequences branch where they join.
    Base(&'a Trace),
    /// All rows of the value `at`, where every sequence branches from a base run.
    Rows { base: &'a Trace, at: ValueId, rows: Tensor },
}

/// Selects what a forward pass retains.
pub(crate) struct Keep {
    /// Values to retain.
    pub(crate) values: BTreeSet<ValueId>,
    /// Whether to retain residuals, which a linearisation needs.
    pub(crate) residuals: bool,
    /// The rows to compute at the end, if only some are read.
    pub(crate) narrow: Option<Narrow>,
}

fn width(tensor: &Tensor) -> usize {
    tensor.shape().lengths()[1..].iter().product()
}

/// Records the forward pass of `batch`.
pub(crate) fn forward(
    program: &Program,
    rec: &mut Recording,
    batch: &Batch,
    origin: Origin<'_>,
    keep: &Keep,
) -> Result<Trace> {
    let device = rec.device().clone();
    let mut pass = Forward { device, batch, values: vec![None; program.values()], rows: 0 };
    let mut residuals = vec![None; program.nodes.len()];
    let mut from = 0;
    let base = match origin {
        Origin::Embedded(h0) => {
            pass.rows = batch.rows.count();
            pass.values[0] = Some(h0);
            None
        }
        Origin::Base(trace) => Some(trace),
        Origin::Rows { base, at, rows } => {
            pass.rows = batch.rows.count();
            pass.values[at] = Some(rows);
            from = at;
            Some(base)
        }
    };
    pass.apply_joins_and_edits(rec, from, base)?;
    // Without residuals, no value above the last retained one is needed.
    let last = if keep.residuals { None } else { keep.values.last().copied() };
    let wanted = |node: &Node| last.is_none_or(|last| node.output <= last);
    let mut narrowed: Option<&Rows> = None;
    for (i, node) in program.nodes.iter().enumerate().skip(from).take_while(|(_, node)| wanted(node)) {
        if pass.rows > 0 {
            rec.scope(&node.scope);
            let inputs: Option<Vec<&Tensor>> = node.inputs.iter().map(|&v| pass.values[v].as_ref()).collect();
            let rows = narrowed.map_or_else(|| batch.rows.prefix(pass.rows), Rows::clone);
            let base_residuals = base.and_then(|trace| trace.residuals[i].as_ref());
            let inputs = inputs.unwrap_or_default();
            let edited = batch.edited_attention(&pass.device, (program, node.output), rows.count())?;
            let op: &dyn Op = edited.as_ref().map_or(&*node.op, |edited| edited);
            let outcome = op.primal(rec, &rows, base_residuals, &inputs)?;
            pass.values[node.output] = Some(outcome.y);
            if keep.residuals {
                residuals[i] = Some(outcome.residuals);
            }
        }
        if narrowed.is_none() {
            pass.apply_joins_and_edits(rec, node.output, base)?;
        }
        program.forget(i, &keep.values, &mut pass.values);
        if let Some(narrow) = keep.narrow.as_ref().filter(|narrow| narrow.at == node.output) {
            for value in pass.values.iter_mut().flatten() {
                *value = narrow.of(rec, value)?;
            }
            narrowed = Some(&narrow.rows);
        }
    }
    Ok(Trace { values: pass.values, residuals })
}

struct Forward<'a> {
    device: Device,
    batch: &'a Batch,
    values: Vec<Option<Tensor>>,
    rows: usize,
}

impl Forward<'_> {
    /// Applies the joins and edits at `value`.
    fn apply_joins_and_edits(&mut self, rec: &mut Recording, value: ValueId, base: Option<&Trace>) -> Result<()> {
        let after = self.batch.active(value, PassDirection::Forward);
        let of_base = base.and_then(|trace| trace.values[value].as_ref());
        let Some(any) = self.values[value].as_ref().or(of_base) else { return Ok(()) };
        let newcomer = |sequence: &crate::batch::Sequence, t| RowSource::Base(sequence.span.primal + t);
        let plan = self.batch.plan(&self.device, value, width(any), [self.rows, after], newcomer)?;
        if let Some(plan) = plan {
            let x = self.values[value].as_ref().unwrap_or(any);
            self.values[value] = Some(plan.primal(rec, x, of_base.unwrap_or(any))?);
        }
        self.rows = after;
        Ok(())
    }
}

/// Tangents, jets or cotangents at the wanted values, by value. A sequence has rows only where it has joined.
pub(crate) type PassResults = Vec<Option<Tensor>>;

/// What a tangent pass saves for the backward pass of an hvp.
pub(crate) struct Tangents {
    /// By node: the residuals of its op, and how many rows had a tangent there.
    residuals: Vec<Option<(Residuals, usize)>>,
    /// The tangents at the last value of the pass.
    pub(crate) last: Option<Tensor>,
}

/// Records the tangent, or the jet, of every value in `wanted`, over the residuals of the base run. Sources are
/// scheduled edits of the sequences.
pub(crate) fn tangent(
    program: &Program,
    rec: &mut Recording,
    batch: &Batch,
    base: &Trace,
    (wanted, order): (&BTreeSet<ValueId>, Order),
) -> Result<PassResults> {
    let step = |_, op: &dyn Op, rec: &mut Recording, table: &Rows, residuals: &Residuals, x: &[&Tensor]| match order {
        Order::First => op.jvp(rec, table, residuals, x),
        Order::Second => op.jet(rec, table, residuals, x),
    };
    tangent_pass(program, rec, batch, base, (wanted, order), step)
}

/// Records the tangent of the value `last`, and saves what the backward pass of an hvp needs.
pub(crate) fn tangents(
    program: &Program,
    rec: &mut Recording,
    batch: &Batch,
    base: &Trace,
    last: ValueId,
) -> Result<Tangents> {
    let mut all: Vec<Option<(Residuals, usize)>> = vec![None; program.nodes.len()];
    let step = |i: usize, op: &dyn Op, rec: &mut Recording, table: &Rows, residuals: &Residuals, x: &[&Tensor]| {
        let outcome = op.tangent(rec, table, residuals, x)?;
        all[i] = Some((outcome.residuals, table.count()));
        Ok(outcome.y)
    };
    let mut dots = tangent_pass(program, rec, batch, base, (&BTreeSet::from([last]), Order::First), step)?;
    Ok(Tangents { residuals: all, last: dots[last].take() })
}

/// Records a pass of tangents or jets, op by op.
fn tangent_pass(
    program: &Program,
    rec: &mut Recording,
    batch: &Batch,
    base: &Trace,
    (wanted, order): (&BTreeSet<ValueId>, Order),
    mut step: impl FnMut(usize, &dyn Op, &mut Recording, &Rows, &Residuals, &[&Tensor]) -> Result<Tensor>,
) -> Result<PassResults> {
    let device = rec.device().clone();
    let mut dots: PassResults = vec![None; program.values()];
    let mut active = 0;
    let mut apply_joins_and_edits = |rec: &mut Recording, dots: &mut PassResults, value: ValueId| -> Result<usize> {
        let after = batch.active(value, PassDirection::Forward);
        let Some(primal) = &base.values[value] else { return Ok(after) };
        let plan = batch.tangent_plan(&device, value, width(primal), [active, after], order)?;
        if let Some(plan) = plan {
            let x = dots[value].as_ref().unwrap_or(primal);
            dots[value] = Some(plan.primal(rec, x, primal)?);
        }
        active = after;
        Ok(after)
    };
    let last = wanted.last().copied().unwrap_or(0);
    let mut rows = apply_joins_and_edits(rec, &mut dots, 0)?;
    for (i, node) in program.nodes.iter().enumerate().take_while(|(_, node)| node.output <= last) {
        let inputs: Option<Vec<&Tensor>> = node.inputs.iter().map(|&v| dots[v].as_ref()).collect();
        if let (Some(inputs), Some(residuals)) = (inputs, &base.residuals[i]) {
            rec.scope(&node.scope);
            let table: Rows = batch.rows.prefix(rows);
            dots[node.output] = Some(step(i, node.derivatives(), rec, &table, residuals, &inputs)?);
        }
        rows = apply_joins_and_edits(rec, &mut dots, node.output)?;
        program.forget(i, wanted, &mut dots);
    }
    Ok(dots)
}

/// Seeds of a backward pass that are on the device already, one for each sequence.
pub(crate) struct DeviceSeeds<'a> {
    /// The value at which the seeds start.
    pub(crate) at: ValueId,
    /// `[sequences, d]`
    pub(crate) seeds: &'a Tensor,
    /// Returns the row of `seeds` for a sequence and a token, or zero.
    pub(crate) place: &'a dyn Fn(&crate::batch::Sequence, usize) -> RowSource,
}

/// The point at which a backward pass is linearised: the base run and, in an hvp, the paired tangents.
pub(crate) type Point<'a> = (&'a Trace, Option<&'a Tangents>);

/// Records the cotangent of every value in `wanted`.
///
/// Seeds are the scheduled edits of the sequences, and `extra`. `linear` contains the linear parts of the base run's
/// edits, through which cotangents pass. Cotangents of the last level at the last tokens need only the last row of each
/// sequence above the final block's attention.
pub(crate) fn adjoint(
    program: &Program,
    rec: &mut Recording,
    [batch, linear]: [&Batch; 2],
    (base, paired): Point<'_>,
    extra: Option<&DeviceSeeds<'_>>,
    wanted: &BTreeSet<ValueId>,
) -> Result<PassResults> {
    let device = rec.device().clone();
    let mut bars: PassResults = vec![None; program.values()];
    let mut results: PassResults = vec![None; program.values()];
    let mut active = 0;
    let first = wanted.first().copied().unwrap_or(0);
    let mixed = program.mixed(program.field.len() - 1).filter(|&at| paired.is_none() && linear.is_quiet_above(at));
    let top = program.values() - 1;
    let seeded = |sequence: &crate::batch::Sequence, t: usize| {
        extra.is_some_and(|e| !matches!((e.place)(sequence, t), RowSource::Zero))
    };
    let ends = mixed.map(|at| batch.ends(&device, [at, top], seeded));
    let mut ends = ends.transpose()?.flatten();
    for value in (first..program.values()).rev() {
        if mixed == Some(value)
            && let Some((_, widen)) = ends.take()
        {
            for bar in bars.iter_mut().flatten() {
                *bar = widen.of(rec, bar)?;
            }
            active = batch.rows.count();
        }
        let batch = ends.as_ref().map_or(batch, |(ends, _)| ends);
        let after = batch.active(value, PassDirection::Backward);
        if let Some(primal) = &base.values[value] {
            let here = extra.filter(|e| e.at == value);
            let newcomer =
                |sequence: &crate::batch::Sequence, t| here.map_or(RowSource::Zero, |e| (e.place)(sequence, t));
            let plan = batch.plan(&device, value, width(primal), [active, after], newcomer)?;
            if let Some(plan) = plan {
                let x = bars[value].as_ref().unwrap_or(primal);
                bars[value] = Some(plan.primal(rec, x, here.map_or(primal, |e| e.seeds))?);
            }
        }
        active = after;
        if wanted.contains(&value) {
            results[value] = match (&bars[value], &ends) {
                (Some(bar), Some((_, widen))) => Some(widen.of(rec, bar)?),
                (bar, _) => bar.clone(),
            };
        }
        let Some(producer) = value.checked_sub(1) else { break };
        let Some(mut y_bar) = bars[value].take() else { continue };
        if let Some(plan) = linear.plan(&device, value, width(&y_bar), [active, active], |_, _| RowSource::Zero)? {
            y_bar = plan.primal(rec, &y_bar, &y_bar)?;
        }
        let node = &program.nodes[producer];
        let Some(residuals) = &base.residuals[producer] else { continue };
        rec.scope(&node.scope);
        let so_far: Vec<Option<Tensor>> = node.inputs.iter().map(|&v| bars[v].clone()).collect();
        let table = batch.rows.prefix(active);
        let of_tangents = paired.and_then(|tangents| tangents.residuals[producer].as_ref());
        let paired = of_tangents.map(|(residuals, rows)| Paired { residuals, rows: *rows });
        let x_bars = match paired {
            Some(paired) => node.derivatives().hvp(rec, &table, (residuals, paired), &y_bar, &so_far)?,
            None => node.derivatives().vjp(rec, &table, residuals, &y_bar, &so_far)?,
        };
        for (&v, bar) in node.inputs.iter().zip(x_bars) {
            bars[v] = Some(bar);
        }
    }
    Ok(results)
}
