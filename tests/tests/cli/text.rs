//! Prompts and tokens as text, and printed output where stdout is no terminal.

use resolvent_tests::gpus;

use super::directory::Directory;
use super::{Ran, on_host, run, tiny, utf8};

fn with_text(copy: &Directory, arguments: &[&str]) -> Ran {
    on_host(&[arguments, &["--model", &copy.argument()]].concat())
}

#[test]
fn texts_are_tokens() {
    let copy = Directory::copy().with_tokenizer();
    let json = |arguments: &[&str]| with_text(&copy, &[arguments, &["--json"]].concat()).done();
    let text = json(&["run", "ab ab c"]);
    assert!(text.contains("\"tokens\":\"29,30,26,2\""), "{}", &text[text.len() - 700..]);
    // The same run with ids, with and without `#`.
    assert_eq!(text, json(&["run", "--tokens", "29,30,#26, 2"]));

    let sensitivity = |target: &str| json(&["sensitivity", "ab ab c", "--target", target]);
    assert_eq!(sensitivity(" ab"), sensitivity("#30"));
    assert_ne!(sensitivity("ab"), sensitivity(" ab"));
    let patch = |corrupted: &[&str]| json(&[&["patch", "a b", "--target", "#3"], corrupted].concat());
    assert_eq!(patch(&["--corrupted", "b b"]), patch(&["--corrupted-tokens", "1,28"]));
    let green = |direction: &str| {
        let text = json(&["green", "ab c", "--source", "1,-1", "--direction", direction]);
        text.split("\"metadata\"").next().map(str::to_owned)
    };
    assert_eq!(green("token: ab"), green("token:#30"));
}

#[test]
fn texts_that_are_no_tokens() {
    let copy = Directory::copy().with_tokenizer();
    let says = |arguments: &[&str], parts: &[&str]| {
        let line = with_text(&copy, arguments).failed();
        for part in parts {
            assert!(line.contains(part), "{arguments:?}: `{part}` is not in: {line}");
        }
    };
    let sensitivity = |target: &str, parts: &[&str]| says(&["sensitivity", "ab", "--target", target], parts);
    sensitivity("cd", &["`cd` is 2 tokens: `c` #2, `d` #3", "must be one token"]);
    sensitivity(" abc", &["is 2 tokens: ` ab` #30, `c` #2"]);
    sensitivity("ab ", &["is 2 tokens", "did you mean ` ab`?"]);
    sensitivity("É", &["no token for"]);
    sensitivity("", &["must be one token, and it is empty"]);
    // The limit is the model's vocabulary, which may be larger than the tokenizer's.
    sensitivity("#53", &["`#53` is outside the vocabulary", "0 to 52"]);
    says(&["run", "AB"], &["`AB` has characters that this tokenizer has no token for"]);
    says(&["run", ""], &["the prompt is empty"]);
    says(&["sensitivity", "", "--target", "#1"], &["the prompt is empty"]);
    says(&["patch", "", "--corrupted", "", "--target", "#1"], &["the prompt is empty"]);
    says(&["green", "", "--source", "0,0"], &["the prompt is empty"]);
    says(&["green", "a", "--source", "0,0", "--direction", "displacement", "--donor", ""], &["the prompt is empty"]);
    says(&["patch", "ab c", "--corrupted", "ab", "--target", "#1"], &["has 3 tokens and the corrupted one 1"]);
    // Two models can be compared only on prompts that have the same tokens in both.
    let line = on_host(&["scale", "atlas-nano", &copy.argument()]).failed();
    for part in ["pairs of prompts", "fit atlas-nano and 0 fit", "at least 4 are needed", "share a tokenizer"] {
        assert!(line.contains(part), "`{part}` is not in: {line}");
    }
    let line = on_host(&["scale", "atlas-nano", "atlas-nano", "--task", "capitals", "--limit", "1"]).failed();
    assert!(line.contains("--limit 1 leaves 1 pairs of prompts"), "{line}");
    // Messages show the prompt on one line, even if it contains line breaks.
    says(&["run", "a\nB"], &["a\\nB"]);
}

/// All settings of a model directory that change ids have the same effect as in Hugging Face's tokenizers: added
/// tokens, prefix space, and the beginning-of-text token.
#[test]
fn settings_of_a_tokenizer_are_followed() {
    let tokens = |settings: &[(&str, &str)], text: &str| {
        let files = settings.iter();
        let copy = files.fold(Directory::copy().with_tokenizer(), |copy, (name, text)| {
            copy.write(name, format!("\u{feff}{text}").as_bytes())
        });
        let json: serde_json::Value =
            serde_json::from_str(&with_text(&copy, &["run", text, "--json"]).done()).expect("JSON");
        json["metadata"]["tokens"].as_str().expect("tokens").to_owned()
    };
    assert_eq!(tokens(&[], "ab c"), "29,26,2");
    assert_eq!(tokens(&[("added_tokens.json", "{\"<u>\": 31}")], "<u>ab"), "31,29");
    assert_eq!(tokens(&[("special_tokens_map.json", "{\"pad_token\": \"<p>\"}")], "a<p>"), "0,32");
    let config = |text| [("tokenizer_config.json", text)];
    assert_eq!(tokens(&config("{\"add_prefix_space\": true}"), "ab"), "30");
    assert_eq!(tokens(&config("{\"add_bos_token\": true}"), "ab"), "31,29");
    let mask = "{\"mask_token\": {\"__type\": \"AddedToken\", \"content\": \"<m>\", \"lstrip\": true}}";
    assert_eq!(tokens(&config(mask), "ab <m> c"), "29,32,26,2");
}

#[test]
fn maps_are_labelled_with_tokens() {
    let copy = Directory::copy().with_tokenizer();
    let shown = with_text(&copy, &["sensitivity", "ab ab c", "--target", " ab", "--against", "c"]).done();
    assert!(shown.contains("J = logit(\" ab\") - logit(\"c\") = ") && shown.contains("checks: adjoint"), "{shown}");
    let shown = on_host(&["sensitivity", "--tokens", "7,8", "--target", "#3", "--model", tiny()]).done();
    assert!(shown.contains("#7") && shown.contains("#8"), "{shown}");
    let shown = with_text(&copy, &["run", "ab", "--top", "3"]).done();
    assert_eq!(shown.lines().count(), 5, "a heading, three tokens and the checks: {shown}");
    let shown = with_text(&copy, &["run", "ab", "--top", "1000"]).done();
    assert_eq!(shown.lines().count(), 55, "{shown}");
}

/// Results name the observable by token ids, even if its tokens were typed as text. This name can be parsed.
#[test]
fn the_observable_of_a_result_reads_back() {
    let copy = Directory::copy().with_tokenizer();
    let written = |position: &str| {
        let observed = ["--target", " ab", "--against", "#2", "--position", position];
        let json = with_text(&copy, &[&["sensitivity", "ab ab c", "--json"], &observed[..]].concat()).done();
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        json["metadata"]["observable"].as_str().expect("it is noted").to_owned()
    };
    let last = written("-1");
    assert_eq!(last, "logit(#30)@3 - logit(#2)@3");
    let context = resolvent_model::ObservableContext { tokens: 4, ..Default::default() };
    let read = resolvent_model::Observable::parse(&last, &context).expect("it is of the grammar");
    assert_eq!(read, resolvent_model::Observable::logit_diff(30, 2, 3));
    assert_eq!(written("1"), "logit(#30)@1 - logit(#2)@1");
    let shown = with_text(&copy, &["sensitivity", "ab ab c", "--target", " ab", "--position", "1"]).done();
    assert!(shown.contains("J = logit(\" ab\")@1 = "), "{shown}");
}

/// Tokens and names come from files, and may contain line breaks and escape sequences. These are escaped when printed.
#[test]
fn tokens_do_not_break_tables() {
    let copy = Directory::copy().with_tokenizer();
    let vocab = std::fs::read_to_string(copy.file("vocab.json")).expect("a file");
    // Four tokens in GPT-2's byte alphabet: line feed, escape, carriage return and tab.
    let copy = copy.write("vocab.json", vocab.replacen('{', r#"{"Ċ":31,"ě":32,"č":33,"ĉ":34,"#, 1).as_bytes());
    let tokens = |four: &'static str| ["--tokens", four];
    let (odd, plain) = (tokens("31,32,33,34"), tokens("1,2,3,4"));
    for command in [
        "run --top 40",
        "sensitivity --target #31 --against #32 --direction token:#31",
        "patch --corrupted-tokens 31,32,9,34 --target #31",
        "green --source 0,1 --direction token:#32",
        "slice -k 2",
        "slice --svd -k 2 --from 0 --to 2",
        "regime --target #31 --direction token:#33",
        "invert --target #31 --goal 0.1",
        "transfer --donor-tokens 31,32,9,34 --target #31",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        let shown = |prompt: [&str; 2]| with_text(&copy, &[&words[..], &prompt].concat()).done();
        let (shown, other) = (shown(odd), shown(plain));
        let control = shown.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(control, None, "{command}: {shown}");
        match words[0] {
            // Maps and the list of next tokens have as many lines as with ordinary tokens.
            "run" | "sensitivity" | "green" => {
                assert_eq!(shown.lines().count(), other.lines().count(), "{command}: {shown}");
            }
            // Rows are labelled with tokens, including the line feed.
            "regime" | "invert" => assert!(shown.contains("\\n"), "{command}: {shown}"),
            _ => {}
        }
    }
    // Tokens that the user types are escaped too.
    let shown = with_text(&copy, &["sensitivity", "ab", "--target", "\n", "--against", "\u{1b}"]).done();
    assert!(shown.contains("\\n") && !shown.contains('\u{1b}'), "{shown}");
    let line = with_text(&copy, &["sensitivity", "ab", "--target", "\u{1b}[31m"]).failed();
    assert!(!line.contains(char::is_control), "{line:?}");
}

#[test]
fn devices_are_listed_and_tested() {
    let shown = run(&["devices", "--no-test"]).done();
    assert!(shown.contains("host executor") && shown.contains("auto is "), "{shown}");
    assert!(!shown.contains("self-test"), "{shown}");
    let shown = run(&["devices"]).done();
    for gpu in gpus() {
        assert!(shown.contains(&gpu.device().info().name), "{shown}");
        assert!(shown.contains("self-test passed"), "{shown}");
    }
}

/// Every result says whether weights and inputs are f16. For an f16 checkpoint, f16 weights have no rounding error.
#[test]
fn f16_is_reported() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = utf8(&folder.path().join("run.json"));
    let said = |model: &str, more: &[&str]| {
        on_host(&[&["run", "--tokens", "3,1,4", "--model", model, "--out", &file], more].concat()).done();
        let text = std::fs::read_to_string(&file).expect("a file");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        ["weights", "inputs"].map(|key| json["metadata"][key].as_str().expect("in every result").to_owned())
    };
    assert_eq!(said("atlas-nano", &[]), ["f32", "f32"]);
    assert_eq!(said("atlas-nano", &["--f16-weights"]), ["f16, relative rounding error 0.0e0", "f32"]);
    // The option's name in version 0.1 is still accepted, for one more version.
    assert_eq!(said("atlas-nano", &["--half-weights"]), said("atlas-nano", &["--f16-weights"]));
    assert!(said("random:1", &["--f16-weights"])[0].ends_with("e-4"));
    let [weights, inputs] = said("atlas-nano", &["--f16-inputs"]);
    assert_eq!(weights, "f16, relative rounding error 0.0e0");
    assert!(inputs.starts_with("f16, relative error of a field "), "{inputs}");
}

/// A sweep accepts rounded inputs on every device. Analyses of small differences refuse them with the reason.
#[test]
fn f16_inputs_are_accepted_or_refused() {
    let observed = ["--f16-inputs", "--target", "#3", "--against", "#5"];
    for device in std::iter::once("host").chain(gpus().iter().map(|gpu| gpu.device().info().name.as_str())) {
        let with = |command: &str, more: &[&str]| {
            let prompt = [command, "--tokens", "3,1,4,1,5,9,2,6", "--model", "atlas-nano", "--device", device];
            run(&[&prompt, more, &observed].concat())
        };
        let shown = with("patch", &["--corrupted-tokens", "3,1,4,8,5,9,2,6"]).done();
        assert!(shown.contains("alone"), "{shown}");
        let refused = with("regime", &[]).failed();
        assert!(refused.contains("without --f16-inputs"), "{device}: {refused}");
    }
}
