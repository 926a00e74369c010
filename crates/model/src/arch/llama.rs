//! Llama 2 and 3, SmolLM2, Mistral, Qwen2, Qwen2.5 and Qwen3: one path with different switches.

use super::decoder::{BEFORE, Biases, Decoder, Norms, QkNorm, slide};
use super::{Activation, Architecture, Family, Fields, NormKind};
use crate::error::Result;

pub(super) const LLAMA: Family = Family {
    model_types: &["llama"],
    classes: &["LlamaForCausalLM"],
    read: |fields| {
        let bias = fields.flag("attention_bias", false)?;
        let biases = Biases { qkv: bias, out: bias, mlp: fields.flag("mlp_bias", false)? };
        path("llama", biases, fields)?.read(fields)
    },
};

pub(super) const MISTRAL: Family = Family {
    model_types: &["mistral"],
    classes: &["MistralForCausalLM"],
    read: |fields| {
        let mut model = path("mistral", Biases::default(), fields)?.read(fields)?;
        // A window of null means that all tokens are seen.
        let slides = fields.get("sliding_window").is_some();
        slide(&mut model, fields, |_| slides)?;
        Ok(model)
    },
};

pub(super) const QWEN2: Family = Family {
    model_types: &["qwen2"],
    classes: &["Qwen2ForCausalLM"],
    read: |fields| {
        let biases = Biases { qkv: true, ..Biases::default() };
        qwen(path("qwen2", biases, fields)?.read(fields)?, fields)
    },
};

pub(super) const QWEN3: Family = Family {
    model_types: &["qwen3"],
    classes: &["Qwen3ForCausalLM"],
    read: |fields| {
        let bias = fields.flag("attention_bias", false)?;
        let biases = Biases { qkv: bias, out: bias, mlp: false };
        let norms = Norms { qk: Some(QkNorm::Head), ..BEFORE };
        qwen(Decoder { norms, ..path("qwen3", biases, fields)? }.read(fields)?, fields)
    },
};

fn path(family: &'static str, biases: Biases, fields: &Fields<'_>) -> Result<Decoder> {
    Ok(Decoder {
        family,
        norm: NormKind::Rms { offset: 0 },
        norms: BEFORE,
        biases,
        activation: fields.activation("hidden_act", Activation::Silu, true)?,
        rope_theta: 10_000.0,
        eps: 1e-6,
        tied: false,
    })
}

/// The later layers slide, from `max_window_layers` on, if `use_sliding_window` is set.
fn qwen(mut model: Architecture, fields: &Fields<'_>) -> Result<Architecture> {
    if !fields.flag("use_sliding_window", false)? {
        return Ok(model);
    }
    let first = fields.size_or_none("max_window_layers")?.unwrap_or(28);
    slide(&mut model, fields, |l| l >= first)?;
    Ok(model)
}
