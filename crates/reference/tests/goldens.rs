//! Compares the reference with Hugging Face transformers in float64 (`tests/data`).

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use resolvent_reference::derivative::{self, Response};
use resolvent_reference::ops::{Frozen, GeluForm};
use resolvent_reference::{Config, Gpt2, Logit, Site, Source, Trace};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Tolerance for two float64 evaluations of the same formulas in another order. The largest measured error is 9.5e-15.
const TOLERANCE: f64 = 1e-12;

/// A model directory and its golden file.
struct Golden {
    model: Gpt2<f64>,
    tokens: Vec<usize>,
    arrays: HashMap<String, Vec<f64>>,
    metadata: HashMap<String, String>,
}

impl Golden {
    fn load(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name);
        let read = |file: &str| fs::read(folder.join(file)).unwrap_or_else(|e| panic!("{name}/{file}: {e}"));
        let json: Value = serde_json::from_slice(&read("config.json")).unwrap();
        let config = config(&json);

        let bytes = read("model.safetensors");
        let weights = SafeTensors::deserialize(&bytes).unwrap();
        let tied = json["tie_word_embeddings"].as_bool().unwrap_or(true);
        let model = Gpt2::new(config, |name| {
            let name = if name == "lm_head.weight" && tied { "wte.weight" } else { name };
            let tensor = weights.tensor(name).or_else(|_| weights.tensor(&format!("transformer.{name}")));
            let tensor = tensor.unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(tensor.dtype(), Dtype::F32);
            tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect()
        });

        let bytes = read("golden.safetensors");
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap();
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        let (mut arrays, mut tokens) = (HashMap::new(), Vec::new());
        for (name, tensor) in golden.tensors() {
            let words = tensor.data().chunks_exact(8).map(|b| b.try_into().unwrap());
            if name == "tokens" {
                assert_eq!(tensor.dtype(), Dtype::I64);
                tokens = words.map(|b| usize::try_from(i64::from_le_bytes(b)).unwrap()).collect();
            } else {
                assert_eq!(tensor.dtype(), Dtype::F64);
                arrays.insert(name, words.map(f64::from_le_bytes).collect());
            }
        }
        Self { model, tokens, arrays, metadata }
    }

    fn number(&self, key: &str) -> usize {
        self.metadata[key].parse().unwrap()
    }

    fn observable(&self) -> Logit {
        let (target, against) = (self.number("target"), Some(self.number("against")));
        Logit { target, against, position: self.number("position") }
    }

    fn source(&self) -> Source<'_> {
        let site = Site::ResidPre(self.number("source_layer"));
        Source { site, token: self.number("source_token"), vector: &self.arrays["source"] }
    }

    fn run(&self) -> Trace<f64> {
        self.model.forward(&self.tokens, &mut |_, _| {})
    }

    #[track_caller]
    fn agree(&self, what: &str, found: &[f64]) {
        agree(what, found, &self.arrays[what]);
    }
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

/// Checks the largest difference, relative to the largest value of the array. NaN fails.
#[track_caller]
fn agree(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    assert!(size > 0.0, "{what}: a comparison with zeros proves nothing");
    let mut worst: f64 = 0.0;
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let error = (a - b).abs() / size;
        assert!(error <= TOLERANCE, "{what}[{i}]: {a:e} is not {b:e}");
        worst = worst.max(error);
    }
    println!("{what}: {worst:.1e}");
}

const NAMES: [&str; 3] = ["tiny-odd", "tiny-inner", "tiny-wide"];

#[test]
fn field_logits_and_observable() {
    for golden in NAMES.map(Golden::load) {
        let run = golden.run();
        golden.agree("field", &run.field);
        golden.agree("logits", &run.logits);
        golden.agree("value", &[derivative::along(&golden.model, &golden.tokens, &[], 0.0, &golden.observable())]);
    }
}

#[test]
fn response_to_a_source() {
    for golden in NAMES.map(Golden::load) {
        let Response { field, logits, .. } = derivative::jvp(&golden.model, &golden.tokens, &[golden.source()]);
        golden.agree("jvp_field", &field);
        golden.agree("jvp_logits", &logits);
        let outside = |x: &[f64]| x.iter().map(|&x| x == 0.0).collect::<Vec<bool>>();
        assert_eq!(outside(&field), outside(&golden.arrays["jvp_field"]), "causal zeros are exactly zero in both");
    }
}

#[test]
fn slope_and_curvature_along_a_source() {
    for golden in NAMES.map(Golden::load) {
        let [value, first, second] =
            derivative::jet(&golden.model, &golden.tokens, &[golden.source()], &golden.observable());
        golden.agree("value", &[value]);
        golden.agree("first", &[first]);
        golden.agree("second", &[second]);
    }
}

#[test]
fn gradient_field_whole() {
    let golden = Golden::load("tiny-odd");
    let found = derivative::gradient_field(&golden.model, &golden.run(), &golden.observable());
    golden.agree("gradient_field", &found);
}

/// Checks the first, a middle and the last row of every layer of the larger models.
#[test]
fn gradient_field_rows() {
    for golden in ["tiny-inner", "tiny-wide"].map(Golden::load) {
        let (run, d, tokens) = (golden.run(), golden.model.config.n_embd, golden.tokens.len());
        for layer in 0..golden.model.config.n_layer {
            for token in [0, tokens / 2, tokens - 1] {
                let found = derivative::gradient(&golden.model, &run, layer, token, &golden.observable());
                let expected = &golden.arrays["gradient_field"][(layer * tokens + token) * d..][..d];
                agree(&format!("gradient at {layer},{token}"), &found, expected);
            }
        }
    }
}
