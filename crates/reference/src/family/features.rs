//! What `config.json` says about a model, family by family.

use serde_json::Value;

use super::rotary::{Rotary, number, rotary as rotary_of};
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

/// Where queries, keys and values lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// In a projection each.
    Apart,
    /// In a projection each, where neighbouring columns of queries and keys turn together.
    Neighbours,
    /// In one projection: those of a head side by side.
    ByHead,
    /// In one projection: all queries, all keys, all values.
    ByKind,
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
    /// The list of blocks.
    pub blocks: &'static str,
    /// Norms before attention, after it, before the MLP and after it; empty where the family has none.
    pub norms: [&'static str; 4],
    /// Projections into the MLP: the gate and what it multiplies, or one for both if the second is empty.
    pub up: [&'static str; 2],
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
    /// Where q, k and v lie.
    pub projection: Projection,
    /// One per block: the keys that a query sees, its own included.
    pub windows: Vec<Option<usize>>,
    /// One per block; `None` where queries and keys are not rotated.
    pub rotary: Vec<Option<Rotary>>,
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
    /// Factor of what attention and MLP add to the stream.
    pub branch_scale: f64,
    /// Factor of the logits, before their cap.
    pub logit_scale: f64,
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
        let gemma = family.starts_with("gemma");
        let width = size(config, "hidden_size").expect("hidden_size");
        let [layers, heads] = [["num_hidden_layers", "num_layers"], ["num_attention_heads", "num_heads"]]
            .map(|names| names.into_iter().find_map(|name| size(config, name)).expect("layers and heads"));
        let head_width = size(config, "head_dim").unwrap_or(width / heads);
        let windows: Vec<Option<usize>> = (0..layers).map(|block| window(config, family, block)).collect();
        let rotates = |block: usize| match config["no_rope_layers"].as_array() {
            Some(flags) => flags[block] == 1,
            None => family != "gpt_neo" && (family != "cohere2" || windows[block].is_some()),
        };
        let rotary = windows.iter().enumerate();
        let rotary = rotary.map(|(l, window)| rotates(l).then(|| rotary_of(config, head_width, window.is_some())));
        let rotary = rotary.collect();
        let eps = ["rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"];
        // OLMo's files do not state it.
        let eps = eps.into_iter().find_map(|name| number(config, name)).unwrap_or(1e-5);
        let parallel = match family {
            "gpt_neox" => config["use_parallel_residual"].as_bool().unwrap_or(true),
            "cohere" | "cohere2" => true,
            _ => config["use_parallel_residual"].as_bool().unwrap_or(false),
        };
        let activation = ["hidden_activation", "hidden_act", "activation_function"];
        let score_scale = match family {
            "gpt_neo" => 1.0,
            "granite" => number(config, "attention_multiplier").expect("attention_multiplier"),
            _ => 1.0 / number(config, "query_pre_attn_scalar").unwrap_or(head_width as f64).sqrt(),
        };
        let embedding_scale = if gemma { (width as f64).sqrt() } else { 1.0 };
        let embedding_scale = number(config, "embedding_multiplier").unwrap_or(embedding_scale);
        Self {
            width,
            layers,
            heads,
            kv_heads: size(config, "num_key_value_heads").unwrap_or(heads),
            head_width,
            norm: Norm {
                centred: matches!(
                    family,
                    "gpt_neox" | "gpt_neo" | "olmo" | "stablelm" | "starcoder2" | "cohere" | "cohere2"
                ),
                plus_one: gemma,
                eps,
            },
            parallel,
            query_key_norm: matches!(family, "qwen3" | "gemma3_text" | "olmo2" | "olmo3"),
            projection: match family {
                "gpt_neox" => Projection::ByHead,
                "phi3" => Projection::ByKind,
                "cohere" | "cohere2" => Projection::Neighbours,
                _ => Projection::Apart,
            },
            windows,
            rotary,
            score_scale,
            score_cap: number(config, "attn_logit_softcapping").filter(|_| family == "gemma2"),
            logit_cap: number(config, "final_logit_softcapping"),
            activation: match activation.into_iter().find_map(|name| text(config, name)) {
                Some("silu") => Activation::Silu,
                // The first Gemma means the tanh form by this name.
                Some("gelu") if family != "gemma" => Activation::Erf,
                Some("gelu" | "gelu_pytorch_tanh" | "gelu_new") => Activation::Tanh,
                other => panic!("activation {other:?}: expected silu, gelu or gelu_pytorch_tanh"),
            },
            gated: !matches!(family, "gpt_neox" | "gpt_neo" | "starcoder2"),
            embedding_scale,
            branch_scale: number(config, "residual_multiplier").unwrap_or(1.0),
            logit_scale: number(config, "logit_scale")
                .unwrap_or_else(|| 1.0 / number(config, "logits_scaling").unwrap_or(1.0)),
            tied: config["tie_word_embeddings"]
                .as_bool()
                .unwrap_or(gemma || matches!(family, "cohere" | "cohere2" | "gpt_neo" | "smollm3" | "starcoder2")),
            names: names(family, parallel),
            frozen: Frozen::default(),
        }
    }
}

fn names(family: &str, parallel: bool) -> Names {
    let norms = match family {
        "stablelm" | "cohere" | "cohere2" if parallel => ["input_layernorm", "", "input_layernorm", ""],
        "gpt_neox" | "llama" | "mistral" | "qwen2" | "qwen3" | "gemma" | "granite" | "ministral" | "olmo" | "phi3"
        | "smollm3" | "stablelm" | "starcoder2" => ["input_layernorm", "", "post_attention_layernorm", ""],
        "gpt_neo" => ["ln_1", "", "ln_2", ""],
        "gemma2" | "gemma3_text" => {
            ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"]
        }
        "olmo2" | "olmo3" => ["", "post_attention_layernorm", "", "post_feedforward_layernorm"],
        other => panic!("model_type `{other}`: expected one of the families in tests/data/README.md"),
    };
    if family == "gpt_neox" {
        return Names {
            stem: "gpt_neox",
            embedding: "embed_in",
            attention: "attention",
            out: "dense",
            blocks: "layers",
            norms,
            up: ["dense_h_to_4h", ""],
            down: "dense_4h_to_h",
            last: "final_layer_norm",
            head: "embed_out.weight",
        };
    }
    let llama = Names {
        stem: "model",
        embedding: "embed_tokens",
        attention: "self_attn",
        out: "o_proj",
        blocks: "layers",
        norms,
        up: ["gate_proj", "up_proj"],
        down: "down_proj",
        last: "norm",
        head: "lm_head.weight",
    };
    match family {
        "phi3" => Names { up: ["gate_up_proj", ""], ..llama },
        "starcoder2" => Names { up: ["c_fc", ""], down: "c_proj", ..llama },
        "gpt_neo" => Names {
            stem: "transformer",
            embedding: "wte",
            attention: "attn.attention",
            out: "out_proj",
            blocks: "h",
            up: ["c_fc", ""],
            down: "c_proj",
            last: "ln_f",
            ..llama
        },
        _ => llama,
    }
}

/// Returns the window of block `block`, if it has one.
fn window(config: &Value, family: &str, block: usize) -> Option<usize> {
    let window = size(config, "sliding_window");
    if let Some(types) = config["layer_types"].as_array() {
        return window.filter(|_| types[block] == "sliding_attention");
    }
    if let Some(types) = config["attention_types"].as_array() {
        let of = |item: &Value| {
            let kinds = item[0].as_array().expect("kinds");
            vec![kinds.clone(); item[1].as_u64().expect("times") as usize]
        };
        let kinds: Vec<Value> = types.iter().flat_map(of).flatten().collect();
        return size(config, "window_size").filter(|_| kinds[block] == "local");
    }
    let acts = match family {
        "mistral" | "ministral" | "starcoder2" | "phi3" => true,
        "olmo3" => !(block + 1).is_multiple_of(4),
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
