//! Tests each kernel of a GPU before its first use, on the inputs that small models give it.

use resolvent_engine::{Device, KernelTests};
use resolvent_field::adjoint;
use resolvent_model::{Config, Mode, Model, Observable, RandomWeights, Run, Site, Source, gaussian, tiny};
use resolvent_ops::tuning::Family;

use crate::fault::{BOUND, Fault};
use crate::kernel_check::{derivatives, everything, peaks, random};

/// Tests kernels of `device` before their first use, from now on.
pub(crate) fn guard(device: &Device) {
    device.test_kernels(BOUND, |tests| launch(tests).map_err(|fault| fault.to_string()));
}

/// Work on a device that collects inputs.
type Work = fn(&Device) -> Result<(), Fault>;

/// Work that launches kernels, the commonest first.
const WORK: [Work; 7] = [
    |device| first_pass(device, LONG).map(drop),
    |device| first_order(&run(device, LONG)?),
    |device| second_order(&run(device, LONG)?),
    |device| everything(&small(device)?),
    |device| everything(&random(device, GATED)?),
    |device| derivatives(&random(device, WIDE)?),
    peaks,
];

/// Number of tokens that fill more than one tile of attention and of products.
const LONG: usize = 70;

/// Runs work on devices that collect what `tests` lacks, until it lacks nothing. Each family of variants is requested
/// by its name, because small models would not select all of them.
fn launch(tests: &KernelTests) -> Result<(), Fault> {
    let wanted = tests.missing();
    let variants = Family::ALL.map(|family| (family, variants(family, &wanted)));
    let rounds = variants.iter().map(|(_, names)| names.len()).max().unwrap_or(0).max(1);
    for round in 0..rounds {
        let names = variants.each_ref().map(|(family, names)| (*family, *names.get(round).unwrap_or(&"base")));
        let device = tests.device(names.map(|(family, name)| (family.shader(), name)).to_vec());
        let is_launched = |(kernel, variant): &(&str, &str)| {
            let of = names.iter().find(|(family, _)| is_of(*family, kernel));
            of.is_none_or(|(_, name)| short(variant) == *name)
        };
        for work in WORK {
            if !tests.missing().iter().any(is_launched) {
                break;
            }
            work(&device)?;
        }
    }
    Ok(())
}

/// Returns the variants of a family that are wanted, by the names by which they are requested.
fn variants(family: Family, wanted: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    let mut names: Vec<&str> =
        wanted.iter().filter(|(kernel, _)| is_of(family, kernel)).map(|(_, variant)| short(variant)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns whether a kernel selects its variant with those of `family`.
fn is_of(family: Family, kernel: &str) -> bool {
    let shader = kernel.split('.').next().unwrap_or_default();
    shader == family.shader() || (family == Family::Attention && shader == "attention_second")
}

/// Returns the name of a variant without what weights and widths add to it.
fn short(variant: &str) -> &str {
    let name = variant.strip_suffix("_wide").unwrap_or(variant);
    name.strip_suffix("_f16").unwrap_or(name)
}

/// A model of GPT-2's form. Its sizes fill no tile. They are whole `vec4`, as in all trained models, or the multiples
/// of eight that f16 weights need.
fn small(device: &Device) -> Result<Model, Fault> {
    let n_embd = if device.f16_weights() { 72 } else { 84 };
    let config = Config { n_embd, n_head: 3, n_positions: 80, ..tiny() };
    Ok(Model::random(device, config, RandomWeights::new(11).with_std(0.1))?)
}

/// A gated model with norms before and after each part, soft-caps and windows.
const GATED: &str = r#"{"model_type": "gemma2", "vocab_size": 56, "hidden_size": 72, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 24, "intermediate_size": 88, "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6, "max_position_embeddings": 64, "rope_theta": 1e4, "sliding_window": 4, "query_pre_attn_scalar": 6,
    "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}"#;

/// A model with heads wider than 128.
const WIDE: &str = r#"{"model_type": "qwen3", "vocab_size": 56, "hidden_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 136, "intermediate_size": 48, "hidden_act": "silu", "rms_norm_eps": 1e-6,
    "max_position_embeddings": 64, "rope_theta": 1e4, "tie_word_embeddings": true, "attention_bias": false}"#;

fn run(device: &Device, tokens: usize) -> Result<Run, Fault> {
    let tokens: Vec<u32> = (0..tokens as u32).map(|i| (i * 17 + 3) % 50).collect();
    Ok(small(device)?.run(&tokens, &[])?)
}

/// Runs a prompt of `tokens` tokens, and returns its field.
pub(crate) fn first_pass(device: &Device, tokens: usize) -> Result<Vec<f32>, Fault> {
    let run = run(device, tokens)?;
    run.value(&Observable::logit_diff(3, 4, tokens - 1))?;
    Ok(run.field()?)
}

/// A sensitivity, and responses that leave few, some and many rows.
fn first_order(run: &Run) -> Result<(), Fault> {
    let linear = run.linearize(Mode::Exact);
    linear.gradient(&Observable::logit_diff(3, 4, LONG - 1))?;
    for token in [2, 30, 60] {
        linear.jvp(&[[source(run, token)]])?;
    }
    adjoint(&linear, 1)?;
    Ok(())
}

/// A response to second order, and a product with the Hessian.
fn second_order(run: &Run) -> Result<(), Fault> {
    let linear = run.linearize(Mode::Exact);
    linear.jet(&[[source(run, 2)]])?;
    linear.hvp(&[[source(run, 2)]], &Observable::logit_diff(3, 4, LONG - 1))?;
    Ok(())
}

fn source(run: &Run, token: usize) -> Source {
    Source { site: Site::ResidPre(1), token, vector: gaussian(5, run.model().sizes().d) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use resolvent_engine::{Choice, Info, Kind, Options};
    use resolvent_ops::kernels;

    use super::*;
    use crate::kernel_check::UNUSED;

    /// No model of the tests is without inputs for a variant that work on some GPU could use.
    #[test]
    fn every_variant_gets_inputs() {
        let like = Info {
            name: "a GPU".to_owned(),
            driver: String::new(),
            backend: "Vulkan".to_owned(),
            kind: Kind::Discrete,
            subgroups: Some((8, 8)),
            f16: true,
            cooperative: vec![8, 16],
            timestamps: false,
            max_binding: 1 << 27,
        };
        let all = || kernels().into_iter().map(|kernel| (kernel.name(), kernel.shader.variants));
        let all: Vec<_> = all().flat_map(|(name, all)| all.iter().map(move |variant| (name, variant.name))).collect();
        let missing = [(false, false), (true, false), (true, true)].map(|(f16_weights, f16_inputs)| {
            let options = Options { f16_weights, f16_inputs, ..Options::new(Choice::Host) };
            let tests = KernelTests::new(like.clone(), &options, &all);
            launch(&tests).expect("runs on the host");
            tests.missing().into_iter().collect::<BTreeSet<_>>()
        });
        let never: Vec<_> =
            all.iter().filter(|kernel| missing.iter().all(|missing| missing.contains(*kernel))).collect();
        let unused = UNUSED.map(|(kernel, variant, _)| (kernel, variant));
        assert_eq!(never, unused.iter().collect::<Vec<_>>());
    }

    #[test]
    fn variants_are_requested_by_their_short_names() {
        let wanted = [
            ("matmul.primal", "tall_f16"),
            ("matmul.vjp", "subgroup_f16"),
            ("matmul.jvp", "tall_f16"),
            ("attention_second.jet", "narrow_wide"),
            ("attention_edit.primal", "base"),
            ("embed.primal", "base_f16"),
        ];
        assert_eq!(variants(Family::Matmul, &wanted), ["subgroup", "tall"]);
        assert_eq!(variants(Family::Attention, &wanted), ["narrow"]);
        assert_eq!(variants(Family::MatmulF16, &wanted), [""; 0]);
    }
}
