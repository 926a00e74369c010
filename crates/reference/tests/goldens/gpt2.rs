//! GPT-2: the directories `tiny-*`.

use resolvent_reference::derivative::{self, Response};
use resolvent_reference::ops::{Frozen, GeluForm};
use resolvent_reference::{Config, Gpt2, Trace};
use serde_json::Value;

use crate::golden::{Golden, agree};

/// Returns the golden files and their models.
fn models(names: &[&str]) -> Vec<(Golden, Gpt2<f64>)> {
    let load = |name: &&str| {
        let golden = Golden::load(name);
        let tied = golden.config["tie_word_embeddings"].as_bool().unwrap_or(true);
        let model = Gpt2::new(config(&golden.config), |name| {
            let name = if name == "lm_head.weight" && tied { "wte.weight" } else { name };
            let tensor = golden.weights.get(name).or_else(|| golden.weights.get(&format!("transformer.{name}")));
            tensor.unwrap_or_else(|| panic!("no tensor `{name}`")).clone()
        });
        (golden, model)
    };
    names.iter().map(load).collect()
}

fn run(golden: &Golden, model: &Gpt2<f64>) -> Trace<f64> {
    model.forward(&golden.tokens, &mut |_, _| {})
}

fn config(json: &Value) -> Config {
    let size = |key: &str| json[key].as_u64().map(|x| usize::try_from(x).unwrap());
    let n_embd = size("n_embd").unwrap();
    Config {
        n_layer: size("n_layer").unwrap(),
        n_embd,
        n_head: size("n_head").unwrap(),
        n_inner: size("n_inner").unwrap_or(4 * n_embd),
        vocab: size("vocab_size").unwrap(),
        n_positions: size("n_positions").unwrap(),
        eps: json["layer_norm_epsilon"].as_f64().unwrap(),
        activation: match json["activation_function"].as_str().unwrap() {
            "gelu_new" => GeluForm::Tanh,
            "gelu" => GeluForm::Erf,
            other => panic!("activation {other}"),
        },
        frozen: Frozen::default(),
        scale_attn_weights: json["scale_attn_weights"].as_bool().unwrap_or(true),
        scale_attn_by_inverse_layer_idx: json["scale_attn_by_inverse_layer_idx"].as_bool().unwrap_or(false),
    }
}

const NAMES: [&str; 3] = ["tiny-odd", "tiny-inner", "tiny-wide"];

#[test]
fn field_logits_and_observable() {
    for (golden, model) in models(&NAMES) {
        let run = run(&golden, &model);
        golden.agree("field", &run.field);
        golden.agree("logits", &run.logits);
        golden.agree("value", &[derivative::along(&model, &golden.tokens, &[], 0.0, &golden.observable())]);
    }
}

#[test]
fn response_to_a_source() {
    for (golden, model) in models(&NAMES) {
        let Response { field, logits, .. } = derivative::jvp(&model, &golden.tokens, &[golden.source()]);
        golden.agree("jvp_field", &field);
        golden.agree("jvp_logits", &logits);
        let outside = |x: &[f64]| x.iter().map(|&x| x == 0.0).collect::<Vec<bool>>();
        assert_eq!(outside(&field), outside(&golden.arrays["jvp_field"]), "causal zeros are exactly zero in both");
    }
}

#[test]
fn slope_and_curvature_along_a_source() {
    for (golden, model) in models(&NAMES) {
        let [value, first, second] = derivative::jet(&model, &golden.tokens, &[golden.source()], &golden.observable());
        golden.agree("value", &[value]);
        golden.agree("first", &[first]);
        golden.agree("second", &[second]);
    }
}

#[test]
fn gradient_field_whole() {
    let (golden, model) = models(&["tiny-odd"]).remove(0);
    let found = derivative::gradient_field(&model, &run(&golden, &model), &golden.observable());
    golden.agree("gradient_field", &found);
}

/// Checks the first, a middle and the last row of every layer of the larger models.
#[test]
fn gradient_field_rows() {
    for (golden, model) in models(&["tiny-inner", "tiny-wide"]) {
        let (base, d, tokens) = (run(&golden, &model), model.config.n_embd, golden.tokens.len());
        for layer in 0..model.config.n_layer {
            for token in [0, tokens / 2, tokens - 1] {
                let found = derivative::gradient(&model, &base, layer, token, &golden.observable());
                let expected = &golden.arrays["gradient_field"][(layer * tokens + token) * d..][..d];
                agree(&format!("gradient at {layer},{token}"), &found, expected);
            }
        }
    }
}
