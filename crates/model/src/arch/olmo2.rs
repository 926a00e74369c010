//! OLMo 2: norms after attention and MLP only, and one norm over all queries, and over all keys.

use super::decoder::{Biases, Decoder, Norms, QkNorm, Unstated};
use super::{Activation, Family, NormKind};

pub(super) const FAMILY: Family = Family {
    model_types: &["olmo2"],
    classes: &["Olmo2ForCausalLM"],
    read: |fields| {
        let bias = fields.flag("attention_bias", false)?;
        let decoder = Decoder {
            family: "olmo2",
            norm: NormKind::Rms { offset: 0 },
            norms: Norms {
                attn_post: Some("post_attention_layernorm"),
                mlp_post: Some("post_feedforward_layernorm"),
                qk: Some(QkNorm::Whole),
                ..Norms::default()
            },
            biases: Biases { qkv: bias, out: bias, mlp: false },
            activation: fields.activation("hidden_act", Activation::Silu, true)?,
            unstated: Unstated { vocab: 50_304, ..Unstated::LLAMA },
            rope_theta: Some(10_000.0),
            eps: 1e-5,
            tied: false,
        };
        decoder.read(fields)
    },
};
