//! `average` on windows of a text, its lens files, and `lens --averaged`.

use std::path::Path;

use resolvent_field::Labelled;

use super::directory::Directory;
use super::{on_host, tiny, utf8};

const TEXT: &str = "When Mary and John went to the store, John gave a drink to Mary. The capital of France is Paris. ";

#[test]
fn a_text_is_averaged_and_read_through() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [text, out, lens, plot] =
        ["text.txt", "out.safetensors", "lens.pt", "plot.svg"].map(|name| utf8(&folder.path().join(name)));
    std::fs::write(&text, TEXT.repeat(4)).expect("writes");
    let model = ["--model", "atlas-nano"];
    let arguments = ["average", "--text", &text, "--window", "20", "--rows", "3", "--skip-first", "4"];
    let files = ["--out", &out, "--lens", &lens, "--plot", &plot];
    let ran = on_host(&[&arguments[..], &files, &model].concat());
    for file in [&out, &lens, &plot] {
        assert!(ran.stderr.contains(&format!("wrote {file}")), "{}", ran.stderr);
    }
    let stdout = ran.done();
    assert!(stdout.starts_with("3 prompts, 45 positions\nlevel    gain  from identity  spread"), "{stdout}");
    assert!(stdout.contains("checks: tangents "), "{stdout}");
    let result = Labelled::read(Path::new(&out)).expect("a result");
    assert_eq!(result.array("operator").expect("operators").axes, [("level", 3), ("to", 64), ("from", 64)]);
    assert_eq!(result.metadata["rows_left_out"], "0");

    let prompt = ["lens", "The capital of France is", "--top", "1", "--averaged"];
    let whole = on_host(&[&prompt[..], &[out.as_str()], &model].concat()).done();
    let of_file = on_host(&[&prompt[..], &[lens.as_str()], &model].concat()).done();
    assert!(of_file.contains("\n    0  no averaged operator\n"), "{of_file}");
    let line = |text: &str| text.lines().find(|line| line.starts_with("    1  ")).map(str::to_owned);
    assert!(line(&whole).is_some() && line(&whole) == line(&of_file), "{whole}\n{of_file}");
    let plain = on_host(&[&["lens", "The capital of France is", "--top", "1"][..], &model].concat()).done();
    assert_ne!(line(&whole), line(&plain));
    // Windows are prompts of every analysis.
    let windows = ["reach", "--text", &text, "--window", "6", "--rows", "2", "--directions", "2"];
    let reached = on_host(&[&windows[..], &model].concat()).done();
    assert!(reached.starts_with("gain |G s| / |s| by depth and distance in tokens, 2 prompts\ndepth"), "{reached}");
}

#[test]
fn what_does_not_fit_is_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [text, lens] = ["text.txt", "lens.pt"].map(|name| utf8(&folder.path().join(name)));
    std::fs::write(&text, TEXT).expect("writes");
    let nano = |arguments: &[&str]| on_host(&[arguments, &["--model", "atlas-nano"]].concat()).failed();
    let short = nano(&["average", "--text", &text, "--window", "10"]);
    assert!(short.contains("no prompt can be averaged; tokens 0 to 9: 10 tokens have no position"), "{short}");
    assert!(nano(&["average", "--text", &text, "--window", "200"]).contains("the model has positions for 128"));
    assert!(nano(&["average", "--text", "missing.txt"]).contains("missing.txt: cannot be read"));
    assert!(nano(&["average", "a b", "--lens", "lens.safetensors"]).contains("a lens file ends in .pt"));
    assert!(nano(&["lens", "a b", "--averaged", &text]).contains("ends in .safetensors or .pt"));
    std::fs::write(&lens, TEXT).expect("writes");
    assert!(nano(&["lens", "a b", "--averaged", &lens]).contains("is not a lens file: it is not a zip archive"));
    let none = on_host(&["average", "--text", &text, "--model", tiny()]).failed();
    assert!(none.contains("has no tokenizer"), "{none}");
    // Options of a text without one, and two kinds of prompts.
    for wrong in [&["average", "a b", "--window", "3"][..], &["average", "--text", &text, "--prompts", "x.csv"]] {
        assert_eq!(on_host(wrong).code, Some(2), "{wrong:?}");
    }
}

/// Each window begins with the token that the tokenizer's files ask for, and the rest of the text that fills none is
/// left out.
#[test]
fn windows_are_prompts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = r#"{"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true, "bos_token": "z"}"#;
    let model = Directory::copy().with_tokenizer().write("tokenizer_config.json", config.as_bytes());
    let [text, out] = ["text.txt", "out.safetensors"].map(|name| utf8(&folder.path().join(name)));
    std::fs::write(&text, "cdefghijkl").expect("writes");
    let model = model.argument();
    let windows = |length: &str| {
        on_host(&["run", "--text", &text, "--window", length, "--model", &model, "--out", &out]).done();
        let metadata = Labelled::read(Path::new(&out)).expect("a result").metadata;
        [metadata["prompt_tokens"].clone(), metadata["prompt_names"].clone()]
    };
    let [tokens, names] = windows("5");
    assert_eq!(tokens, r#"["25,2,3,4,5","25,6,7,8,9"]"#);
    assert_eq!(names, r#"["tokens 0 to 3","tokens 4 to 7"]"#);
    // A text that is shorter than a window is one.
    assert_eq!(windows("20")[0], r#"["25,2,3,4,5,6,7,8,9,10,11"]"#);
    let short = on_host(&["run", "--text", &text, "--window", "1", "--model", &model]).failed();
    assert!(short.contains("give a length from 2 to 24"), "{short}");
}
