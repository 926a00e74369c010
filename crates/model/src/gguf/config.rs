//! The `config.json` that a Hugging Face model with the metadata of a GGUF file has.

use serde_json::{Map, Value, json};

use super::arch::Arch;
use super::fault::again;
use super::fields::Fields;
use super::metadata::Metadata;
use super::rope;

/// Facts that the tensors of a file state.
pub(super) struct Stored {
    /// Rows of the token embedding.
    pub(super) vocab: usize,
    /// Rows of the first block's `ffn_up`.
    pub(super) inner: Option<usize>,
    /// Whether the unembedding is the token embedding.
    pub(super) tied: bool,
    /// Whether queries have a bias.
    pub(super) query_bias: bool,
    /// The divisors of the rotary frequencies, if there are any.
    pub(super) divisors: Option<Vec<f32>>,
}

/// A configuration, and the sizes that reading needs.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) config: Map<String, Value>,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
}

/// Returns the number of blocks.
pub(super) fn blocks(metadata: Metadata<'_>, arch: Arch) -> Result<usize, String> {
    Fields::new(metadata, arch).size("block_count")
}

/// Translates the metadata.
///
/// # Errors
/// A key is missing or has an invalid value, or a key that may change the computation is not understood.
pub(super) fn describe(metadata: Metadata<'_>, arch: Arch, stored: &Stored) -> Result<Description, String> {
    let fields = Fields::new(metadata, arch);
    // These do not change the computation. The size of the vocabulary is that of the embedding.
    for key in ["vocab_size", "tensor_data_layout"] {
        fields.ignore(key);
    }
    for key in ["expert_count", "expert_used_count", "pooling_type", "attention.max_alibi_bias", "attention.clamp_kqv"]
    {
        fields.neutral(key, 0.0)?;
    }
    if arch == Arch::Gemma3 {
        fields.ignore("mm.tokens_per_image");
    }
    // In version 1, blocks had other scales.
    if let Some(version) =
        metadata.whole("general.quantization_version").map_err(again)?.filter(|&version| version != 2)
    {
        return Err(format!(
            "`general.quantization_version` is {version}; only 2 is supported: convert the model again"
        ));
    }
    if fields.flag("attention.causal")? == Some(false) {
        return Err(format!(
            "`{}` is false; only causal attention is supported: use another model",
            fields.key("attention.causal")
        ));
    }
    let heads = fields.size("attention.head_count")?;
    let kv_heads = fields.size_or_none("attention.head_count_kv")?.unwrap_or(heads);
    let mut config = match arch {
        Arch::Gpt2 => gpt2(&fields, stored)?,
        Arch::GptNeox => neox(&fields)?,
        _ => relative_of_llama(&fields, arch, stored)?,
    };
    if matches!(arch, Arch::Gpt2 | Arch::GptNeox) && kv_heads != heads {
        let key = fields.key("attention.head_count_kv");
        return Err(format!("`{key}` is {kv_heads}, and there are {heads} heads; use another model"));
    }
    fields.check_all_asked()?;
    config.insert("vocab_size".to_owned(), json!(stored.vocab));
    config.insert("tie_word_embeddings".to_owned(), json!(stored.tied));
    for name in ["bos_token_id", "eos_token_id"] {
        let id =
            metadata.whole(&format!("tokenizer.ggml.{name}")).map_err(again)?.filter(|&id| id < stored.vocab as u64);
        config.insert(name.to_owned(), json!(id));
    }
    Ok(Description { config, heads, kv_heads })
}

/// Returns the entries of a JSON object.
fn entries(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Returns a number that the file must have.
fn needed(fields: &Fields<'_>, key: &str) -> Result<f64, String> {
    fields.number(key)?.ok_or_else(|| fields.missing(key))
}

fn gpt2(fields: &Fields<'_>, stored: &Stored) -> Result<Map<String, Value>, String> {
    // The converter writes four times the width, even for a model whose MLP has another.
    let inner = fields.size_or_none("feed_forward_length")?;
    Ok(entries(json!({
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"],
        "n_layer": fields.size("block_count")?,
        "n_embd": fields.size("embedding_length")?,
        "n_head": fields.size("attention.head_count")?,
        "n_inner": stored.inner.or(inner),
        "n_positions": fields.size("context_length")?,
        "layer_norm_epsilon": needed(fields, "attention.layer_norm_epsilon")?,
        "activation_function": "gelu_new",
    })))
}

fn neox(fields: &Fields<'_>) -> Result<Map<String, Value>, String> {
    let (width, heads) = (fields.size("embedding_length")?, fields.size("attention.head_count")?);
    let head = head_width(fields, width, heads)?;
    let rotated = fields.size("rope.dimension_count")?;
    Ok(entries(json!({
        "model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"],
        "num_hidden_layers": fields.size("block_count")?,
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": fields.size("feed_forward_length")?,
        "max_position_embeddings": fields.size("context_length")?,
        "layer_norm_eps": needed(fields, "attention.layer_norm_epsilon")?,
        "use_parallel_residual": fields.flag("use_parallel_residual")?.unwrap_or(true),
        "rotary_pct": share(rotated, head)?,
        "rotary_emb_base": fields.number("rope.freq_base")?.unwrap_or(1e4),
        "rope_scaling": rope::scaling(fields)?,
        "hidden_act": "gelu",
        "attention_bias": true,
    })))
}

/// Returns `part / whole` so that its product with `whole` is not below `part`: Hugging Face rounds it down.
fn share(part: usize, whole: usize) -> Result<f64, String> {
    if part > whole {
        return Err(format!(
            "`gptneox.rope.dimension_count` is {part}, and a head is only {whole} wide; convert the model again"
        ));
    }
    if part % 2 == 1 {
        return Err(format!(
            "`gptneox.rope.dimension_count` is {part}; columns rotate in pairs: convert the model again"
        ));
    }
    let share = part as f64 / whole as f64;
    Ok(if ((share * whole as f64) as usize) < part { share.next_up() } else { share })
}

/// Returns the width of a head.
fn head_width(fields: &Fields<'_>, width: usize, heads: usize) -> Result<usize, String> {
    let key = fields.size_or_none("attention.key_length")?;
    let head = match key {
        Some(head) => head,
        None if width.is_multiple_of(heads) => width / heads,
        None => {
            let (long, count) = (fields.key("embedding_length"), fields.key("attention.head_count"));
            return Err(format!(
                "`{long}` is {width}, which `{count}` = {heads} does not divide; convert the model again"
            ));
        }
    };
    match fields.size_or_none("attention.value_length")? {
        Some(value) if value != head => {
            let key = fields.key("attention.value_length");
            Err(format!("`{key}` is {value}, and keys have {head}; only equal widths are supported: use another model"))
        }
        _ => Ok(head),
    }
}

fn relative_of_llama(fields: &Fields<'_>, arch: Arch, stored: &Stored) -> Result<Map<String, Value>, String> {
    let (width, heads) = (fields.size("embedding_length")?, fields.size("attention.head_count")?);
    let head = head_width(fields, width, heads)?;
    let rotated = fields.size_or_none("rope.dimension_count")?.unwrap_or(head);
    if rotated != head || head % 2 == 1 {
        let key = fields.key("rope.dimension_count");
        return Err(format!(
            "`{key}` is {rotated}, and a head is {head} wide; all of it must be rotated, in pairs: use another model"
        ));
    }
    let blocks = fields.size("block_count")?;
    let base = fields.number("rope.freq_base")?.unwrap_or(if arch == Arch::Gemma3 { 1e6 } else { 1e4 });
    let scaling = match (&stored.divisors, rope::scaling(fields)?) {
        (Some(divisors), Value::Null) if divisors.len() == head / 2 => rope::llama3(divisors, base)?,
        (Some(_), _) => {
            return Err(
                "`rope_freqs.weight` does not fit the other metadata of rotary positions; use another model".to_owned()
            );
        }
        (None, scaling) => scaling,
    };
    let (kind, class) = match arch {
        Arch::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
        Arch::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
        Arch::Gemma2 => ("gemma2", "Gemma2ForCausalLM"),
        Arch::Gemma3 => ("gemma3_text", "Gemma3ForCausalLM"),
        Arch::Gemma => ("gemma", "GemmaForCausalLM"),
        Arch::Olmo2 => ("olmo2", "Olmo2ForCausalLM"),
        Arch::Starcoder2 => ("starcoder2", "Starcoder2ForCausalLM"),
        _ => ("llama", "LlamaForCausalLM"),
    };
    let epsilon = match arch {
        Arch::Starcoder2 => ("norm_epsilon", "attention.layer_norm_epsilon"),
        _ => ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    };
    let mut config = entries(json!({
        "model_type": kind, "architectures": [class],
        "num_hidden_layers": blocks,
        "hidden_size": width,
        "intermediate_size": fields.size("feed_forward_length")?,
        "num_attention_heads": heads,
        "num_key_value_heads": fields.size_or_none("attention.head_count_kv")?.unwrap_or(heads),
        "head_dim": head,
        "max_position_embeddings": fields.size("context_length")?,
        epsilon.0: needed(fields, epsilon.1)?,
        "rope_theta": base,
        "rope_scaling": scaling,
    }));
    let more = match arch {
        Arch::Gemma2 | Arch::Gemma3 => gemma(fields, arch, (width, heads, head, blocks))?,
        Arch::Qwen2 => json!({"hidden_act": "silu", "use_sliding_window": false}),
        Arch::Gemma => json!({"hidden_act": "gelu_pytorch_tanh", "attention_bias": false}),
        // llama.cpp knows no window of this architecture.
        Arch::Starcoder2 => {
            json!({"hidden_act": "gelu_pytorch_tanh", "use_bias": stored.query_bias, "sliding_window": null})
        }
        _ => json!({"hidden_act": "silu", "attention_bias": stored.query_bias}),
    };
    config.extend(entries(more));
    if arch == Arch::Llama
        && let Some(window) = fields.size_or_none("attention.sliding_window")?
    {
        let mistral =
            json!({"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": window});
        config.extend(entries(mistral));
    }
    Ok(config)
}

/// Returns what Gemma's configuration has besides Llama's.
fn gemma(
    fields: &Fields<'_>,
    arch: Arch,
    (width, heads, head, blocks): (usize, usize, usize, usize),
) -> Result<Value, String> {
    let (period, largest) = if arch == Arch::Gemma2 { (2, 46) } else { (6, 62) };
    let window = fields.size_or_none("attention.sliding_window")?;
    let window = if arch == Arch::Gemma2 { Some(window.unwrap_or(4096)) } else { window };
    let windows = fields.windows("attention.sliding_window_pattern", blocks, period)?;
    let kind = |&has: &bool| if has && window.is_some() { "sliding_attention" } else { "full_attention" };
    let [attention, last] = ["attn_logit_softcapping", "final_logit_softcapping"].map(|key| fields.number(key));
    let mut more = json!({
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": false,
        // The file does not state this. Only the largest model of each generation has another than the width of a head.
        "query_pre_attn_scalar": if blocks == largest { width / heads } else { head },
        "sliding_window": window,
        "layer_types": windows.iter().map(kind).collect::<Vec<_>>(),
        "attn_logit_softcapping": attention?,
        "final_logit_softcapping": last?,
    });
    let local = fields.number("rope.freq_base_swa")?;
    if arch == Arch::Gemma2 {
        for (key, default) in [("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0)] {
            if more[key].is_null() {
                more[key] = json!(default);
            }
        }
        let base = fields.number("rope.freq_base")?.unwrap_or(1e4);
        if local.is_some_and(|local| local != base) {
            return Err(
                "`gemma2.rope.freq_base_swa` differs from the base of the other blocks; use another model".into()
            );
        }
    } else {
        more["rope_local_base_freq"] = json!(local.unwrap_or(1e4));
    }
    Ok(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_rotated_columns_give_their_number_back() {
        for whole in 2..=256 {
            for part in (2..=whole).step_by(2) {
                assert_eq!((share(part, whole).unwrap() * whole as f64) as usize, part, "{part} of {whole}");
            }
        }
        assert!(share(3, 8).unwrap_err().contains("in pairs"));
        assert!(share(10, 8).unwrap_err().contains("only 8 wide"));
    }
}
