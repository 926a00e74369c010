//! OLMo 2: norms after attention and MLP only, and one norm over all queries, and over all keys.

use super::decoder::{Decoder, Rope, Unstated};
use super::modules::{Biases, Norms, QkNorm};
use super::{Architecture, Family, Fields};
use crate::error::Result;

pub(super) const FAMILY: Family = Family {
    model_types: &["olmo2"],
    classes: &["Olmo2ForCausalLM"],
    read: |fields| read("olmo2", Rope::Whole(10_000.0), fields),
};

/// Reads a model of this form.
pub(super) fn read(family: &'static str, rope: Rope, fields: &Fields<'_>) -> Result<Architecture> {
    let bias = fields.flag("attention_bias", false)?;
    let decoder = Decoder {
        norms: Norms {
            attn_post: Some("post_attention_layernorm"),
            mlp_post: Some("post_feedforward_layernorm"),
            qk: Some(QkNorm::Whole),
            ..Norms::default()
        },
        biases: Biases { qkv: bias, out: bias, mlp: false },
        unstated: Unstated { vocab: 50_304, ..Unstated::LLAMA },
        rope,
        eps: ("rms_norm_eps", 1e-5),
        ..Decoder::llama(family)
    };
    decoder.read(fields)
}
