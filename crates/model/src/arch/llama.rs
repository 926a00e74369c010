//! Llama 2 and 3, SmolLM2, Mistral, Qwen2, Qwen2.5 and Qwen3: one path with different switches.

use super::decoder::{BEFORE, Biases, Decoder, Norms, QkNorm, Unstated, slide, sliding_window};
use super::{Activation, Architecture, Family, Fields, NormKind};
use crate::error::Result;

const UNSTATED_MISTRAL: Unstated = Unstated { inner: 14_336, kv_heads: Some(8), n_ctx: 131_072, ..Unstated::LLAMA };
const UNSTATED_QWEN: Unstated =
    Unstated { vocab: 151_936, inner: 22_016, kv_heads: Some(32), n_ctx: 32_768, ..Unstated::LLAMA };

pub(super) const LLAMA: Family = Family {
    model_types: &["llama"],
    classes: &["LlamaForCausalLM"],
    read: |fields| {
        let bias = fields.flag("attention_bias", false)?;
        let biases = Biases { qkv: bias, out: bias, mlp: fields.flag("mlp_bias", false)? };
        path("llama", biases, Unstated::LLAMA, fields)?.read(fields)
    },
};

pub(super) const MISTRAL: Family = Family {
    model_types: &["mistral"],
    classes: &["MistralForCausalLM"],
    read: |fields| {
        let mut model = path("mistral", Biases::default(), UNSTATED_MISTRAL, fields)?.read(fields)?;
        // A window of null means that all tokens are seen.
        let slides = sliding_window(fields)?.is_some();
        slide(&mut model, fields, |_| slides)?;
        Ok(model)
    },
};

pub(super) const QWEN2: Family = Family {
    model_types: &["qwen2"],
    classes: &["Qwen2ForCausalLM"],
    read: |fields| {
        let biases = Biases { qkv: true, ..Biases::default() };
        qwen(path("qwen2", biases, UNSTATED_QWEN, fields)?.read(fields)?, fields)
    },
};

pub(super) const QWEN3: Family = Family {
    model_types: &["qwen3"],
    classes: &["Qwen3ForCausalLM"],
    read: |fields| {
        let bias = fields.flag("attention_bias", false)?;
        let biases = Biases { qkv: bias, out: bias, mlp: false };
        let norms = Norms { qk: Some(QkNorm::Head), ..BEFORE };
        let unstated = Unstated { d_head: Some(128), ..UNSTATED_QWEN };
        qwen(Decoder { norms, ..path("qwen3", biases, unstated, fields)? }.read(fields)?, fields)
    },
};

fn path(family: &'static str, biases: Biases, unstated: Unstated, fields: &Fields<'_>) -> Result<Decoder> {
    Ok(Decoder {
        family,
        norm: NormKind::Rms { offset: 0 },
        norms: BEFORE,
        biases,
        activation: fields.activation("hidden_act", Activation::Silu, true)?,
        unstated,
        rope_theta: Some(10_000.0),
        eps: 1e-6,
        tied: false,
    })
}

/// The later layers slide, from `max_window_layers` on, if `use_sliding_window` is set and the window is not null.
fn qwen(mut model: Architecture, fields: &Fields<'_>) -> Result<Architecture> {
    if !fields.flag("use_sliding_window", false)? {
        return match fields.texts("layer_types")?.is_some_and(|types| types.contains(&"sliding_attention")) {
            false => Ok(model),
            true => Err(fields.error("`layer_types` has sliding_attention, but `use_sliding_window` is not true")),
        };
    }
    let first = fields.size_or("max_window_layers", 28)?;
    let slides = sliding_window(fields)?.is_some();
    slide(&mut model, fields, |l| slides && l >= first)?;
    Ok(model)
}
