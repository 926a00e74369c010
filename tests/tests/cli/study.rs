//! Studies: their files, and resumption of a killed study with the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use resolvent_field::Labelled;

use super::commands::prompts;
use super::directory::Directory;
use super::{command, names, run, utf8};

/// A study of two tasks on the embedded model, with the smallest number of prompts that a study accepts.
const QUICK: [&str; 9] =
    ["study", "--quick", "--no-nulls", "--task", "agreement", "--task", "pronouns", "--limit", "4"];

fn study(out: &Path) -> Vec<String> {
    let mut arguments: Vec<String> = QUICK.map(str::to_owned).to_vec();
    arguments.extend(["--device", "host", "--out", &utf8(out)].map(str::to_owned));
    arguments
}

fn arguments(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

/// Returns the bytes of every result in a folder.
fn results(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let results = names(folder).into_iter().filter(|name| name.ends_with(".safetensors"));
    results.map(|name| (name.clone(), fs::read(folder.join(&name)).expect("a result"))).collect()
}

/// Returns the page without the line that quotes the command, because this line contains the folder.
fn page(folder: &Path) -> String {
    let page = fs::read_to_string(folder.join("index.html")).expect("a page");
    page.lines().filter(|line| !line.contains("Made by")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_killed_study_is_resumed_with_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(name));
    let printed = run(&arguments(&study(&whole))).done();
    for claim in ["linear regime", "sensitivities predict patches", "answers are carried over", "index.html"] {
        assert!(printed.contains(claim), "{printed}");
    }

    let list = study(&killed);
    let mut child = command(&arguments(&list)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let begun = Instant::now();
    while results_so_far(&killed) < 3 {
        assert!(begun.elapsed() < Duration::from_secs(300), "no step has ended");
        assert!(child.try_wait().expect("runs").is_none(), "ended before it could be killed");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("is killed");
    child.wait().expect("has ended");
    let before = results(&killed);
    assert!(before.len() < results(&whole).len(), "nothing was left to do");
    assert!(!killed.join("index.html").exists());
    let changed = |name: &String| fs::metadata(killed.join(name)).and_then(|m| m.modified()).expect("a time");
    let times: Vec<_> = before.keys().map(changed).collect();

    let again = run(&arguments(&list)).done();
    assert_eq!(again.replace(&utf8(&killed), ""), printed.replace(&utf8(&whole), ""));
    let (again, first) = (results(&killed), results(&whole));
    assert_eq!(again.keys().collect::<Vec<_>>(), first.keys().collect::<Vec<_>>());
    let other: Vec<&String> = first.iter().filter(|(name, bytes)| again[*name] != **bytes).map(|(n, _)| n).collect();
    assert!(other.is_empty(), "not the same bytes: {other:?}");
    assert_eq!(before.keys().map(changed).collect::<Vec<_>>(), times, "what was done is not done again");
    assert!(page(&killed) == page(&whole), "not the same page");
    // No incomplete file is left.
    let left = names(&killed);
    assert!(left.iter().all(|name| name.ends_with(".safetensors") || name == "index.html"), "{left:?}");

    // The page loads nothing from outside, and every result can be read.
    let page = page(&whole);
    for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for (name, bytes) in results(&whole) {
        let result = Labelled::read(&whole.join(&name)).unwrap_or_else(|e| panic!("{e}"));
        assert!(!result.arrays.is_empty() && !result.certificates.is_empty(), "{name}");
        assert!(result.metadata.contains_key("model_hash") && !bytes.is_empty(), "{name}");
    }

    // The step `reduction` has the arrays of `reduce`, and its own provenance.
    let result = Labelled::read(&whole.join("reduction.agreement.safetensors")).unwrap_or_else(|e| panic!("{e}"));
    for name in ["ranks", "error", "error_low", "error_high", "floor", "dimension", "learning", "learning_prompts"] {
        assert!(result.array(name).is_some_and(|array| !array.data.is_empty()), "{name}");
    }
    assert_eq!(result.array("trained_on").expect("a number").data, [2.0]);
    let note = |key: &str| result.metadata.get(key).map(String::as_str);
    assert_eq!((note("step"), note("seed"), note("prompts")), (Some("reduction.agreement"), Some("0"), Some("4")));
    assert!(note("tokens").is_none() && note("left_out").is_none(), "{:?}", result.metadata);
    for name in ["nothing_dropped", "alone", "adjoint"] {
        assert!(result.certificates.iter().any(|check| check.name == name), "{name}: {:?}", result.certificates);
    }

    // Another study refuses this folder.
    let other = arguments(&list).into_iter().chain(["--seed", "1"]).collect::<Vec<_>>();
    assert!(run(&other).failed().contains("belongs to a study of another model"));
}

/// Parts of the steps in several processes give the files and the page of one, nulls included.
#[test]
fn processes_share_the_steps_of_a_study() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [whole, shared] = ["whole", "shared"].map(|name| folder.path().join(name));
    let with_nulls = |folder: &Path| -> Vec<String> {
        let own = study(folder).into_iter().filter(|argument| argument != "--no-nulls");
        own.chain(["--model".to_owned(), "atlas-nano".to_owned()]).collect()
    };
    let printed = run(&arguments(&with_nulls(&whole))).done();
    let part = |part: &str| {
        let list = with_nulls(&shared);
        run(&[&arguments(&list)[..], &["--shard", part]].concat()).done()
    };
    let texts = ["0/3", "2/3", "1/3"].map(part);
    let mut own = 0;
    for text in &texts {
        let (count, rest) = text.split_once(" of ").expect("a count");
        let (all, _) = rest.split_once(" steps: ").expect("all steps");
        own += count.parse::<usize>().expect("a number");
        assert!(text.contains(" 0 were there\nthe same command without --shard writes "), "{text}");
        assert_eq!(all.parse::<usize>().expect("a number") % 11, 0, "eleven analyses: {text}");
    }
    assert!(!shared.join("index.html").exists());
    let steps = results(&shared).len();
    assert!(part("0/1").starts_with(&format!("{own} of {own} steps: 0 computed, {own} were there")));
    let again = run(&arguments(&with_nulls(&shared))).done();
    assert_eq!(again.replace(&utf8(&shared), ""), printed.replace(&utf8(&whole), ""));
    assert!(results(&shared) == results(&whole) && page(&shared) == page(&whole));
    assert_eq!(results(&shared).len(), steps, "nothing was left for the whole command");
    assert!(results(&shared.join("nulls/random")) == results(&whole.join("nulls/random")));
}

/// The nulls run in folders of their own, and every statement is printed beside them.
#[test]
fn a_study_runs_beside_its_nulls() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = utf8(&folder.path().join("out"));
    let arguments = [
        "study",
        "--quick",
        "--model",
        "atlas-nano",
        "--task",
        "agreement",
        "--limit",
        "8",
        "--device",
        "host",
        "--out",
        &out,
    ];
    let printed = run(&arguments).done();
    for words in ["random weights", "permuted weights", "shuffled pairs"] {
        assert_eq!(printed.matches(words).count(), 9, "{words} beside each of nine statements: {printed}");
    }
    let of = |null: &str, step: &str| {
        let path = folder.path().join(format!("out/nulls/{null}/{step}.agreement.safetensors"));
        Labelled::read(&path).unwrap_or_else(|e| panic!("{e}"))
    };
    let model = |null: &str| of(null, "patching").metadata["model"].clone();
    assert_eq!(
        ["random", "permuted", "shuffled"].map(model),
        ["random:0@atlas-nano", "permuted:0@atlas-nano", "atlas-nano"]
    );
    // Places without a path to J are no sources: their responses would be exactly zero.
    let regimes =
        Labelled::read(&folder.path().join("out/regimes.agreement.safetensors")).unwrap_or_else(|e| panic!("{e}"));
    let first = &regimes.array("first_order").expect("an array").data;
    assert!(!first.is_empty() && first.iter().all(|x| *x != 0.0), "{first:?}");
    // A null has no right answers, so it uses pairs of both signs.
    let answers = of("random", "answers");
    let values = |name: &str| answers.array(name).map(|array| array.data.clone()).expect("an array");
    let usable = values("usable").iter().filter(|usable| **usable == 1.0).count();
    assert!(usable >= 4 && values("clean") != values("corrupted"), "{usable}");
    let page = fs::read_to_string(folder.path().join("out/index.html")).expect("a page");
    assert!(page.contains("this model is beyond it") && page.contains("Answers of the model"));
    assert_eq!(run(&arguments).done(), printed, "read back, not computed again");
}

fn results_so_far(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|e| e.file_name().to_string_lossy().ends_with(".safetensors")).count()
}

/// A task may have any name. Its files have valid file names, and all of them are in the folder.
#[test]
fn tasks_of_any_name_are_studied() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = Directory::copy().with_tokenizer();
    let (set, out) = (folder.path().join("prompts.json"), folder.path().join("inside/out"));
    let long = "x".repeat(300);
    let tasks = ["noun/verb", "..", "../../up", "a\0b", &long, "CON", "con", ".hidden", "new\nline", "plain"];
    fs::write(&set, prompts(&tasks, 4)).expect("writable");
    let model = text.argument();
    let arguments =
        ["study", &utf8(&set), "--quick", "--no-nulls", "--model", &model, "--device", "host", "--out", &utf8(&out)];
    let printed = run(&arguments).done();
    assert!(printed.contains("index.html"), "{printed}");
    let steps = names(&out).iter().filter(|name| name.ends_with(".safetensors")).count();
    assert!(steps >= tasks.len() && steps % tasks.len() == 0, "{steps} files");
    assert!(names(&out).iter().all(|name| name.len() < 200 && !name.contains(char::is_control)));
    assert!(out.join("regimes.plain.safetensors").exists(), "a plain name stays");
    let mut outside = names(folder.path());
    outside.sort();
    assert_eq!(outside, ["inside", "prompts.json"]);
    // The same study reads its files back and computes nothing again.
    let changed = fs::metadata(out.join("regimes.plain.safetensors")).and_then(|m| m.modified()).expect("a time");
    assert_eq!(run(&arguments).done(), printed);
    let again = fs::metadata(out.join("regimes.plain.safetensors")).and_then(|m| m.modified()).expect("a time");
    assert_eq!(again, changed);
}

#[test]
fn invalid_studies_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = utf8(&folder.path().join("out"));
    let prompts = utf8(&folder.path().join("prompts.json"));
    let fails = |more: &[&str]| run(&[&["study", "--device", "host", "--out", &out], more].concat()).failed();
    assert!(fails(&["--task", "juggling"]).contains("no task `juggling` among the prompts; there are"));
    assert!(fails(&[&prompts]).contains("cannot read"));
    fs::write(&prompts, "{}").expect("writable");
    assert!(fails(&[&prompts]).contains("invalid prompt file"));
    // The texts differ in length.
    let pair = r#"{"clean": "The keys", "corrupted": "The key to the cabinet", "target": " are", "against": " is"}"#;
    fs::write(
        &prompts,
        format!(r#"{{"version": 1, "tasks": {{"a": {{"prompts": [{pair}, {pair}, {pair}, {pair}]}}}}}}"#),
    )
    .expect("writable");
    assert!(fails(&[&prompts]).contains("no task has four prompts that fit"));
    let limit = fails(&["--limit", "3"]);
    assert!(
        limit.contains("needs at least 4 prompt pairs") && limit.contains("the limit is 3; raise --limit"),
        "{limit}"
    );
    assert!(fails(&["--model", "random"]).contains("has no tokenizer"));
    assert!(!Path::new(&out).exists(), "nothing is written before the work begins");
}
