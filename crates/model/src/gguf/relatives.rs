//! The `config.json` of models that are computed like Llama but for a few fields.

use serde_json::{Map, Value, json};

use super::arch::Arch;
use super::common::{Stored, entries, head_width, needed, share};
use super::fields::Fields;
use super::rope;
use crate::arch::class_of;

/// What all of these read.
struct Sizes {
    width: usize,
    heads: usize,
    head: usize,
    blocks: usize,
    /// Base of the rotary frequencies.
    base: f64,
}

impl Sizes {
    fn read(fields: &Fields<'_>, arch: Arch) -> Result<Self, String> {
        let (width, heads) = (fields.size("embedding_length")?, fields.size("attention.head_count")?);
        Ok(Self {
            width,
            heads,
            head: head_width(fields, width, heads)?,
            blocks: fields.size("block_count")?,
            base: fields.number("rope.freq_base")?.unwrap_or(if arch == Arch::Gemma3 { 1e6 } else { 1e4 }),
        })
    }
}

/// Translates the metadata of a relative of Llama.
pub(super) fn describe(fields: &Fields<'_>, arch: Arch, stored: &Stored) -> Result<Map<String, Value>, String> {
    let sizes = Sizes::read(fields, arch)?;
    let mut config = entries(json!({
        "num_hidden_layers": sizes.blocks,
        "hidden_size": sizes.width,
        "intermediate_size": fields.size("feed_forward_length")?,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": fields.size_or_none("attention.head_count_kv")?.unwrap_or(sizes.heads),
        "head_dim": sizes.head,
        "max_position_embeddings": fields.size("context_length")?,
        "rope_theta": sizes.base,
        "rope_scaling": scaling(fields, arch, stored, &sizes)?,
    }));
    let epsilon = match arch {
        Arch::Starcoder2 => ("norm_epsilon", "attention.layer_norm_epsilon"),
        Arch::Stablelm | Arch::CommandR | Arch::Cohere2 | Arch::Olmo => {
            ("layer_norm_eps", "attention.layer_norm_epsilon")
        }
        _ => ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    };
    config.insert(epsilon.0.to_owned(), json!(needed(fields, epsilon.1)?));
    config.extend(entries(family(fields, arch, stored, &sizes)?));
    if config.contains_key("rope_parameters") {
        // They are in place of these.
        config.retain(|key, _| !["rope_theta", "rope_scaling"].contains(&key.as_str()));
    }
    let kind = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
    config.insert("architectures".to_owned(), json!(Vec::from_iter(class_of(kind))));
    Ok(config)
}

/// Returns the value of `rope_scaling`, after a check that as many columns of a head rotate as the architecture allows.
fn scaling(fields: &Fields<'_>, arch: Arch, stored: &Stored, sizes: &Sizes) -> Result<Value, String> {
    let head = sizes.head;
    let rotated = fields.size_or_none("rope.dimension_count")?.unwrap_or(head);
    let partly = matches!(arch, Arch::Phi3 | Arch::Stablelm);
    if !partly && (rotated != head || head % 2 == 1) {
        let key = fields.key("rope.dimension_count");
        return Err(format!(
            "`{key}` is {rotated}, and a head is {head} wide; all of it must be rotated, in pairs: use another model"
        ));
    }
    match (&stored.divisors, rope::scaling(fields)?) {
        (Some(divisors), Value::Null) if divisors.len() == head / 2 => rope::llama3(divisors, sizes.base),
        (Some(_), _) => {
            Err("`rope_freqs.weight` does not fit the other metadata of rotary positions; use another model".to_owned())
        }
        (None, scaling) => Ok(scaling),
    }
}

/// Returns the share of the columns of a head that rotate.
fn rotated_share(fields: &Fields<'_>, head: usize) -> Result<f64, String> {
    share(fields, fields.size_or_none("rope.dimension_count")?.unwrap_or(head), head)
}

/// Returns what the configuration of a family has besides the sizes.
fn family(fields: &Fields<'_>, arch: Arch, stored: &Stored, sizes: &Sizes) -> Result<Value, String> {
    let bias = stored.query_bias;
    Ok(match arch {
        Arch::Qwen2 => json!({"model_type": "qwen2", "hidden_act": "silu", "use_sliding_window": false}),
        Arch::Qwen3 => json!({"model_type": "qwen3", "hidden_act": "silu", "attention_bias": bias}),
        Arch::Gemma => json!({"model_type": "gemma", "hidden_act": "gelu_pytorch_tanh", "attention_bias": false}),
        Arch::Gemma2 | Arch::Gemma3 => gemma(fields, arch, sizes)?,
        // llama.cpp knows no window of this architecture.
        Arch::Starcoder2 => json!({
            "model_type": "starcoder2", "hidden_act": "gelu_pytorch_tanh", "use_bias": bias, "sliding_window": null,
        }),
        Arch::Phi3 => json!({
            "model_type": "phi3", "hidden_act": "silu",
            "partial_rotary_factor": rotated_share(fields, sizes.head)?,
            // A window of 0 is none.
            "sliding_window": fields.number("attention.sliding_window")?.filter(|&window| window != 0.0)
                .map(|_| fields.size("attention.sliding_window")).transpose()?,
        }),
        Arch::Granite => granite(fields, stored, sizes)?,
        // Every fourth block has no rotary positions, which the file does not state.
        Arch::Smollm3 => json!({
            "model_type": "smollm3", "hidden_act": "silu", "attention_bias": bias, "mlp_bias": stored.mlp_bias,
            "use_sliding_window": false, "no_rope_layer_interval": 4,
        }),
        Arch::Stablelm => {
            // llama.cpp does not read this: the norms that there are decide.
            fields.ignore("use_parallel_residual");
            json!({
                "model_type": "stablelm", "hidden_act": "silu", "use_qkv_bias": bias,
                "partial_rotary_factor": rotated_share(fields, sizes.head)?,
                "use_parallel_residual": !stored.mlp_norm,
            })
        }
        Arch::CommandR => json!({
            "model_type": "cohere", "hidden_act": "silu", "attention_bias": bias,
            "logit_scale": needed(fields, "logit_scale")?,
        }),
        Arch::Cohere2 => {
            same_base(fields, sizes)?;
            json!({
                "model_type": "cohere2", "hidden_act": "silu", "attention_bias": bias,
                "logit_scale": needed(fields, "logit_scale")?,
                "sliding_window": fields.size("attention.sliding_window")?,
                "layer_types": layer_types(fields, sizes.blocks, 4)?,
            })
        }
        Arch::Olmo => olmo(fields, bias)?,
        Arch::Olmo2 => olmo2(fields, stored, sizes)?,
        _ => llama(fields, stored)?,
    })
}

fn llama(fields: &Fields<'_>, stored: &Stored) -> Result<Value, String> {
    let window = fields.size_or_none("attention.sliding_window")?;
    let mut config = json!({
        "model_type": "llama", "hidden_act": "silu", "attention_bias": stored.query_bias, "mlp_bias": stored.mlp_bias,
    });
    if let Some(window) = window {
        config["model_type"] = json!("mistral");
        config["sliding_window"] = json!(window);
    }
    Ok(config)
}

fn granite(fields: &Fields<'_>, stored: &Stored, sizes: &Sizes) -> Result<Value, String> {
    // In this architecture alone, llama.cpp takes the key for a switch.
    if fields.flag("rope.scaling.finetuned")? == Some(false) {
        return Err(format!(
            "`{}` is false: it has no rotary positions, which is not supported; use another model",
            fields.key("rope.scaling.finetuned")
        ));
    }
    // llama.cpp takes 0 for a factor that is not stated.
    let factor = |key, default: f64| Ok::<_, String>(fields.number(key)?.filter(|&x| x != 0.0).unwrap_or(default));
    Ok(json!({
        "model_type": "granite", "hidden_act": "silu",
        "attention_bias": stored.query_bias, "mlp_bias": stored.mlp_bias,
        "attention_multiplier": factor("attention.scale", (sizes.head as f64).powf(-0.5))?,
        "embedding_multiplier": factor("embedding_scale", 1.0)?,
        "residual_multiplier": factor("residual_scale", 1.0)?,
        "logits_scaling": needed(fields, "logit_scale")?,
    }))
}

/// Hugging Face has the epsilon of these norms in its code alone, so that no other can be read.
fn olmo(fields: &Fields<'_>, bias: bool) -> Result<Value, String> {
    let key = "attention.layer_norm_epsilon";
    match needed(fields, key)? {
        1e-5 => {}
        epsilon => {
            let key = fields.key(key);
            return Err(format!(
                "`{key}` is {epsilon}, and the norms of this architecture have 1e-5; use another model"
            ));
        }
    }
    Ok(json!({"model_type": "olmo", "hidden_act": "silu", "attention_bias": bias}))
}

/// OLMo 2 has no windows. OLMo 3 has, and rescales the rotary positions only where there is none.
fn olmo2(fields: &Fields<'_>, stored: &Stored, sizes: &Sizes) -> Result<Value, String> {
    let Some(window) = fields.size_or_none("attention.sliding_window")? else {
        return Ok(json!({"model_type": "olmo2", "hidden_act": "silu", "attention_bias": stored.query_bias}));
    };
    let local = fields.number("rope.freq_base_swa")?.unwrap_or(sizes.base);
    let mut whole = match rope::scaling(fields)? {
        Value::Null => json!({"rope_type": "default"}),
        scaling => scaling,
    };
    whole["rope_theta"] = json!(sizes.base);
    Ok(json!({
        "model_type": "olmo3", "hidden_act": "silu", "attention_bias": stored.query_bias,
        "sliding_window": window,
        "layer_types": layer_types(fields, sizes.blocks, 4)?,
        "rope_parameters": {
            "full_attention": whole,
            "sliding_attention": {"rope_type": "default", "rope_theta": local},
        },
    }))
}

/// Returns `layer_types`. Without a list in the file, all blocks but each `period`-th have a window.
fn layer_types(fields: &Fields<'_>, blocks: usize, period: usize) -> Result<Vec<&'static str>, String> {
    let windows = fields.windows("attention.sliding_window_pattern", blocks, period)?;
    Ok(windows.into_iter().map(|has| if has { "sliding_attention" } else { "full_attention" }).collect())
}

/// Refuses another base of the rotary frequencies in blocks with a window.
fn same_base(fields: &Fields<'_>, sizes: &Sizes) -> Result<(), String> {
    let key = "rope.freq_base_swa";
    match fields.number(key)? {
        Some(base) if base != sizes.base => {
            let key = fields.key(key);
            Err(format!("`{key}` differs from the base of the other blocks; use another model"))
        }
        _ => Ok(()),
    }
}

/// Returns what Gemma 2 and 3 have.
fn gemma(fields: &Fields<'_>, arch: Arch, sizes: &Sizes) -> Result<Value, String> {
    let second = arch == Arch::Gemma2;
    let (period, largest) = if second { (2, 46) } else { (6, 62) };
    let window = fields.size_or_none("attention.sliding_window")?;
    let window = if second { Some(window.unwrap_or(4096)) } else { window };
    let mut types = layer_types(fields, sizes.blocks, period)?;
    if window.is_none() {
        types.fill("full_attention");
    }
    let [attention, last] = ["attn_logit_softcapping", "final_logit_softcapping"].map(|key| fields.number(key));
    let mut more = json!({
        "model_type": if second { "gemma2" } else { "gemma3_text" },
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": false,
        // The file does not state this. Only the largest model of each generation has another than the width of a head.
        "query_pre_attn_scalar": if sizes.blocks == largest { sizes.width / sizes.heads } else { sizes.head },
        "sliding_window": window,
        "layer_types": types,
        "attn_logit_softcapping": attention?,
        "final_logit_softcapping": last?,
    });
    if second {
        same_base(fields, sizes)?;
        for (key, default) in [("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0)] {
            if more[key].is_null() {
                more[key] = json!(default);
            }
        }
    } else {
        more["rope_local_base_freq"] = json!(fields.number("rope.freq_base_swa")?.unwrap_or(1e4));
    }
    Ok(more)
}
