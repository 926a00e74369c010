//! Command R (Cohere): parallel blocks with one layer norm without bias, and a rotary embedding that turns neighbouring
//! columns; in the second generation only where there is a window.

use super::decoder::{Decoder, Rope, Unstated, slide, sliding_window};
use super::modules::{BEFORE, Biases, Norms};
use super::{Architecture, Family, Fields, NormKind, Stored};
use crate::error::Result;

pub(super) const COHERE: Family = Family {
    model_types: &["cohere"],
    classes: &["CohereForCausalLM"],
    read: |fields| {
        if fields.flag("use_qk_norm", false)? {
            return Err(fields.error("`use_qk_norm` is true; layer norms of queries and keys are not supported"));
        }
        read("cohere", 500_000.0, fields)
    },
};

pub(super) const COHERE2: Family = Family {
    model_types: &["cohere2"],
    classes: &["Cohere2ForCausalLM"],
    read: |fields| {
        let mut model = read("cohere2", 10_000.0, fields)?;
        let period = fields.size_or("sliding_window_pattern", 4)?.max(1);
        slide(&mut model, fields, sliding_window(fields, Some(4096))?, |l| !(l + 1).is_multiple_of(period))?;
        for plan in &mut model.attention {
            plan.rotary = plan.rotary.filter(|_| plan.window.is_some());
        }
        Ok(model)
    },
};

fn read(family: &'static str, theta: f64, fields: &Fields<'_>) -> Result<Architecture> {
    let bias = fields.flag("attention_bias", false)?;
    let decoder = Decoder {
        norm: NormKind::Layer(Stored::Gain),
        norms: Norms { mlp: None, ..BEFORE },
        biases: Biases { qkv: bias, out: bias, mlp: false },
        parallel: true,
        unstated: Unstated {
            vocab: 256_000,
            d: 8192,
            inner: 22_528,
            layers: 40,
            heads: 64,
            n_ctx: 8192,
            ..Unstated::LLAMA
        },
        rope: Rope::Whole(theta),
        eps: ("layer_norm_eps", 1e-5),
        tied: true,
        ..Decoder::llama(family)
    };
    let mut model = decoder.read(fields)?;
    let head = model.sizes.d_head;
    for block in &mut model.layout.blocks {
        block.qkv.iter_mut().take(2).for_each(|part| part.neighbours = Some(head));
    }
    let scale = fields.positive("logit_scale", fields.number("logit_scale", 0.0625)?)?;
    model.layout.factors = vec![(model.layout.final_norm.name.clone(), scale)];
    Ok(model)
}
