//! What `config.json` says about a model, family by family.

use serde_json::Value;

use super::rotary::{Rotary, number, rotary};
use crate::ops::Frozen;

/// The form of a norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// Whether the mean is subtracted first: a layer norm instead of an RMS norm.
    pub centred: bool,
    /// Whether the file has the gain minus one, as Gemma's do.
    pub plus_one: bool,
    /// Added to the mean square.
    pub eps: f64,
}

/// The activation of the MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `silu`.
    Silu,
    /// `gelu`.
    Erf,
    /// `gelu_pytorch_tanh`.
    Tanh,
}

/// Names of the tensors that differ between families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Prefix of all but the unembedding.
    pub stem: &'static str,
    /// Token embedding.
    pub embedding: &'static str,
    /// Attention of a block.
    pub attention: &'static str,
    /// Output projection of attention.
    pub out: &'static str,
    /// Norms before attention, after it, before the MLP and after it; empty where the family has none.
    pub norms: [&'static str; 4],
    /// Last projection of the MLP.
    pub down: &'static str,
    /// The final norm.
    pub last: &'static str,
    /// The unembedding.
    pub head: &'static str,
}

/// The features of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Width of the stream, d.
    pub width: usize,
    /// Blocks, L.
    pub layers: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Columns per head.
    pub head_width: usize,
    /// All norms.
    pub norm: Norm,
    /// Whether the MLP reads the stream that enters the block, not the one behind attention.
    pub parallel: bool,
    /// Whether queries and keys have a norm before the rotation: over each head, or over all, as long as its gain.
    pub query_key_norm: bool,
    /// Whether q, k and v of a head lie side by side in one projection.
    pub fused_heads: bool,
    /// One per block: the keys that a query sees, its own included.
    pub windows: Vec<Option<usize>>,
    /// One per block.
    pub rotary: Vec<Rotary>,
    /// Factor of the scores.
    pub score_scale: f64,
    /// Cap of the scores.
    pub score_cap: Option<f64>,
    /// Cap of the logits.
    pub logit_cap: Option<f64>,
    /// Activation of the MLP.
    pub activation: Activation,
    /// Whether the activation multiplies a second projection.
    pub gated: bool,
    /// Factor of the embedding.
    pub embedding_scale: f64,
    /// Whether the embedding is the unembedding too.
    pub tied: bool,
    /// Names of the tensors.
    pub names: Names,
    /// Factors that derivatives treat as constant; none after [`Features::new`].
    pub frozen: Frozen,
}

impl Features {
    /// Reads a parsed `config.json`.
    ///
    /// # Panics
    /// If the family is unknown, or a key is missing or has an unknown value.
    pub fn new(config: &Value) -> Self {
        let family = text(config, "model_type").expect("model_type");
        let (neox, gemma) = (family == "gpt_neox", family.starts_with("gemma"));
        let width = size(config, "hidden_size").expect("hidden_size");
        let layers = size(config, "num_hidden_layers").expect("num_hidden_layers");
        let heads = size(config, "num_attention_heads").expect("num_attention_heads");
        let head_width = size(config, "head_dim").unwrap_or(width / heads);
        let windows: Vec<Option<usize>> = (0..layers).map(|block| window(config, family, block)).collect();
        let rotary = windows.iter().map(|window| rotary(config, head_width, window.is_some())).collect();
        let eps = number(config, "rms_norm_eps").or_else(|| number(config, "layer_norm_eps")).expect("eps");
        Self {
            width,
            layers,
            heads,
            kv_heads: size(config, "num_key_value_heads").unwrap_or(heads),
            head_width,
            norm: Norm { centred: neox, plus_one: gemma, eps },
            parallel: neox && config["use_parallel_residual"].as_bool().unwrap_or(true),
            query_key_norm: matches!(family, "qwen3" | "gemma3_text" | "olmo2"),
            fused_heads: neox,
            windows,
            rotary,
            score_scale: 1.0 / number(config, "query_pre_attn_scalar").unwrap_or(head_width as f64).sqrt(),
            score_cap: number(config, "attn_logit_softcapping").filter(|_| family == "gemma2"),
            logit_cap: number(config, "final_logit_softcapping"),
            activation: match text(config, "hidden_activation").or_else(|| text(config, "hidden_act")) {
                Some("silu") => Activation::Silu,
                Some("gelu") => Activation::Erf,
                Some("gelu_pytorch_tanh") => Activation::Tanh,
                other => panic!("activation {other:?}: expected silu, gelu or gelu_pytorch_tanh"),
            },
            gated: !neox,
            embedding_scale: if gemma { (width as f64).sqrt() } else { 1.0 },
            tied: config["tie_word_embeddings"].as_bool().unwrap_or(gemma),
            names: names(family),
            frozen: Frozen::default(),
        }
    }
}

fn names(family: &str) -> Names {
    let norms = match family {
        "gpt_neox" | "llama" | "mistral" | "qwen2" | "qwen3" => ["input_layernorm", "", "post_attention_layernorm", ""],
        "gemma2" | "gemma3_text" => {
            ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"]
        }
        "olmo2" => ["", "post_attention_layernorm", "", "post_feedforward_layernorm"],
        other => panic!("model_type `{other}`: expected one of the families in tests/data/README.md"),
    };
    if family == "gpt_neox" {
        return Names {
            stem: "gpt_neox",
            embedding: "embed_in",
            attention: "attention",
            out: "dense",
            norms,
            down: "dense_4h_to_h",
            last: "final_layer_norm",
            head: "embed_out.weight",
        };
    }
    Names {
        stem: "model",
        embedding: "embed_tokens",
        attention: "self_attn",
        out: "o_proj",
        norms,
        down: "down_proj",
        last: "norm",
        head: "lm_head.weight",
    }
}

/// Returns the window of block `block`, if it has one.
fn window(config: &Value, family: &str, block: usize) -> Option<usize> {
    let window = size(config, "sliding_window");
    if let Some(types) = config["layer_types"].as_array() {
        return window.filter(|_| types[block] == "sliding_attention");
    }
    let acts = match family {
        "mistral" => true,
        "qwen2" | "qwen3" => {
            config["use_sliding_window"].as_bool().unwrap_or(false)
                && block >= size(config, "max_window_layers").unwrap_or(28)
        }
        "gemma2" => block.is_multiple_of(2),
        "gemma3_text" => !(block + 1).is_multiple_of(size(config, "sliding_window_pattern").unwrap_or(6)),
        _ => false,
    };
    window.filter(|_| acts)
}

fn size(config: &Value, key: &str) -> Option<usize> {
    config[key].as_u64().map(|x| usize::try_from(x).expect("a size"))
}

fn text<'a>(config: &'a Value, key: &str) -> Option<&'a str> {
    config[key].as_str()
}
