//! StarCoder2: layer norms, rotary embedding, grouped queries, biases, and an MLP without a gate.

use super::decoder::{Decoder, Unstated, slide, sliding_window};
use super::modules::{Biases, Mlp, Modules};
use super::{Activation, Family, NormKind, Stored};

pub(super) const FAMILY: Family = Family {
    model_types: &["starcoder2"],
    classes: &["Starcoder2ForCausalLM"],
    read: |fields| {
        let bias = fields.flag("use_bias", true)?;
        let decoder = Decoder {
            norm: NormKind::Layer(Stored::GainAndBias),
            biases: Biases { qkv: bias, out: bias, mlp: bias },
            activation: ("hidden_act", Activation::GeluNew),
            modules: Modules { mlp: Mlp::Plain("mlp.c_fc"), down: "mlp.c_proj", ..Modules::LLAMA },
            unstated: Unstated {
                vocab: 49_152,
                d: 3072,
                inner: 12_288,
                layers: 30,
                heads: 24,
                kv_heads: Some(2),
                d_head: None,
                n_ctx: 4096,
            },
            eps: ("norm_epsilon", 1e-5),
            tied: true,
            ..Decoder::llama("starcoder2")
        };
        let mut model = decoder.read(fields)?;
        let window = sliding_window(fields, None)?;
        slide(&mut model, fields, window, |_| window.is_some())?;
        Ok(model)
    },
};
