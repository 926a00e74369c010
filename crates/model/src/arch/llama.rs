//! Llama 2 and 3, SmolLM2, Mistral, Qwen2, Qwen2.5 and Qwen3: one path with different switches.

use super::decoder::{Decoder, Unstated, slide, slide_if_used, sliding_window};
use super::modules::{BEFORE, Biases, Norms, QkNorm};
use super::{Architecture, Family, Fields};
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
        Decoder { biases, ..Decoder::llama("llama") }.read(fields)
    },
};

pub(super) const MISTRAL: Family =
    Family { model_types: &["mistral"], classes: &["MistralForCausalLM"], read: |fields| mistral("mistral", fields) };

pub(super) const QWEN2: Family = Family {
    model_types: &["qwen2"],
    classes: &["Qwen2ForCausalLM"],
    read: |fields| {
        let biases = Biases { qkv: true, ..Biases::default() };
        let decoder = Decoder { biases, unstated: UNSTATED_QWEN, ..Decoder::llama("qwen2") };
        qwen(decoder.read(fields)?, fields)
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
        qwen(Decoder { norms, biases, unstated, ..Decoder::llama("qwen3") }.read(fields)?, fields)
    },
};

/// Reads a model of Mistral's form.
pub(super) fn mistral(family: &'static str, fields: &Fields<'_>) -> Result<Architecture> {
    let mut model = Decoder { unstated: UNSTATED_MISTRAL, ..Decoder::llama(family) }.read(fields)?;
    // A window of null means that all tokens are seen.
    let window = sliding_window(fields, Some(4096))?;
    slide(&mut model, fields, window, |_| window.is_some())?;
    Ok(model)
}

/// The later layers slide, from `max_window_layers` on.
fn qwen(mut model: Architecture, fields: &Fields<'_>) -> Result<Architecture> {
    let first = fields.size_or("max_window_layers", 28)?;
    let window = sliding_window(fields, Some(4096))?;
    slide_if_used(&mut model, fields, window, |l| l >= first)?;
    Ok(model)
}
