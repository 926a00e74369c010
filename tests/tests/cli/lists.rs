//! List options: in every one of them, a repeated entry counts once.

use super::commands::prompts;
use super::directory::Directory;
use super::readable::readable;
use super::{on_host, tiny, utf8};

/// Returns commands without their lists, the lists, and the lists with repeated entries. The entries are repeated
/// within one option, or the option is repeated.
fn lists() -> Vec<(&'static str, &'static str, &'static str)> {
    let patch = "patch --corrupted-tokens 3,1,9,1,5 --target #3";
    vec![
        (patch, "--sites resid,z", "--sites resid,resid,z,resid"),
        (patch, "--sites resid", "--sites resid --sites resid"),
        (
            "patch --corrupted-tokens 3,1,9,1,5 --target #3 --sites resid,mlp_out --interactions 2",
            "--predictors curvature,relp",
            "--predictors curvature,curvature,relp --predictors curvature,first_order",
        ),
        (patch, "--interactions-at 1,2 2,4", "--interactions-at 1,2 1,2 2,4 2,-1 --interactions-at=-2,2"),
        ("regime --target #3", "--sites 1,1 2,-1", "--sites 1,1 1,1 2,4 2,-1 --sites=-2,1"),
        ("regime --target #3 --sites 1,1", "--amplitudes 0.1,1", "--amplitudes 0.1,1,0.10,1.0,1e0"),
        ("invert --goal 0.1 --target #3", "--from 1,1 0,2", "--from 1,1 0,2 1,1 --from=-2,1"),
        ("invert --target #3", "--goal 0.1 --goal #7:0", "--goal 0.1 --goal #7:0 --goal 0.10 --goal #7:0.0"),
        ("invert --target #3 --goal 0.1", "--field-goal 2,3:0.1", "--field-goal 2,3:0.1 --field-goal=-1,3:0.1"),
        ("slice -k 1", "--from 0,1 1,2 --to 2", "--from 0,1 0,1 1,2 -3,1 --to 2 2,4 --to=-1"),
        ("slice --svd -k 2 --to 2,4", "--from 0,1 1,2", "--from 0,1 1,2 0,1"),
        ("slice --basis random:1 -k 2 --from 0", "--readout unembed:#7,#2", "--readout unembed:#7,#2,#7,#2"),
        ("slice -k 2 --from 0", "--basis embed:#7,#2", "--basis embed:#7,#7,#2"),
        (
            "slice --basis pca -k 2 --from 0",
            "--donor-tokens 3,1,9,1,5 --donor-tokens 8,8,8",
            "--donor-tokens 3,1,9,1,5 --donor-tokens 8,8,8 --donor-tokens 3,1,9,1,5",
        ),
    ]
}

#[test]
fn an_entry_that_is_repeated_counts_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("out.safetensors");
    let arrays = |command: &str, list: &str, more: &[&str]| {
        let words: Vec<&str> = command.split(' ').chain(list.split(' ')).collect();
        let ran = on_host(&[&words[..], more, &["--out", &utf8(&path)]].concat());
        assert_eq!(ran.code, Some(0), "{command} {list}: {}", ran.stderr);
        (readable(&path), ran.stdout)
    };
    let tokens = ["--tokens", "3,1,4,1,5", "--model", tiny()];
    for (command, once, repeated) in lists() {
        // Among several values, a negative place would be read as an option. So `-3,1` is written with `=`.
        let repeated = repeated.replace(" -3,1", " --from=-3,1");
        let (mut first, second) = (arrays(command, once, &tokens), arrays(command, &repeated, &tokens));
        if command.starts_with("slice") {
            // `slice` prints bases as they were typed, so that what it prints differs.
            first.1.clone_from(&second.1);
        }
        assert!(first == second, "{command} {repeated}: {} {}", first.1, second.1);
    }
    let text = Directory::copy().with_tokenizer();
    let set = folder.path().join("prompts.json");
    std::fs::write(&set, prompts(&["a", "b"], 16)).expect("writable");
    let (model, set) = (text.argument(), utf8(&set));
    let transfer = format!("transfer cde --donor cdf --target c --model {model}");
    let scale = format!("scale {model} {model} --prompts {set}");
    for (command, once, repeated) in [
        (&transfer, "--other dde --other edc", "--other dde --other edc --other dde --other edc"),
        (&scale, "--task a", "--task a --task a"),
        (&scale, "--token c --token #5", "--token c --token #5 --token #2 --token c"),
    ] {
        assert_eq!(arrays(command, once, &[]), arrays(command, repeated, &[]), "{command} {repeated}");
    }
}

/// A study runs each task once, and each smaller model once.
#[test]
fn a_study_takes_each_task_and_model_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = Directory::copy().with_tokenizer();
    let set = folder.path().join("prompts.json");
    std::fs::write(&set, prompts(&["a", "b"], 8)).expect("writable");
    let model = text.argument();
    let study = |out: &str, lists: &[&str]| {
        let out = utf8(&folder.path().join(out));
        let common = ["study", &utf8(&set), "--quick", "--no-nulls", "--limit", "4", "--model", &model, "--out", &out];
        let printed = on_host(&[&common[..], lists].concat()).done();
        printed.replace(&out, "")
    };
    let once = study("once", &["--task", "b", "--small", &model]);
    let repeated = study("repeated", &["--task", "b", "--task", "b", "--small", &model, "--small", &model]);
    assert_eq!(once, repeated);
}
