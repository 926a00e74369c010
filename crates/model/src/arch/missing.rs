//! The feature that a model of an unknown family needs and that is missing here, from its `config.json`.

use serde_json::Value;

use super::Fields;
use crate::error::shown;

/// Keys of sizes that only models with a feature have, unless they are 0 or 1.
const SIZES: [(&[&str], &str); 7] = [
    (
        &["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_experts_per_tok"],
        "a mixture of experts",
    ),
    (&["kv_lora_rank"], "multi-head latent attention"),
    (&["state_size", "ssm_state_size", "mamba_d_state", "mamba_d_ssm", "mamba_expand"], "state-space layers"),
    (
        &["linear_num_key_heads", "linear_conv_kernel_dim", "lru_width", "conv_L_cache"],
        "recurrent or convolution layers",
    ),
    (&["relative_attention_num_buckets"], "relative position buckets"),
    (&["hidden_size_per_layer_input", "altup_num_inputs"], "embeddings of each layer"),
    (&["num_kv_shared_layers"], "keys that layers share"),
];

/// Features of well-known values of `model_type` whose keys do not name them.
const TYPES: [(&[&str], &str); 13] = [
    (&["bloom", "mpt"], "ALiBi position biases"),
    (&["mamba", "mamba2", "falcon_mamba"], "state-space layers"),
    (&["rwkv", "rwkv7", "xlstm", "recurrent_gemma"], "recurrent layers"),
    (&["t5", "mt5", "umt5", "bart", "mbart", "pegasus", "whisper", "m2m_100"], "an encoder beside the decoder"),
    (
        &["bert", "roberta", "xlm-roberta", "electra", "albert", "distilbert", "deberta", "deberta-v2", "modernbert"],
        "attention to later tokens",
    ),
    (&["opt", "xglm", "biogpt"], "positions that start at 2, and ReLU in OPT"),
    (&["nemotron", "arcee", "persimmon"], "the activation `relu2`"),
    (&["apertus"], "the activation `xielu`"),
    (&["openai-gpt"], "norms after the residual add"),
    (&["phi", "gptj", "codegen"], "a bias of the unembedding"),
    (&["glm", "glm4", "chatglm", "helium", "ernie4_5"], "a rotary embedding that turns neighbouring columns of a head"),
    (&["falcon", "gpt_bigcode"], "queries, keys and values of a group of heads in one matrix"),
    (&["mixtral", "dbrx", "gpt_oss"], "a mixture of experts"),
];

/// Returns the first feature found that is missing, with the field that asks for it. `None` if the file names none.
pub(super) fn feature(fields: &Fields<'_>) -> Option<String> {
    if let Some(text) = fields.get("text_config").and_then(|text| text.as_object()) {
        let kind = text.get("model_type").and_then(Value::as_str).unwrap_or("none");
        return Some(format!(
            "images or sound beside text (`text_config` describes its text model, of model_type `{}`)",
            shown(kind)
        ));
    }
    of_keys(fields).or_else(|| {
        let kind = fields.kind().0?;
        TYPES.iter().find(|(types, _)| types.contains(&kind)).map(|(_, feature)| (*feature).to_owned())
    })
}

fn of_keys(fields: &Fields<'_>) -> Option<String> {
    let with = |feature: &str, name: &str| Some(format!("{feature} (`{name}`)"));
    let is_size = |name: &&&str| match fields.get(name) {
        Some(Value::Number(size)) => size.as_f64().is_some_and(|size| size > 1.0),
        Some(Value::Array(list)) => !list.is_empty(),
        _ => false,
    };
    let is_true = |name: &str| fields.get(name).and_then(Value::as_bool) == Some(true);
    if is_true("is_encoder_decoder") {
        return with("an encoder beside the decoder", "is_encoder_decoder");
    }
    for (names, feature) in SIZES {
        if let Some(name) = names.iter().find(is_size) {
            return with(feature, name);
        }
    }
    let alibi = fields.get("attn_config").and_then(|attention| attention.get("alibi"));
    if is_true("alibi") || alibi.and_then(Value::as_bool) == Some(true) {
        return with("ALiBi position biases", "alibi");
    }
    let kinds = fields.get("layer_types").and_then(Value::as_array);
    let mut kinds = kinds.into_iter().flatten().filter_map(Value::as_str);
    if let Some(kind) = kinds.find(|kind| !super::decoder::KINDS.contains(kind)) {
        return Some(format!("layers of the kind `{}` (`layer_types`)", shown(kind)));
    }
    if fields.get("type_vocab_size").is_some() && !is_true("is_decoder") {
        return with("attention to later tokens", "type_vocab_size");
    }
    for name in ["hidden_act", "hidden_activation", "activation_function"] {
        if let Some(act) = fields.text(name).ok().flatten()
            && fields.activation(name, super::Activation::Silu, true).is_err()
        {
            return with(&format!("the activation `{}`", shown(act)), name);
        }
    }
    for name in ["rope_parameters", "rope_scaling"] {
        let scaling = fields.object(name).ok().flatten();
        let kind = scaling.and_then(|s| s.text("rope_type").ok().flatten().or_else(|| s.text("type").ok().flatten()));
        if let Some(kind) = kind.filter(|kind| !super::rotary::KINDS.contains(kind)) {
            return with(&format!("the rotary scaling `{}`", shown(kind)), name);
        }
    }
    None
}

#[cfg(test)]
#[path = "missing_tests.rs"]
mod tests;
