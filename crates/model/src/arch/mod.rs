//! What a model computes, whatever its family: sizes, features, and where each weight is stored.
//!
//! A family is a file of this folder, which reads a `config.json` into an [`Architecture`]. Nothing outside the folder
//! names a family.

mod cohere;
mod decoder;
mod fields;
mod gemma;
mod gpt2;
mod gpt_neo;
mod granite;
mod layout;
mod llama;
mod ministral;
mod missing;
mod modules;
mod neox;
mod norm_kind;
mod olmo;
mod olmo2;
mod olmo3;
mod phi3;
mod rotary;
mod sizes;
mod smollm3;
mod stablelm;
mod starcoder2;
mod symmetries;

use std::fmt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::files;
use crate::stream_norm::StreamNorm;

pub(crate) use fields::Fields;
pub use gpt2::Config;
pub(crate) use layout::{BlockLayout, Ignored, Layout, NormAt, Orientation, Part, Taken};
pub(crate) use norm_kind::{NormKind, Stored};
pub(crate) use rotary::Rotary;
pub use sizes::{MAX_LAYERS, Sizes};
use sizes::{MAX_SIZE, too_large};

/// Widest attention head accepted: the most that fits the registers and workgroup memory of the attention kernels.
pub use resolvent_ops::attention::MAX_D_HEAD;

/// The families, in the order in which they are tried.
const FAMILIES: [Family; 22] = [
    gpt2::FAMILY,
    llama::LLAMA,
    llama::MISTRAL,
    llama::QWEN2,
    llama::QWEN3,
    neox::FAMILY,
    gpt_neo::FAMILY,
    gemma::GEMMA,
    gemma::GEMMA2,
    gemma::GEMMA3,
    gemma::GEMMA3_WITH_IMAGES,
    cohere::COHERE,
    cohere::COHERE2,
    olmo::FAMILY,
    olmo2::FAMILY,
    olmo3::FAMILY,
    ministral::FAMILY,
    smollm3::FAMILY,
    granite::FAMILY,
    phi3::FAMILY,
    stablelm::FAMILY,
    starcoder2::FAMILY,
];

/// A family: how its `config.json` is recognised and read.
pub(crate) struct Family {
    /// Values of `model_type`.
    model_types: &'static [&'static str],
    /// Values of `architectures`, for files without `model_type`.
    classes: &'static [&'static str],
    read: fn(&Fields<'_>) -> Result<Architecture>,
}

impl Family {
    /// Returns whether a file belongs to the family.
    fn is(&self, fields: &Fields<'_>) -> bool {
        match fields.kind() {
            (Some(kind), _) => self.model_types.contains(&kind),
            (None, classes) => classes.iter().any(|class| self.classes.contains(class)),
        }
    }
}

/// Returns the name of Hugging Face's class of models with this `model_type`; `None` if no family has the type.
pub(crate) fn class_of(model_type: &str) -> Option<&'static str> {
    FAMILIES.iter().find(|family| family.model_types.contains(&model_type))?.classes.first().copied()
}

/// The nonlinearity of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// GELU in its tanh form: `gelu_new`, `gelu_pytorch_tanh`.
    GeluNew,
    /// GELU through the error function: `gelu`.
    Gelu,
    /// `x logistic(x)`: `silu`, `swish`.
    Silu,
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GeluNew => "gelu_new",
            Self::Gelu => "gelu",
            Self::Silu => "silu",
        })
    }
}

/// Attention of one block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AttentionPlan {
    /// Factor of the scores.
    pub(crate) scale: f64,
    /// The number of keys that a query sees, its own included; `None` if it sees all.
    pub(crate) window: Option<usize>,
    /// Index of its rotary embedding in [`Architecture::rotary`].
    pub(crate) rotary: Option<usize>,
}

/// What a model computes, and where its weights are stored.
///
/// A value from [`Architecture::open`] or [`Architecture::from_json`] has been checked: sizes fit together, and no size
/// computed from them overflows.
#[derive(Clone, Debug)]
pub struct Architecture {
    pub(crate) family: &'static str,
    pub(crate) sizes: Sizes,
    pub(crate) norm: NormKind,
    /// Added to the variance or the mean square in every norm.
    pub(crate) eps: f64,
    /// By block.
    pub(crate) attention: Vec<AttentionPlan>,
    /// The different rotary embeddings.
    pub(crate) rotary: Vec<Rotary>,
    /// Soft-cap of the attention scores.
    pub(crate) score_cap: Option<f64>,
    pub(crate) activation: Activation,
    /// Whether the activation multiplies a second projection.
    pub(crate) gated: bool,
    /// Whether attention and MLP of a block both read its input.
    pub(crate) parallel: bool,
    /// Factor of the token embedding.
    pub(crate) embedding_scale: f64,
    /// Soft-cap of the logits.
    pub(crate) logit_cap: Option<f64>,
    pub(crate) layout: Layout,
}

impl Architecture {
    /// Reads and checks `dir/config.json`.
    ///
    /// # Errors
    /// The file cannot be read or is not JSON, its family or one of its features is not supported, or a size is out of
    /// range.
    pub fn open(dir: &Path) -> Result<Self> {
        Ok(Self::open_with_bytes(dir)?.0)
    }

    /// Like [`Architecture::open`]; also returns the bytes of the file.
    pub(crate) fn open_with_bytes(dir: &Path) -> Result<(Self, Vec<u8>)> {
        let (bytes, path) = read_file(dir)?;
        Ok((Self::parse(&bytes, &path)?, bytes))
    }

    /// Reads and checks the text of a `config.json`.
    ///
    /// # Errors
    /// As [`Architecture::open`].
    pub fn from_json(text: &str) -> Result<Self> {
        Self::parse(text.as_bytes(), Path::new("config.json"))
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let map = files::object(bytes)
            .map_err(|e| fields::error(path, format!("{e}; download it again if it is damaged")))?;
        Self::from_fields(&Fields::new(&map, path))
    }

    /// Checks a configuration that was read already. `path` names its file in messages.
    pub(crate) fn from_map(map: &serde_json::Map<String, serde_json::Value>, path: &Path) -> Result<Self> {
        Self::from_fields(&Fields::new(map, path))
    }

    fn from_fields(fields: &Fields<'_>) -> Result<Self> {
        match FAMILIES.iter().find(|family| family.is(fields)) {
            Some(family) => {
                let architecture = (family.read)(fields)?;
                architecture.check_in(fields.path())?;
                Ok(architecture)
            }
            None => {
                let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.model_types).copied().collect();
                Err(fields.unknown_family(&known, Some(missing::feature(fields))))
            }
        }
    }

    /// Checks that the sizes fit together and that no size computed from them overflows.
    ///
    /// # Errors
    /// [`Error::Config`]: a size is zero or too large, heads do not fill their projection, the number of key heads does
    /// not divide that of query heads, a head is wider than [`MAX_D_HEAD`], the epsilon of norms is not a positive f32,
    /// or the parameters need more bytes than can be addressed.
    pub fn check(&self) -> Result<()> {
        self.check_in(Path::new("config.json"))
    }

    fn check_in(&self, path: &Path) -> Result<()> {
        let fail = |message: String| Err(fields::error(path, message));
        self.sizes.check().or_else(fail)?;
        let eps = self.eps as f32;
        if !(eps.is_finite() && eps > 0.0) {
            return fail(format!(
                "the epsilon of the norms is {}; it must be a positive number in the range of f32",
                self.eps
            ));
        }
        let of_heads = self.sizes.qkv_width();
        let projected = self.layout.blocks.first().map_or(0, |block| block.qkv.iter().map(Part::width).sum());
        if projected != of_heads {
            let Sizes { heads, d_head, .. } = self.sizes;
            let message =
                format!("queries, keys and values are {projected} wide, which is not {heads} heads of {d_head}");
            return fail(message);
        }
        let bytes = 4 * self.elements();
        if bytes > usize::MAX as u128 {
            return fail(too_large(bytes));
        }
        Ok(())
    }

    /// Returns the sizes.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Returns the family, as `model_type` of a `config.json` names it.
    pub fn family(&self) -> &'static str {
        self.family
    }

    /// Returns the nonlinearity of the MLPs.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Returns what is added to the variance, or to the mean square, in every norm.
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// Returns a norm of the residual stream, if the model has it.
    pub(crate) fn stream_norm(&self, norm: StreamNorm) -> Option<&NormAt> {
        let block = norm.block().map(|l| self.layout.blocks.get(l));
        match norm {
            StreamNorm::Attention(_) => block??.attn_norm.as_ref(),
            StreamNorm::Mlp(_) => block??.mlp_norm.as_ref(),
            StreamNorm::Final => Some(&self.layout.final_norm),
        }
    }

    /// Returns the factor of the attention scores of block `l`.
    pub fn attention_scale(&self, l: usize) -> f64 {
        self.attention[l].scale
    }

    /// Returns the number of elements of all tensors.
    pub(crate) fn elements(&self) -> u128 {
        let of = |(_, shape): &(String, Vec<usize>)| shape.iter().map(|&n| n as u128).product::<u128>();
        self.tensors().iter().map(of).sum()
    }

    /// Returns every tensor of the model as (name, shape), in the order of the forward pass.
    ///
    /// Names and shapes are those of the files that the family's own library writes. If the unembedding is the token
    /// embedding, only the embedding is listed.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let Sizes { vocab, n_ctx, d, .. } = self.sizes;
        self.layout.tensors([vocab, n_ctx, d], self.norm.stored())
    }

    /// Returns whether the MLPs have a gate.
    pub fn is_gated(&self) -> bool {
        self.gated
    }

    /// Returns the width of the hidden layer before the activation: a gated MLP has two projections.
    pub(crate) fn hidden_width(&self) -> usize {
        self.sizes.inner * if self.gated { 2 } else { 1 }
    }

    /// Returns the number of elements that a run stores for a token of a block.
    pub(crate) fn block_elements(&self) -> usize {
        let Sizes { d, .. } = self.sizes;
        // q, k and v, also after a norm and after the rotation; z; the two streams; the hidden layer.
        let steps = 1 + usize::from(self.rotates()) + usize::from(self.has_qk_norm());
        let neurons = if self.gated { self.sizes.inner } else { 0 };
        steps * self.sizes.qkv_width() + self.sizes.q_width() + 2 * d + self.hidden_width() + neurons
    }

    /// Returns the number of elements of a row that are alive at most while a block is computed.
    pub(crate) fn alive_elements(&self) -> usize {
        let gate = if self.gated { self.sizes.inner } else { 0 };
        let rotation = if self.rotates() { self.sizes.qkv_width() } else { 0 };
        2 * self.sizes.inner + gate + 5 * self.sizes.d + self.sizes.qkv_width() + rotation
    }

    /// Returns whether queries and keys have a rotary embedding, in some blocks at least.
    pub fn rotates(&self) -> bool {
        !self.rotary.is_empty()
    }

    /// Returns whether queries and keys of block `l` have a rotary embedding.
    pub fn attention_rotates(&self, l: usize) -> bool {
        self.attention[l].rotary.is_some()
    }

    /// Returns whether attention and MLP of a block both read its input.
    pub fn is_parallel(&self) -> bool {
        self.parallel
    }

    /// Returns how many tokens a query of block `l` sees, its own included; `None` if it sees all earlier ones.
    pub fn attention_window(&self, l: usize) -> Option<usize> {
        self.attention[l].window
    }

    /// Returns the soft-cap c of the attention scores, which become `c tanh(s / c)`.
    pub fn score_cap(&self) -> Option<f64> {
        self.score_cap
    }

    fn has_qk_norm(&self) -> bool {
        self.layout.blocks.first().is_some_and(|block| block.qk_norm.is_some())
    }

    /// Returns the number of parameters, embeddings included. A tied unembedding is counted once.
    pub fn n_params(&self) -> usize {
        self.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

/// Reads `dir/config.json`. Returns its bytes and its path.
fn read_file(dir: &Path) -> Result<(Vec<u8>, std::path::PathBuf)> {
    let path = dir.join("config.json");
    // A mistyped path gets another error than a directory without the file.
    let is_file = files::is_file(dir).map_err(|source| Error::Io { path: dir.into(), source })?;
    if is_file || !files::exists(&path)? {
        let fix = match is_file {
            true => "it is a file: give the directory with config.json and model.safetensors",
            false => "a model directory has config.json and model.safetensors",
        };
        return Err(Error::NotAModel { dir: dir.into(), wanted: "config.json", fix });
    }
    Ok((files::read(&path)?, path))
}

#[cfg(test)]
mod combination_tests;
#[cfg(test)]
mod tests;
