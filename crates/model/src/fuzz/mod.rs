//! Damages every kind of file that a user supplies. No file may cause a panic, a hang, a huge allocation, or an error
//! of more than one line.
//!
//! For a longer run: `PROPTEST_CASES=20000 cargo test -p resolvent-model fuzz`.

mod gguf;
mod memory;
mod mutate;
mod seeds;

use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Checkpoint, PromptSet, Tokenizer};
use mutate::{Mutation, bytes, json, mutations};

/// Time limit for one set of files, on a machine that also does other work.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// Limit of a single allocation. The seeds are a few kilobytes.
const BYTES_LIMIT: usize = 64 << 20;

/// Texts to encode with every tokenizer that opens.
const TEXTS: [&str; 6] = [
    "",
    "Hi the cat",
    " <mask>  <|user|>x",
    "HÉllo \u{301}日本\u{0}\n\t",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
    "1234 'll \u{feff}",
];

fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() }
}

/// Runs `work` on a directory with `files`, and checks its time and its largest allocation.
fn run_on(files: &[(&str, &[u8])], work: impl FnOnce(&Path)) {
    let dir: TempDir = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).expect("writable");
    }
    let started = Instant::now();
    let largest = memory::largest(|| work(dir.path()));
    assert!(started.elapsed() < TIME_LIMIT, "took {:?}", started.elapsed());
    assert!(largest < BYTES_LIMIT, "asked for {largest} bytes at once");
}

/// Returns the value of a result. Checks that an error is one line of under 2000 bytes.
fn one_line<T, E: std::fmt::Display>(result: Result<T, E>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let line = error.to_string();
            assert!(!line.contains(|c: char| c.is_control()), "one line: {line:?}");
            assert!(line.len() < 2000, "{} bytes: {line}", line.len());
            None
        }
    }
}

fn open_model(dir: &Path) {
    let Some(checkpoint) = one_line(Checkpoint::open(dir)) else { return };
    for (name, shape) in checkpoint.architecture().tensors() {
        let mut out = vec![0.0; shape.iter().product()];
        one_line(checkpoint.read_f32(&name, 0..shape[0], &mut out));
    }
}

fn open_tokenizer(dir: &Path) {
    let Some(Some(tokenizer)) = one_line(Tokenizer::open(dir)) else { return };
    for text in TEXTS {
        let Some(ids) = one_line(tokenizer.prompt(text)) else { continue };
        one_line(tokenizer.decode(&ids));
        let _shown: String = ids.iter().map(|&id| tokenizer.token(id)).collect();
        one_line(tokenizer.single(text));
    }
    one_line(tokenizer.decode(&[0, 1, 2, u32::MAX]));
}

/// Returns the JSON of a seed after the mutations of its values, and then of its bytes.
fn changed(seed: &Value, by: &[Mutation]) -> Vec<u8> {
    bytes(json(seed.clone(), by).to_string().into_bytes(), by)
}

/// The seeds open as long as nothing mutates them.
#[test]
fn seeds_open() {
    let opened = |files: &[(&str, &[u8])], open: fn(&Path)| run_on(files, open);
    let config = seeds::config().to_string();
    let index = seeds::index().to_string();
    let whole: [&[(&str, &[u8])]; 2] = [
        &[("config.json", config.as_bytes()), ("model.safetensors", &seeds::weights())],
        &[
            ("config.json", config.as_bytes()),
            ("model.safetensors.index.json", index.as_bytes()),
            ("a.safetensors", &seeds::weights()),
        ],
    ];
    for files in whole {
        opened(files, |dir| drop(Checkpoint::open(dir).unwrap_or_else(|e| panic!("{e}"))));
    }
    let tokenizer = |dir: &Path| {
        let tokenizer = Tokenizer::open(dir).unwrap_or_else(|e| panic!("{e}")).expect("a tokenizer");
        assert!(!tokenizer.prompt("Hi").unwrap_or_else(|e| panic!("{e}")).is_empty());
    };
    for which in 0..seeds::WHOLE {
        opened(&[("tokenizer.json", seeds::whole(which).to_string().as_bytes())], tokenizer);
    }
    let parts: Vec<(&str, Vec<u8>)> =
        seeds::parts().into_iter().map(|(name, seed)| (name, seed_bytes(&seed))).collect();
    let files: Vec<(&str, &[u8])> = parts.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    opened(&files, tokenizer);
    opened(&[("prompts.json", seeds::prompts().to_string().as_bytes())], |dir| {
        drop(PromptSet::open(&dir.join("prompts.json")).unwrap_or_else(|e| panic!("{e}")));
    });
}

/// Returns the bytes of a seed: the text itself, or the JSON of any other value.
fn seed_bytes(seed: &Value) -> Vec<u8> {
    seed.as_str().map_or_else(|| seed.to_string(), str::to_owned).into_bytes()
}

/// Found by `whole_tokenizers`: normalizers that make the tokenizers crate index beyond its text.
#[test]
fn normalizers_that_contradict_each_other_are_an_error() {
    let by = [Mutation::found(0, 1_807_307_816, 1_003_881_483)];
    run_on(&[("tokenizer.json", &changed(&seeds::whole(1), &by))], |dir| {
        let error = Tokenizer::open(dir).map(|_| ()).expect_err("refused").to_string();
        assert!(error.contains("contradict each other"), "{error}");
    });
}

proptest! {
    #![proptest_config(cases(800))]

    #[test]
    fn configs(by in mutations()) {
        let config = changed(&seeds::config(), &by);
        run_on(&[("config.json", &config), ("model.safetensors", &seeds::weights())], open_model);
    }

    #[test]
    fn weight_headers(by in mutations(), data in 0..3000usize) {
        let weights = seeds::with_header(&changed(&seeds::header(), &by), data);
        let config = seeds::config().to_string();
        run_on(&[("config.json", config.as_bytes()), ("model.safetensors", &weights)], open_model);
    }

    #[test]
    fn weight_files(by in mutations()) {
        let weights = bytes(seeds::weights(), &by);
        let config = seeds::config().to_string();
        run_on(&[("config.json", config.as_bytes()), ("model.safetensors", &weights)], open_model);
    }

    #[test]
    fn indexes_of_shards(by in mutations()) {
        let index = changed(&seeds::index(), &by);
        let config = seeds::config().to_string();
        let files: [(&str, &[u8]); 3] = [
            ("config.json", config.as_bytes()),
            ("model.safetensors.index.json", &index),
            ("a.safetensors", &seeds::weights()),
        ];
        run_on(&files, open_model);
    }

    #[test]
    fn whole_tokenizers(seed in 0..seeds::WHOLE, by in mutations()) {
        run_on(&[("tokenizer.json", &changed(&seeds::whole(seed), &by))], open_tokenizer);
    }

    #[test]
    fn tokenizers_in_parts(by in prop::array::uniform5(mutations()), which in 1..32u32) {
        let seeds = seeds::parts();
        let names: Vec<&str> = seeds.keys().copied().collect();
        let files: Vec<Vec<u8>> = seeds.values().zip(&by).enumerate().map(|(at, (seed, by))| {
            let by = if which >> at & 1 == 1 { &by[..] } else { &[] };
            match seed {
                Value::String(_) => bytes(seed_bytes(seed), by),
                seed => changed(seed, by),
            }
        }).collect();
        let files: Vec<(&str, &[u8])> = names.into_iter().zip(files.iter().map(Vec::as_slice)).collect();
        run_on(&files, open_tokenizer);
    }

    #[test]
    fn settings_beside_a_whole_tokenizer(seed in 0..seeds::WHOLE, by in prop::array::uniform3(mutations())) {
        let parts = seeds::parts();
        let whole = seeds::whole(seed).to_string();
        let names = ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];
        let settings: Vec<Vec<u8>> = names.iter().zip(&by).map(|(name, by)| changed(&parts[name], by)).collect();
        let mut files: Vec<(&str, &[u8])> = names.into_iter().zip(settings.iter().map(Vec::as_slice)).collect();
        files.push(("tokenizer.json", whole.as_bytes()));
        run_on(&files, open_tokenizer);
    }

    #[test]
    fn prompt_files(by in mutations()) {
        run_on(&[("prompts.json", &changed(&seeds::prompts(), &by))], |dir| {
            if let Some(set) = one_line(PromptSet::open(&dir.join("prompts.json"))) {
                one_line(set.task("no such task"));
            }
        });
    }
}
