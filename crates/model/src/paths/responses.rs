//! The ops of one block between the values at which paths branch, over rows of any batch.

use std::ops::Range;

use resolvent_engine::{Recording, Tensor};
use resolvent_ops::splice::{RowEdit, RowPlan, RowSource};
use resolvent_ops::{Op, Residuals, Rows, Span};

use crate::arch::Sizes;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::passes::Trace;
use crate::program::{Program, ValueId};
use crate::run::{Run, retained};
use crate::site::Site;

/// The values of one block: what its readers read, and what they and the heads compute.
#[derive(Clone, Copy)]
pub(crate) struct BlockValues {
    /// Read by queries, keys and values.
    pub(crate) pre: ValueId,
    pub(crate) qkv: ValueId,
    pub(crate) z: ValueId,
    pub(crate) attn_out: ValueId,
    /// Read by the MLP.
    pub(crate) mlp_input: ValueId,
    pub(crate) mlp_out: ValueId,
    /// The sum to which the MLP's output is added. It is stored only if the MLP reads it.
    pub(crate) mid: ValueId,
    pub(crate) post: ValueId,
}

impl BlockValues {
    /// Returns the values of block l. Fails if `run` was not prepared for [`crate::path_sites`].
    pub(crate) fn of(run: &Run, l: usize) -> Result<Self> {
        let (value, program) = (|site| run.value_of(site), run.program());
        whole_final_norm(program)?;
        let [pre, post] = [program.field[l], program.field[l + 1]];
        // The last op of a block adds the MLP's output to the sum before it.
        let mid = program.nodes[post - 1].inputs[0];
        Ok(Self {
            pre,
            qkv: value(Site::Q(l, 0))?,
            z: value(Site::Z(l, 0))?,
            attn_out: value(Site::AttnOut(l))?,
            mlp_input: if run.model().architecture().parallel { pre } else { mid },
            mlp_out: value(Site::MlpOut(l))?,
            mid,
            post,
        })
    }
}

/// Fails if parts of the final norm are in the list: readers of the logits take it whole.
pub(crate) fn whole_final_norm(program: &Program) -> Result<()> {
    match program.divides_final_norm() {
        false => Ok(()),
        true => Err(Error::Place(
            "a site of ln_final divides the final norm, and paths need it whole; edit hook_resid_post of the last block"
                .to_owned(),
        )),
    }
}

/// Consecutive ops with one input each, as indices of nodes.
pub(crate) type Chain = Vec<usize>;

/// Returns the ops that compute the value `to` from the value `from` alone.
pub(crate) fn chain(program: &Program, from: ValueId, to: ValueId) -> Result<Chain> {
    let (mut nodes, mut value) = (Vec::new(), to);
    while value > from {
        let node = value - 1;
        let [input] = program.nodes[node].inputs[..] else { break };
        nodes.push(node);
        value = input;
    }
    nodes.reverse();
    match value == from {
        true => Ok(nodes),
        false => Err(Error::Place(format!(
            "{}: a site hook_result divides the projection of its block, and paths need it whole; edit attn.hook_z[H] or \
             hook_attn_out",
            program.nodes[value - 1].scope
        ))),
    }
}

/// Records the values that a chain computes of `x`, rows of its first input, under the edits of the batch. Rows before
/// a sequence are those of `base`.
pub(crate) fn primal(
    program: &Program,
    rec: &mut Recording,
    (batch, base): (&Batch, &Trace),
    nodes: &[usize],
    x: Tensor,
) -> Result<Tensor> {
    Ok(primal_saving(program, rec, (batch, base), nodes, x)?.0)
}

/// Like [`primal`]; also returns the residuals of each op.
pub(crate) fn primal_saving(
    program: &Program,
    rec: &mut Recording,
    (batch, base): (&Batch, &Trace),
    nodes: &[usize],
    mut x: Tensor,
) -> Result<(Tensor, Vec<Residuals>)> {
    let mut saved = Vec::with_capacity(nodes.len());
    for &i in nodes {
        let node = &program.nodes[i];
        rec.scope(&node.scope);
        let edited = batch.edited_attention(rec.device(), (program, node.output), batch.rows.count())?;
        let op: &dyn Op = edited.as_ref().map_or(&*node.op, |edited| edited);
        let outcome = op.primal(rec, &batch.rows, base.residuals[i].as_ref(), &[&x])?;
        x = batch.edited(rec, node.output, outcome.y)?;
        saved.push(outcome.residuals);
    }
    Ok((x, saved))
}

/// Records the tangents that a chain computes of `x_dot`, over residuals of each op.
pub(crate) fn tangent_saved(
    program: &Program,
    rec: &mut Recording,
    rows: &Rows,
    nodes: &[usize],
    residuals: &[Residuals],
    mut x_dot: Tensor,
) -> Result<Tensor> {
    for (&i, residuals) in nodes.iter().zip(residuals) {
        rec.scope(&program.nodes[i].scope);
        x_dot = program.nodes[i].op.jvp(rec, rows, residuals, &[&x_dot])?;
    }
    Ok(x_dot)
}

/// Records the tangents that a chain computes of `x_dot`, over the residuals of `base`.
pub(crate) fn tangent(
    program: &Program,
    rec: &mut Recording,
    (rows, base): (&Rows, &Trace),
    nodes: &[usize],
    x_dot: Tensor,
) -> Result<Tensor> {
    let residuals: Vec<Residuals> = nodes.iter().filter_map(|&i| base.residuals[i].clone()).collect();
    tangent_saved(program, rec, rows, nodes, &residuals, x_dot)
}

/// Records the cotangents of the first input of a chain, given those of its output. They pass the edits of the batch,
/// which are linear.
pub(crate) fn adjoint(
    program: &Program,
    rec: &mut Recording,
    (batch, base): (&Batch, &Trace),
    nodes: &[usize],
    mut y_bar: Tensor,
) -> Result<Tensor> {
    for &i in nodes.iter().rev() {
        let (node, Some(residuals)) = (&program.nodes[i], &base.residuals[i]) else { continue };
        rec.scope(&node.scope);
        y_bar = batch.edited(rec, node.output, y_bar)?;
        y_bar = node.op.vjp(rec, &batch.rows, residuals, &y_bar, &[None])?.swap_remove(0);
    }
    Ok(y_bar)
}

/// A row of `width` zeros except for the columns of one edit, or a row of the base with an edit.
pub(crate) struct RowOf {
    pub(crate) source: RowSource,
    pub(crate) edits: Vec<(usize, RowEdit)>,
}

/// Records rows that are put together from rows of `x` and of `base`.
pub(crate) fn assemble(rec: &mut Recording, rows: &[RowOf], x: &Tensor, base: &Tensor) -> Result<Tensor> {
    let sources: Vec<RowSource> = rows.iter().map(|row| row.source).collect();
    let mut edits: Vec<(usize, usize, &RowEdit)> = Vec::new();
    for (n, row) in rows.iter().enumerate() {
        edits.extend(row.edits.iter().map(|(from, edit)| (n, *from, edit)));
    }
    let width = base.shape().lengths()[1..].iter().product();
    Ok(RowPlan::new(rec.device(), width, &sources, &edits)?.primal(rec, x, base)?)
}

/// Records, for each head and token, a row of zeros except for the head's columns of a row of `z`: `[H T, ..]`. `rows`
/// are the rows of the tokens in z.
pub(crate) fn heads_alone(rec: &mut Recording, sizes: &Sizes, z: &Tensor, rows: &Range<usize>) -> Result<Tensor> {
    let head = |h: usize| {
        let columns = Site::Z(0, h).columns(sizes);
        rows.clone().map(move |row| {
            let take = RowEdit::Take { row, width: columns.len() };
            RowOf { source: RowSource::Zero, edits: vec![(columns.start, take)] }
        })
    };
    assemble(rec, &(0..sizes.heads).flat_map(head).collect::<Vec<RowOf>>(), z, z)
}

/// Records the rows of a value of the base run that sequences own.
pub(crate) fn base_rows(rec: &mut Recording, base: &Trace, value: ValueId, spans: &[Span]) -> Result<Tensor> {
    let own = |span: &Span| span.primal + span.start..span.primal + span.end;
    let row = |at| RowOf { source: RowSource::Base(at), edits: Vec::new() };
    let rows: Vec<RowOf> = spans.iter().flat_map(own).map(row).collect();
    let value = retained(base, value)?;
    assemble(rec, &rows, value, value)
}
