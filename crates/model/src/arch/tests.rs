use serde_json::{Value, json};

use super::*;

/// A small configuration of a family, with the fields that families share and some of its own.
fn with(model_type: &str, own: &Value) -> Result<Architecture> {
    let mut config = json!({
        "model_type": model_type, "hidden_size": 12, "num_attention_heads": 3, "num_key_value_heads": 1,
        "num_hidden_layers": 4, "intermediate_size": 20, "vocab_size": 11, "max_position_embeddings": 64,
    });
    for (key, value) in own.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    Architecture::from_json(&config.to_string())
}

fn message(model_type: &str, own: &Value) -> String {
    with(model_type, own).expect_err(model_type).to_string()
}

fn windows(model: &Architecture) -> Vec<Option<usize>> {
    model.attention.iter().map(|plan| plan.window).collect()
}

#[test]
fn layers_slide_where_their_family_says() {
    let sliding = json!({"sliding_window": 3});
    assert_eq!(windows(&with("mistral", &sliding).unwrap()), [Some(3); 4]);
    assert_eq!(windows(&with("mistral", &json!({"sliding_window": null})).unwrap()), [None; 4]);
    assert_eq!(windows(&with("gemma2", &sliding).unwrap()), [Some(3), None, Some(3), None]);
    let three = json!({"sliding_window": 3, "sliding_window_pattern": 3});
    let gemma3 = with("gemma3_text", &three).unwrap();
    assert_eq!(windows(&gemma3), [Some(3), Some(3), None, Some(3)]);
    let rotary: Vec<_> = gemma3.attention.iter().map(|plan| plan.rotary).collect();
    assert_eq!(rotary, [Some(1), Some(1), Some(0), Some(1)]);
    // The file's switch decides, not the presence of a window.
    assert_eq!(windows(&with("qwen2", &json!({"sliding_window": 3, "max_window_layers": 2})).unwrap()), [None; 4]);
    let used = json!({"sliding_window": 3, "max_window_layers": 2, "use_sliding_window": true});
    assert_eq!(windows(&with("qwen3", &used).unwrap()), [None, None, Some(3), Some(3)]);
    let listed =
        json!({"sliding_window": 3, "layer_types": ["full_attention", "sliding_attention"], "num_hidden_layers": 2});
    assert_eq!(windows(&with("gemma2", &listed).unwrap()), [None, Some(3)]);
}

#[test]
fn weights_have_the_names_of_their_family() {
    let names = |kind: &str| -> Vec<String> {
        with(kind, &json!({"sliding_window": 3})).unwrap().tensors().into_iter().map(|(name, _)| name).collect()
    };
    let has = |kind: &str, name: &str| names(kind).iter().any(|n| n == name);
    assert!(has("llama", "lm_head.weight") && !has("gemma2", "lm_head.weight"));
    assert!(
        has("qwen2", "model.layers.3.self_attn.k_proj.bias") && !has("qwen2", "model.layers.3.self_attn.o_proj.bias")
    );
    assert!(has("qwen3", "model.layers.0.self_attn.q_norm.weight"));
    assert!(has("olmo2", "model.layers.0.post_feedforward_layernorm.weight"));
    assert!(!has("olmo2", "model.layers.0.input_layernorm.weight"));
    let shape = |kind: &str, name: &str| {
        let model = with(kind, &json!({"sliding_window": 3, "head_dim": 6})).unwrap();
        model.tensors().into_iter().find(|(n, _)| n == name).map(|(_, shape)| shape)
    };
    assert_eq!(shape("olmo2", "model.layers.0.self_attn.q_norm.weight"), Some(vec![18]));
    assert_eq!(shape("olmo2", "model.layers.0.self_attn.k_norm.weight"), Some(vec![6]));
    assert_eq!(shape("gemma3_text", "model.layers.0.self_attn.q_norm.weight"), Some(vec![6]));
    assert_eq!(shape("llama", "model.layers.1.self_attn.o_proj.weight"), Some(vec![12, 18]));
}

#[test]
fn a_fused_projection_is_taken_apart_by_head() {
    let model = with("gpt_neox", &json!({"rotary_pct": 0.5})).unwrap();
    let [q, k, v] = &model.layout.blocks[0].qkv[..] else { panic!("three parts") };
    assert_eq!(q.outputs_taken().collect::<Vec<_>>(), [0, 1, 2, 3, 12, 13, 14, 15, 24, 25, 26, 27]);
    assert_eq!(k.outputs_taken().next(), Some(4));
    assert_eq!((v.width(), v.outputs_taken().last()), (12, Some(35)));
    let named: Vec<_> = model.tensors().into_iter().filter(|(name, _)| name.contains("0.attention.query")).collect();
    assert_eq!(named.len(), 2, "{named:?}");
    assert!(
        model.parallel
            && !with("gpt_neox", &json!({"rotary_pct": 0.5, "use_parallel_residual": false})).unwrap().parallel
    );
}

#[test]
fn rotary_embeddings_have_their_published_frequencies() {
    let frequencies = |own: &Value| with("llama", own).unwrap().rotary[0].clone();
    let plain = frequencies(&json!({}));
    assert_eq!((plain.frequencies.as_slice(), plain.scale), (&[1.0, 0.01][..], 1.0));
    let linear = json!({"rope_scaling": {"type": "linear", "factor": 4.0}, "rope_theta": 100.0});
    assert_eq!(frequencies(&linear).frequencies, [0.25, 0.025]);
    // Wavelengths of 6.3 and 628 tokens, of which the second is beyond 64 / 1 and the first within 64 / 4.
    let llama3 = json!({"rope_parameters": {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}});
    assert_eq!(frequencies(&llama3).frequencies, [1.0, 0.01 / 8.0]);
    let yarn = json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}});
    assert!((frequencies(&yarn).scale - (0.1 * 4.0f64.ln() + 1.0)).abs() < 1e-15);
}

#[test]
fn what_is_not_supported_is_named() {
    let says = |kind: &str, own: &Value, words: &[&str]| {
        let message = message(kind, own);
        assert!(words.iter().all(|word| message.contains(word)) && !message.contains('\n'), "{message}");
    };
    says("mamba", &json!({}), &["`mamba`", "gpt2", "llama", "olmo2"]);
    says("gemma3", &json!({}), &["`gemma3`", "gemma3_text"]);
    says("llama", &json!({"hidden_act": "relu2"}), &["hidden_act", "relu2"]);
    says("llama", &json!({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}), &["longrope", "yarn"]);
    says("llama", &json!({"rope_scaling": {"rope_type": "linear"}}), &["`factor`", "linear"]);
    says("llama", &json!({"num_key_value_heads": 2}), &["2 key and value heads", "3 query heads"]);
    says("llama", &json!({"head_dim": 257}), &["width of a head is 257"]);
    says("llama", &json!({"head_dim": 5}), &["5 columns", "even"]);
    says("llama", &json!({"num_attention_heads": 5}), &["hidden_size", "num_attention_heads", "head_dim"]);
    says("llama", &json!({"num_attention_heads": u64::MAX, "head_dim": 4}), &["number of heads"]);
    says("llama", &json!({"rms_norm_eps": 0}), &["rms_norm_eps"]);
    says("mistral", &json!({"sliding_window": 0}), &["sliding_window"]);
    says("gemma2", &json!({"sliding_window": 3, "final_logit_softcapping": -1}), &["final_logit_softcapping"]);
    says("gemma2", &json!({"layer_types": vec!["linear_attention"; 4]}), &["linear_attention", "sliding_attention"]);
    says("gemma3_text", &json!({"use_bidirectional_attention": true}), &["use_bidirectional_attention"]);
    says("gpt_neox", &json!({"hidden_act": "silu"}), &["silu", "gelu_new"]);
}

/// The text identifies random models in results, so it must be the same in every run of the program.
#[test]
fn the_text_of_an_architecture_has_no_addresses() {
    for kind in ["llama", "gpt_neox", "gemma2"] {
        let text = format!("{:?}", with(kind, &json!({"sliding_window": 3, "rotary_pct": 0.5})).unwrap());
        assert!(text.contains("vocab: 11") && !text.contains("0x"), "{text}");
    }
    let text = format!("{:?}", Architecture::from(crate::random::tiny()));
    assert!(text.contains("vocab: 50") && !text.contains("0x"), "{text}");
}
