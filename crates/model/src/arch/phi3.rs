//! Phi-3 and Phi-4: Llama with fused projections, and a window in all layers.

use super::decoder::{Decoder, Rope, Unstated, one_scaling, slide, sliding_window};
use super::modules::{Mlp, Modules, Qkv};
use super::{Family, Fields};
use crate::error::{Result, shown};

pub(super) const FAMILY: Family = Family {
    model_types: &["phi3"],
    classes: &["Phi3ForCausalLM"],
    read: |fields| {
        one_scaling(fields)?.iter().try_for_each(unscaled)?;
        let decoder = Decoder {
            modules: Modules {
                qkv: Qkv::Fused("self_attn.qkv_proj"),
                mlp: Mlp::Fused("mlp.gate_up_proj"),
                ..Modules::LLAMA
            },
            unstated: Unstated { vocab: 32_064, d: 3072, inner: 8192, n_ctx: 4096, ..Unstated::LLAMA },
            rope: Rope::Share(10_000.0, 1.0),
            eps: ("rms_norm_eps", 1e-5),
            ..Decoder::llama("phi3")
        };
        let mut model = decoder.read(fields)?;
        let window = sliding_window(fields, None)?;
        slide(&mut model, fields, window, |_| window.is_some())?;
        Ok(model)
    },
};

/// Refuses every rescaling: the library takes `su` and `yarn` for `longrope`, and no other kind.
fn unscaled(scaling: &Fields<'_>) -> Result<()> {
    match scaling.text("rope_type")?.or(scaling.text("type")?) {
        None | Some("default") => Ok(()),
        Some(kind @ ("longrope" | "su" | "yarn")) => {
            let message = "rescales each pair of columns by a list, which is not supported";
            Err(scaling.error(format!("the rotary scaling `{kind}` of this family {message}")))
        }
        Some(kind) => Err(scaling.error(format!("the rotary scaling `{}` is none of this family", shown(kind)))),
    }
}
