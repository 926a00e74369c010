//! Studies leave out pairs, tasks and steps that cannot be analysed. They name them on the terminal, in files and on
//! the page.

use std::fs;
use std::path::Path;

use resolvent_engine::Device;
use resolvent_field::Labelled;
use resolvent_model::{Model, Observable};
use tempfile::TempDir;

use super::made::{Made, prompts};
use super::{Ran, names, run, utf8};

const PAIRS: [(&str, &str); 5] = [("x e", "y e"), ("x f", "y f"), ("x g", "y g"), ("x h", "y h"), ("c e", "d e")];

/// Runs a study of tasks on a model, and returns its outcome and its folder.
fn study(model: &Made, tasks: &[(&str, &[(&str, &str)])], more: &[&str]) -> (Ran, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [file, out] = ["prompts.json", "out"].map(|name| utf8(&folder.path().join(name)));
    let tasks: Vec<(&str, Vec<(&str, &str)>)> =
        tasks.iter().map(|(name, pairs)| (*name, answered(model, pairs))).collect();
    let tasks: Vec<(&str, &[(&str, &str)])> = tasks.iter().map(|(name, pairs)| (*name, &pairs[..])).collect();
    fs::write(&file, prompts(&tasks)).expect("writable");
    let own = ["study", &file, "--no-nulls", "--model", &model.argument(), "--device", "host", "--out", &out];
    (run(&[&own, more].concat()), folder)
}

/// Returns the pairs with their prompts in the order in which the model, which is random, answers them: a study leaves
/// out pairs that a model answers wrongly.
fn answered<'a>(model: &Made, pairs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let model = Model::open(&Device::host(), Path::new(&model.argument())).unwrap_or_else(|e| panic!("{e}"));
    let value = |text: &str| {
        let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
        let j = Observable::logit_diff(u32::from(b'P'), u32::from(b'R'), tokens.len() - 1);
        model.run(&tokens, &[]).and_then(|run| run.value(&j)).unwrap_or_else(|e| panic!("{e}"))
    };
    pairs.iter().map(|&(a, b)| if a.len() == b.len() && value(a) < value(b) { (b, a) } else { (a, b) }).collect()
}

fn result(folder: &TempDir, step: &str) -> Labelled {
    let path = folder.path().join("out").join(format!("{step}.safetensors"));
    Labelled::read(&path).unwrap_or_else(|e| panic!("{e}"))
}

fn page(folder: &TempDir) -> String {
    fs::read_to_string(folder.path().join("out/index.html")).expect("a page")
}

/// Creates a model in which the tokens c and d have the same embedding. So J is the same in both prompts of the fifth
/// pair.
fn twins() -> Made {
    Made::new([2, 8, 2], 5, |name, data| {
        if name == "wte.weight" {
            let (c, d) = (usize::from(b'c') * 8, usize::from(b'd') * 8);
            data.copy_within(c..c + 8, d);
        }
    })
}

#[test]
fn a_pair_without_a_difference_is_named_and_left_out() {
    let model = twins();
    let (ran, folder) = study(&model, &[("t", &PAIRS)], &["--quick"]);
    let printed = ran.done();
    let line = printed.lines().find(|l| l.contains("\"c e\"")).expect("the pair is named");
    assert!(line.contains(r#"pair "c e" / "d e" in "#) && line.contains("J is the same in both prompts"), "{line}");
    assert!(page(&folder).contains("J is the same in both prompts") && page(&folder).contains("c e"));
    let transfers = result(&folder, "transfers.t");
    assert_eq!(transfers.array("prompt").expect("prompts").data, [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(transfers.metadata["prompts"], "4");
    let answers = result(&folder, "answers.t");
    assert!(answers.metadata["left_out"].contains("J is the same"), "{:?}", answers.metadata);
    assert!(!transfers.metadata.contains_key("left_out"), "the pair is left out once: {:?}", transfers.metadata);
    // The same command reads all results back, and prints the same.
    let out = utf8(&folder.path().join("out"));
    let file = utf8(&folder.path().join("prompts.json"));
    let again = run(&[
        "study",
        &file,
        "--no-nulls",
        "--model",
        &model.argument(),
        "--device",
        "host",
        "--quick",
        "--out",
        &out,
    ]);
    assert_eq!(again.done(), printed);
}

/// A last token that alone differs carries the whole answer by construction, which is no transfer.
#[test]
fn a_pair_that_differs_at_the_last_token_shows_no_transfer() {
    let pairs = [PAIRS[0], PAIRS[1], PAIRS[2], PAIRS[3], ("e x", "e y")];
    let (ran, folder) = study(&twins(), &[("t", &pairs)], &["--quick"]);
    ran.done();
    let transfers = result(&folder, "transfers.t");
    assert_eq!(transfers.array("prompt").expect("prompts").data, [0.0, 1.0, 2.0, 3.0]);
    let left_out = &transfers.metadata["left_out"];
    assert!(left_out.contains("differ at the last token only") && left_out.contains("e x"), "{left_out}");
}

/// If a pair is left out, the next one replaces it, so that the wanted number of pairs is analysed.
#[test]
fn the_next_pair_replaces_one_that_is_left_out() {
    let pairs = [PAIRS[4], PAIRS[0], PAIRS[1], PAIRS[2], PAIRS[3], ("x k", "y k")];
    let (ran, folder) = study(&twins(), &[("t", &pairs)], &["--quick"]);
    ran.done();
    let inverse = result(&folder, "inverse.t");
    assert_eq!(inverse.metadata["prompts"], "4", "four pairs of six, the first of which has no difference");
}

#[test]
fn one_block_is_studied_without_a_reduction() {
    let model = Made::new([1, 8, 2], 5, |_, _| {});
    let (ran, folder) = study(&model, &[("t", &PAIRS[..4])], &[]);
    let printed = ran.done();
    let line = printed.lines().find(|l| l.contains("reduction.t:")).expect("the step is named");
    assert!(line.contains("the model has one block"), "{line}");
    assert!(printed.contains("not measured         reduced descriptions"), "{printed}");
    assert!(page(&folder).contains("Left out here: reduction.t: the model has one block"));
    let steps = names(&folder.path().join("out"));
    assert_eq!(steps.iter().filter(|name| name.ends_with(".safetensors")).count(), 12, "{steps:?}");
    assert!(result(&folder, "reduction.t").arrays.is_empty());
    assert!(!result(&folder, "inverse.t").arrays.is_empty() || printed.contains("inverse.t:"));
}

#[test]
fn small_tasks_and_pairs_that_do_not_fit_are_named() {
    let model = Made::new([1, 8, 2], 5, |_, _| {});
    let uneven = [PAIRS[0], PAIRS[1], PAIRS[2], PAIRS[3], ("short", "longer")];
    let (ran, folder) = study(&model, &[("few", &PAIRS[..3]), ("t", &uneven)], &["--quick"]);
    let printed = ran.done();
    assert!(printed.contains("task few: 3 of its 3 pairs fit the model, and a task needs 4"), "{printed}");
    assert!(printed.contains(r#"pair "short" / "longer" of task t: the clean prompt has "#), "{printed}");
    assert!(page(&folder).contains("task few") && page(&folder).contains("longer"));
    let (ran, _) = study(&model, &[("t", &uneven)], &["--limit", "3"]);
    let line = ran.failed();
    assert!(line.contains("a study needs at least 4 prompt pairs of each task, and the limit is 3"), "{line}");
    let (ran, _) = study(&model, &[("t", &uneven)], &["--quick", "--task", "t", "--task", "t"]);
    ran.done();
}
