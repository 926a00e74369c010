//! What each writer adds to the residual stream.

use resolvent_engine::{Recording, Shape, Tensor};
use resolvent_ops::splice::RowSource;
use resolvent_ops::{Rows, Span};

use super::node::Writer;
use super::responses::{BlockValues, RowOf, assemble, chain, heads_alone, tangent};
use crate::arch::Sizes;
use crate::error::Result;
use crate::mode::Mode;
use crate::run::{Run, retained};
use crate::site::Site;

/// The outputs of all writers of a run.
///
/// Their sum over the writers before a reader, and over the biases of the blocks there, is what it reads. If a norm
/// follows the output projection, the outputs of heads have passed it at its scale in this run.
#[derive(Clone, Debug)]
pub struct Outputs {
    /// `[W, T, d]`, in the order of [`Writer::all`].
    pub data: Vec<f32>,
    /// What attention adds in each block besides its heads: its output bias.  `[L, T, d]`
    pub biases: Vec<f32>,
    /// The part of each MLP's output that no neuron adds: its output bias.  `[L, T, d]`
    pub mlp_biases: Vec<f32>,
    /// Tokens of the run.
    pub tokens: usize,
    /// Width of the residual stream.
    pub d: usize,
}

impl Outputs {
    /// Returns the output of a writer at every token, `[T, d]`: TransformerLens' `hook_result` for a head.
    pub fn get(&self, writer: Writer, sizes: &Sizes) -> &[f32] {
        let size = self.tokens * self.d;
        &self.data[writer.index(sizes) * size..][..size]
    }
}

/// Returns the outputs of all writers of each run.
///
/// # Errors
/// Runs that were not prepared for [`crate::path_sites`], a value that is not finite, or a device error.
pub fn outputs_of(runs: &[&Run]) -> Result<Vec<Outputs>> {
    let Some(first) = runs.first() else { return Ok(Vec::new()) };
    let mut tensors = Vec::new();
    for run in runs {
        tensors.extend(recorded(run)?);
    }
    let mut read = first.device().read_many(&tensors.iter().collect::<Vec<&Tensor>>())?.into_iter();
    let mut next = move || read.next().unwrap_or_default();
    runs.iter().map(|run| assembled(run, &mut next)).collect()
}

/// Records and submits the outputs of a run: the embedding, and for each block its heads, both biases and its MLP.
fn recorded(run: &Run) -> Result<Vec<Tensor>> {
    let (sizes, device, tokens) = (run.sizes(), run.device(), run.tokens().len());
    let (trace, span) = (&run.base.trace, run.span(0, tokens));
    // At the scale of this run, a norm after the projection is linear.
    let program = run.program().freeze(Mode::FrozenNorm.frozen());
    let mut tensors = vec![run.rows_of(program.field[0])?];
    let mut rec = device.record();
    let of_heads: Vec<Span> = vec![span; sizes.heads];
    let (heads, whole) = (Rows::new(device, &of_heads)?, Rows::new(device, &[span])?);
    for l in 0..sizes.layers {
        let block = BlockValues::of(run, l)?;
        let nodes = chain(&program, block.z, block.attn_out)?;
        let z = retained(trace, block.z)?;
        let alone = heads_alone(&mut rec, sizes, z, &(span.primal..span.primal + tokens))?;
        tensors.push(tangent(&program, &mut rec, (&heads, trace), &nodes, alone)?);
        let weights = &run.model().0.weights.blocks[l];
        let mlp = chain(&program, block.mlp_input, block.mlp_out)?;
        // Only norms lie between the product and the sum.
        let after = mlp.len() - usize::from(weights.mlp_post_norm.is_some());
        for (bias, nodes) in [(&weights.out.bias, &nodes[1..]), (&weights.down.bias, &mlp[after..])] {
            let bias = repeated(&mut rec, bias, tokens)?;
            tensors.push(tangent(&program, &mut rec, (&whole, trace), nodes, bias)?);
        }
        tensors.push(run.rows_of(block.mlp_out)?);
    }
    device.submit(rec)?;
    Ok(tensors)
}

/// Records a bias `[d]` as the row of every token.
fn repeated(rec: &mut Recording, bias: &Tensor, tokens: usize) -> Result<Tensor> {
    let shape = Shape::new(&[("rows", 1), ("d", bias.shape().elements())]);
    let bias = Tensor::view(bias.buffer().clone(), bias.range().start, shape)?;
    let row = |_| RowOf { source: RowSource::Base(0), edits: Vec::new() };
    assemble(rec, &(0..tokens).map(row).collect::<Vec<RowOf>>(), &bias, &bias)
}

/// Puts together what [`recorded`] listed.
fn assembled(run: &Run, next: &mut impl FnMut() -> Vec<f32>) -> Result<Outputs> {
    let (sizes, tokens) = (run.sizes(), run.tokens().len());
    let (mut data, mut biases, mut mlp_biases) = (next(), Vec::new(), Vec::new());
    for l in 0..sizes.layers {
        let heads = next();
        for (h, rows) in heads.chunks(tokens * sizes.d).enumerate() {
            run.finite("the output of a head", Site::Z(l, h), 0, rows)?;
        }
        data.extend(heads);
        biases.extend(next());
        mlp_biases.extend(next());
        let mlp = next();
        run.finite("the output of an MLP", Site::MlpOut(l), 0, &mlp)?;
        data.extend(mlp);
    }
    Ok(Outputs { data, biases, mlp_biases, tokens, d: sizes.d })
}
