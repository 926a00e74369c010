//! SmolLM2-135M-Instruct, a real language model in 4-bit blocks, against Hugging Face's library in f64 on the same
//! weights.

use std::io::Write;
use std::path::{Path, PathBuf};

use resolvent_model::{Mode, Model, Observable};
use resolvent_tests::{Worst, subjects, tolerance};
use serde_json::Value;

const VARIABLE: &str = "RESOLVENT_REAL_MODEL";

/// Returns the model's file, or says that the tests are left out: it is downloaded by `cargo xtask test`.
fn file() -> Option<PathBuf> {
    let file = std::env::var_os(VARIABLE).map(PathBuf::from);
    if file.is_none() {
        // Past the capture of the test runner: the note must be visible when tests pass.
        let _closed = writeln!(std::io::stderr(), "{VARIABLE} is not set: TESTS OF A REAL LANGUAGE MODEL ARE LEFT OUT");
    }
    file
}

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/smollm2.json");
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

/// The tokens of two prompts, all logits of the last token by their length, and 64 of them one by one.
#[test]
fn logits_of_a_real_model() {
    let Some(file) = file() else { return };
    let (golden, mut worst) = (golden(), ["logits", "length of the logits"].map(Worst::new));
    let ids: Vec<usize> = numbers(&golden["ids"]).into_iter().map(|id| id as usize).collect();
    for on in subjects() {
        let model = Model::open(on.device(), &file).expect("opens");
        for case in golden["cases"].as_array().expect("a list") {
            let prompt = case["prompt"].as_str().expect("a text");
            let tokens = model.tokenizer().expect("a tokenizer").prompt(prompt).expect("is encoded");
            let want: Vec<u32> = numbers(&case["tokens"]).into_iter().map(|id| id as u32).collect();
            assert_eq!(tokens, want, "{prompt}");
            let logits = model.run(&tokens, &[]).and_then(|run| run.logits()).expect("runs");
            let last = &logits[logits.len() - model.sizes().vocab..];
            let length = last.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let norm = case["norm"].as_f64().expect("a number");
            let apart = |(&id, want): (&usize, f64)| (f64::from(last[id]) - want).powi(2);
            let wanted = numbers(&case["logits"]);
            let size = wanted.iter().map(|x| x * x).sum::<f64>().sqrt();
            let error = ids.iter().zip(wanted).map(apart).sum::<f64>().sqrt() / size;
            worst[0].within(prompt, on.name(), error, tolerance::MODEL);
            worst[1].within(prompt, on.name(), (length / norm - 1.0).abs(), tolerance::MODEL);
            let top = case["top"][0][1].as_u64().expect("an id") as usize;
            assert!(last.iter().all(|x| *x <= last[top]), "{prompt}: the most likely token");
        }
    }
}

/// Sensitivities predict a small change of the embedding of one token, and forward mode agrees with reverse mode.
#[test]
fn derivatives_of_a_real_model() {
    let Some(file) = file() else { return };
    let mut worst = Worst::new("real model, forward against reverse");
    let on = subjects()[0];
    let model = Model::open(on.device(), &file).expect("opens");
    let tokens = model.tokenizer().expect("a tokenizer").prompt("The capital of France is the city of").expect("text");
    let run = model.run(&tokens, &[]).expect("runs");
    let top = |text: &str| model.token(text).expect("one token");
    let j = Observable::logit_diff(top(" Paris"), top(" London"), tokens.len() - 1);
    let d = model.sizes().d;
    let direction = resolvent_model::gaussian(1, d);
    let source =
        resolvent_model::Source { site: resolvent_model::Site::ResidPre(0), token: 3, vector: direction.clone() };
    let linear = run.linearize(Mode::Exact);
    let chi = linear.gradient(&j).expect("fits");
    let reverse = resolvent_field::dot(&chi[3 * d..4 * d], &direction);
    let forward = linear.along(&[[source]], &j).expect("fits")[0].first;
    // Over the lengths, as in certificates: the product of two long vectors may be close to 0.
    let scale = resolvent_field::norm(&chi[3 * d..4 * d]) * resolvent_field::norm(&direction);
    worst.within("first", on.name(), (forward - reverse).abs() / scale, resolvent_field::ADJOINT);
}
