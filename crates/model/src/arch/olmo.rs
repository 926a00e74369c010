//! OLMo: Llama with layer norms that have neither gain nor bias.

use super::decoder::{Decoder, Unstated};
use super::modules::Biases;
use super::{Family, NormKind, Stored};

pub(super) const FAMILY: Family = Family {
    model_types: &["olmo"],
    classes: &["OlmoForCausalLM"],
    read: |fields| {
        if let Some(clip) = fields.number_or_none("clip_qkv")? {
            let message = "clipped queries, keys and values are not supported";
            return Err(fields.error(format!("`clip_qkv` is {clip}; {message}")));
        }
        let bias = fields.flag("attention_bias", false)?;
        let decoder = Decoder {
            norm: NormKind::Layer(Stored::Nothing),
            biases: Biases { qkv: bias, out: bias, mlp: false },
            unstated: Unstated { vocab: 50_304, ..Unstated::LLAMA },
            ..Decoder::llama("olmo")
        };
        let mut model = decoder.read(fields)?;
        // The family's library states it in its code alone.
        model.eps = 1e-5;
        Ok(model)
    },
};
