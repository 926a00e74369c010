//! Runs in which some edges carry other values: what remains of an observable within a circuit.
//!
//! Every reader reads the residual stream of this run, but for the writers whose edge to it is cut it reads a
//! replacement of their output. All nodes are computed again, so what is cut early has its effect on all that follows.
//! Each reader has an input of its own, so the readers of a block pass its norm and its product as one batch.
//!
//! The run's own edits act on all values that are computed again. Outputs and their replacements pass the linear parts
//! of the edits of the stream on their way to a reader, as what an edge carries does; see [`StreamEdits`].
//!
//! [`StreamEdits`]: super::StreamEdits

use std::collections::BTreeMap;

use resolvent_engine::{Recording, Shape, Tensor};
use resolvent_ops::add::add;
use resolvent_ops::matmul::Matmul;
use resolvent_ops::splice::{RowEdit, RowPlan, RowSource};
use resolvent_ops::{Linear as _, Residuals, Rows, Span, Weight};

use super::check::{check_rows, ends_at_logits};
use super::edited::{batch_of, own_edits};
use super::node::{Edge, Reader, Writer};
use super::responses::{
    BlockValues, RowOf, assemble, base_rows, chain, heads_alone, primal, primal_saving, tangent_saved,
};
use crate::batch::ScheduledEdit;
use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::observable::Observable;
use crate::program::{Program, ValueId};
use crate::read::{Pending, Read, finish};
use crate::run::Run;
use crate::sweep::Reading;
use crate::values::{parts, total};

/// Returns the observable's value for each list of included edges; all other edges carry `replacements`.
///
/// `included` has, for each value, whether each edge of [`Edge::all`] is included. `replacements [W, T, d]` take the
/// place of the writers' outputs where edges are cut, in the order of [`Writer::all`]. Edits of the run act here too:
/// those of embeddings, heads, neurons and MLP outputs are in the outputs, which a replacement takes the place of.
///
/// # Errors
/// A run that was not prepared for [`crate::path_sites`]; a list or replacements of another length; an observable that
/// does not fit or reads the field below the last level; or a device error.
pub fn rewired_values(
    run: &Run,
    replacements: &[f32],
    included: &[Vec<bool>],
    observable: &Observable,
) -> Result<Vec<f64>> {
    let (model, sizes) = (run.model().architecture(), *run.sizes());
    check_rows(run, replacements)?;
    ends_at_logits(observable, &sizes)?;
    let all = Edge::all(model);
    if let Some(other) = included.iter().find(|included| included.len() != all.len()) {
        let (found, expected) = (other.len(), all.len());
        return Err(Error::Place(format!(
            "a list of included edges has {found} entries; the model has {expected} edges"
        )));
    }
    let blocks = (0..sizes.layers).map(|l| BlockValues::of(run, l)).collect::<Result<Vec<BlockValues>>>()?;
    let reading = parts(&[(run, observable)])?.remove(0);
    let minus = uploaded(run, replacements)?;
    let (edits, passed) = (own_edits(run, Edit::primal_edit)?, passed(run, &blocks)?);
    let rewired = Rewired { run, blocks, minus, edits, passed, edges: &all, reading: &reading };
    let mut pending = Vec::with_capacity(included.len());
    for included in included {
        let mut rec = run.device().record();
        pending.push(rewired.record(&mut rec, included)?);
        run.device().submit(rec)?;
    }
    let values = finish(run.device(), &pending)?.into_iter().map(|parts| total(&parts));
    let finite = |value: f64| run.finite_value(value, || "a run with cut edges".to_owned());
    values.map(finite).collect()
}

/// Uploads replacements `[W, T, d]` times -1, as [`Rewired::minus`] has them.
fn uploaded(run: &Run, replacements: &[f32]) -> Result<Vec<Tensor>> {
    let (sizes, tokens) = (run.sizes(), run.tokens().len());
    let of_block = [sizes.heads, 1];
    let counts = std::iter::once(1).chain((0..sizes.layers).flat_map(|_| of_block));
    let mut rest = replacements;
    let upload = |count: usize| {
        let (own, others) = rest.split_at(count * tokens * sizes.d);
        rest = others;
        let minus: Vec<f32> = own.iter().map(|x| -x).collect();
        Ok(run.device().upload("replacements", &[("rows", count * tokens), ("d", sizes.d)], &minus)?)
    };
    counts.map(upload).collect()
}

/// Returns the linear parts of the run's edits at each value of the stream, and at attention's whole output, for the
/// rows of all writers that pass there.
fn passed(run: &Run, blocks: &[BlockValues]) -> Result<BTreeMap<ValueId, RowPlan>> {
    let (sizes, device, span) = (run.sizes(), run.device(), run.span(0, run.tokens().len()));
    let linear = own_edits(run, Edit::linear)?;
    let mut plans = BTreeMap::new();
    for (l, block) in blocks.iter().enumerate() {
        let mlp = Writer::Mlp(l).index(sizes);
        for (value, writers) in [(block.attn_out, sizes.heads), (block.mid, mlp), (block.post, mlp + 1)] {
            let batch = batch_of(device, &vec![span; writers], &linear, value..=value)?;
            let rows = batch.rows.count();
            let plan = batch.plan(device, value, sizes.d, [rows, rows], |_, _| RowSource::Zero)?;
            plans.extend(plan.map(|plan| (value, plan)));
        }
    }
    Ok(plans)
}

struct Rewired<'a> {
    run: &'a Run,
    blocks: Vec<BlockValues>,
    /// Replacements of outputs, times -1: of the embedding `[T, d]`, then of the heads of each block `[H T, d]` and of
    /// its MLP `[T, d]`.
    minus: Vec<Tensor>,
    /// The run's own edits.
    edits: Vec<ScheduledEdit>,
    /// What they do to the outputs that pass a value.
    passed: BTreeMap<ValueId, RowPlan>,
    edges: &'a [Edge],
    reading: &'a Reading,
}

impl<'a> Rewired<'a> {
    /// Records one run, and the observable that is read of it.
    fn record(&self, rec: &mut Recording, included: &[bool]) -> Result<Pending<'a>> {
        let (run, sizes, tokens) = (self.run, *self.run.sizes(), self.run.tokens().len());
        let (program, trace, model) = (run.program(), &run.base.trace, run.model().architecture());
        let frozen = program.freeze(Mode::FrozenNorm.frozen());
        let span = run.span(0, tokens);
        let whole = batch_of(run.device(), &[span], &self.edits, 0..=ValueId::MAX)?;
        let mut x = base_rows(rec, trace, program.field[0], &[span])?;
        // The outputs of all writers so far minus their replacements, `[n T, d]`.
        let mut moved = add(rec, &x, &self.minus[0])?;
        for (l, block) in self.blocks.iter().enumerate() {
            let queries = Reader::Query(l, 0).index(&sizes);
            let readers = &Reader::all(&sizes)[queries..][..sizes.heads + 2 * sizes.kv_heads];
            let read = self.inputs(rec, (&x, &moved), readers, included)?;
            let rows = batch_of(run.device(), &vec![span; readers.len()], &self.edits, block.pre + 1..=block.qkv)?;
            let qkv = primal(program, rec, (&rows, trace), &chain(program, block.pre, block.qkv)?, read)?;
            let qkv = own_columns(rec, readers, tokens, &sizes, &qkv)?;
            let z = primal(program, rec, (&whole, trace), &chain(program, block.qkv, block.z)?, qkv)?;
            let writing = chain(program, block.z, block.attn_out)?;
            let (out, residuals) = primal_saving(program, rec, (&whole, trace), &writing, z.clone())?;
            let heads = self.head_outputs(rec, (&frozen, &writing, &residuals), span, &z)?;
            let heads = add(rec, &heads, &self.minus[1 + 2 * l])?;
            let heads = self.pass(rec, block.attn_out, heads)?;
            let all = extended(rec, &moved, &heads)?;
            moved = self.pass(rec, block.mid, all)?;
            let mid = add(rec, &x, &out)?;
            let mid = whole.edited(rec, block.mid, mid)?;
            let input = if model.parallel { &x } else { &mid };
            let read = self.inputs(rec, (input, &moved), &[Reader::Mlp(l)], included)?;
            let nodes = chain(program, block.mlp_input, block.mlp_out)?;
            let out = primal(program, rec, (&whole, trace), &nodes, read)?;
            let by_mlp = add(rec, &out, &self.minus[2 + 2 * l])?;
            let all = extended(rec, &moved, &by_mlp)?;
            moved = self.pass(rec, block.post, all)?;
            x = add(rec, &mid, &out)?;
            x = whole.edited(rec, block.post, x)?;
        }
        let last = self.inputs(rec, (&x, &moved), &[Reader::Logits], included)?;
        let reads = self.reading.0.iter().map(|point| Read { row: point.token, token: point.token, part: &point.part });
        run.base.record_rows(rec, &last, reads.collect())
    }

    /// Records the rows of all writers that pass a value, under the linear parts of its edits.
    fn pass(&self, rec: &mut Recording, value: ValueId, rows: Tensor) -> Result<Tensor> {
        match self.passed.get(&value) {
            Some(plan) => Ok(plan.primal(rec, &rows, &rows)?),
            None => Ok(rows),
        }
    }

    /// Records what each head adds to the stream, `[H T, d]`, at the scale of the norm after the projection in this
    /// run.
    fn head_outputs(
        &self,
        rec: &mut Recording,
        (frozen, nodes, residuals): (&Program, &[usize], &[Residuals]),
        span: Span,
        z: &Tensor,
    ) -> Result<Tensor> {
        let (sizes, tokens) = (self.run.sizes(), span.rows());
        // The residuals are those of this run alone, whose first row is 0.
        let rows = Rows::new(rec.device(), &vec![Span { primal: 0, ..span }; sizes.heads])?;
        let alone = heads_alone(rec, sizes, z, &(0..tokens))?;
        tangent_saved(frozen, rec, &rows, nodes, residuals, alone)
    }

    /// Records what readers of one kind of place read: the stream `x [T, d]`, and for each cut edge the replacement in
    /// place of the output, so without what is `moved`. Returns `[readers T, d]`.
    fn inputs(
        &self,
        rec: &mut Recording,
        (x, moved): (&Tensor, &Tensor),
        readers: &[Reader],
        included: &[bool],
    ) -> Result<Tensor> {
        let (sizes, tokens) = (self.run.sizes(), self.run.tokens().len());
        let row = |at| RowOf { source: RowSource::X(at), edits: Vec::new() };
        let rows: Vec<RowOf> = readers.iter().flat_map(|_| (0..tokens).map(row)).collect();
        let sum = assemble(rec, &rows, x, x)?;
        let before = readers.first().map_or(0, |reader| reader.writers(self.run.model().architecture()));
        let cut = |&reader: &Reader| {
            let from = self.edges.partition_point(|edge| edge.reader.index(sizes) < reader.index(sizes));
            included[from..from + before].iter().map(|included| -f32::from(u8::from(!included)))
        };
        let cut: Vec<f32> = readers.iter().flat_map(cut).collect();
        if cut.iter().all(|entry| *entry == 0.0) {
            return Ok(sum);
        }
        let sum = reshaped(&sum, readers.len(), tokens * sizes.d)?;
        let cut = rec.device().upload("cut", &[("rows", readers.len()), ("k", before)], &cut)?;
        let moved = Weight::full(reshaped(moved, before, tokens * sizes.d)?);
        let sum = Matmul { w: moved, bias: cut.clone(), add: true }.apply(rec, &[&cut, &sum])?;
        reshaped(&sum, readers.len() * tokens, sizes.d)
    }
}

/// Records the rows of `moved` and of `more`, one after another.
fn extended(rec: &mut Recording, moved: &Tensor, more: &Tensor) -> Result<Tensor> {
    let row = |source| RowOf { source, edits: Vec::new() };
    let [first, further] = [moved, more].map(|t| t.shape().lengths()[0]);
    let rows = (0..first).map(RowSource::X).chain((0..further).map(RowSource::Base)).map(row);
    assemble(rec, &rows.collect::<Vec<RowOf>>(), moved, more)
}

/// Returns the first elements of a tensor as `[rows, n]`.
fn reshaped(t: &Tensor, rows: usize, n: usize) -> Result<Tensor> {
    Ok(Tensor::view(t.buffer().clone(), t.range().start, Shape::new(&[("rows", rows), ("n", n)]))?)
}

/// Records the rows of queries, keys and values `[T, ..]` in which each reader's columns come from its own row.
fn own_columns(
    rec: &mut Recording,
    readers: &[Reader],
    tokens: usize,
    sizes: &crate::arch::Sizes,
    qkv: &Tensor,
) -> Result<Tensor> {
    let row = |t: usize| {
        let take = |(n, reader): (usize, &Reader)| {
            let columns = reader.output()?.columns(sizes);
            Some((columns.start, RowEdit::Take { row: n * tokens + t, width: columns.len() }))
        };
        RowOf { source: RowSource::Base(t), edits: readers.iter().enumerate().filter_map(take).collect() }
    };
    assemble(rec, &(0..tokens).map(row).collect::<Vec<RowOf>>(), qkv, qkv)
}
