//! Compares every kernel of a GPU with its host body, on the inputs that small models give it.

use std::collections::BTreeMap;

use resolvent_engine::{Comparison, Device, Options};
use resolvent_model::{
    Architecture, Change, Config, Distribution, Edit, Mode, Model, Observable, Quantity, RandomWeights, RunOptions,
    Site, Source, StreamNorm, gaussian, tiny,
};
use resolvent_ops::tuning::Family;
use resolvent_ops::{kernels, peak};
use serde_json::{Value, json};

use crate::fault::{BOUND, Fault};

/// A variant of a kernel, compared with its host body.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedKernel {
    /// Kernel name, such as `layer_norm.primal`.
    pub kernel: &'static str,
    /// Name of the shader's variant.
    pub variant: &'static str,
    /// Number of launches that were compared.
    pub launches: usize,
    /// Shapes of the outputs of the launch with the largest error.
    pub shape: String,
    /// Largest difference of an output from the host's, relative to its largest element.
    pub error: f64,
}

impl ComparedKernel {
    /// Returns whether the outputs are correct. Written so that NaN is not.
    pub fn is_right(&self) -> bool {
        self.error <= BOUND
    }
}

/// A variant of a kernel that was not compared.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftOut {
    /// Kernel name.
    pub kernel: &'static str,
    /// Name of the shader's variant.
    pub variant: &'static str,
    /// What the device lacks, why nothing launches the variant, or [`NOT_LAUNCHED`].
    pub reason: String,
}

/// The reason for a variant that the device can run and that no model of the check launches: a gap of the check.
pub const NOT_LAUNCHED: &str = "no model of the check launches it";

/// Variants that exist because all kernels of a shader have the same, and that nothing launches.
pub(crate) const UNUSED: [(&str, &str, &str); 1] =
    [("unembed.vjp_sum", "base_f16", "it reads no weights, so `base` is launched for all of them")];

/// Every variant of every kernel.
#[derive(Clone, Debug)]
pub struct KernelCheck {
    /// Name, backend and driver of the device.
    pub device: String,
    /// The compared variants, by name.
    pub compared: Vec<ComparedKernel>,
    /// All others.
    pub left_out: Vec<LeftOut>,
}

impl KernelCheck {
    /// Returns whether the outputs of all compared variants are correct.
    pub fn is_right(&self) -> bool {
        self.compared.iter().all(ComparedKernel::is_right)
    }

    /// Returns the check as JSON: `device`, `bound`, `compared` and `left_out`.
    pub fn to_json(&self) -> Value {
        let compared = self.compared.iter().map(|k| {
            // JSON has no infinity.
            let error = if k.error.is_finite() { json!(k.error) } else { json!("inf") };
            json!({
                "kernel": k.kernel, "variant": k.variant, "launches": k.launches, "shape": k.shape, "error": error,
                "right": k.is_right(),
            })
        });
        let left_out =
            self.left_out.iter().map(|k| json!({ "kernel": k.kernel, "variant": k.variant, "reason": k.reason }));
        json!({
            "device": self.device, "bound": BOUND,
            "compared": compared.collect::<Vec<Value>>(), "left_out": left_out.collect::<Vec<Value>>(),
        })
    }
}

/// Runs small models on a GPU, and compares each launch with the host body of its kernel. Their sizes are odd where the
/// variant allows that. `report` receives the name of each step.
///
/// # Errors
/// The device does not open or fails. A wrong output is no error: see [`KernelCheck::is_right`].
pub fn check_kernels(options: &Options, report: &mut dyn FnMut(&str)) -> Result<KernelCheck, Fault> {
    let plain = Options {
        compare: true,
        poison: true,
        variants: Family::ALL.map(|family| (family.shader(), "base")).to_vec(),
        f16_weights: false,
        f16_inputs: false,
        ..options.clone()
    };
    let mut found = Found::default();
    report("base");
    let device = Device::open(&plain)?;
    everything(&gpt2(&device, 18)?)?;
    everything(&random(&device, GEMMA)?)?;
    derivatives(&random(&device, WIDE)?)?;
    peaks(&device)?;
    found.add(&device);
    for family in Family::ALL {
        for variant in family.variants() {
            for [f16_weights, f16_inputs] in settings(family, variant.name) {
                let variants = vec![(family.shader(), variant.name)];
                let on = Device::open(&Options {
                    variants,
                    f16_weights: *f16_weights,
                    f16_inputs: *f16_inputs,
                    ..plain.clone()
                })?;
                if on.info().lacks(variant).is_some() {
                    continue;
                }
                report(&format!("{} {}", family.shader(), variant.name));
                derivatives(&gpt2(&on, 24)?)?;
                if family == Family::Attention {
                    derivatives(&random(&on, WIDE)?)?;
                }
                found.add(&on);
            }
        }
    }
    Ok(found.check(&device))
}

/// Returns with which f16 weights and f16 inputs a variant is launched, besides those of the first device.
fn settings(family: Family, variant: &str) -> &'static [[bool; 2]] {
    match (family, variant) {
        (Family::Matmul, "base") => &[[true, false]],
        (Family::Matmul, _) => &[[false, false], [true, false]],
        (Family::MatmulF16, _) => &[[true, true]],
        (Family::Attention, "base") => &[],
        (Family::Attention, _) => &[[false, false]],
    }
}

/// A model whose widths are all odd multiples of two, with a soft-cap of scores and of logits, windows, and norms
/// before and after each part.
const GEMMA: &str = r#"{"model_type": "gemma2", "vocab_size": 51, "hidden_size": 34, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 10, "intermediate_size": 45, "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6, "max_position_embeddings": 64, "rope_theta": 1e4, "sliding_window": 4, "query_pre_attn_scalar": 6,
    "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}"#;

/// A model with heads wider than 128.
const WIDE: &str = r#"{"model_type": "qwen3", "vocab_size": 50, "hidden_size": 28, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 136, "intermediate_size": 44, "hidden_act": "silu", "rms_norm_eps": 1e-6,
    "max_position_embeddings": 64, "rope_theta": 1e4, "tie_word_embeddings": true, "attention_bias": false}"#;

fn gpt2(device: &Device, n_embd: usize) -> Result<Model, Fault> {
    let config = Config { n_layer: 2, n_embd, n_head: 3, vocab_size: 50, ..tiny() };
    Ok(Model::random(device, config, RandomWeights::new(2).with_std(0.2))?)
}

pub(crate) fn random(device: &Device, config: &str) -> Result<Model, Fault> {
    Ok(Model::random(device, Architecture::from_json(config)?, RandomWeights::new(3).with_std(0.2))?)
}

/// Tokens of the prompt of all models.
const TOKENS: [u32; 7] = [3, 20, 37, 4, 21, 38, 5];
const LAST: usize = TOKENS.len() - 1;

/// The forward pass, two logits, a distribution, and derivatives of both orders.
pub(crate) fn derivatives(model: &Model) -> Result<(), Fault> {
    let run = model.run(&TOKENS, &[])?;
    let linear = run.linearize(Mode::Exact);
    let j = Observable::logit_diff(3, 4, LAST);
    let sources = sources(model);
    run.value(&j)?;
    linear.gradient(&(j.clone() + Observable::log_prob(5, 3)))?;
    linear.jvp(&sources)?;
    linear.jet(&sources)?;
    linear.hvp(&sources, &j)?;
    Ok(())
}

fn sources(model: &Model) -> [[Source; 1]; 3] {
    let vector = gaussian(5, model.sizes().d);
    [1, 4, LAST].map(|token| [Source { site: Site::ResidPre(1), token, vector: vector.clone() }])
}

/// Also edits, observables that read the distribution of the next token, and outputs that are usually fused into
/// others.
pub(crate) fn everything(model: &Model) -> Result<(), Fault> {
    derivatives(model)?;
    let blocks = 0..model.sizes().layers;
    let of_block = |l| [Site::AttnOut(l), Site::MlpOut(l), Site::MlpPre(l), Site::MlpPost(l)];
    let norms = [StreamNorm::Attention(1), StreamNorm::Final].map(Site::NormScale);
    let sites = blocks.flat_map(of_block).chain([Site::Embed, Site::Result(1, 1)]).chain(norms).collect();
    let run = model.run_with(&TOKENS, &RunOptions { sites, ..RunOptions::default() })?;
    let of = |quantity| Observable::of(quantity, LAST);
    let base = Distribution::of(&run.logits_at(2)?);
    let j = Observable::logit_diff(3, 4, LAST)
        + Observable::log_prob(5, 3)
        + of(Quantity::Entropy)
        + of(Quantity::Prob(vec![6, 7]))
        + of(Quantity::Kl(base.clone()))
        + of(Quantity::KlFrom(base));
    let (linear, sources) = (run.linearize(Mode::Exact), sources(model));
    linear.gradient(&j)?;
    linear.hvp(&sources, &j)?;
    linear.along(&sources, &j)?;
    linear.jvp(&sources)?;
    linear.jet(&sources)?;
    let vector = || gaussian(6, model.sizes().d);
    let changes = [Change::Add(vector()), Change::Put(vector()), Change::Scale(0.5), Change::Project(vector())];
    let edits = changes.map(|change| [Edit { site: Site::ResidPre(1), token: 2, change }]);
    run.values_under(&edits, &j)?;
    let of_keys = [Edit::ablate(Site::Pattern(0, 1, 2), 4), Edit::add(Site::AttnScores(1, 0, 1), 3, vec![1.5])];
    let edited = model.run(&TOKENS, &of_keys)?;
    edited.linearize(Mode::Exact).gradient(&Observable::logit_diff(3, 4, LAST))?;
    edited.linearize(Mode::Exact).jvp(&sources)?;
    Ok(())
}

/// The kernels that measure rates, over a length that fills no workgroup.
pub(crate) fn peaks(device: &Device) -> Result<(), Fault> {
    let x = device.upload("x", &[("n", 260)], &[0.5f32; 260])?;
    let mut rec = device.record();
    peak::fma(&mut rec, &x, 1)?;
    peak::copy(&mut rec, &x)?;
    device.submit(rec)?;
    Ok(device.wait()?)
}

/// The comparisons so far, by kernel and variant.
#[derive(Default)]
struct Found(BTreeMap<(&'static str, &'static str), ComparedKernel>);

impl Found {
    fn add(&mut self, device: &Device) {
        for Comparison { kernel, variant, shape, error } in device.take_comparisons() {
            let known = self.0.entry((kernel, variant)).or_insert_with(|| ComparedKernel {
                kernel,
                variant,
                launches: 0,
                shape: shape.clone(),
                error: 0.0,
            });
            known.launches += 1;
            if error > known.error {
                (known.error, known.shape) = (error, shape);
            }
        }
    }

    fn check(self, device: &Device) -> KernelCheck {
        let info = device.info();
        let mut left_out = Vec::new();
        for kernel in kernels() {
            for variant in kernel.shader.variants {
                if !self.0.contains_key(&(kernel.name(), variant.name)) {
                    let lacking = info.lacks(variant).map(|lacking| format!("the device lacks {lacking}"));
                    let unused = UNUSED.iter().find(|unused| (unused.0, unused.1) == (kernel.name(), variant.name));
                    let reason = lacking.or(unused.map(|unused| unused.2.to_owned()));
                    let reason = reason.unwrap_or_else(|| NOT_LAUNCHED.to_owned());
                    left_out.push(LeftOut { kernel: kernel.name(), variant: variant.name, reason });
                }
            }
        }
        let device = format!("{}, {}, {}", info.name, info.backend, info.driver);
        KernelCheck { device, compared: self.0.into_values().collect(), left_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_kernel_is_not_right() {
        let of = |error| ComparedKernel {
            kernel: "a.primal",
            variant: "base",
            launches: 1,
            shape: "[n=1]".to_owned(),
            error,
        };
        for (error, right) in
            [(0.0, true), (BOUND, true), (2.0 * BOUND, false), (f64::INFINITY, false), (f64::NAN, false)]
        {
            let check =
                KernelCheck { device: "d".to_owned(), compared: vec![of(0.0), of(error)], left_out: Vec::new() };
            assert_eq!(check.is_right(), right, "{error}");
            assert_eq!(check.to_json()["compared"][1]["right"], right);
        }
    }
}
