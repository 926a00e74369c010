//! The embedded models.

use std::path::Path;

use resolvent_field::{patch, sensitivity};
use resolvent_model::{DEFAULT_MODEL, Model, Observable, embedded_models, parse_token};
use resolvent_tests::{Labelled, Worst, subjects, tolerance};
use safetensors::{Dtype, SafeTensors};

const PROMPT: &str = "When Mary and John went to the store, John gave a drink to";
const SWAPPED: &str = "When Mary and John went to the store, Mary gave a drink to";

/// Returns whether the model predicts the given token after each text.
fn answers(model: &Model, texts: &[(&str, &str)]) -> Vec<bool> {
    let tokenizer = model.tokenizer().expect("the family has a tokenizer");
    let right = |(text, answer): &(&str, &str)| {
        let ids = tokenizer.encode(text).expect("English");
        let want = parse_token(Some(tokenizer), model.sizes().vocab, answer).expect("one token");
        let logits = model.run(&ids, &[]).and_then(|run| run.logits_at(ids.len() - 1));
        let logits = logits.unwrap_or_else(|e| panic!("{}: {e}", model.name()));
        logits.iter().enumerate().all(|(i, x)| i == want as usize || *x < logits[want as usize])
    };
    texts.iter().map(right).collect()
}

/// The two larger models predict the indirect object, and the capital of France. The checks of the analyses pass on all
/// three.
#[test]
fn embedded_models_predict_known_answers() {
    let texts = [(PROMPT, " Mary"), (SWAPPED, " John"), ("The capital of France is", " Paris")];
    for on in subjects() {
        for name in embedded_models() {
            let model = Model::named(on.device(), name).unwrap_or_else(|e| panic!("{name}: {e}"));
            if name != "atlas-nano" {
                assert_eq!(answers(&model, &texts), [true; 3], "{name} on {}", on.name());
            }
            let tokenizer = model.tokenizer().expect("the family has a tokenizer");
            let run = |text| {
                let ids = tokenizer.encode(text).expect("English");
                model.run(&ids, &[]).unwrap_or_else(|e| panic!("{name}: {e}"))
            };
            let token = |text| parse_token(Some(tokenizer), model.sizes().vocab, text).expect("one token");
            let (clean, swapped) = (run(PROMPT), run(SWAPPED));
            let j = Observable::logit_diff(token(" Mary"), token(" John"), clean.tokens().len() - 1);
            sensitivity(&clean, &j).unwrap_or_else(|e| panic!("{name}: {e}"));
            patch(&clean, &swapped, &j).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

/// The names, smallest first, and the default. All models together take a few megabytes.
#[test]
fn the_family_is_small() {
    assert_eq!(embedded_models().collect::<Vec<_>>(), ["atlas-nano", "atlas-micro", "atlas-small"]);
    assert_eq!(DEFAULT_MODEL, "atlas-small");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let bytes = ["model/atlas/nano", "model/atlas/micro", "atlas/small"].map(|name| {
        let path = folder.join(name).join("model.safetensors");
        path.metadata().unwrap_or_else(|e| panic!("{}: {e}", path.display())).len()
    });
    assert!(bytes.iter().sum::<u64>() <= 14_000_000, "{bytes:?}");
}

/// The logits match those of Hugging Face transformers in f64 with the same f16 weights, on twenty prompts.
#[test]
fn embedded_models_match_another_implementation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/model/atlas/goldens.safetensors");
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let array = |name: &str| file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut worst = Worst::new("atlas");
    for on in subjects() {
        for name in embedded_models() {
            let model = Model::named(on.device(), name).unwrap_or_else(|e| panic!("{name}: {e}"));
            for prompt in 0..20 {
                let ids = array(&format!("ids.{prompt:02}"));
                assert_eq!(ids.dtype(), Dtype::I32);
                let ids: Vec<u32> = bytemuck::pod_collect_to_vec(ids.data());
                let last = array(&format!("{}.{prompt:02}.last", name.trim_start_matches("atlas-")));
                assert_eq!(last.dtype(), Dtype::F64);
                let want = Labelled::reference(bytemuck::pod_collect_to_vec(last.data()));
                let logits = model.run(&ids, &[]).and_then(|run| run.logits_at(ids.len() - 1));
                let logits = logits.unwrap_or_else(|e| panic!("{name}: {e}"));
                worst.check(format!("{name}, prompt {prompt}"), &on.label(&logits), &want, tolerance::MODEL);
            }
        }
    }
}
