//! Invalid arguments: usage and exit code 2, or one line and exit code 1 if the check needs the model.

use std::fs;

use safetensors::tensor::{Dtype, TensorView};

use super::{Ran, command, names, on_host, run, tiny, utf8};

/// Checks that the command fails with an error line that contains all of `parts`.
#[track_caller]
fn says(arguments: &[&str], parts: &[&str]) {
    let line = on_host(&[arguments, &["--model", tiny()]].concat()).failed();
    for part in parts {
        assert!(line.contains(part), "{arguments:?}: `{part}` is not in: {line}");
    }
}

#[test]
fn prompts() {
    let list = |n: usize| vec!["1"; n].join(",");
    says(&["run", "--tokens", "1,53"], &["token 53 at position 1 is outside the vocabulary", "0 to 52"]);
    says(&["run", "--tokens", "99999999999999999999"], &["outside the vocabulary"]);
    says(&["run", "--tokens", ""], &["the list of tokens is empty", "5,9,12"]);
    says(&["run", "--tokens", "1,,2"], &["invalid token id `` at position 1"]);
    says(&["run", "--tokens", "1,x"], &["invalid token id `x` at position 1"]);
    says(&["run", "--tokens", "-1"], &["invalid token id `-1` at position 0"]);
    says(&["run", "--tokens", &list(25)], &["the prompt has 25 tokens", "24", "shorten it"]);
    says(&["run", "some text"], &["tiny-odd has no tokenizer", "--tokens 5,9,12"]);
    on_host(&["run", "--tokens", &list(24), "--model", tiny()]).done();
}

#[test]
fn observables() {
    let observe = |more: &[&str], parts: &[&str]| {
        says(&[&["sensitivity", "--tokens", "1,2,3"], more].concat(), parts);
        says(&[&["patch", "--tokens", "1,2,3", "--corrupted-tokens", "1,4,3"], more].concat(), parts);
        says(&[&["green", "--tokens", "1,2,3", "--source", "0,0", "--direction", "sensitivity"], more].concat(), parts);
    };
    observe(&["--target", "Paris"], &["`Paris` is text", "no tokenizer", "#123"]);
    observe(&["--target", "#53"], &["`#53` is outside the vocabulary", "0 to 52"]);
    observe(&["--target", "#99999999999"], &["outside the vocabulary"]);
    observe(&["--target", "#1", "--against", "#54"], &["`#54` is outside the vocabulary"]);
    observe(&["--target", ""], &["no tokenizer"]);
    observe(&["--target", "#1", "--position", "3"], &["position 3 is out of range; there are 3, 0 to 2 or -1 to -3"]);
    observe(&["--target", "#1", "--position", "-4"], &["position -4 is out of range"]);
    observe(&["--target", "#1", "--position", "-9223372036854775808"], &["is out of range"]);
}

#[test]
fn places_and_directions() {
    let green = |more: &[&str], parts: &[&str]| says(&[&["green", "--tokens", "1,2,3"], more].concat(), parts);
    green(&["--source", "3,0"], &["level 3 is out of range; there are 3, 0 to 2"]);
    green(&["--source", "0,3"], &["token position 3 is out of range"]);
    green(&["--source=-4,0"], &["level -4 is out of range"]);
    // A negative number is a value of the option before it, also where an option takes several.
    says(&["slice", "--tokens", "1,2,3", "--from", "0,1", "-4,0"], &["level -4 is out of range"]);
    says(&["slice", "--tokens", "1,2,3", "--to", "-4,0", "--from", "0"], &["level -4 is out of range"]);
    for place in ["1", "a,b", "1,2,3", ",", "1.5,0", ""] {
        green(&["--source", place], &["invalid place", "LEVEL,TOKEN"]);
    }
    let direction = |more: &[&str], parts: &[&str]| green(&[&["--source", "1,1", "--direction"], more].concat(), parts);
    direction(&["sideways"], &["invalid direction `sideways`: no such file, and none of token, random, sensitivity"]);
    direction(&["random:x"], &["invalid seed `x`"]);
    direction(&["token:#99"], &["outside the vocabulary"]);
    direction(&["sensitivity"], &["needs an observable (--target)"]);
    direction(&["displacement"], &["needs a second prompt (--donor, "]);
    direction(&["displacement", "--donor-tokens", "1,2"], &["the second prompt has 2 tokens and the first 3"]);
    direction(&["displacement", "--donor-tokens", "1,2,3", "--unit"], &["is zero at 1,1 and cannot have unit length"]);
    // The sensitivity vanishes, because the source is after the observable.
    direction(&["sensitivity", "--target", "#1", "--position", "0", "--unit"], &["is zero at 1,1"]);
}

#[test]
fn direction_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = utf8(&folder.path().join("direction.safetensors"));
    let green = |parts: &[&str]| {
        says(&["green", "--tokens", "1,2,3", "--source", "1,1", "--direction", &path], parts);
    };
    let write = |name: &str, elements: &[f32], dtype: Dtype, shape: &[usize]| {
        let view = TensorView::new(dtype, shape.to_vec(), bytemuck::cast_slice(elements)).expect("fits");
        fs::write(&path, safetensors::serialize([(name, view)], None).expect("a file")).expect("writable");
    };
    fs::write(&path, b"nothing of the kind").expect("writable");
    green(&["is not a safetensors file"]);
    write("vector", &[1.0; 30], Dtype::F32, &[30]);
    green(&["has no array `direction`"]);
    write("direction", &[1.0; 29], Dtype::F32, &[29]);
    green(&["`direction` is F32 [29], wanted F32, F16 or BF16 [30]"]);
    write("direction", &[1.0; 30], Dtype::I32, &[30]);
    green(&["`direction` is I32 [30]"]);
    write("direction", &[f32::NAN; 30], Dtype::F32, &[30]);
    green(&["not finite"]);
    write("direction", &[1.0; 30], Dtype::F32, &[30]);
    on_host(&["green", "--tokens", "1,2,3", "--source", "1,1", "--direction", &path, "--model", tiny()]).done();
}

#[test]
fn prompts_of_different_length_are_not_paired() {
    let patch = ["patch", "--tokens", "1,2,3", "--target", "#1", "--corrupted-tokens"];
    says(&[&patch[..], &["1,2"]].concat(), &["the prompt has 3 tokens and the corrupted one 2"]);
    says(&[&patch[..], &[""]].concat(), &["the list of tokens is empty"]);
    says(&[&patch[..], &["1,2,77"]].concat(), &["token 77"]);
}

/// The error is found before the work is done. No file is created or changed.
#[test]
fn files_that_cannot_be_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let inside = |name: &str| utf8(&folder.path().join(name));
    fs::create_dir(folder.path().join("folder.json")).expect("a folder");
    fs::write(folder.path().join("file"), b"content").expect("a file");
    let write = |out: &str, parts: &[&str]| {
        for command in [
            &["run"][..],
            &["sensitivity", "--target", "#1"],
            &["patch", "--target", "#1", "--corrupted-tokens", "2,2"],
            &["green", "--source", "0,0"],
        ] {
            says(&[command, &["--tokens", "1,2", "--json", "--out", out]].concat(), parts);
        }
    };
    write(&inside("no/such/folder.json"), &["cannot be written", "a directory that exists"]);
    write(&inside("folder.json"), &["folder.json", "cannot be written"]);
    write(&inside("file/out.json"), &["cannot be written"]);
    write(&inside("out.npz"), &["out.npz: a result file ends in .safetensors or .json"]);
    write(&inside("out"), &["a result file ends in"]);
    let mut left = names(folder.path());
    left.sort();
    assert_eq!(left, ["file", "folder.json"]);
    assert_eq!(fs::read(folder.path().join("file")).expect("a file"), b"content");
    assert_eq!(names(&folder.path().join("folder.json")), Vec::<String>::new());
}

/// A failure does not change an existing file of that name.
#[test]
fn a_failure_keeps_the_old_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("out.json");
    fs::write(&path, b"old").expect("writable");
    says(&["run", "--tokens", "1,99", "--out", &utf8(&path)], &["outside the vocabulary"]);
    assert_eq!(fs::read(&path).expect("a file"), b"old");
    on_host(&["run", "--tokens", "1,9", "--out", &utf8(&path), "--model", tiny()]).done();
    assert!(fs::read(&path).expect("a file").starts_with(b"{"));
    assert_eq!(names(folder.path()), ["out.json"]);
}

#[test]
fn usage() {
    for arguments in [
        &["imagine"][..],
        &["run"],
        &["run", "--tokens", "1", "--nonsense"],
        &["run", "text", "--tokens", "1"],
        &["run", "--tokens"],
        &["run", "--tokens", "1", "--top", "many"],
        &["sensitivity", "--tokens", "1"],
        &["sensitivity", "--tokens", "1", "--target", "#1", "--position", "last"],
        &["patch", "--tokens", "1", "--target", "#1"],
        &["patch", "--tokens", "1", "--target", "#1", "--corrupted", "a", "--corrupted-tokens", "1"],
        &["green", "--tokens", "1"],
        &["devices", "--json"],
        &["generate", "--tokens", "1", "--new", "-1"],
    ] {
        let Ran { code, stdout, stderr } = run(arguments);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains("Usage") || stderr.contains("--help"), "{arguments:?}: {stderr}");
    }
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"], &["green", "-h"]] {
        let Ran { code, stdout, stderr } = run(arguments);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(stdout.contains("resolvent"), "{arguments:?}: {stdout}");
    }
}

/// Environment variables hide all drivers from the child.
#[test]
fn machines_without_a_gpu() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let none = folder.path().join("none.json");
    fs::write(&none, b"").expect("writable");
    let bare = |arguments: &[&str]| -> Ran {
        let mut command = command(arguments);
        for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
            command.env(variable, &none);
        }
        command.env("WGPU_BACKEND", "vulkan").output().expect("runs").into()
    };
    for device in ["gpu", "0", "imagined"] {
        let line = bare(&["run", "--tokens", "1", "--model", tiny(), "--device", device]).failed();
        let want = format!("no GPU adapter matches `{device}` (found: none)");
        assert!(line.contains(&want) && line.contains("--device host"), "{line}");
    }
    let auto = bare(&["run", "--tokens", "1,2", "--model", tiny(), "--json"]);
    assert_eq!(auto.stderr, "", "the host is used without a message");
    assert!(auto.done().contains("\"executor\":\"host\""));
    let devices = bare(&["devices"]).done();
    assert!(devices.contains("no GPU adapter: install") && devices.contains("auto is host"), "{devices}");
}

#[test]
fn an_unknown_adapter_is_refused_with_a_list_of_adapters() {
    let line = run(&["run", "--tokens", "1", "--device", "imagined"]).failed();
    assert!(line.contains("no GPU adapter matches `imagined` (found: "), "{line}");
}

/// If an option is so large that values overflow, the error names the option. It does not name an internal edit, which
/// the user did not make.
#[test]
fn sizes_beyond_f32() {
    let transfer = ["transfer", "--tokens", "1,2,3", "--donor-tokens", "1,4,3", "--target", "#1"];
    let parts = ["3e38 times the displacement at ", "overflows f32; give a smaller --scale"];
    says(&[&transfer[..], &["--scale", "3e38"]].concat(), &parts);
    let regime = ["regime", "--tokens", "1,2,3", "--target", "#1", "--sites", "1,1", "--amplitudes"];
    let parts = ["amplitude 1e38 of a source of length ", "at 1,1 overflows f32; give smaller amplitudes"];
    says(&[&regime[..], &["0.1,1e38"]].concat(), &parts);
    says(&[&regime[..], &["0.1,-1e38"]].concat(), &parts);
}
