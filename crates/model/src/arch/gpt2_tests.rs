use serde_json::{Value, json};

use super::*;

const GPT2: &str = r#"{
  "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "activation_function": "gelu_new",
  "bos_token_id": 50256, "eos_token_id": 50256, "layer_norm_epsilon": 1e-05, "n_ctx": 1024, "n_embd": 768,
  "n_head": 12, "n_layer": 12, "n_positions": 1024, "n_inner": null, "vocab_size": 50257
}"#;

/// GPT-2's configuration with one field set.
fn with(field: &str, value: &Value) -> Result<Config> {
    let mut json: Value = serde_json::from_str(GPT2).unwrap();
    json[field] = value.clone();
    Config::from_json(&json.to_string())
}

fn message(field: &str, value: &Value) -> String {
    with(field, value).expect_err(field).to_string()
}

#[test]
fn gpt2_small_has_its_published_size() {
    let config = Config::from_json(GPT2).unwrap();
    assert_eq!(config.n_params(), 124_439_808);
    assert_eq!(config.n_params_block(), 7_087_872);
    assert_eq!((config.d_head(), config.n_inner()), (64, 3072));
    assert_eq!(config.eos_token_id, Some(50256));
    assert_eq!(config.activation_function, Activation::GeluNew);
    assert!(config.tie_word_embeddings && config.scale_attn_weights && !config.scale_attn_by_inverse_layer_idx);
}

#[test]
fn gpt2_xl_has_its_published_size() {
    let mut config = Config::from_json(GPT2).unwrap();
    (config.n_layer, config.n_embd, config.n_head) = (48, 1600, 25);
    config.validate().unwrap();
    assert_eq!(config.n_params(), 1_557_611_200);
}

#[test]
fn tensors_add_up_to_the_parameters() {
    for tied in [true, false] {
        for inner in [Value::Null, json!(100)] {
            let mut config = with("n_inner", &inner).unwrap();
            config.tie_word_embeddings = tied;
            let tensors = config.tensors();
            let total: usize = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
            assert_eq!(total, config.n_params());
            assert_eq!(tensors.iter().any(|(name, _)| name == "lm_head.weight"), !tied);
        }
    }
}

#[test]
fn spellings_and_defaults() {
    let config = Config::from_json(
        r#"{"architectures": ["GPT2LMHeadModel"], "num_hidden_layers": 1, "hidden_size": 8,
            "num_attention_heads": 2, "vocab_size": 10, "n_ctx": 4, "eos_token_id": 50256}"#,
    )
    .unwrap();
    assert_eq!((config.n_layer, config.n_embd, config.n_head, config.n_positions), (1, 8, 2, 4));
    assert_eq!(config.layer_norm_epsilon, 1e-5);
    assert_eq!(config.eos_token_id, None, "outside the vocabulary");
    for (name, activation) in
        [("gelu_new", Activation::GeluNew), ("gelu_pytorch_tanh", Activation::GeluNew), ("gelu", Activation::Gelu)]
    {
        assert_eq!(with("activation_function", &json!(name)).unwrap().activation_function, activation);
    }
    assert_eq!(with("eos_token_id", &json!([7, 8])).unwrap().eos_token_id, Some(7));
}

#[test]
fn other_models_are_named() {
    let found = |json: &str| Config::from_json(json).expect_err(json).to_string();
    let text = found(r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}"#);
    assert_eq!(
        text,
        "config.json: this family of models is not supported (model_type is `llama`); supported values of model_type: gpt2"
    );
    assert!(found(r#"{"architectures": ["BertModel"]}"#).contains("architectures is `BertModel`"));
    assert!(found("{}").contains("it names neither model_type nor architectures"));
}

#[test]
fn bad_json_is_named() {
    for text in ["", "{", "[]", "null", "{\"n_layer\": 1,}"] {
        let found = Config::from_json(text).expect_err(text).to_string();
        assert!(found.starts_with("config.json: not a JSON object ("), "{found}");
    }
}

#[test]
fn bad_values_are_named() {
    let cases: [(&str, Value, &str); 18] = [
        ("activation_function", json!("relu"), "must be gelu_new, gelu_pytorch_tanh or gelu, found \"relu\""),
        ("activation_function", json!(3), "found 3"),
        ("n_layer", json!(0), "`n_layer` is 0; it must be 1 to 4096"),
        ("n_layer", json!(1_000_000_000_000_u64), "it must be 1 to 4096"),
        ("n_layer", json!(null), "`n_layer` is missing"),
        ("n_layer", json!("12"), "`n_layer` must be a positive whole number, found \"12\""),
        ("n_layer", json!(-1), "`n_layer` must be a positive whole number, found -1"),
        ("n_embd", json!(0), "`n_embd` is 0"),
        ("n_embd", json!(770), "`n_embd` is 770, which `n_head` = 12 does not divide"),
        ("n_head", json!(0), "`n_head` is 0"),
        ("n_head", json!(2), "a head is 384 wide (n_embd 768 / n_head 2); at most 256 is supported"),
        ("n_inner", json!(0), "`n_inner` is 0"),
        ("vocab_size", json!(0), "`vocab_size` is 0"),
        ("vocab_size", json!(u64::MAX), "`vocab_size` is 18446744073709551615"),
        ("n_positions", json!(0), "`n_positions` is 0"),
        ("layer_norm_epsilon", json!(0.0), "`layer_norm_epsilon` is 0; it must be a positive number"),
        ("scale_attn_weights", json!("yes"), "`scale_attn_weights` must be true or false, found \"yes\""),
        ("add_cross_attention", json!(true), "only decoders without cross-attention"),
    ];
    for (field, value, expected) in cases {
        let text = message(field, &value);
        assert!(text.starts_with("config.json: ") && text.contains(expected), "{field} = {value}: {text}");
    }
}

#[test]
fn sizes_that_cannot_be_addressed_are_refused() {
    let mut config = Config::from_json(GPT2).unwrap();
    (config.n_embd, config.n_head, config.n_layer) = (1 << 29, 1 << 24, 4096);
    let text = config.validate().expect_err("overflow").to_string();
    assert!(
        text.contains("bytes of weights, and 18446744073709551615 can be addressed; use a smaller model"),
        "{text}"
    );
}

#[test]
fn a_message_stays_on_one_line() {
    let text = message("activation_function", &json!("a\nb".repeat(1000)));
    assert!(!text.contains('\n') && text.len() < 250, "{text}");
}

#[test]
fn directories_without_a_config_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let text = Config::open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("has no config.json; a model directory has"), "{text}");
    let text = Config::open(&dir.path().join("nowhere")).unwrap_err().to_string();
    assert!(text.contains("nowhere") && text.contains("check the path"), "{text}");
    #[cfg(unix)]
    {
        let path = dir.path().join("config.json");
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let text = Config::open(dir.path()).unwrap_err().to_string();
        assert!(text.starts_with("cannot read ") && text.contains("check the path and its permissions"), "{text}");
        std::fs::remove_file(path).unwrap();
    }
    std::fs::create_dir(dir.path().join("config.json")).unwrap();
    let text = Config::open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("not a regular file"), "{text}");
}

#[test]
fn a_byte_order_mark_is_skipped_and_utf_16_named() {
    assert_eq!(Config::from_json(&format!("\u{feff}{GPT2}")).unwrap(), Config::from_json(GPT2).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, format!("\u{feff}{GPT2}")).unwrap();
    assert_eq!(Config::open(dir.path()).unwrap().n_layer, 12);
    let utf16: Vec<u8> = format!("\u{feff}{GPT2}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    std::fs::write(&path, utf16).unwrap();
    let text = Config::open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("config.json: it is UTF-16 text, not UTF-8: save it as UTF-8"), "{text}");
    std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\n").unwrap();
    let text = Config::open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("config.json: it is a Git LFS pointer") && text.contains("git lfs pull"), "{text}");
}
