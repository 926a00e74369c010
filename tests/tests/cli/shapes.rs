//! Every command on degenerate shapes: one block, one head, one token, width 1.
//!
//! Each command ends, with a result or with one line that says why there is none.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::made::{Made, prompts};
use super::{Ran, command, utf8};

/// The longest time that a command may take.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Runs a command, and panics if it does not end within the time limit.
fn ended(arguments: &[&str]) -> Ran {
    let mut child = command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{arguments:?}: {e}"));
    let begun = Instant::now();
    // The pipes are read after the end: except for JSON, which is not printed here, output fits in a pipe.
    while child.try_wait().expect("is ours").is_none() {
        if begun.elapsed() > TIME_LIMIT {
            child.kill().expect("can be killed");
            panic!("{arguments:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().expect("has ended").into()
}

/// Checks that a command prints a result, or one line that begins with `error: `. Returns the line, if there is one.
#[track_caller]
fn error_of(arguments: &[&str]) -> Option<String> {
    let ran = ended(arguments);
    match ran.code {
        Some(0) => {
            assert!(!ran.stdout.is_empty(), "{arguments:?}");
            None
        }
        Some(1) => {
            let lines: Vec<&str> = ran.stderr.lines().filter(|l| !l.starts_with("wrote ")).collect();
            assert!(lines.len() == 1 && lines[0].starts_with("error: "), "{arguments:?}: {}", ran.stderr);
            let line = lines[0].to_owned();
            assert!(!line.contains("NaN") && !line.contains("check `"), "{arguments:?}: {line}");
            Some(line)
        }
        other => panic!("{arguments:?}: {other:?} {}", ran.stderr),
    }
}

/// Runs all commands on a model of the given shape (blocks, width, heads), with prompts of `tokens` tokens.
fn through_all(shape: [usize; 3], tokens: usize) {
    let model = Made::new(shape, 3, |_, _| {});
    let folder = tempfile::tempdir().expect("a temporary folder");
    let inside = |name: &str| utf8(&folder.path().join(name));
    let text = |first: char| std::iter::once(first).chain(std::iter::repeat_n('m', tokens - 1)).collect::<String>();
    let [a, b] = [text('a'), text('b')];
    let (name, last) = (model.argument(), shape[0].to_string());
    let (out, plot) = (inside("out.safetensors"), inside("out.svg"));
    let j = ["--target", "P", "--against", "R"];
    let to = format!("--to={last}");
    let all: Vec<Vec<&str>> = vec![
        vec!["run", &a],
        [&["sensitivity", &a][..], &j].concat(),
        [&["patch", &a, "--corrupted", &b, "--sites", "resid,mid,attn_out,mlp_out,q,k,v,z"][..], &j].concat(),
        [&["patch", &a, "--corrupted", &b, "--predictors", "curvature,hvp,integrated,relp"][..], &j].concat(),
        [&["patch", &a, "--corrupted", &b, "--interactions", "3"][..], &j].concat(),
        [
            &[
                "edges",
                &a,
                "--corrupted",
                &b,
                "--predictors",
                "integrated_activations,relp",
                "--exact",
                "--random",
                "1",
            ],
            &j[..],
        ]
        .concat(),
        [&["subspace", &a, "--corrupted", &b, "--site", "blocks.0.mlp.hook_post", "--token=0"][..], &j].concat(),
        [&["patch", &a, "--corrupted", &b, "--interactions", "3", "--joint", "add"][..], &j].concat(),
        vec!["green", &a, "--source", "0,0", "--geometry", "--directions", "2", "--norms", "2"],
        vec!["green", &a, "--source=-1,-1", "--geometry"],
        vec!["slice", &a],
        vec!["slice", &a, "--basis", "random", "--readout", "unembed"],
        vec!["slice", &a, "--svd", "--from", "0", &to, "-k", "1"],
        [&["regime", &a, "--field"][..], &j].concat(),
        [&["quadratic", &a, "--at=0,0", "--basis", "random", "-k", "2"][..], &j].concat(),
        [&["regime", &a, "--direction", "sensitivity", "--unit"][..], &j].concat(),
        [&["invert", &a, "--goal", "0.01", "--refine", "2"][..], &j].concat(),
        [&["invert", &a, "--goal", "0.01", "--sparse", "2", "--limit", "0.1"][..], &j].concat(),
        [&["invert", &a, "--goal", "0.01", "--sparse", "2", "--choose", "lasso"][..], &j].concat(),
        [&["transfer", &a, "--donor", &b][..], &j].concat(),
        vec!["locate", &a, "--hide", "0,0", "--draws", "1"],
        vec!["locate", &a, "--hide=-1,-1", "--finite", "--draws", "0", "--levels", "0,-1"],
    ];
    for arguments in all {
        let common = ["--model", &name, "--device", "host", "--out", &out, "--plot", &plot];
        if let Some(line) = error_of(&[&arguments[..], &common].concat()) {
            println!("{shape:?}, {tokens} tokens: {} {line}", arguments[0]);
        }
    }
    let pairs: Vec<(String, String)> =
        ["ab", "cd", "ef", "gh", "ij"].map(|p| (text(p.as_bytes()[0] as char), text(p.as_bytes()[1] as char))).into();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    fs::write(inside("prompts.json"), prompts(&[("t", &pairs)])).expect("writable");
    let file = inside("prompts.json");
    if let Some(line) = error_of(&["scale", &name, &name, "--prompts", &file, "--device", "host", "--out", &out]) {
        println!("{shape:?}, {tokens} tokens: scale {line}");
    }
    let continued = ended(&["generate", &a, "--new", "3", "--model", &name, "--device", "host"]);
    assert!(continued.code == Some(0) && continued.stdout.starts_with(&a), "{}{}", continued.stdout, continued.stderr);
    let own = ["reduce", "--prompts", &file, "--model", &name, "--device", "host", "--out", &out, "--plot", &plot];
    if let Some(line) = error_of(&own) {
        println!("{shape:?}, {tokens} tokens: reduce {line}");
    }
    let study = inside("study");
    for more in [&["--quick"][..], &["--small", &name]] {
        let own = ["study", &file, "--no-nulls", "--model", &name, "--device", "host", "--out", &study];
        let ran = ended(&[&own, more].concat());
        assert_eq!(ran.code, Some(0), "{shape:?}, {tokens} tokens, {more:?}: {}{}", ran.stdout, ran.stderr);
        assert!(!ran.stdout.contains("NaN"), "{shape:?}, {tokens} tokens, {more:?}: {}", ran.stdout);
        assert!(fs::read_to_string(inside("study/index.html")).is_ok_and(|page| page.contains("</html>")));
        fs::remove_dir_all(&study).expect("removable");
    }
}

#[test]
fn one_block() {
    through_all([1, 8, 2], 3);
}

#[test]
fn one_head() {
    through_all([2, 6, 1], 3);
}

#[test]
fn one_token() {
    through_all([2, 8, 2], 1);
}

#[test]
fn width_one() {
    through_all([2, 1, 1], 3);
}

#[test]
fn heads_of_width_one() {
    through_all([2, 4, 4], 2);
}

#[test]
fn one_of_everything() {
    through_all([1, 1, 1], 1);
}
