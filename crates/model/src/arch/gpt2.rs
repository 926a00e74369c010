//! `config.json`: the sizes and switches of a GPT-2.

use std::path::Path;

use super::fields::error as config_error;
use super::{
    Activation, Architecture, AttentionPlan, BlockLayout, Family, Fields, Ignored, Layout, MAX_D_HEAD, MAX_LAYERS,
    MAX_SIZE, NormAt, NormKind, Orientation, Part, Sizes, Stored, Taken, read_file, too_large,
};
use crate::error::Result;
use crate::files;

/// GPT-2.
pub(super) const FAMILY: Family = Family {
    model_types: &["gpt2"],
    classes: &["GPT2LMHeadModel"],
    read: |fields| Ok(Architecture::from(&Config::from_fields(fields)?)),
};

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
        let (bytes, path) = read_file(dir)?;
        Self::parse(&bytes, &path)
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
        let fields = Fields::new(&map, path);
        match FAMILY.is(&fields) {
            true => Self::from_fields(&fields),
            false => Err(fields.unknown_family(FAMILY.model_types, None)),
        }
    }

    fn from_fields(fields: &Fields<'_>) -> Result<Self> {
        let vocab_size = fields.size(&["vocab_size"])?;
        let config = Self {
            n_layer: fields.size(&["n_layer", "num_hidden_layers"])?,
            n_embd: fields.size(&["n_embd", "hidden_size"])?,
            n_head: fields.size(&["n_head", "num_attention_heads"])?,
            n_inner: fields.size_or_none("n_inner")?,
            vocab_size,
            n_positions: fields.size(&["n_positions", "n_ctx", "max_position_embeddings"])?,
            layer_norm_epsilon: fields.number("layer_norm_epsilon", 1e-5)?,
            activation_function: fields.activation("activation_function", Activation::GeluNew, false)?,
            scale_attn_weights: fields.flag("scale_attn_weights", true)?,
            scale_attn_by_inverse_layer_idx: fields.flag("scale_attn_by_inverse_layer_idx", false)?,
            tie_word_embeddings: fields.flag("tie_word_embeddings", true)?,
            bos_token_id: fields.token("bos_token_id", vocab_size),
            eos_token_id: fields.token("eos_token_id", vocab_size),
        };
        if fields.flag("add_cross_attention", false)? {
            let message = "`add_cross_attention` is true; only decoders without cross-attention are supported";
            return Err(fields.error(message));
        }
        config.check(fields.path())?;
        Ok(config)
    }

    /// Checks that the sizes fit together and that no size computed from them overflows.
    ///
    /// # Errors
    /// [`crate::Error::Config`]: a size is zero, `n_head` does not divide `n_embd`, a head is wider than
    /// [`MAX_D_HEAD`], there are more than [`MAX_LAYERS`] layers, the layer norm's epsilon is not a positive f32, or
    /// the parameters need more bytes than can be addressed.
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
        if bytes > usize::MAX as u128 {
            return Err(config_error(path, too_large(bytes)));
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
        self.n_embd.checked_div(self.n_head).unwrap_or(0)
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
        Architecture::from(self).tensors()
    }

    fn layout(&self, l: usize) -> BlockLayout {
        let (d, inner) = (self.n_embd, self.n_inner());
        let name = |part: &str| format!("h.{l}.{part}");
        let norm = |part| Some(NormAt { name: name(part), width: d });
        let matrix = |part, inputs, outputs| Part {
            name: name(part),
            bias: true,
            orientation: Orientation::InOut,
            inputs,
            outputs,
            taken: Taken::all(outputs),
            neighbours: None,
        };
        BlockLayout {
            attn_norm: norm("ln_1"),
            qkv: vec![matrix("attn.c_attn", d, 3 * d)],
            qk_norm: None,
            out: matrix("attn.c_proj", d, d),
            attn_post_norm: None,
            mlp_norm: norm("ln_2"),
            up: vec![matrix("mlp.c_fc", d, inner)],
            down: matrix("mlp.c_proj", inner, d),
            mlp_post_norm: None,
        }
    }
}

impl From<&Config> for Architecture {
    fn from(config: &Config) -> Self {
        let (heads, layers) = (config.n_head, config.n_layer);
        let sizes = Sizes {
            layers,
            d: config.n_embd,
            heads,
            kv_heads: heads,
            d_head: config.d_head(),
            inner: config.n_inner(),
            vocab: config.vocab_size,
            n_ctx: config.n_positions,
        };
        let attention = |l| AttentionPlan { scale: config.attention_scale(l), window: None, rotary: None };
        Self {
            family: "gpt2",
            sizes,
            norm: NormKind::Layer(Stored::GainAndBias),
            eps: config.layer_norm_epsilon,
            attention: (0..layers).map(attention).collect(),
            rotary: Vec::new(),
            score_cap: None,
            activation: config.activation_function,
            gated: false,
            parallel: false,
            embedding_scale: 1.0,
            logit_cap: None,
            layout: Layout {
                embedding: "wte.weight".to_owned(),
                positions: Some("wpe.weight".to_owned()),
                blocks: (0..layers).map(|l| config.layout(l)).collect(),
                final_norm: NormAt { name: "ln_f".to_owned(), width: config.n_embd },
                head: "lm_head.weight".to_owned(),
                tied: config.tie_word_embeddings,
                factors: Vec::new(),
                renamed: &[("transformer.", "")],
                base: "",
                ignored: Ignored(is_mask),
            },
        }
    }
}

impl From<Config> for Architecture {
    fn from(config: Config) -> Self {
        Self::from(&config)
    }
}

/// Returns whether a tensor is a causal mask, which older files contain.
fn is_mask(name: &str) -> bool {
    let Some((layer, part)) = name.strip_prefix("h.").and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    matches!(part, "attn.bias" | "attn.masked_bias") && !layer.is_empty() && layer.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
#[path = "gpt2_tests.rs"]
mod tests;
