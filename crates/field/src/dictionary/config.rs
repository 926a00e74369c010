//! `cfg.json` of a dictionary, in the layouts of SAELens before and since version 6.

use std::path::Path;

use resolvent_model::{Site, Sizes, StreamNorm};
use serde_json::Value;

use crate::error::{Error, Result};

/// What `cfg.json` says.
#[derive(Debug)]
pub(super) struct DictionaryConfig {
    pub(super) architecture: Architecture,
    /// Widths of what is encoded, of the features, and of what is decoded.
    pub(super) widths: [usize; 3],
    pub(super) normalization: Normalization,
    /// Whether `b_dec` is subtracted before encoding.
    pub(super) subtracts: bool,
    /// Whether a skip connection adds its own output.
    pub(super) skips: bool,
    /// Whether rows of the decoder are scaled by the tensor `scaling_factor`.
    pub(super) scaled: bool,
    /// Names of the activations that are encoded and decoded.
    pub(super) hooks: [String; 2],
}

/// How features are activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    Standard,
    JumpRelu,
    Gated,
    TopK {
        k: usize,
        /// Whether activations are scaled by the norms of the decoder's rows.
        rescaled: bool,
    },
}

/// What is done to an activation before it is encoded, and undone after decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Normalization {
    Nothing,
    /// Scaled to the norm `sqrt(d)`.
    ConstantNorm,
    /// Less its mean, divided by its standard deviation.
    LayerNorm,
}

impl DictionaryConfig {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path)
            .map_err(|e| fail(path, format!("cannot be read: {e}; give the folder of a dictionary")))?;
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|e| fail(path, format!("is not JSON ({e}); give the folder of a dictionary")))?;
        Self::parse(&value).map_err(|reason| fail(path, reason))
    }

    fn parse(cfg: &Value) -> std::result::Result<Self, String> {
        let of = |key: &str| [&cfg[key], &cfg["metadata"][key]].into_iter().find(|value| !value.is_null());
        let text = |key: &str| of(key).and_then(Value::as_str);
        let flag = |key: &str, default: bool| of(key).and_then(Value::as_bool).unwrap_or(default);
        let width = |key: &str| {
            let width = of(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
            width.ok_or_else(|| format!("has no width `{key}`"))
        };
        let [d_in, d_sae] = [width("d_in")?, width("d_sae")?];
        let input = text("hook_name").or_else(|| text("hook_point")).ok_or("has no `hook_name`")?;
        let name = text("architecture").unwrap_or("standard");
        let decodes_elsewhere = name.contains("transcoder");
        let (output, d_out) = match decodes_elsewhere {
            true => (text("hook_name_out").ok_or("has no `hook_name_out`")?, width("d_out")?),
            false => (input, d_in),
        };
        if of("hook_head_index").is_some() || of("hook_point_head_index").is_some() {
            return Err("is of a single head, which is not supported; give a dictionary of all heads".to_owned());
        }
        let old_k = of("activation_fn_kwargs").map(|kwargs| &kwargs["k"]).and_then(Value::as_u64);
        let k = of("k").and_then(Value::as_u64).or(old_k).and_then(|k| usize::try_from(k).ok());
        let activation = text("activation_fn").or_else(|| text("activation_fn_str")).unwrap_or("relu");
        let architecture = match (name, activation) {
            ("standard", "topk") | ("topk", _) => Architecture::TopK {
                k: k.filter(|k| (1..=d_sae).contains(k)).ok_or("has no `k` from 1 to d_sae")?,
                rescaled: flag("rescale_acts_by_decoder_norm", false),
            },
            ("standard" | "transcoder" | "skip_transcoder", "relu") => Architecture::Standard,
            ("jumprelu" | "jumprelu_transcoder" | "jumprelu_skip_transcoder", "relu") => Architecture::JumpRelu,
            ("gated", "relu") => Architecture::Gated,
            (name, activation) => {
                return Err(format!(
                    "is a `{name}` dictionary with activation `{activation}`, which is not supported: expected standard, gated, \
                     jumprelu, topk, transcoder or jumprelu_transcoder, or one of these with a skip connection"
                ));
            }
        };
        let normalization = match of("normalize_activations") {
            None | Some(Value::Bool(false)) => Normalization::Nothing,
            Some(Value::String(name)) if name == "none" => Normalization::Nothing,
            Some(Value::String(name)) if name == "constant_norm_rescale" => Normalization::ConstantNorm,
            Some(Value::String(name)) if name == "layer_norm" => Normalization::LayerNorm,
            Some(other) => {
                return Err(format!(
                    "normalizes activations by {other}, whose scale is not in the file; fold it into the weights in SAELens first"
                ));
            }
        };
        Ok(Self {
            architecture,
            widths: [d_in, d_sae, d_out],
            normalization,
            skips: name.contains("skip"),
            // A transcoder's b_dec belongs to its output.
            subtracts: flag("apply_b_dec_to_input", !decodes_elsewhere) && !decodes_elsewhere,
            scaled: flag("finetuning_scaling_factor", false),
            hooks: [input.to_owned(), output.to_owned()],
        })
    }
}

/// Returns the norm whose rows, before gain and bias, a name denotes. A run has them without naming their site.
pub(super) fn norm(hook: &str) -> Option<StreamNorm> {
    hook.strip_suffix(".hook_normalized")?.parse().ok()
}

/// Returns the sites of an activation by its name: one, or those of all heads, whose columns lie one after another.
pub(super) fn sites(hook: &str, sizes: &Sizes) -> Result<Vec<Site>> {
    let site = |text: &str| -> Result<Site> {
        let site: Site = text.parse()?;
        site.check(sizes)?;
        Ok(site)
    };
    let heads = match hook.rsplit_once("attn.hook_") {
        Some((_, "z" | "q" | "rot_q")) => sizes.heads,
        Some((_, "k" | "v" | "rot_k")) => sizes.kv_heads,
        _ => return Ok(vec![site(hook)?]),
    };
    (0..heads).map(|h| site(&format!("{hook}[{h}]"))).collect()
}

pub(super) fn fail(path: &Path, reason: String) -> Error {
    Error::File { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(changes: &Value) -> std::result::Result<DictionaryConfig, String> {
        let mut cfg =
            json!({ "architecture": "standard", "d_in": 8, "d_sae": 20, "hook_name": "blocks.1.hook_resid_pre" });
        for (key, value) in changes.as_object().expect("an object") {
            cfg[key] = value.clone();
        }
        DictionaryConfig::parse(&cfg)
    }

    #[test]
    fn layouts_before_and_since_version_6() {
        let new = json!({ "architecture": "jumprelu", "hook_name": null, "metadata": { "hook_name": "blocks.0.hook_mlp_out" },
            "apply_b_dec_to_input": false, "normalize_activations": "none" });
        let new = parsed(&new).expect("a configuration");
        assert_eq!(
            (new.architecture, new.subtracts, &new.hooks[0][..]),
            (Architecture::JumpRelu, false, "blocks.0.hook_mlp_out")
        );
        let old = json!({ "architecture": null, "hook_name": null, "hook_point": "blocks.2.attn.hook_z", "activation_fn_str": "topk",
            "activation_fn_kwargs": { "k": 3 }, "normalize_activations": "layer_norm" });
        let old = parsed(&old).expect("a configuration");
        assert_eq!(old.architecture, Architecture::TopK { k: 3, rescaled: false });
        assert_eq!((old.normalization, old.subtracts), (Normalization::LayerNorm, true));
        let transcoder = json!({ "architecture": "transcoder", "d_out": 6, "hook_name_out": "blocks.1.hook_mlp_out" });
        let transcoder = parsed(&transcoder).expect("a configuration");
        assert_eq!((transcoder.widths, transcoder.subtracts, transcoder.skips), ([8, 20, 6], false, false));
        let skip =
            json!({ "architecture": "jumprelu_skip_transcoder", "d_out": 6, "hook_name_out": "blocks.1.hook_mlp_out" });
        let skip = parsed(&skip).expect("a configuration");
        assert_eq!((skip.architecture, skip.skips), (Architecture::JumpRelu, true));
        let skip = json!({ "architecture": "skip_transcoder", "d_out": 6, "hook_name_out": "blocks.1.hook_mlp_out" });
        let skip = parsed(&skip).expect("a configuration");
        assert_eq!((skip.architecture, skip.skips), (Architecture::Standard, true));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (changes, reason) in [
            (json!({ "architecture": "temporal" }), "`temporal` dictionary"),
            (json!({ "d_sae": 0 }), "no width `d_sae`"),
            (json!({ "hook_name": null }), "no `hook_name`"),
            (json!({ "hook_head_index": 3 }), "single head"),
            (json!({ "architecture": "topk", "k": 21 }), "no `k`"),
            (json!({ "activation_fn": "tanh-relu" }), "activation `tanh-relu`"),
            (json!({ "normalize_activations": "expected_average_only_in" }), "expected_average_only_in"),
            (json!({ "architecture": "transcoder" }), "no `hook_name_out`"),
        ] {
            let error = parsed(&changes).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
    }
}
