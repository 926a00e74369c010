//! One call of each command on the smallest models, with the files that it writes.

use std::path::{Path, PathBuf};

use super::directory::Directory;
use super::{tiny, utf8};

/// The arguments of a command that succeeds, and the files that it writes.
pub(super) struct Call {
    pub(super) arguments: Vec<String>,
    pub(super) files: Vec<PathBuf>,
}

impl Call {
    pub(super) fn arguments(&self) -> Vec<&str> {
        self.arguments.iter().map(String::as_str).collect()
    }

    /// Removes the files of an earlier run.
    pub(super) fn clean(&self) {
        for file in &self.files {
            let _missing = std::fs::remove_file(file);
        }
    }
}

/// Returns a prompt file in which each task has the same `count` pairs. Their letters have tokens in the tokenizer of
/// [`Directory::with_tokenizer`].
pub(super) fn prompts(tasks: &[&str], count: usize) -> String {
    let pair = |i: usize| {
        let [x, y] = [i, i + 1].map(|i| char::from(b'c' + (i % 20) as u8));
        serde_json::json!({
            "clean": format!("{x} b{x}"), "corrupted": format!("{y} b{x}"), "target": x.to_string(), "against": y.to_string()
        })
    };
    let task = serde_json::json!({ "prompts": (0..count).map(pair).collect::<Vec<_>>() });
    let tasks: serde_json::Map<_, _> = tasks.iter().map(|name| ((*name).to_owned(), task.clone())).collect();
    serde_json::json!({ "version": 1, "tasks": tasks }).to_string()
}

/// Returns one call of every command except `demo`, which has no small model, and `download`. `bench` only compares
/// figures that are written here. `text` is a model with a tokenizer.
pub(super) fn calls(folder: &Path, text: &Directory) -> Vec<Call> {
    let tokens = "3,1,4,1,5";
    let with_files = |name: &str, line: &str| {
        let [out, plot] = ["safetensors", "svg"].map(|ending| folder.join(format!("{name}.{ending}")));
        let mut arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        arguments.extend(["--device", "host", "--out", &utf8(&out), "--plot", &utf8(&plot)].map(str::to_owned));
        Call { arguments, files: vec![out, plot] }
    };
    let tiny = |line: &str| {
        let name = line.split(' ').next().unwrap_or_default();
        with_files(name, &format!("{line} --tokens {tokens} --model {}", tiny()))
    };
    let without_files =
        |line: &str| Call { arguments: line.split(' ').map(str::to_owned).collect(), files: Vec::new() };
    let set = folder.join("prompts.json");
    std::fs::write(&set, prompts(&["letters"], 16)).expect("writable");
    let figures = folder.join("figures.json");
    let peaks = serde_json::json!({ "gflops": 1.0, "gbytes": 1.0 });
    let bench = serde_json::json!({ "schema": 1, "peaks": peaks, "passes": [], "kernels": [] });
    std::fs::write(&figures, bench.to_string()).expect("writable");
    let (model, set, figures, study) = (text.argument(), utf8(&set), utf8(&figures), folder.join("study"));
    let mut calls = vec![
        tiny("run"),
        tiny("sensitivity --target #3"),
        tiny("patch --corrupted-tokens 3,1,9,1,5 --target #3"),
        tiny("green --source 0,1"),
        tiny("slice -k 2"),
        tiny("regime --target #3 --sites 1,1"),
        tiny("invert --goal 0.1 --target #3"),
        tiny("transfer --donor-tokens 3,1,9,1,5 --target #3"),
        with_files("scale", &format!("scale {model} {model} --prompts {set}")),
        without_files("devices --no-test"),
        without_files(&format!("bench --compare {figures} {figures}")),
        without_files("bench --tune --device host"),
    ];
    let line = format!("study {set} --quick --no-nulls --model {model} --device host --out {}", utf8(&study));
    calls.push(Call { files: vec![study.join("index.html")], ..without_files(&line) });
    calls
}
