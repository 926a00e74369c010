//! SmolLM3: Llama with layers that have no rotary embedding.

use super::decoder::{Decoder, Rope, Unstated, slide_if_used, sliding_window};
use super::modules::Biases;
use super::{Family, Fields};
use crate::error::Result;

pub(super) const FAMILY: Family = Family {
    model_types: &["smollm3"],
    classes: &["SmolLM3ForCausalLM"],
    read: |fields| {
        let bias = fields.flag("attention_bias", false)?;
        let decoder = Decoder {
            biases: Biases { qkv: bias, out: bias, mlp: fields.flag("mlp_bias", false)? },
            unstated: Unstated {
                vocab: 128_256,
                d: 2048,
                inner: 11_008,
                layers: 36,
                heads: 16,
                kv_heads: Some(4),
                d_head: None,
                n_ctx: 32_768,
            },
            rope: Rope::Whole(2_000_000.0),
            tied: true,
            ..Decoder::llama("smollm3")
        };
        let mut model = decoder.read(fields)?;
        let rotated = rotated(fields, model.sizes.layers)?;
        slide_if_used(&mut model, fields, sliding_window(fields, None)?, |l| !rotated[l])?;
        for (plan, rotated) in model.attention.iter_mut().zip(rotated) {
            plan.rotary = plan.rotary.filter(|_| rotated);
        }
        Ok(model)
    },
};

/// Returns for each layer whether it has a rotary embedding: `no_rope_layers` is 1 where it does.
fn rotated(fields: &Fields<'_>, layers: usize) -> Result<Vec<bool>> {
    let Some(value) = fields.get("no_rope_layers") else {
        let interval = fields.size_or("no_rope_layer_interval", 4)?.max(1);
        return Ok((0..layers).map(|l| !(l + 1).is_multiple_of(interval)).collect());
    };
    let flags = value.as_array().and_then(|list| list.iter().map(|flag| flag.as_u64().map(|x| x != 0)).collect());
    let flags: Vec<bool> = flags.ok_or_else(|| fields.wrong("no_rope_layers", "a list of 0 and 1", value))?;
    match flags.len() >= layers {
        true => Ok(flags.into_iter().take(layers).collect()),
        false => Err(fields.error(format!("`no_rope_layers` has {} entries for {layers} layers", flags.len()))),
    }
}
