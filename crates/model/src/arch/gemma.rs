//! Gemma 2 and the text models of Gemma 3: norms before and after, gains of 1 + w, scaled embeddings, windows.

use super::decoder::{Biases, Decoder, Norms, QkNorm, rotary_of, slide};
use super::{Activation, Architecture, Family, Fields, NormKind};
use crate::error::Result;

const AROUND: Norms = Norms {
    attn: Some("input_layernorm"),
    attn_post: Some("post_attention_layernorm"),
    mlp: Some("pre_feedforward_layernorm"),
    mlp_post: Some("post_feedforward_layernorm"),
    qk: None,
};

pub(super) const GEMMA2: Family = Family {
    model_types: &["gemma2"],
    classes: &["Gemma2ForCausalLM"],
    read: |fields| {
        let mut model = gemma("gemma2", AROUND, fields)?;
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
        let mut model = gemma("gemma3_text", Norms { qk: Some(QkNorm::Head), ..AROUND }, fields)?;
        // The family's library reads `attn_logit_softcapping` here, but does not apply it.
        model.logit_cap = cap(fields, "final_logit_softcapping", None)?;
        let period = fields.size_or_none("sliding_window_pattern")?.unwrap_or(6).max(1);
        slide(&mut model, fields, |l| !(l + 1).is_multiple_of(period))?;
        two_rotaries(&mut model, fields)?;
        Ok(model)
    },
};

fn gemma(family: &'static str, norms: Norms, fields: &Fields<'_>) -> Result<Architecture> {
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
        rope_theta: 10_000.0,
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

/// Sliding layers have a rotary embedding of their own.
fn two_rotaries(model: &mut Architecture, fields: &Fields<'_>) -> Result<()> {
    let both = fields.object("rope_parameters")?;
    let read = |kind: &str, older: &str, theta: f64, scaling: Option<Fields<'_>>| {
        let scaling = match &both {
            Some(both) => both.object(kind)?,
            None => scaling,
        };
        let theta = match scaling.map(|s| s.number_or_none("rope_theta")).transpose()?.flatten() {
            Some(theta) => theta,
            None => fields.number(older, theta)?,
        };
        rotary_of(fields, scaling.as_ref(), &model.sizes, [theta, 1.0])
    };
    let whole = read("full_attention", "rope_theta", 1e6, fields.object("rope_scaling")?)?;
    let sliding = read("sliding_attention", "rope_local_base_freq", 1e4, None)?;
    model.rotary = vec![whole, sliding];
    model.attention.iter_mut().for_each(|plan| plan.rotary = Some(usize::from(plan.window.is_some())));
    Ok(())
}
