//! StableLM: layer norms and a gated MLP, partial rotary embeddings, blocks in sequence or in parallel with one norm.

use super::decoder::{Decoder, Rope, Unstated};
use super::modules::{BEFORE, Biases, Norms};
use super::{Family, NormKind, Stored};

pub(super) const FAMILY: Family = Family {
    model_types: &["stablelm"],
    classes: &["StableLmForCausalLM"],
    read: |fields| {
        if fields.flag("qk_layernorm", false)? {
            return Err(fields.error("`qk_layernorm` is true; layer norms of queries and keys are not supported"));
        }
        let parallel = fields.flag("use_parallel_residual", false)?;
        let decoder = Decoder {
            norm: NormKind::Layer(Stored::GainAndBias),
            norms: Norms { mlp: BEFORE.mlp.filter(|_| !parallel), ..BEFORE },
            biases: Biases { qkv: fields.flag("use_qkv_bias", false)?, ..Biases::default() },
            parallel,
            unstated: Unstated {
                vocab: 50_304,
                d: 2560,
                inner: 6912,
                kv_heads: Some(32),
                n_ctx: 4096,
                ..Unstated::LLAMA
            },
            rope: Rope::Share(10_000.0, 0.25),
            eps: ("layer_norm_eps", 1e-5),
            ..Decoder::llama("stablelm")
        };
        decoder.read(fields)
    },
};
