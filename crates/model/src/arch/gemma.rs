//! Gemma, Gemma 2 and the text models of Gemma 3: gains of 1 + w and scaled embeddings; from Gemma 2 on, norms before
//! and after, and windows.

use super::decoder::{Decoder, Rope, Unstated, slide, sliding_window, two_rotaries};
use super::modules::{BEFORE, Biases, Norms, QkNorm, is_rotary_table};
use super::{Activation, Architecture, Family, Fields, Ignored, NormKind};
use crate::error::Result;

const AROUND: Norms = Norms {
    attn: Some("input_layernorm"),
    attn_post: Some("post_attention_layernorm"),
    mlp: Some("pre_feedforward_layernorm"),
    mlp_post: Some("post_feedforward_layernorm"),
    qk: None,
};

const UNSTATED_2: Unstated = Unstated {
    vocab: 256_000,
    d: 2304,
    inner: 9216,
    layers: 26,
    heads: 8,
    kv_heads: Some(4),
    d_head: Some(256),
    n_ctx: 8192,
};
const UNSTATED_3: Unstated = Unstated { vocab: 262_208, n_ctx: 131_072, ..UNSTATED_2 };

pub(super) const GEMMA: Family = Family {
    model_types: &["gemma"],
    classes: &["GemmaForCausalLM"],
    read: |fields| {
        let unstated = Unstated { d: 3072, inner: 24_576, layers: 28, heads: 16, kv_heads: Some(16), ..UNSTATED_2 };
        let mut model = gemma("gemma", BEFORE, unstated, Rope::Whole(10_000.0), "hidden_act", fields)?;
        // Published files say `gelu`, and mean its tanh form.
        if model.activation == Activation::Gelu {
            model.activation = Activation::GeluNew;
        }
        Ok(model)
    },
};

pub(super) const GEMMA2: Family = Family {
    model_types: &["gemma2"],
    classes: &["Gemma2ForCausalLM"],
    read: |fields| {
        let mut model = gemma("gemma2", AROUND, UNSTATED_2, Rope::Whole(10_000.0), "hidden_activation", fields)?;
        query_scale(&mut model, fields)?;
        model.score_cap = cap(fields, "attn_logit_softcapping", Some(50.0))?;
        model.logit_cap = cap(fields, "final_logit_softcapping", Some(30.0))?;
        slide(&mut model, fields, sliding_window(fields, Some(4096))?, |l| l.is_multiple_of(2))?;
        Ok(model)
    },
};

pub(super) const GEMMA3: Family = Family {
    model_types: &["gemma3_text"],
    classes: &["Gemma3ForCausalLM"],
    read: |fields| {
        let norms = Norms { qk: Some(QkNorm::Head), ..AROUND };
        let mut model = gemma("gemma3_text", norms, UNSTATED_3, Rope::Own, "hidden_activation", fields)?;
        query_scale(&mut model, fields)?;
        // The family's library reads `attn_logit_softcapping` here, but does not apply it.
        model.logit_cap = cap(fields, "final_logit_softcapping", None)?;
        let period = fields.size_or_none("sliding_window_pattern")?.unwrap_or(6).max(1);
        slide(&mut model, fields, sliding_window(fields, Some(4096))?, |l| !(l + 1).is_multiple_of(period))?;
        two_rotaries(&mut model, fields, [("rope_theta", 1e6), ("rope_local_base_freq", 1e4)])?;
        Ok(model)
    },
};

/// A model of text and images, whose text model is described by an object of the file.
pub(super) const GEMMA3_WITH_IMAGES: Family = Family {
    model_types: &["gemma3"],
    classes: &["Gemma3ForConditionalGeneration"],
    read: |fields| {
        let Some(text) = fields.object("text_config")? else {
            return Err(fields.error("`text_config` is missing; use the config.json that came with the weights"));
        };
        let mut model = (GEMMA3.read)(&text)?;
        // The family's library applies `final_logit_softcapping` to text models alone.
        model.logit_cap = None;
        model.layout.tied = fields.flag("tie_word_embeddings", text.flag("tie_word_embeddings", true)?)?;
        // The first is that of published files, the second that of the library's modules.
        model.layout.renamed = &[("language_model.", ""), ("model.language_model.", "model.")];
        model.layout.ignored = Ignored(|name| is_rotary_table(name) || is_of_images(name.trim_start_matches("model.")));
        Ok(model)
    },
};

/// Returns whether a tensor belongs to the part of a model that reads images.
fn is_of_images(name: &str) -> bool {
    name.starts_with("vision_tower.") || name.starts_with("multi_modal_projector.")
}

fn gemma(
    family: &'static str,
    norms: Norms,
    unstated: Unstated,
    rope: Rope,
    activation: &'static str,
    fields: &Fields<'_>,
) -> Result<Architecture> {
    if fields.flag("use_bidirectional_attention", false)? {
        return Err(fields.error("`use_bidirectional_attention` is true; only causal attention is supported"));
    }
    let bias = fields.flag("attention_bias", false)?;
    let decoder = Decoder {
        norm: NormKind::Rms { offset: 1 },
        norms,
        biases: Biases { qkv: bias, out: bias, mlp: false },
        activation: (activation, Activation::GeluNew),
        unstated,
        rope,
        tied: true,
        ..Decoder::llama(family)
    };
    let mut model = decoder.read(fields)?;
    model.embedding_scale = (model.sizes.d as f64).sqrt();
    Ok(model)
}

/// Divides scores by the square root of a number of the file instead of the width of a head.
fn query_scale(model: &mut Architecture, fields: &Fields<'_>) -> Result<()> {
    let scalar = fields.number("query_pre_attn_scalar", 256.0)?;
    let scale = fields.positive("query_pre_attn_scalar", scalar)?.powf(-0.5);
    model.attention.iter_mut().for_each(|plan| plan.scale = scale);
    Ok(())
}

/// Reads a soft-cap. An explicit null means that there is none.
fn cap(fields: &Fields<'_>, name: &str, default: Option<f64>) -> Result<Option<f64>> {
    let given = if fields.has(name) { fields.number_or_none(name)? } else { default };
    given.map(|cap| fields.positive(name, cap)).transpose()
}
