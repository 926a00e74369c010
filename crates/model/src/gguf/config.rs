//! The `config.json` that a Hugging Face model with the metadata of a GGUF file has.

use serde_json::{Map, Value, json};

use super::arch::Arch;
use super::common::{Stored, entries, head_width, needed, share};
use super::fault::again;
use super::fields::Fields;
use super::metadata::Metadata;
use super::{relatives, rope};

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
        _ => relatives::describe(&fields, arch, stored)?,
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
        "rotary_pct": share(fields, rotated, head)?,
        "rotary_emb_base": fields.number("rope.freq_base")?.unwrap_or(1e4),
        "rope_scaling": rope::scaling(fields)?,
        "hidden_act": "gelu",
        "attention_bias": true,
    })))
}
