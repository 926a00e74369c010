//! `generate`: greedy and sampled continuations, their end, JSON, and options that do not fit.

use super::on_host;

const PROMPT: [&str; 2] = ["generate", "The capital of France is"];

fn with<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&PROMPT, options].concat()
}

#[test]
fn greedy_text_ends_at_a_stop_or_after_so_many_tokens() {
    assert_eq!(on_host(&with(&["--stop", "."])).done().trim_end(), "The capital of France is Paris.");
    assert_eq!(on_host(&with(&["--new", "1"])).done().trim_end(), "The capital of France is Paris");
    assert_eq!(on_host(&with(&["--new", "0"])).done().trim_end(), "The capital of France is");
    let model = ["generate", "--tokens", "3,4", "--new", "2", "--model", "random"];
    let ids = on_host(&model).done();
    assert!(ids.starts_with("#3 #4 #") && ids.split('#').count() == 5, "{ids}");
}

#[test]
fn samples_depend_on_the_seed_alone() {
    let of = |seed| on_host(&with(&["--temperature", "2", "--new", "12", "--seed", seed])).done();
    assert_eq!(of("1"), of("1"));
    assert_ne!(of("1"), of("2"));
    // Among one token there is no choice.
    let one = on_host(&with(&["--temperature", "2", "--top-k", "1", "--new", "6"])).done();
    assert_eq!(one, on_host(&with(&["--new", "6"])).done());
}

#[test]
fn json_has_ids_and_text() {
    let printed = on_host(&with(&["--json", "--new", "2"])).done();
    let json: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(json["text"], " Paris.");
    assert_eq!(json["tokens"].as_array().map(Vec::len), Some(2));
    let model = ["generate", "--tokens", "3,4", "--json", "--model", "random"];
    let json: serde_json::Value = serde_json::from_str(&on_host(&model).done()).expect("JSON");
    assert!(json["text"].is_null() && json["prompt_tokens"] == serde_json::json!([3, 4]), "{json}");
}

#[test]
fn options_that_do_not_fit_are_refused() {
    for (options, part) in [
        (&["--top-k", "3"][..], "have no effect at --temperature 0"),
        (&["--temperature", "1", "--top-k", "0"], "invalid top_k 0"),
        (&["--temperature", "1", "--top-p", "1.5"], "invalid top_p 1.5"),
        (&["--stop", "two words"], "two words"),
        (&["--new", "100000"], "ask for at most"),
    ] {
        let ran = on_host(&with(options));
        assert!(ran.code == Some(1) && ran.stderr.contains(part), "{options:?}: {}", ran.stderr);
    }
}
