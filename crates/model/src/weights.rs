//! Weights on a device, uploaded tensor by tensor.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use resolvent_engine::{Device, Tensor};
use resolvent_ops::Weight;
use resolvent_ops::embed::{Embed, Vocabulary};
use resolvent_ops::layer_norm::LayerNorm;
use resolvent_ops::matmul::Matmul;
use resolvent_ops::unembed::Unembed;

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{Error, Result};

/// Elements converted and uploaded at a time. This bounds the host memory of loading, besides the file itself.
const CHUNK: usize = 1 << 22;

/// Uploaded bytes after which loading waits for the device, so that staging copies do not pile up.
const SUBMIT_BYTES: usize = 64 << 20;

/// Where weights come from: a checkpoint, or a seeded generator.
pub trait WeightSource {
    /// Fills `out` with rows `rows` (of the leading dimension) of the tensor `name`.
    ///
    /// # Errors
    /// The tensor cannot be read, or an element is not finite.
    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()>;
}

impl WeightSource for Checkpoint {
    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.read_f32(name, rows, out)
    }
}

/// Weights of one block.
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) ln_1: LayerNorm,
    pub(crate) qkv: Matmul,
    pub(crate) proj: Matmul,
    pub(crate) ln_2: LayerNorm,
    pub(crate) fc: (Weight, Tensor),
    pub(crate) mlp_proj: Matmul,
}

/// All weights.
#[derive(Clone)]
pub(crate) struct Weights {
    pub(crate) embed: Embed,
    pub(crate) blocks: Vec<Block>,
    pub(crate) ln_f: LayerNorm,
    pub(crate) unembed: Unembed,
    /// Relative rounding error of the weights that are stored in f16, in L2 norm; `None` if no weight is.
    pub(crate) rounding: Option<f64>,
}

struct Upload<'a> {
    device: &'a Device,
    source: &'a dyn WeightSource,
    eps: f32,
    unsubmitted: usize,
    rounding: Rounding,
}

/// Sums of squares of the elements that were rounded to f16, and of their rounding errors.
#[derive(Default)]
struct Rounding {
    elements: f64,
    errors: f64,
}

impl Weights {
    /// Uploads everything that `config` asks for.
    pub(crate) fn upload(device: &Device, config: &Config, source: &dyn WeightSource) -> Result<Self> {
        let mut up = Upload {
            device,
            source,
            eps: config.layer_norm_epsilon as f32,
            unsubmitted: 0,
            rounding: Rounding::default(),
        };
        let (d, inner, vocab) = (config.n_embd, config.n_inner(), config.vocab_size);
        let wte = up.vocabulary("wte.weight", vocab, d)?;
        let wpe = up.tensor("wpe.weight", 0..config.n_positions, &[("positions", config.n_positions), ("d", d)])?;
        let mut blocks = Vec::with_capacity(config.n_layer);
        for l in 0..config.n_layer {
            let name = |part: &str| format!("h.{l}.{part}");
            let proj = up.linear(&name("mlp.c_proj"), inner, d)?;
            blocks.push(Block {
                ln_1: up.norm(&name("ln_1"), d)?,
                qkv: up.linear(&name("attn.c_attn"), d, 3 * d)?,
                proj: up.linear(&name("attn.c_proj"), d, d)?,
                ln_2: up.norm(&name("ln_2"), d)?,
                fc: {
                    let fc = up.linear(&name("mlp.c_fc"), d, inner)?;
                    (fc.w, fc.bias)
                },
                mlp_proj: proj,
            });
        }
        let ln_f = up.norm("ln_f", d)?;
        let head = match config.tie_word_embeddings {
            true => wte.clone(),
            false => up.vocabulary("lm_head.weight", vocab, d)?,
        };
        device.wait()?;
        let Rounding { elements, errors } = up.rounding;
        let rounding = (elements > 0.0).then(|| (errors / elements).sqrt());
        Ok(Self { embed: Embed { wte, wpe }, blocks, ln_f, unembed: Unembed { w: head }, rounding })
    }
}

impl Weights {
    /// Returns the same weights on the same device, for products that do not round their inputs to f16.
    pub(crate) fn with_full_inputs(&self) -> Self {
        let full = |w: &Weight| w.clone().rounding_inputs(false);
        let product = |m: &Matmul| Matmul { w: full(&m.w), ..m.clone() };
        let block = |b: &Block| Block {
            qkv: product(&b.qkv),
            proj: product(&b.proj),
            fc: (full(&b.fc.0), b.fc.1.clone()),
            mlp_proj: product(&b.mlp_proj),
            ..b.clone()
        };
        Self { blocks: self.blocks.iter().map(block).collect(), ..self.clone() }
    }
}

impl Upload<'_> {
    /// Reads `rows` of the tensor `name`, each `width` elements wide, in chunks.
    ///
    /// `write` uploads a chunk; its first argument is the number of elements before the chunk.
    fn chunks(
        &mut self,
        name: &str,
        rows: Range<usize>,
        width: usize,
        mut write: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let step = (CHUNK / width.max(1)).clamp(1, rows.len().max(1));
        let mut chunk = vec![0.0f32; step * width];
        for first in rows.clone().step_by(step) {
            let part = first..(first + step).min(rows.end);
            let elements = &mut chunk[..part.len() * width];
            self.source.read(name, part.clone(), elements)?;
            write((part.start - rows.start) * width, elements)?;
            self.unsubmitted += elements.len() * 4;
            if self.unsubmitted > SUBMIT_BYTES {
                self.device.wait()?;
                self.unsubmitted = 0;
            }
        }
        Ok(())
    }

    fn tensor(&mut self, name: &str, rows: Range<usize>, dims: &[(&'static str, usize)]) -> Result<Tensor> {
        let (device, tensor) = (self.device, self.device.reserve(name, dims)?);
        let width = tensor.shape().elements() / rows.len().max(1);
        self.chunks(name, rows, width, |before, elements| {
            Ok(device.write(&tensor, before, bytemuck::cast_slice(elements))?)
        })?;
        Ok(tensor)
    }

    fn vector(&mut self, name: &str, dim: &'static str, n: usize) -> Result<Tensor> {
        self.tensor(name, 0..n, &[(dim, n)])
    }

    fn norm(&mut self, name: &str, d: usize) -> Result<LayerNorm> {
        let gain = self.vector(&format!("{name}.weight"), "d", d)?;
        let bias = self.vector(&format!("{name}.bias"), "d", d)?;
        Ok(LayerNorm { gain, bias, eps: self.eps, frozen: false })
    }

    fn linear(&mut self, name: &str, k: usize, n: usize) -> Result<Matmul> {
        let weight = format!("{name}.weight");
        let w = match self.device.f16_weights() && Weight::packs(k, n) {
            true => self.f16_weight(&weight, k, n)?.rounding_inputs(self.device.f16_inputs()),
            false => Weight::full(self.tensor(&weight, 0..k, &[("k", k), ("n", n)])?),
        };
        let bias = self.vector(&format!("{name}.bias"), "n", n)?;
        Ok(Matmul { w, bias, add: false })
    }

    /// Uploads a weight rounded to f16.
    fn f16_weight(&mut self, name: &str, k: usize, n: usize) -> Result<Weight> {
        let (device, words) = (self.device, self.device.reserve(name, &[("k", k), ("pairs", n / 2)])?);
        let (mut rounded, mut rounding) = (Vec::new(), Rounding::default());
        self.chunks(name, 0..k, n, |before, elements| {
            rounded.resize(elements.len(), f16::ZERO);
            rounded.convert_from_f32_slice(elements);
            for (&value, rounded) in elements.iter().zip(&rounded) {
                if !rounded.is_finite() {
                    return Err(Error::NoHalf { name: name.to_owned(), value });
                }
                rounding.elements += f64::from(value).powi(2);
                rounding.errors += (f64::from(value) - rounded.to_f64()).powi(2);
            }
            Ok(device.write(&words, before / 2, bytemuck::cast_slice(&rounded))?)
        })?;
        self.rounding.elements += rounding.elements;
        self.rounding.errors += rounding.errors;
        Ok(Weight::f16s(words)?)
    }

    /// Uploads a `[tokens, d]` table in parts that the device can bind.
    fn vocabulary(&mut self, name: &str, tokens: usize, d: usize) -> Result<Vocabulary> {
        let most = (self.device.info().max_binding / (4 * d as u64)).max(1) as usize;
        // Parts of nearly equal length avoid a small last part.
        let step = tokens.div_ceil(tokens.div_ceil(most));
        let mut parts = Vec::new();
        for first in (0..tokens).step_by(step) {
            let end = (first + step).min(tokens);
            parts.push((first, self.tensor(name, first..end, &[("tokens", end - first), ("d", d)])?));
        }
        Ok(Vocabulary { parts, tokens, d })
    }
}
