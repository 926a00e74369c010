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
fn several_prompts_are_those_alone_one_after_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("p.jsonl");
    let rows = [r#"{"clean": "The capital of France is", "label": "france"}"#, r#"{"clean": "Once upon a time"}"#, "{"];
    std::fs::write(&file, rows.join("\n")).expect("is written");
    let file = file.to_str().expect("a name");
    let several = on_host(&["generate", "--prompts", file, "--new", "2"]);
    assert!(several.stderr.contains("line 3 is left out"), "{}", several.stderr);
    let alone = |prompt| on_host(&["generate", prompt, "--new", "2"]).done().trim_end().to_owned();
    let want = [alone("The capital of France is"), alone("Once upon a time")].join("\n\n");
    assert_eq!(several.done().trim_end(), want);
    let printed = on_host(&["generate", "--prompts", file, "--new", "2", "--json", "--rows", "1"]).done();
    let json: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!((json[0]["name"].as_str(), json[0]["text"].as_str()), (Some("france"), Some(" Paris.")));
    assert_eq!(json.as_array().map(Vec::len), Some(1));
    let long = "1,".repeat(300) + "1";
    std::fs::write(folder.path().join("long.jsonl"), format!("{{\"clean\": [{long}]}}")).expect("is written");
    let none = on_host(&["generate", "--prompts", folder.path().join("long.jsonl").to_str().expect("a name")]);
    assert!(none.code == Some(1) && none.stderr.contains("no row fits the model"), "{}", none.stderr);
}

#[test]
fn edits_change_what_the_model_says() {
    let plain = on_host(&with(&["--new", "3"])).done();
    let edited = on_host(&with(&["--new", "3", "--edit", "ablate(blocks.0.hook_mlp_out)"])).done();
    assert_ne!(plain, edited);
    let zero = ["scale(blocks.0.hook_mlp_out, 0)", "add(blocks.3.hook_resid_pre, 0)@-1"];
    assert_eq!(on_host(&with(&["--new", "3", "--edit", zero[0], "--edit", zero[1]])).done(), edited);
    let hidden = "put(blocks.0.attn.hook_attn_scores[0,1], -inf)@-1";
    on_host(&with(&["--new", "1", "--edit", hidden])).done();
    let none = on_host(&with(&["--new", "1", "--edit", "put(blocks.0.attn.hook_attn_scores[0], -inf)@-1"]));
    assert!(none.code == Some(1) && none.stderr.contains("hide every key"), "{}", none.stderr);
    let missing = on_host(&with(&["--edit", "add(blocks.0.hook_mlp_out, nowhere.safetensors)"]));
    assert!(missing.code == Some(1) && missing.stderr.contains("nowhere.safetensors"), "{}", missing.stderr);
    let unknown = on_host(&with(&["--edit", "ablate(blocks.0.hook_mlp)"]));
    assert!(unknown.code == Some(2) && unknown.stderr.contains("did you mean"), "{}", unknown.stderr);
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
