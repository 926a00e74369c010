//! The other families: the directories `families/*`.

use resolvent_reference::derivative::{self, Response};
use resolvent_reference::{FamilyModel, Observable, Trace};

use crate::golden::{Golden, agree};

const NAMES: [&str; 26] = [
    "llama",
    "llama-plain",
    "llama-linear",
    "llama-yarn",
    "mistral",
    "qwen2",
    "qwen3",
    "gpt_neox",
    "gpt_neox-seq",
    "gemma2",
    "gemma3",
    "gemma3-wide",
    "olmo2",
    "gemma",
    "olmo3",
    "olmo",
    "starcoder2",
    "ministral",
    "smollm3",
    "granite",
    "phi3",
    "stablelm",
    "stablelm-seq",
    "gpt_neo",
    "cohere",
    "cohere2",
];

/// Calls `check` for every golden file; it returns the errors of the arrays that it compared.
fn each(check: impl Fn(&Golden, &FamilyModel) -> Vec<f64>) {
    for name in NAMES {
        let golden = Golden::load(&format!("families/{name}"));
        let model = FamilyModel::new(&golden.config, golden.weights.clone());
        println!("{name}: {:.1e}", check(&golden, &model).into_iter().fold(0.0, f64::max));
    }
}

fn run(model: &FamilyModel, tokens: &[usize]) -> Trace<f64> {
    model.forward(tokens, &mut |_, _| {})
}

#[test]
fn field_logits_and_observable() {
    each(|golden, model| {
        let run = run(model, &golden.tokens);
        let value = golden.observable().read(&run);
        vec![golden.agree("field", &run.field), golden.agree("logits", &run.logits), golden.agree("value", &[value])]
    });
}

#[test]
fn response_to_a_source() {
    each(|golden, model| {
        let Response { field, logits, .. } = derivative::jvp(model, &golden.tokens, &[golden.source()]);
        let outside = |x: &[f64]| x.iter().map(|&x| x == 0.0).collect::<Vec<bool>>();
        let expected = &golden.arrays["jvp_field"];
        assert_eq!(outside(&field), outside(expected), "zeros outside the causal cone and the windows, in both");
        vec![golden.agree("jvp_field", &field), golden.agree("jvp_logits", &logits)]
    });
}

#[test]
fn slope_and_second_derivative_along_a_source() {
    each(|golden, model| {
        let [_, first, second] = derivative::jet(model, &golden.tokens, &[golden.source()], &golden.observable());
        vec![golden.agree("first", &[first]), golden.agree("second", &[second])]
    });
}

/// Checks every third row of every level, from the last token back.
#[test]
fn gradient_field() {
    each(|golden, model| {
        let (base, d, tokens) = (run(model, &golden.tokens), model.features.width, golden.tokens.len());
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        for level in 0..=model.features.layers {
            for token in (0..tokens).rev().step_by(3) {
                found.extend(derivative::gradient(model, &base, level, token, &golden.observable()));
                expected.extend(&golden.arrays["gradient_field"][(level * tokens + token) * d..][..d]);
            }
        }
        vec![agree("gradient_field", &found, &expected)]
    });
}

#[test]
fn patch_sweep() {
    each(|golden, model| {
        let (clean, corrupted) = (run(model, &golden.tokens), run(model, &golden.corrupted));
        let (d, tokens) = (model.features.width, golden.tokens.len());
        let mut patch = Vec::new();
        for level in 0..=model.features.layers {
            for token in 0..tokens {
                let mut field = clean.field[..(level + 1) * tokens * d].to_vec();
                field[(level * tokens + token) * d..][..d].copy_from_slice(corrupted.h(level, token));
                patch.push(golden.observable().read(&model.resume(field, tokens, &mut |_, _| {})));
            }
        }
        vec![golden.agree("patch", &patch)]
    });
}
