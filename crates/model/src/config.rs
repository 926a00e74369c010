//! `config.json`: the sizes and switches of a GPT-2.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result, shown};
use crate::files;

/// Most layers accepted, so that a damaged file cannot ask for a list of tensors without end.
pub const MAX_LAYERS: usize = 4096;

/// Widest attention head accepted: the most that fits the registers and workgroup memory of the attention kernels.
pub const MAX_D_HEAD: usize = 128;

/// The non-linearity of the MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// GELU in its tanh form: `gelu_new`, `gelu_pytorch_tanh`.
    GeluNew,
    /// GELU through the error function: `gelu`.
    Gelu,
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GeluNew => "gelu_new",
            Self::Gelu => "gelu",
        })
    }
}

/// Sizes and switches of a GPT-2, named as in its `config.json`.
///
/// A value from [`Config::open`] or [`Config::from_json`] has passed [`Config::validate`].
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Number of blocks, `L`.
    pub n_layer: usize,
    /// Width of the residual stream, `d`.
    pub n_embd: usize,
    /// Attention heads of a block; divides `n_embd`.
    pub n_head: usize,
    /// Width of the MLP, if it is given; see [`Config::n_inner`].
    pub n_inner: Option<usize>,
    /// Size of the vocabulary, `V`.
    pub vocab_size: usize,
    /// Longest prompt in tokens, `P`.
    pub n_positions: usize,
    /// Added to the variance in every layer norm.
    pub layer_norm_epsilon: f64,
    /// The non-linearity of the MLP.
    pub activation_function: Activation,
    /// Whether attention scores are divided by the square root of `d_head`.
    pub scale_attn_weights: bool,
    /// Whether attention scores of block `l` are also divided by `l + 1`.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Whether the unembedding is the token embedding.
    pub tie_word_embeddings: bool,
    /// Token that begins a text, if there is one in the vocabulary.
    pub bos_token_id: Option<u32>,
    /// Token that ends a text, if there is one in the vocabulary.
    pub eos_token_id: Option<u32>,
}

impl Config {
    /// Reads and checks `dir/config.json`.
    ///
    /// # Errors
    /// The file cannot be read, is not JSON, is not a GPT-2's, or fails [`Config::validate`].
    pub fn open(dir: &Path) -> Result<Self> {
        Ok(Self::open_with_bytes(dir)?.0)
    }

    /// Like [`Config::open`]; also returns the bytes of the file.
    pub(crate) fn open_with_bytes(dir: &Path) -> Result<(Self, Vec<u8>)> {
        let path = dir.join("config.json");
        // A mistyped path gets another error than a directory without the file.
        std::fs::metadata(dir).map_err(|source| Error::Io { path: dir.into(), source })?;
        if !files::exists(&path)? {
            return Err(Error::NotAModel {
                dir: dir.into(),
                wanted: "config.json",
                fix: "a model directory holds config.json and model.safetensors",
            });
        }
        let bytes = files::read(&path)?;
        Ok((Self::parse(&bytes, &path)?, bytes))
    }

    /// Parses and checks the text of a `config.json`.
    ///
    /// # Errors
    /// The text is not JSON, is not a GPT-2's, or fails [`Config::validate`].
    pub fn from_json(text: &str) -> Result<Self> {
        Self::parse(text.as_bytes(), Path::new("config.json"))
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let map =
            files::object(bytes).map_err(|e| config_error(path, format!("{e}; download it again if it is damaged")))?;
        let fields = Fields { map: &map, path };
        fields.check_kind()?;
        let vocab_size = fields.size(&["vocab_size"])?;
        let config = Self {
            n_layer: fields.size(&["n_layer", "num_hidden_layers"])?,
            n_embd: fields.size(&["n_embd", "hidden_size"])?,
            n_head: fields.size(&["n_head", "num_attention_heads"])?,
            n_inner: fields.size_or_none("n_inner")?,
            vocab_size,
            n_positions: fields.size(&["n_positions", "n_ctx", "max_position_embeddings"])?,
            layer_norm_epsilon: fields.number("layer_norm_epsilon", 1e-5)?,
            activation_function: fields.activation()?,
            scale_attn_weights: fields.flag("scale_attn_weights", true)?,
            scale_attn_by_inverse_layer_idx: fields.flag("scale_attn_by_inverse_layer_idx", false)?,
            tie_word_embeddings: fields.flag("tie_word_embeddings", true)?,
            bos_token_id: fields.token("bos_token_id", vocab_size),
            eos_token_id: fields.token("eos_token_id", vocab_size),
        };
        if fields.flag("add_cross_attention", false)? {
            let message = "`add_cross_attention` is true; only decoders without cross-attention are supported";
            return Err(config_error(path, message));
        }
        config.check(path)?;
        Ok(config)
    }

    /// Checks that the sizes fit together and that no size computed from them overflows.
    ///
    /// # Errors
    /// [`Error::Config`]: a size is zero, `n_head` does not divide `n_embd`, a head is wider than [`MAX_D_HEAD`], there
    /// are more than [`MAX_LAYERS`] layers, the layer norm's epsilon is not a positive f32, or the parameters need more
    /// bytes than can be addressed.
    pub fn validate(&self) -> Result<()> {
        self.check(Path::new("config.json"))
    }

    fn check(&self, path: &Path) -> Result<()> {
        let sizes = [
            ("n_layer", self.n_layer, MAX_LAYERS),
            ("n_embd", self.n_embd, MAX_SIZE),
            ("n_head", self.n_head, MAX_SIZE),
            ("n_inner", self.n_inner.unwrap_or(1), MAX_SIZE),
            ("vocab_size", self.vocab_size, MAX_SIZE),
            ("n_positions", self.n_positions, MAX_SIZE),
        ];
        for (name, value, most) in sizes {
            if value == 0 || value > most {
                return Err(config_error(path, format!("`{name}` is {value}; it must be 1 to {most}")));
            }
        }
        let Self { n_embd, n_head, .. } = *self;
        if !n_embd.is_multiple_of(n_head) {
            let message = format!("`n_embd` is {n_embd}, which `n_head` = {n_head} does not divide");
            return Err(config_error(path, message));
        }
        let d_head = self.d_head();
        if d_head > MAX_D_HEAD {
            let message = format!(
                "a head is {d_head} wide (n_embd {n_embd} / n_head {n_head}); at most {MAX_D_HEAD} is supported"
            );
            return Err(config_error(path, message));
        }
        let eps = self.layer_norm_epsilon as f32;
        if !(eps.is_finite() && eps > 0.0) {
            let message = format!(
                "`layer_norm_epsilon` is {}; it must be a positive number in the range of f32",
                self.layer_norm_epsilon
            );
            return Err(config_error(path, message));
        }
        let bytes = self.count_params() * 4;
        if bytes > isize::MAX as u128 {
            let message = format!("the sizes ask for {bytes} bytes of weights, more than can be addressed");
            return Err(config_error(path, message));
        }
        Ok(())
    }

    /// Returns the factor of the attention scores of block `l`.
    pub fn attention_scale(&self, l: usize) -> f64 {
        let scale = if self.scale_attn_weights { 1.0 / (self.d_head() as f64).sqrt() } else { 1.0 };
        if self.scale_attn_by_inverse_layer_idx { scale / (l + 1) as f64 } else { scale }
    }

    /// Returns the width of one attention head: `n_embd / n_head`.
    pub fn d_head(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// Returns the width of the MLP: the given one, or `4 n_embd`.
    pub fn n_inner(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    /// Returns the number of parameters of the model, embeddings included. A tied unembedding is counted once.
    pub fn n_params(&self) -> usize {
        self.count_params() as usize
    }

    /// Returns the number of parameters of one block.
    pub fn n_params_block(&self) -> usize {
        self.count_block_params() as usize
    }

    /// Returns the number of parameters in u128, which the largest sizes that [`Config::check`] allows cannot overflow.
    fn count_params(&self) -> u128 {
        let [d, v, p, l] = [self.n_embd, self.vocab_size, self.n_positions, self.n_layer].map(|n| n as u128);
        let embeddings = if self.tie_word_embeddings { v + p } else { 2 * v + p };
        embeddings * d + l * self.count_block_params() + 2 * d
    }

    fn count_block_params(&self) -> u128 {
        let d = self.n_embd as u128;
        let m = self.n_inner.map_or(4 * d, |n| n as u128);
        // Two layer norms; c_attn, c_proj, c_fc and c_proj with their biases.
        4 * d + (3 * d * d + 3 * d) + (d * d + d) + (d * m + m) + (m * d + d)
    }

    /// Returns every tensor of the model as (name, shape), in the order of the forward pass.
    ///
    /// Names are those of Hugging Face without the `transformer.` prefix. Matrices are `[in, out]`. `lm_head.weight`
    /// `[V, d]` is listed only if the unembedding is not the token embedding.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (d, m) = (self.n_embd, self.n_inner());
        let mut list = vec![
            ("wte.weight".to_owned(), vec![self.vocab_size, d]),
            ("wpe.weight".to_owned(), vec![self.n_positions, d]),
        ];
        for l in 0..self.n_layer {
            let parts: [(&str, &[usize]); 12] = [
                ("ln_1.weight", &[d]),
                ("ln_1.bias", &[d]),
                ("attn.c_attn.weight", &[d, 3 * d]),
                ("attn.c_attn.bias", &[3 * d]),
                ("attn.c_proj.weight", &[d, d]),
                ("attn.c_proj.bias", &[d]),
                ("ln_2.weight", &[d]),
                ("ln_2.bias", &[d]),
                ("mlp.c_fc.weight", &[d, m]),
                ("mlp.c_fc.bias", &[m]),
                ("mlp.c_proj.weight", &[m, d]),
                ("mlp.c_proj.bias", &[d]),
            ];
            list.extend(parts.map(|(name, shape)| (format!("h.{l}.{name}"), shape.to_vec())));
        }
        list.push(("ln_f.weight".to_owned(), vec![d]));
        list.push(("ln_f.bias".to_owned(), vec![d]));
        if !self.tie_word_embeddings {
            list.push(("lm_head.weight".to_owned(), vec![self.vocab_size, d]));
        }
        list
    }
}

/// Largest single size. An MLP may be four times as wide, and that still fits the u32 with which kernels index.
const MAX_SIZE: usize = (u32::MAX / 4) as usize;

fn config_error(path: &Path, message: impl Into<String>) -> Error {
    Error::Config { path: PathBuf::from(path), message: message.into() }
}

/// Typed access to the JSON object. A null counts as absent.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: &'a Path,
}

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|v| !v.is_null())
    }

    fn wrong(&self, name: &str, wanted: &str, found: &Value) -> Error {
        let found = shown(&found.to_string());
        config_error(self.path, format!("`{name}` must be {wanted}, found {found}"))
    }

    /// Returns the size under the first of several spellings that is present.
    fn size(&self, names: &[&str]) -> Result<usize> {
        for name in names {
            if let Some(size) = self.size_or_none(name)? {
                return Ok(size);
            }
        }
        let name = names.first().copied().unwrap_or_default();
        Err(config_error(self.path, format!("`{name}` is missing; use the config.json that came with the weights")))
    }

    fn size_or_none(&self, name: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let size = value.as_u64().and_then(|n| usize::try_from(n).ok());
        size.map(Some).ok_or_else(|| self.wrong(name, "a positive whole number", value))
    }

    fn number(&self, name: &str, default: f64) -> Result<f64> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.as_f64().ok_or_else(|| self.wrong(name, "a number", value))
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(name, "true or false", value))
    }

    /// Returns a token id, or the first of a list of them.
    ///
    /// Returns `None` if the id is outside the vocabulary. The file of a small model may have the class default of
    /// 50256, for example.
    fn token(&self, name: &str, vocab_size: usize) -> Option<u32> {
        let value = self.get(name)?;
        let value = value.as_array().map_or(Some(value), |list| list.first())?;
        u32::try_from(value.as_u64()?).ok().filter(|&id| (id as usize) < vocab_size)
    }

    fn activation(&self) -> Result<Activation> {
        let Some(value) = self.get("activation_function") else { return Ok(Activation::GeluNew) };
        match value.as_str() {
            Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Activation::GeluNew),
            Some("gelu") => Ok(Activation::Gelu),
            _ => Err(self.wrong("activation_function", "gelu_new, gelu_pytorch_tanh or gelu", value)),
        }
    }

    fn check_kind(&self) -> Result<()> {
        let model_type = self.get("model_type").and_then(Value::as_str);
        let architectures: Vec<&str> = self
            .get("architectures")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        if model_type == Some("gpt2") || architectures.contains(&"GPT2LMHeadModel") {
            return Ok(());
        }
        let found = match (model_type, architectures.as_slice()) {
            (Some(kind), _) => format!("model_type is `{}`", shown(kind)),
            (None, []) => "it names neither model_type nor architectures".to_owned(),
            (None, [first, ..]) => format!("architectures is `{}`", shown(first)),
        };
        Err(Error::NotGpt2 { path: self.path.into(), found })
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
