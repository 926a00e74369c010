//! The embedded models, which the first command of a newcomer runs.

use std::path::Path;

use resolvent_field::{patch, sensitivity};
use resolvent_model::{Model, Observable, embedded_models, parse_token};
use resolvent_tests::{Labelled, Worst, subjects, tolerance};
use safetensors::{Dtype, SafeTensors};

const PROMPT: &str = "When Mary and John went to the store, John gave a drink to";
const SWAPPED: &str = "When Mary and John went to the store, Mary gave a drink to";

/// Each embedded model names the one who did not give, and the analyses' checks hold on it.
#[test]
fn embedded_models_know_who_was_given_the_drink() {
    for on in subjects() {
        for name in embedded_models() {
            let model = Model::named(on.device(), name).unwrap_or_else(|e| panic!("{name}: {e}"));
            let tokenizer = model.tokenizer().expect("the family has a tokenizer");
            let encode = |text| tokenizer.encode(text).expect("plain English");
            let token =
                |text| parse_token(Some(tokenizer), model.config().vocab_size, text).expect("one token");
            let (mary, john) = (token(" Mary"), token(" John"));
            let run = |text| model.run(&encode(text), &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
            let (clean, swapped) = (run(PROMPT), run(SWAPPED));
            let j = Observable::logit_diff(mary, john, clean.tokens().len() - 1);
            for (run, expected) in [(&clean, mary), (&swapped, john)] {
                let logits = run.logits_at(j.position()).expect("the last position");
                let best = logits.iter().enumerate().fold(0, |b, (i, x)| if *x > logits[b] { i } else { b });
                assert_eq!(
                    best,
                    expected as usize,
                    "{name} on {}: {:?}",
                    on.name(),
                    tokenizer.token(best as u32)
                );
            }
            sensitivity(&clean, &j).unwrap_or_else(|e| panic!("{name}: {e}"));
            patch(&clean, &swapped, &j).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

/// The logits that Hugging Face transformers computes in f64 from the same f16 weights, on twenty prompts.
#[test]
fn embedded_models_give_the_logits_of_another_implementation() {
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
