//! Gemma 2 and the text models of Gemma 3: norms before and after, gains of 1 + w, scaled embeddings, windows.

use super::decoder::{
    Biases, Decoder, KINDS, Norms, QkNorm, Unstated, is_rotary_table, one_scaling, rotary_of, slide, whole_heads,
};
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

pub(super) const GEMMA2: Family = Family {
    model_types: &["gemma2"],
    classes: &["Gemma2ForCausalLM"],
    read: |fields| {
        let mut model = gemma("gemma2", AROUND, UNSTATED_2, Some(10_000.0), fields)?;
        model.score_cap = cap(fields, "attn_logit_softcapping", Some(50.0))?;
        model.logit_cap = cap(fields, "final_logit_softcapping", Some(30.0))?;
        slide(&mut model, fields, |l| l.is_multiple_of(2))?;
        Ok(model)
    },
};

pub(super) const GEMMA3: Family = Family {
    model_types: &["gemma3_text"],
    classes: &["Gemma3ForCausalLM"],
    read: |fields| {
        let norms = Norms { qk: Some(QkNorm::Head), ..AROUND };
        let mut model = gemma("gemma3_text", norms, UNSTATED_3, None, fields)?;
        // The family's library reads `attn_logit_softcapping` here, but does not apply it.
        model.logit_cap = cap(fields, "final_logit_softcapping", None)?;
        let period = fields.size_or_none("sliding_window_pattern")?.unwrap_or(6).max(1);
        slide(&mut model, fields, |l| !(l + 1).is_multiple_of(period))?;
        two_rotaries(&mut model, fields)?;
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
    rope_theta: Option<f64>,
    fields: &Fields<'_>,
) -> Result<Architecture> {
    if fields.flag("use_bidirectional_attention", false)? {
        return Err(fields.error("`use_bidirectional_attention` is true; only causal attention is supported"));
    }
    let bias = fields.flag("attention_bias", false)?;
    let decoder = Decoder {
        family,
        norm: NormKind::Rms { offset: 1 },
        norms,
        biases: Biases { qkv: bias, out: bias, mlp: false },
        activation: fields.activation("hidden_activation", Activation::GeluNew, true)?,
        unstated,
        rope_theta,
        eps: 1e-6,
        tied: true,
    };
    let mut model = decoder.read(fields)?;
    model.embedding_scale = (model.sizes.d as f64).sqrt();
    let scalar = fields.number("query_pre_attn_scalar", 256.0)?;
    let scale = fields.positive("query_pre_attn_scalar", scalar)?.powf(-0.5);
    model.attention.iter_mut().for_each(|plan| plan.scale = scale);
    Ok(model)
}

/// Reads a soft-cap. An explicit null means that there is none.
fn cap(fields: &Fields<'_>, name: &str, default: Option<f64>) -> Result<Option<f64>> {
    let given = if fields.has(name) { fields.number_or_none(name)? } else { default };
    given.map(|cap| fields.positive(name, cap)).transpose()
}

/// Refuses a `yarn` without truncation: transformers ignores the key where kinds of layers have rotary embeddings.
fn truncated(scaling: &Fields<'_>) -> Result<()> {
    match scaling.flag("truncate", true)? {
        true => Ok(()),
        false => Err(scaling.error("`truncate` is false, which transformers ignores in this family; remove it")),
    }
}

/// Sliding layers have a rotary embedding of their own.
fn two_rotaries(model: &mut Architecture, fields: &Fields<'_>) -> Result<()> {
    one_scaling(fields)?;
    let both = fields.object("rope_parameters")?;
    if both.is_some_and(|both| both.get("rope_type").is_some() && !KINDS.iter().any(|kind| both.has(kind))) {
        return Err(fields.error("`rope_parameters` must have `full_attention` and `sliding_attention`"));
    }
    let read = |kind: &str, older: &str, theta: f64, scaling: Option<Fields<'_>>| {
        let scaling = match &both {
            Some(both) => both.object(kind)?,
            None => scaling,
        };
        let theta = match scaling.map(|s| s.number_or_none("rope_theta")).transpose()?.flatten() {
            Some(theta) => theta,
            None => fields.number(older, theta)?,
        };
        scaling.iter().try_for_each(whole_heads)?;
        scaling.iter().try_for_each(truncated)?;
        rotary_of(fields, scaling.as_ref(), &model.sizes, [theta, 1.0], None)
    };
    let whole = read("full_attention", "rope_theta", 1e6, fields.object("rope_scaling")?)?;
    let sliding = read("sliding_attention", "rope_local_base_freq", 1e4, None)?;
    model.rotary = vec![whole, sliding];
    model.attention.iter_mut().for_each(|plan| plan.rotary = Some(usize::from(plan.window.is_some())));
    Ok(())
}
