//! Weights of a model, read back from its device.

use resolvent_engine::Tensor;
use resolvent_ops::Weight;
use resolvent_ops::embed::Vocabulary;
use resolvent_ops::matmul::Matmul;

use crate::arch::{BlockLayout, NormAt};
use crate::error::Result;
use crate::model::Model;
use crate::weights::Block;

/// Weights of one kind, of all blocks where blocks have them. Matrices are `[in, out]`. n is the number of neurons, and
/// twice that for a gated MLP: gate, then what it multiplies. w is `(heads + 2 kv_heads) d_head`: queries, keys,
/// values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parameter {
    /// Rows of tokens `[V, d]`, without the factor that some models give them.
    Embedding,
    /// Rows of positions `[n_ctx, d]`, of models that learn them.
    Positions,
    /// Rows of the unembedding `[V, d]`.
    Unembedding,
    /// Queries, keys and values of all heads, `[L, d, w]`.
    Qkv,
    /// Their biases `[L, w]`.
    QkvBias,
    /// The output projection of attention, `[L, heads d_head, d]`.
    Out,
    /// Its bias `[L, d]`.
    OutBias,
    /// Into the hidden layer of the MLP, `[L, d, n]`.
    Up,
    /// Its bias `[L, n]`.
    UpBias,
    /// Out of the hidden layer, `[L, neurons, d]`.
    Down,
    /// Its bias `[L, d]`.
    DownBias,
    /// Gain of the norm before attention, `[L, d]`.
    AttentionGain,
    /// Its bias `[L, d]`.
    AttentionBias,
    /// Gain of the norm before the MLP, `[L, d]`.
    MlpGain,
    /// Its bias `[L, d]`.
    MlpBias,
    /// Gain of the final norm, `[d]`.
    FinalGain,
    /// Its bias `[d]`.
    FinalBias,
}

impl Model {
    /// Reads weights back from the device, as the model computes with them: f16 ones as f32. Returns `None` for weights
    /// that the model lacks: learned positions, a norm of each block, the bias of a norm. A product without a bias has
    /// zeros.
    ///
    /// # Errors
    /// A device error.
    pub fn parameter(&self, which: Parameter) -> Result<Option<Vec<f32>>> {
        let (weights, layout) = (&self.0.weights, &self.architecture().layout);
        let matrix = |of: fn(&Block) -> &Matmul| self.of_blocks(|block| self.matrix(&of(block).w));
        let bias = |of: fn(&Block) -> &Matmul| self.of_blocks(|block| Ok(self.device().read(&of(block).bias)?));
        Ok(match which {
            Parameter::Embedding => Some(self.table(&weights.embed.wte)?),
            Parameter::Positions if layout.positions.is_none() => None,
            Parameter::Positions => Some(self.device().read(&weights.embed.wpe)?),
            Parameter::Unembedding => Some(self.table(&weights.unembed.w)?),
            Parameter::Qkv => Some(matrix(|block| &block.qkv)?),
            Parameter::QkvBias => Some(bias(|block| &block.qkv)?),
            Parameter::Out => Some(matrix(|block| &block.out)?),
            Parameter::OutBias => Some(bias(|block| &block.out)?),
            Parameter::Up => Some(matrix(|block| &block.up)?),
            Parameter::UpBias => Some(bias(|block| &block.up)?),
            Parameter::Down => Some(matrix(|block| &block.down)?),
            Parameter::DownBias => Some(bias(|block| &block.down)?),
            Parameter::AttentionGain => self.norms(|block| block.attn_norm.as_ref(), 0)?,
            Parameter::AttentionBias => self.norms(|block| block.attn_norm.as_ref(), 1)?,
            Parameter::MlpGain => self.norms(|block| block.mlp_norm.as_ref(), 0)?,
            Parameter::MlpBias => self.norms(|block| block.mlp_norm.as_ref(), 1)?,
            Parameter::FinalGain => self.norm(Some(&layout.final_norm), 0)?,
            Parameter::FinalBias => self.norm(Some(&layout.final_norm), 1)?,
        })
    }

    fn of_blocks(&self, read: impl Fn(&Block) -> Result<Vec<f32>>) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        for block in &self.0.weights.blocks {
            all.extend(read(block)?);
        }
        Ok(all)
    }

    fn matrix(&self, weight: &Weight) -> Result<Vec<f32>> {
        Ok(weight.read_rows(self.device(), 0..weight.lengths()[0])?)
    }

    fn table(&self, table: &Vocabulary) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(table.tokens * table.d);
        for (_, part) in &table.parts {
            all.extend(self.matrix(part)?);
        }
        Ok(all)
    }

    /// Reads the gain (0) or the bias (1) of a norm.
    fn norm(&self, at: Option<&NormAt>, part: usize) -> Result<Option<Vec<f32>>> {
        let found = at.and_then(|at| self.0.weights.norms.get(&at.name));
        let tensor: Option<&Tensor> = found.and_then(|parts| parts[part].as_ref());
        Ok(tensor.map(|tensor| self.device().read(tensor)).transpose()?)
    }

    /// Reads the same of a norm of every block.
    fn norms(&self, of: fn(&BlockLayout) -> Option<&NormAt>, part: usize) -> Result<Option<Vec<f32>>> {
        let mut all = Vec::new();
        for block in &self.architecture().layout.blocks {
            match self.norm(of(block), part)? {
                Some(read) => all.extend(read),
                None => return Ok(None),
            }
        }
        Ok(Some(all))
    }
}
