//! Derivatives of an observable by what each reader reads, through this reader alone.

use resolvent_engine::Tensor;
use resolvent_ops::splice::{RowEdit, RowSource};

use super::edited::{batch_of, own_edits};
use super::node::Reader;
use super::responses::{BlockValues, Chain, RowOf, adjoint, assemble, chain};
use crate::edit::Edit;
use crate::error::Result;
use crate::mode::Mode;
use crate::observable::Observable;
use crate::pullback::{Seed, SeededRun, vjp_of};
use crate::run::{Run, retained};
use crate::site::Site;

/// Returns the derivative `[R, T, d]` of each observable by the input of each reader of its run, in the order of
/// [`Reader::all`].
///
/// The input is the residual stream before the reader's norm. Only what passes through this reader counts: the
/// derivative by the field at a place is the sum over all readers there and above.
///
/// # Errors
/// Runs that were not prepared for [`crate::path_sites`], an observable that does not fit, or a device error.
pub fn reader_gradients(mode: Mode, readings: &[(&Run, &Observable)]) -> Result<Vec<Vec<f32>>> {
    let Some((first, _)) = readings.first() else { return Ok(Vec::new()) };
    let sizes = first.sizes();
    let site = |reader: Reader| reader.output().unwrap_or(Site::level(sizes.layers, sizes));
    let sites: Vec<Site> = Reader::all(sizes).into_iter().map(site).collect();
    let zeros = |run: &Run| -> Vec<Vec<f32>> {
        sites.iter().map(|site| vec![0.0; run.tokens().len() * site.width(sizes)]).collect()
    };
    let mut outputs: Vec<Vec<Vec<f32>>> = readings.iter().map(|(run, _)| zeros(run)).collect();
    let seeds: Vec<Vec<Seed>> = readings.iter().map(|(run, j)| run.seeds(j)).collect::<Result<_>>()?;
    let seeded: Vec<SeededRun<'_>> =
        readings.iter().zip(&seeds).map(|((run, _), seeds)| SeededRun { run, seeds }).collect();
    vjp_of(mode, &seeded, &sites, &mut |chunk| {
        let from = chunk.token * sites[chunk.site].width(sizes);
        outputs[chunk.sequence][chunk.site][from..][..chunk.rows.len()].copy_from_slice(chunk.rows);
    })?;
    let mut tensors = Vec::new();
    for ((run, _), bars) in readings.iter().zip(&outputs) {
        tensors.extend(recorded(run, mode, bars)?);
    }
    let mut read = first.device().read_many(&tensors.iter().collect::<Vec<&Tensor>>())?.into_iter();
    let mut gradients = Vec::with_capacity(readings.len());
    for ((run, _), mut bars) in readings.iter().zip(outputs) {
        let blocks = read.by_ref().take(2 * run.sizes().layers).flatten();
        let all: Vec<f32> = blocks.chain(bars.pop().unwrap_or_default()).collect();
        run.finite("the derivative by the input of a reader", Site::ResidPre(0), 0, &all)?;
        gradients.push(all);
    }
    Ok(gradients)
}

/// Records and submits the derivatives by the inputs of all readers but the logits: for each block `[readers T, d]` of
/// its queries, keys and values, then `[T, d]` of its MLP. `bars` are the derivatives by their outputs.
fn recorded(run: &Run, mode: Mode, bars: &[Vec<f32>]) -> Result<Vec<Tensor>> {
    let (sizes, device, tokens) = (run.sizes(), run.device(), run.tokens().len());
    let (trace, span) = (&run.base.trace, run.span(0, tokens));
    let program = run.program().freeze(mode.frozen());
    let mut tensors = Vec::with_capacity(2 * sizes.layers);
    let of_block = sizes.heads + 2 * sizes.kv_heads;
    let linear = own_edits(run, Edit::linear)?;
    let readers = Reader::all(sizes);
    for l in 0..sizes.layers {
        let (mut rec, block) = (device.record(), BlockValues::of(run, l)?);
        let first = Reader::Query(l, 0).index(sizes);
        let mut rows = Vec::with_capacity(of_block * tokens);
        for (reader, bars) in readers.iter().zip(bars).skip(first).take(of_block) {
            let site = reader.output().unwrap_or(Site::Q(l, 0));
            let row = |bar: &[f32]| {
                let put = RowEdit::Put { s: bar.to_vec() };
                RowOf { source: RowSource::Zero, edits: vec![(site.columns(sizes).start, put)] }
            };
            rows.extend(bars.chunks(sizes.d_head).map(row));
        }
        let qkv = retained(trace, block.qkv)?;
        let alone = assemble(&mut rec, &rows, qkv, qkv)?;
        let nodes: Chain = chain(&program, block.pre, block.qkv)?;
        let attention = batch_of(device, &vec![span; of_block], &linear, block.qkv..=block.qkv)?;
        tensors.push(adjoint(&program, &mut rec, (&attention, trace), &nodes, alone)?);
        let mlp = device.upload("mlp_out", &[("rows", tokens), ("d", sizes.d)], &bars[first + of_block])?;
        let nodes = chain(&program, block.mlp_input, block.mlp_out)?;
        let whole = batch_of(device, &[span], &linear, block.mlp_input + 1..=block.mlp_out)?;
        tensors.push(adjoint(&program, &mut rec, (&whole, trace), &nodes, mlp)?);
        device.submit(rec)?;
    }
    Ok(tensors)
}
