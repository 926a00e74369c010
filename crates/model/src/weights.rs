//! The weights of a model on a device, as operations.

use std::collections::BTreeMap;
use std::sync::Arc;

use resolvent_engine::{Device, Tensor, stepped};
use resolvent_ops::attention::Attention;
use resolvent_ops::embed::Embed;
use resolvent_ops::layer_norm::LayerNorm;
use resolvent_ops::matmul::Matmul;
use resolvent_ops::rms_norm::{RmsNorm, Segments};
use resolvent_ops::rope::{Rope, RopeTable};
use resolvent_ops::unembed::Unembed;
use resolvent_ops::{Op, Weight};

use crate::arch::{Architecture, NormAt, NormKind, Rotary, Sizes};
use crate::error::{Error, Result};
use crate::source::{Scaled, WeightSource};
use crate::upload::Upload;

/// Gain and bias of norms, by the name of their modules.
pub(crate) type Norms = BTreeMap<String, [Option<Tensor>; 2]>;

/// A norm.
pub(crate) type Norm = Arc<dyn Op>;

/// The operations of one block. A norm that is `None` is a norm that the block lacks.
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) attn_norm: Option<Norm>,
    pub(crate) qkv: Matmul,
    /// Of queries and keys, before the rotation.
    pub(crate) qk_norm: Option<Norm>,
    pub(crate) rotary: Option<Rope>,
    pub(crate) attention: Attention,
    pub(crate) out: Matmul,
    pub(crate) attn_post_norm: Option<Norm>,
    pub(crate) mlp_norm: Option<Norm>,
    pub(crate) up: Matmul,
    pub(crate) down: Matmul,
    pub(crate) mlp_post_norm: Option<Norm>,
}

/// All weights.
#[derive(Clone)]
pub(crate) struct Weights {
    pub(crate) embed: Embed,
    pub(crate) blocks: Vec<Block>,
    pub(crate) final_norm: Norm,
    pub(crate) unembed: Unembed,
    /// Gain and bias of each norm of the stream, by the name of its module.
    pub(crate) norms: Norms,
    /// Relative rounding error of the weights that are stored in f16, in L2 norm; `None` if no weight is.
    pub(crate) rounding: Option<f64>,
}

impl Weights {
    /// Uploads all weights of a model.
    pub(crate) fn upload(device: &Device, model: &Architecture, source: &dyn WeightSource) -> Result<Self> {
        let source = Scaled::new(source, &model.layout);
        let mut up = Upload::new(device, &source);
        let (Sizes { d, vocab, n_ctx, .. }, layout) = (model.sizes, &model.layout);
        let wte = up.vocabulary(&layout.embedding, vocab, d)?;
        let wpe = match &layout.positions {
            Some(name) => up.tensor(name, 0..n_ctx, &[("positions", n_ctx), ("d", d)])?,
            // Every token then has position 0.
            None => device.upload("positions", &[("positions", 1), ("d", d)], &vec![0.0f32; d])?,
        };
        let table = |rotary: &Rotary| RopeTable::new(device, &rotary.frequencies, rotary.scale, n_ctx);
        let tables = model.rotary.iter().map(table).collect::<resolvent_engine::Result<Vec<RopeTable>>>()?;
        let layers = stepped("blocks of weights", (0..model.sizes.layers).collect(), |_| 1);
        let blocks = layers.map(|l| block(&mut up, (model, &tables), l)).collect::<Result<_>>()?;
        let final_norm = norm(&mut up, model, &layout.final_norm)?;
        let w = match layout.tied {
            true => wte.clone(),
            false => up.vocabulary(&layout.head, vocab, d)?,
        };
        let embed = Embed { wte, wpe, scale: model.embedding_scale as f32 };
        let norms = std::mem::take(&mut up.norms);
        Ok(Self { embed, blocks, final_norm, unembed: Unembed { w }, norms, rounding: up.finish()? })
    }

    /// Returns whether any product rounds its inputs to f16.
    pub(crate) fn round_inputs(&self) -> bool {
        self.blocks.iter().any(|b| [&b.qkv, &b.out, &b.up, &b.down].iter().any(|m| m.w.rounds_inputs()))
    }

    /// Returns the same weights on the same device, for products that do not round their inputs to f16.
    pub(crate) fn with_full_inputs(&self) -> Self {
        let full = |w: &Weight| w.clone().rounding_inputs(false);
        let product = |m: &Matmul| Matmul { w: full(&m.w), ..m.clone() };
        let block = |b: &Block| Block {
            qkv: product(&b.qkv),
            out: product(&b.out),
            up: product(&b.up),
            down: product(&b.down),
            ..b.clone()
        };
        Self { blocks: self.blocks.iter().map(block).collect(), ..self.clone() }
    }
}

fn block(up: &mut Upload<'_>, (model, tables): (&Architecture, &[RopeTable]), l: usize) -> Result<Block> {
    let (layout, sizes, plan) = (&model.layout.blocks[l], model.sizes, model.attention[l]);
    let norm = |at: &Option<NormAt>, up: &mut Upload<'_>| at.as_ref().map(|at| norm(up, model, at)).transpose();
    Ok(Block {
        attn_norm: norm(&layout.attn_norm, up)?,
        qkv: up.matrix(&layout.qkv)?,
        qk_norm: layout.qk_norm.as_ref().map(|at| qk_norm(up, model, at)).transpose()?,
        rotary: plan.rotary.map(|i| Rope {
            table: tables[i].clone(),
            heads: sizes.heads + sizes.kv_heads,
            d_head: sizes.d_head,
            n: sizes.qkv_width(),
        }),
        attention: Attention {
            kv_heads: sizes.kv_heads,
            scale: plan.scale as f32,
            cap: model.score_cap.map(|cap| cap as f32),
            window: plan.window,
            ..Attention::new(sizes.heads, sizes.d_head)
        },
        out: up.matrix(std::slice::from_ref(&layout.out))?,
        attn_post_norm: norm(&layout.attn_post_norm, up)?,
        mlp_norm: norm(&layout.mlp_norm, up)?,
        up: up.matrix(&layout.up)?,
        down: up.matrix(std::slice::from_ref(&layout.down))?,
        mlp_post_norm: norm(&layout.mlp_post_norm, up)?,
    })
}

fn norm(up: &mut Upload<'_>, model: &Architecture, at: &NormAt) -> Result<Norm> {
    let [gain, bias] = ["weight", "bias"].map(|part| format!("{}.{part}", at.name));
    Ok(match model.norm {
        NormKind::Layer(stored) => {
            let gain = match stored.has_gain() {
                true => up.vector(&gain, "d", at.width)?,
                false => up.device().upload("gain", &[("d", at.width)], &vec![1.0f32; at.width])?,
            };
            let own = stored.has_bias().then(|| up.vector(&bias, "d", at.width)).transpose()?;
            let bias = own.clone().map_or_else(|| up.zeros("d", at.width), Ok)?;
            up.norms.insert(at.name.clone(), [Some(gain.clone()), own]);
            Arc::new(LayerNorm { gain, bias, eps: model.eps as f32, frozen: false })
        }
        NormKind::Rms { offset } => {
            let gain = rms_gain(up, at, offset)?;
            let gain = up.device().upload("gain", &[("n", gain.len())], &gain)?;
            up.norms.insert(at.name.clone(), [Some(gain.clone()), None]);
            rms_norm(up.device(), model, gain, &[(0, at.width)])?
        }
    })
}

/// Returns the norm of queries and keys in rows of queries, keys and values.
fn qk_norm(up: &mut Upload<'_>, model: &Architecture, [q, k]: &[NormAt; 2]) -> Result<Norm> {
    let NormKind::Rms { offset } = model.norm else {
        return Err(Error::Place(format!("{}: a norm of queries must be a root mean square norm", q.name)));
    };
    let sizes = model.sizes;
    let (mut gain, mut segments) = (Vec::with_capacity(sizes.qkv_width()), Vec::new());
    for (at, width) in [(q, sizes.q_width()), (k, sizes.kv_width())] {
        // A norm of one head serves all heads, each normalised on its own.
        let of_one = rms_gain(up, at, offset)?;
        for _ in 0..width / at.width {
            segments.push((gain.len(), at.width));
            gain.extend_from_slice(&of_one);
        }
    }
    gain.resize(sizes.qkv_width(), 1.0);
    let gain = up.device().upload("gain", &[("n", gain.len())], &gain)?;
    rms_norm(up.device(), model, gain, &segments)
}

fn rms_gain(up: &Upload<'_>, at: &NormAt, offset: u8) -> Result<Vec<f32>> {
    let mut gain = up.read(&format!("{}.weight", at.name), at.width)?;
    gain.iter_mut().for_each(|gain| *gain += f32::from(offset));
    Ok(gain)
}

fn rms_norm(device: &Device, model: &Architecture, gain: Tensor, segments: &[(usize, usize)]) -> Result<Norm> {
    let segments = Segments::new(device, gain.shape().elements(), segments)?;
    Ok(Arc::new(RmsNorm { gain, eps: model.eps as f32, segments, frozen: false }))
}
