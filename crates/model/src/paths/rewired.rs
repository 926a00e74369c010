//! Runs in which some edges carry other values: what remains of an observable within a circuit.
//!
//! Every reader reads the residual stream of this run, but for the writers whose edge to it is cut it reads a
//! replacement of their output. All nodes are computed again, so what is cut early has its effect on all that follows.
//! Each reader has an input of its own, so the readers of a block pass its norm and its product as one batch.

use resolvent_engine::{Recording, Shape, Tensor};
use resolvent_ops::add::add;
use resolvent_ops::matmul::Matmul;
use resolvent_ops::splice::{RowEdit, RowSource};
use resolvent_ops::{Linear as _, Residuals, Rows, Span, Weight};

use super::check::{check_rows, ends_at_logits};
use super::edited::batch_of;
use super::node::{Edge, Reader};
use super::responses::{
    BlockValues, RowOf, assemble, base_rows, chain, heads_alone, primal, primal_saving, tangent_saved,
};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::observable::Observable;
use crate::program::Program;
use crate::read::{Pending, Read, finish};
use crate::run::Run;
use crate::sweep::Reading;
use crate::values::{parts, total};

/// Returns the observable's value for each list of included edges; all other edges carry `replacements`.
///
/// `included` has, for each value, whether each edge of [`Edge::all`] is included. `replacements [W, T, d]` take the
/// place of the writers' outputs where edges are cut, in the order of [`Writer::all`](super::Writer::all).
///
/// # Errors
/// A run with edits, or one that was not prepared for [`crate::path_sites`]; a list or replacements of another length;
/// an observable that does not fit or reads the field below the last level; or a device error.
pub fn rewired_values(
    run: &Run,
    replacements: &[f32],
    included: &[Vec<bool>],
    observable: &Observable,
) -> Result<Vec<f64>> {
    let (model, sizes) = (run.model().architecture(), *run.sizes());
    if !run.edits().is_empty() {
        return Err(Error::Place(
            "edges are cut in runs without edits; give one, or patch edges, which takes edits".to_owned(),
        ));
    }
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
    let replaced =
        run.device().upload("replacements", &[("rows", replacements.len() / sizes.d), ("d", sizes.d)], replacements)?;
    let rewired = Rewired { run, blocks, replaced, edges: &all, reading: &reading };
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

struct Rewired<'a> {
    run: &'a Run,
    blocks: Vec<BlockValues>,
    /// Replacements of all writers' outputs, `[W T, d]`.
    replaced: Tensor,
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
        let whole = batch_of(run.device(), &[span], &[], 0..=0)?;
        let mut x = base_rows(rec, trace, program.field[0], &[span])?;
        // The outputs of all writers so far, `[n T, d]`.
        let mut written = x.clone();
        for (l, block) in self.blocks.iter().enumerate() {
            let queries = Reader::Query(l, 0).index(&sizes);
            let readers = &Reader::all(&sizes)[queries..][..sizes.heads + 2 * sizes.kv_heads];
            let read = self.inputs(rec, (&x, &written), readers, included)?;
            let rows = batch_of(run.device(), &vec![span; readers.len()], &[], 0..=0)?;
            let qkv = primal(program, rec, (&rows, trace), &chain(program, block.pre, block.qkv)?, read)?;
            let qkv = own_columns(rec, readers, tokens, &sizes, &qkv)?;
            let z = primal(program, rec, (&whole, trace), &chain(program, block.qkv, block.z)?, qkv)?;
            let writing = chain(program, block.z, block.attn_out)?;
            let (out, residuals) = primal_saving(program, rec, (&whole, trace), &writing, z.clone())?;
            let heads = self.head_outputs(rec, (&frozen, &writing, &residuals), span, &z)?;
            written = extended(rec, &written, &heads)?;
            let mid = add(rec, &x, &out)?;
            let input = if model.parallel { &x } else { &mid };
            let read = self.inputs(rec, (input, &written), &[Reader::Mlp(l)], included)?;
            let nodes = chain(program, block.mlp_input, block.mlp_out)?;
            let out = primal(program, rec, (&whole, trace), &nodes, read)?;
            written = extended(rec, &written, &out)?;
            x = add(rec, &mid, &out)?;
        }
        let last = self.inputs(rec, (&x, &written), &[Reader::Logits], included)?;
        let reads = self.reading.0.iter().map(|point| Read { row: point.token, token: point.token, part: &point.part });
        run.base.record_rows(rec, &last, reads.collect())
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
    /// place of the output. Returns `[readers T, d]`.
    fn inputs(
        &self,
        rec: &mut Recording,
        (x, written): (&Tensor, &Tensor),
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
            included[from..from + before].iter().map(|included| f32::from(u8::from(!included)))
        };
        let cut: Vec<f32> = readers.iter().flat_map(cut).collect();
        if cut.iter().all(|entry| *entry == 0.0) {
            return Ok(sum);
        }
        let mut sum = reshaped(&sum, readers.len(), tokens * sizes.d)?;
        // The replacements come in, and the outputs go.
        let minus: Vec<f32> = cut.iter().map(|entry| -entry).collect();
        for (cut, outputs) in [(cut, &self.replaced), (minus, written)] {
            let cut = rec.device().upload("cut", &[("rows", readers.len()), ("k", before)], &cut)?;
            let outputs = Weight::full(reshaped(outputs, before, tokens * sizes.d)?);
            let product = Matmul { w: outputs, bias: cut.clone(), add: true };
            sum = product.apply(rec, &[&cut, &sum])?;
        }
        reshaped(&sum, readers.len() * tokens, sizes.d)
    }
}

/// Records the rows of `written` and of `more`, one after another.
fn extended(rec: &mut Recording, written: &Tensor, more: &Tensor) -> Result<Tensor> {
    let row = |source| RowOf { source, edits: Vec::new() };
    let [first, further] = [written, more].map(|t| t.shape().lengths()[0]);
    let rows = (0..first).map(RowSource::X).chain((0..further).map(RowSource::Base)).map(row);
    assemble(rec, &rows.collect::<Vec<RowOf>>(), written, more)
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
