//! Exact patches of edges, all in ragged batches.
//!
//! The patch of an edge changes what one reader reads, by the displacement of one writer's output, and nothing else.
//! What the reader computes of this is a small part of a block:
//!
//! 1. The displaced residual stream, one sequence for each writer, passes the norm and the product of the readers.
//! 2. For queries, keys and values, one sequence for each writer and kind takes the columns of that kind and the base
//!    run's other columns through attention. Every head of the result belongs to an edge. If a norm joins the heads,
//!    each reader needs a sequence of its own.
//! 3. One sequence for each edge takes its head and the base run's other heads through the output projection.
//! 4. The sequences branch from the base run after this block, and the observable is read as in any sweep.
//!
//! The run's own edits act on all of these: what a writer adds passes the edits of the stream before it reaches the
//! reader, and every value that is computed anew is edited anew.
//!
//! Rows are computed from the first displaced token to the end of the cone of the last one; see `Program::cone_end`.

use std::collections::BTreeMap;
use std::ops::Range;

use resolvent_engine::{Recording, Tensor, stepped};
use resolvent_ops::Span;
use resolvent_ops::add::add;
use resolvent_ops::splice::{RowEdit, RowSource};

use super::check::check_rows;
use super::edited::{StreamEdits, batch_of, own_edits};
use super::node::{Edge, Reader, Writer};
use super::responses::{BlockValues, RowOf, assemble, base_rows, chain, primal};
use crate::arch::Sizes;
use crate::batch::{Batch, ScheduledEdit, Sequence};
use crate::edit::Edit;
use crate::error::Result;
use crate::observable::Observable;
use crate::passes::Origin;
use crate::program::ValueId;
use crate::run::{Run, retained};
use crate::splits::{most_rows, split_by};
use crate::sweep::{Reading, Swept, finish_sweep, record_swept};
use crate::values::{parts, total};

/// Returns the observable's value for each edge, where its reader reads the residual stream plus the displacement of
/// its writer.
///
/// `displacements [W, T, d]` are added to the writers' outputs, in the order of [`Writer::all`]. They reach a reader
/// through the run's edits of the stream, which lie between; see [`StreamEdits`]. An edge whose displacement is zero,
/// or does not reach its reader, has exactly the value of the run.
///
/// # Errors
/// A run that was not prepared for [`crate::path_sites`]; an edge that the model lacks; displacements of another shape;
/// an observable that does not fit; or a device error.
pub fn edge_values(run: &Run, displacements: &[f32], edges: &[Edge], observable: &Observable) -> Result<Vec<f64>> {
    let (model, sizes, tokens) = (run.model().architecture(), run.sizes(), run.tokens().len());
    edges.iter().try_for_each(|edge| edge.check(model))?;
    check_rows(run, displacements)?;
    (0..sizes.layers).try_for_each(|l| BlockValues::of(run, l).map(|_| ()))?;
    let reading = parts(&[(run, observable)])?.remove(0);
    let mut values = vec![total(&reading.1); edges.len()];
    let size = tokens * sizes.d;
    let moved = |writer: Writer| -> Vec<bool> {
        let rows = displacements[writer.index(sizes) * size..][..size].chunks(sizes.d);
        rows.map(|row| row.iter().any(|x| *x != 0.0)).collect()
    };
    let moved: Vec<Vec<bool>> = Writer::all(sizes).into_iter().map(moved).collect();
    let (stream, edits) = (StreamEdits::of(run), own_edits(run, Edit::primal_edit)?);
    let reaching = |edge: Edge| -> Vec<bool> {
        let (writer, to) = (edge.writer, edge.reader.input(model));
        let moved = moved[writer.index(sizes)].iter().enumerate();
        moved.map(|(token, moved)| *moved && !stream.stop(writer, to, token)).collect()
    };
    // Edges into the same readers whose cones end at the same token.
    let mut groups: BTreeMap<(Group, usize), Grouped> = BTreeMap::new();
    for (id, &edge) in edges.iter().enumerate() {
        let Some(cone) = cone(run, edge.reader, &reaching(edge), &reading)? else { continue };
        let group = groups.entry((Group::of(edge.reader), cone.end)).or_insert((cone.start, Vec::new()));
        group.0 = group.0.min(cone.start);
        group.1.push((id, edge));
    }
    let (mut swept, groups) = (Vec::new(), groups.into_iter().collect());
    for ((group, end), (start, mut edges)) in stepped("edges", groups, |(_, group): &(_, Grouped)| group.1.len()) {
        let sweep = Sweep { run, displacements, stream: &stream, edits: &edits, reading: &reading, start, end };
        edges.sort_by_key(|(_, edge)| *edge);
        let most = most_rows(run.model(), 0);
        for part in split_by(&edges, most, |_| sweep.end - sweep.start) {
            swept.extend(match group {
                Group::Attention(l) => sweep.attention(l, part)?,
                Group::Mlp(l) => sweep.mlp(l, part)?,
                Group::Logits => sweep.logits(part)?,
            });
        }
    }
    let readings: Vec<&Reading> = vec![&reading; edges.len()];
    finish_sweep(run, swept, &readings, &mut values)?;
    for (edge, &value) in edges.iter().zip(&values) {
        run.finite_value(value, || format!("a patch of {edge}"))?;
    }
    Ok(values)
}

/// Returns the tokens from the first one at which the patch of an edge changes something to the end of its cone; `None`
/// if it changes nothing that is read. `moved` says at which tokens the writer's output is displaced.
fn cone(run: &Run, reader: Reader, moved: &[bool], (points, _): &Reading) -> Result<Option<Range<usize>>> {
    let (program, layers) = (run.program(), run.sizes().layers);
    // The value that changes at the displaced tokens alone, below all attention that passes the change on.
    let value = match reader {
        Reader::Query(l, _) => BlockValues::of(run, l)?.z,
        Reader::Key(l, _) | Reader::Value(l, _) => BlockValues::of(run, l)?.qkv,
        Reader::Mlp(l) => BlockValues::of(run, l)?.mlp_out,
        Reader::Logits => program.field[layers],
    };
    let read = points.iter().map(|point| point.token);
    let (Some(first), Some(last)) = (read.clone().min(), read.clone().max()) else { return Ok(None) };
    // From the last attention on, only tokens that are read matter.
    let first = if program.mixed(layers).is_some_and(|mixed| value >= mixed) { first } else { 0 };
    let mut tokens = (first..last + 1).filter(|&token| moved[token]);
    let Some(start) = tokens.next() else { return Ok(None) };
    let end = program.cone_end(value, tokens.next_back().unwrap_or(start)).min(last + 1);
    Ok(Some(start..end).filter(|cone| read.clone().any(|token| cone.contains(&token))))
}

/// The first token that is displaced, and the edges with their indices.
type Grouped = (usize, Vec<(usize, Edge)>);

/// Readers whose edges are patched together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Attention(usize),
    Mlp(usize),
    Logits,
}

impl Group {
    fn of(reader: Reader) -> Self {
        match reader {
            Reader::Query(l, _) | Reader::Key(l, _) | Reader::Value(l, _) => Self::Attention(l),
            Reader::Mlp(l) => Self::Mlp(l),
            Reader::Logits => Self::Logits,
        }
    }
}

struct Sweep<'a> {
    run: &'a Run,
    displacements: &'a [f32],
    stream: &'a StreamEdits,
    /// The run's own edits.
    edits: &'a [ScheduledEdit],
    reading: &'a Reading,
    /// The first token that is displaced.
    start: usize,
    /// One past the last token that a displacement reaches and the observable may read.
    end: usize,
}

impl<'a> Sweep<'a> {
    /// Patches edges into queries, keys and values of block l.
    fn attention(&self, l: usize, edges: &[(usize, Edge)]) -> Result<Vec<Swept<'a>>> {
        let (run, block, mut rec) = (self.run, BlockValues::of(self.run, l)?, self.run.device().record());
        let (program, trace, sizes) = (run.program(), &run.base.trace, run.sizes());
        let span = run.span(self.start, self.end);
        let tokens = span.rows();
        let writers = distinct(edges.iter().map(|(_, edge)| edge.writer));
        let x = self.displaced(&mut rec, (block.pre, Reader::Query(l, 0)), &writers, span)?;
        let batch = self.batch(&vec![span; writers.len()], block.pre, block.qkv)?;
        let qkv = primal(program, &mut rec, (&batch, trace), &chain(program, block.pre, block.qkv)?, x)?;

        // The columns of one kind from the displaced stream, and the others from the base run.
        let joined = self.joins_heads(l);
        let key = |edge: &Edge| (edge.writer, displaced_columns(edge.reader, joined, sizes));
        let kinds = distinct(edges.iter().map(|(_, edge)| key(edge)));
        let mixed = |&(writer, [first, end]): &(Writer, [usize; 2])| {
            let of_writer = writers.binary_search(&writer).unwrap_or_default() * tokens;
            let others = [0..first, end..sizes.qkv_width()];
            (0..tokens).map(move |t| {
                let row = span.primal + span.start + t;
                let others = others.iter().filter(|columns| !columns.is_empty());
                let edits = others.map(|c| (c.start, RowEdit::Take { row, width: c.len() })).collect();
                RowOf { source: RowSource::X(of_writer + t), edits }
            })
        };
        let mixed: Vec<RowOf> = kinds.iter().flat_map(mixed).collect();
        let qkv = assemble(&mut rec, &mixed, &qkv, retained(trace, block.qkv)?)?;
        let batch = self.batch(&vec![span; kinds.len()], block.qkv, block.z)?;
        let z = primal(program, &mut rec, (&batch, trace), &chain(program, block.qkv, block.z)?, qkv)?;

        // The heads of one edge, and the others from the base run.
        let own = self.rows_after(block.attn_out, span);
        let head = |(_, edge): &(usize, Edge)| {
            let of_kind = kinds.binary_search(&key(edge)).unwrap_or_default() * tokens;
            let heads = if joined { 0..sizes.heads } else { heads_of(edge.reader, sizes) };
            let columns = heads.start * sizes.d_head..heads.end * sizes.d_head;
            (own.start..own.end).map(move |t| {
                let take = RowEdit::Take { row: of_kind + t - span.start, width: columns.len() };
                RowOf { source: RowSource::X(span.primal + t), edits: vec![(columns.start, take)] }
            })
        };
        let of_edges: Vec<RowOf> = edges.iter().flat_map(head).collect();
        let z = assemble(&mut rec, &of_edges, retained(trace, block.z)?, &z)?;
        let spans = vec![own; edges.len()];
        let batch = self.batch(&spans, block.z, block.attn_out)?;
        let out = primal(program, &mut rec, (&batch, trace), &chain(program, block.z, block.attn_out)?, z)?;
        let mid = base_rows(&mut rec, trace, block.pre, &spans)?;
        let mid = add(&mut rec, &mid, &out)?;
        match run.model().architecture().parallel {
            false => self.read(rec, (block.mid, mid, true), edges, own),
            true => {
                let mlp = base_rows(&mut rec, trace, block.mlp_out, &spans)?;
                let post = add(&mut rec, &mid, &mlp)?;
                self.read(rec, (block.post, post, true), edges, own)
            }
        }
    }

    /// Patches edges into the MLP of block l.
    fn mlp(&self, l: usize, edges: &[(usize, Edge)]) -> Result<Vec<Swept<'a>>> {
        let (run, block, mut rec) = (self.run, BlockValues::of(self.run, l)?, self.run.device().record());
        let (program, trace) = (run.program(), &run.base.trace);
        let own = self.rows_after(block.mlp_out, run.span(self.start, self.end));
        let writers: Vec<Writer> = edges.iter().map(|(_, edge)| edge.writer).collect();
        let spans = vec![own; edges.len()];
        let x = self.displaced(&mut rec, (block.mlp_input, Reader::Mlp(l)), &writers, own)?;
        let batch = self.batch(&spans, block.mlp_input, block.mlp_out)?;
        let nodes = chain(program, block.mlp_input, block.mlp_out)?;
        let out = primal(program, &mut rec, (&batch, trace), &nodes, x)?;
        let mid = match run.model().architecture().parallel {
            false => base_rows(&mut rec, trace, block.mid, &spans)?,
            true => {
                let [pre, attn_out] =
                    [block.pre, block.attn_out].map(|value| base_rows(&mut rec, trace, value, &spans));
                add(&mut rec, &pre?, &attn_out?)?
            }
        };
        let post = add(&mut rec, &mid, &out)?;
        self.read(rec, (block.post, post, true), edges, own)
    }

    /// Patches edges into the final norm.
    fn logits(&self, edges: &[(usize, Edge)]) -> Result<Vec<Swept<'a>>> {
        let last = self.run.program().field[self.run.sizes().layers];
        let own = self.rows_after(last, self.run.span(self.start, self.end));
        let mut rec = self.run.device().record();
        let writers: Vec<Writer> = edges.iter().map(|(_, edge)| edge.writer).collect();
        let rows = self.displaced(&mut rec, (last, Reader::Logits), &writers, own)?;
        self.read(rec, (last, rows, false), edges, own)
    }

    /// Returns whether a norm joins the queries, or the keys, of all heads of block l: then each head depends on the
    /// others.
    fn joins_heads(&self, l: usize) -> bool {
        let (model, sizes) = (self.run.model().architecture(), self.run.sizes());
        model.layout.blocks[l].qk_norm.as_ref().is_some_and(|both| both.iter().any(|at| at.width > sizes.d_head))
    }

    /// Returns the tokens that matter from the value `at` on: above the last attention, only those that are read.
    fn rows_after(&self, at: ValueId, span: Span) -> Span {
        let last = self.run.program().mixed(self.run.sizes().layers);
        let first = self.reading.0.iter().map(|point| point.token).min().unwrap_or(span.start);
        match last.is_some_and(|last| at > last) {
            true => Span { start: span.start.max(first), ..span },
            false => span,
        }
    }

    /// Returns a batch of `spans` with the run's edits above the value `from`, up to `to`.
    fn batch(&self, spans: &[Span], from: ValueId, to: ValueId) -> Result<Batch> {
        batch_of(self.run.device(), spans, self.edits, from + 1..=to)
    }

    /// Records the rows of `value`, which `reader` reads, that each writer's displacement is added to.
    fn displaced(
        &self,
        rec: &mut Recording,
        (value, reader): (ValueId, Reader),
        writers: &[Writer],
        span: Span,
    ) -> Result<Tensor> {
        let (sizes, tokens, d) = (self.run.sizes(), self.run.tokens().len(), self.run.sizes().d);
        let to = reader.input(self.run.model().architecture());
        let mut moved = Vec::with_capacity(writers.len() * span.rows() * d);
        for &writer in writers {
            let (from, end) = ((writer.index(sizes) * tokens + span.start) * d, moved.len());
            moved.extend_from_slice(&self.displacements[from..from + span.rows() * d]);
            self.stream.pass(writer, to, (span.start, d), &mut moved[end..]);
        }
        let moved = rec.device().upload("displacements", &[("rows", moved.len() / d), ("d", d)], &moved)?;
        let rows = base_rows(rec, &self.run.base.trace, value, &vec![span; writers.len()])?;
        Ok(add(rec, &rows, &moved)?)
    }

    /// Records the observable of sequences with these rows of the value `at`, and submits. `anew` says that the rows
    /// are those before the run's edits of the value.
    fn read(
        &self,
        mut rec: Recording,
        (at, rows, anew): (ValueId, Tensor, bool),
        edges: &[(usize, Edge)],
        span: Span,
    ) -> Result<Vec<Swept<'a>>> {
        let first = at + usize::from(!anew);
        let above = |edit: &&ScheduledEdit| edit.value >= first && (span.start..span.end).contains(&edit.token);
        let above: Vec<ScheduledEdit> = self.edits.iter().filter(above).cloned().collect();
        let sequence = |&(id, _): &(usize, Edge)| Sequence { id, span, join: at, scheduled: above.clone() };
        let sequences: Vec<Sequence> = edges.iter().map(sequence).collect();
        let origin = Origin::Rows { base: &self.run.base.trace, at, rows };
        let swept = record_swept(&self.run.base, &mut rec, &sequences, origin, &|_| self.reading)?;
        self.run.device().submit(rec)?;
        Ok(swept)
    }
}

/// Returns first and end of the columns that an edge displaces: those of all readers of its kind, since every head of
/// the result belongs to an edge, or of its reader alone if a norm joins the heads.
fn displaced_columns(reader: Reader, joined: bool, sizes: &Sizes) -> [usize; 2] {
    let [q, kv] = [sizes.q_width(), sizes.kv_width()];
    match (reader, reader.output().filter(|_| joined)) {
        (_, Some(site)) => [site.columns(sizes).start, site.columns(sizes).end],
        (Reader::Key(..), None) => [q, q + kv],
        (Reader::Value(..), None) => [q + kv, q + 2 * kv],
        (_, None) => [0, q],
    }
}

/// Returns the heads whose output depends on an attention reader: those that share its keys or values.
fn heads_of(reader: Reader, sizes: &Sizes) -> Range<usize> {
    let shared = sizes.heads / sizes.kv_heads;
    match reader {
        Reader::Query(_, h) => h..h + 1,
        Reader::Key(_, h) | Reader::Value(_, h) => h * shared..(h + 1) * shared,
        Reader::Mlp(_) | Reader::Logits => 0..sizes.heads,
    }
}

fn distinct<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = items.collect();
    all.sort();
    all.dedup();
    all
}
