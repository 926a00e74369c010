//! GPT-Neo, of which the TinyStories models are some: GPT-2 with windows in every second layer, and scores without a
//! scale.

use super::decoder::{Decoder, Rope};
use super::modules::{Biases, Mlp, Modules, Norms, Qkv};
use super::{Activation, Family, Fields, Ignored, NormKind, Sizes, Stored};
use crate::error::{Result, shown};

const MODULES: Modules = Modules {
    base: "transformer.",
    embedding: "wte",
    positions: Some("wpe"),
    blocks: "h",
    qkv: Qkv::Apart(["attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"]),
    out: "attn.attention.out_proj",
    mlp: Mlp::Plain("mlp.c_fc"),
    down: "mlp.c_proj",
    last: "ln_f",
};

pub(super) const FAMILY: Family = Family {
    model_types: &["gpt_neo"],
    classes: &["GPTNeoForCausalLM"],
    read: |fields| {
        let decoder = Decoder {
            norm: NormKind::Layer(Stored::GainAndBias),
            norms: Norms { attn: Some("ln_1"), mlp: Some("ln_2"), ..Norms::default() },
            biases: Biases { qkv: false, out: true, mlp: true },
            activation: ("activation_function", Activation::GeluNew),
            modules: MODULES,
            rope: Rope::Own,
            eps: ("layer_norm_epsilon", 1e-5),
            tied: true,
            ..Decoder::llama("gpt_neo")
        };
        let sizes = sizes(fields)?;
        let mut model = decoder.of(sizes, fields)?;
        let window = fields.size_or("window_size", 256)?.max(1);
        for (plan, slides) in model.attention.iter_mut().zip(slides(fields, sizes.layers)?) {
            plan.scale = 1.0;
            plan.window = slides.then_some(window);
        }
        model.layout.ignored =
            Ignored(|name| name.ends_with(".attn.attention.bias") || name.ends_with(".attn.attention.masked_bias"));
        Ok(model)
    },
};

fn sizes(fields: &Fields<'_>) -> Result<Sizes> {
    // The library knows two names of these.
    let size = |names: [&str; 2], default| match fields.size_or_none(names[0])? {
        Some(size) => Ok(size),
        None => fields.size_or(names[1], default),
    };
    let (d, heads) = (fields.size_or("hidden_size", 2048)?, size(["num_heads", "num_attention_heads"], 16)?);
    if heads == 0 || !d.is_multiple_of(heads) {
        return Err(fields.error(format!("`hidden_size` is {d}, which `num_heads` = {heads} does not divide")));
    }
    let sizes = Sizes {
        layers: size(["num_layers", "num_hidden_layers"], 24)?,
        d,
        heads,
        kv_heads: heads,
        d_head: d / heads,
        inner: fields.size_or("intermediate_size", d.saturating_mul(4))?,
        vocab: fields.size_or("vocab_size", 50_257)?,
        n_ctx: fields.size_or("max_position_embeddings", 2048)?,
    };
    sizes.check().map_err(|message| fields.error(message))?;
    Ok(sizes)
}

/// Returns for each layer whether it has a window, from a list such as `[[["global", "local"], 12]]`.
fn slides(fields: &Fields<'_>, layers: usize) -> Result<Vec<bool>> {
    let Some(value) = fields.get("attention_types") else {
        // The default of the library, which has 24 layers.
        return match layers {
            24 => Ok((0..layers).map(|l| l % 2 == 1).collect()),
            _ => Err(fields.error("`attention_types` is missing; use the config.json that came with the weights")),
        };
    };
    let wrong = || fields.wrong("attention_types", "a list such as [[[\"global\", \"local\"], 12]]", value);
    let mut slides = Vec::new();
    for item in value.as_array().ok_or_else(wrong)? {
        let kinds = item.get(0).and_then(|kinds| kinds.as_array()).ok_or_else(wrong)?;
        let times = item.get(1).and_then(serde_json::Value::as_u64).ok_or_else(wrong)?;
        for kind in (0..times.min(layers as u64 + 1)).flat_map(|_| kinds) {
            slides.push(match kind.as_str().ok_or_else(wrong)? {
                "global" => false,
                "local" => true,
                kind => {
                    let message = format!("`attention_types` has `{}`; supported are global and local", shown(kind));
                    return Err(fields.error(message));
                }
            });
        }
    }
    match slides.len() == layers {
        true => Ok(slides),
        false => Err(fields.error(format!("`attention_types` is not that of {layers} layers"))),
    }
}
