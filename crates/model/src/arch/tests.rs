use serde_json::{Value, json};

use super::*;

/// A small configuration of a family, with the fields that families share and some of its own.
pub(super) fn with(model_type: &str, own: &Value) -> Result<Architecture> {
    let mut config = json!({
        "model_type": model_type, "hidden_size": 12, "num_attention_heads": 3, "num_key_value_heads": 1,
        "num_hidden_layers": 4, "intermediate_size": 20, "vocab_size": 11, "max_position_embeddings": 64,
    });
    for (key, value) in own.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    Architecture::from_json(&config.to_string())
}

pub(super) fn message(model_type: &str, own: &Value) -> String {
    with(model_type, own).expect_err(model_type).to_string()
}

pub(super) fn windows(model: &Architecture) -> Vec<Option<usize>> {
    model.attention.iter().map(|plan| plan.window).collect()
}

#[test]
fn layers_slide_where_their_family_says() {
    let sliding = json!({"sliding_window": 3});
    assert_eq!(windows(&with("mistral", &sliding).unwrap()), [Some(3); 4]);
    assert_eq!(windows(&with("mistral", &json!({"sliding_window": null})).unwrap()), [None; 4]);
    assert_eq!(windows(&with("mistral", &json!({})).unwrap()), [Some(4096); 4]);
    assert_eq!(windows(&with("gemma2", &json!({})).unwrap()), [Some(4096), None, Some(4096), None]);
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
    let mut none = used;
    none["sliding_window"] = Value::Null;
    assert_eq!(windows(&with("qwen3", &none).unwrap()), [None; 4]);
    let unstated = json!({"max_window_layers": 2, "use_sliding_window": true});
    assert_eq!(windows(&with("qwen2", &unstated).unwrap()), [None, None, Some(4096), Some(4096)]);
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

/// Frequencies of which pairs of columns, as in Hugging Face's library.
#[test]
fn rotary_embeddings_have_the_special_cases_of_their_library() {
    let rotary = |kind: &str, own: &Value| with(kind, own).unwrap().rotary[0].clone();
    let plain = rotary("llama", &json!({}));
    let scaled = |scaling: &Value| rotary("llama", &json!({"rope_scaling": scaling}));
    assert_eq!(scaled(&json!({"type": "dynamic", "factor": 2.0})), plain);
    // A beta of 0 counts as absent.
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16});
    let mut zero = yarn.clone();
    zero["beta_fast"] = json!(0);
    assert_eq!(scaled(&zero), scaled(&yarn));
    // The length beside the scaling has priority over the one in it.
    let mut other = yarn.clone();
    other["original_max_position_embeddings"] = json!(4000);
    let beside = json!({"rope_scaling": other, "original_max_position_embeddings": 16});
    assert_eq!(rotary("llama", &beside), scaled(&yarn));
    assert_ne!(scaled(&other), scaled(&yarn));
    // 3 of 4 columns: the third is rotated with the fourth.
    let odd = rotary("gpt_neox", &json!({"rotary_pct": 0.75}));
    assert_eq!(odd.frequencies, [1.0, 10_000f64.powf(-2.0 / 3.0)]);
}

#[test]
fn sizes_that_are_not_stated_are_those_of_the_library() {
    let sizes = |config: &Value| Architecture::from_json(&config.to_string()).unwrap().sizes;
    // The published description of the text model of Gemma 3 4B states no more than this.
    let text = json!({
        "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
    });
    let expected =
        Sizes { layers: 34, d: 2560, heads: 8, kv_heads: 4, d_head: 256, inner: 10240, vocab: 262_208, n_ctx: 131_072 };
    assert_eq!(sizes(&text), expected);
    let of = |kind: &str| {
        let Sizes { layers, d, heads, kv_heads, d_head, inner, vocab, n_ctx } = sizes(&json!({"model_type": kind}));
        [layers, d, heads, kv_heads, d_head, inner, vocab, n_ctx]
    };
    assert_eq!(of("llama"), [32, 4096, 32, 32, 128, 11_008, 32_000, 2048]);
    assert_eq!(of("mistral"), [32, 4096, 32, 8, 128, 14_336, 32_000, 131_072]);
    assert_eq!(of("qwen2"), [32, 4096, 32, 32, 128, 22_016, 151_936, 32_768]);
    assert_eq!(of("qwen3"), [32, 4096, 32, 32, 128, 22_016, 151_936, 32_768]);
    assert_eq!(of("gemma2"), [26, 2304, 8, 4, 256, 9216, 256_000, 8192]);
    assert_eq!(of("gemma3_text"), [26, 2304, 8, 4, 256, 9216, 262_208, 131_072]);
    assert_eq!(of("olmo2"), [32, 4096, 32, 32, 128, 11_008, 50_304, 2048]);
    assert_eq!(of("gemma"), [28, 3072, 16, 16, 256, 24_576, 256_000, 8192]);
    assert_eq!(of("cohere"), [40, 8192, 64, 64, 128, 22_528, 256_000, 8192]);
    assert_eq!(of("cohere2"), [40, 8192, 64, 64, 128, 22_528, 256_000, 8192]);
    assert_eq!(of("gpt_neo"), [24, 2048, 16, 16, 128, 8192, 50_257, 2048]);
    assert_eq!(of("granite"), [32, 4096, 32, 32, 128, 11_008, 32_000, 2048]);
    assert_eq!(of("ministral"), [32, 4096, 32, 8, 128, 14_336, 32_000, 131_072]);
    assert_eq!(of("olmo"), [32, 4096, 32, 32, 128, 11_008, 50_304, 2048]);
    assert_eq!(of("olmo3"), [32, 4096, 32, 32, 128, 11_008, 50_304, 2048]);
    assert_eq!(of("phi3"), [32, 3072, 32, 32, 96, 8192, 32_064, 4096]);
    assert_eq!(of("smollm3"), [36, 2048, 16, 4, 128, 11_008, 128_256, 32_768]);
    assert_eq!(of("stablelm"), [32, 2560, 32, 32, 80, 6912, 50_304, 4096]);
    assert_eq!(of("starcoder2"), [30, 3072, 24, 2, 128, 12_288, 49_152, 4096]);
    assert_eq!(of("gpt_neox"), [44, 6144, 64, 64, 96, 24_576, 50_432, 2048]);
    // A null is not the same as no field.
    assert_eq!(sizes(&json!({"model_type": "mistral", "num_key_value_heads": null})).kv_heads, 32);
    assert_eq!(sizes(&json!({"model_type": "qwen3", "num_attention_heads": 64})).d_head, 128);
}

#[test]
fn the_text_model_beside_one_of_images_is_read() {
    let text = json!({"model_type": "gemma3_text", "hidden_size": 12, "num_attention_heads": 3, "head_dim": 4,
        "num_key_value_heads": 1, "num_hidden_layers": 2, "intermediate_size": 20, "vocab_size": 11,
        "final_logit_softcapping": 3.0});
    let alone = Architecture::from_json(&text.to_string()).unwrap();
    let with_images = |more: &Value| {
        let mut config = json!({"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 8}});
        more.as_object().into_iter().flatten().for_each(|(key, value)| config[key] = value.clone());
        Architecture::from_json(&config.to_string())
    };
    let model = with_images(&json!({})).unwrap();
    assert_eq!((model.sizes, model.tensors()), (alone.sizes, alone.tensors()));
    assert_eq!((&model.attention, &model.rotary), (&alone.attention, &alone.rotary));
    assert_eq!((model.logit_cap, alone.logit_cap), (None, Some(3.0)));
    let ignored = model.layout.ignored.0;
    assert!(ignored("vision_tower.vision_model.head.probe") && ignored("model.multi_modal_projector.x.weight"));
    assert!(!ignored("model.layers.0.mlp.up_proj.weight") && !(alone.layout.ignored.0)("vision_tower.x"));
    assert!(!with_images(&json!({"tie_word_embeddings": false})).unwrap().layout.tied);
    assert!(with_images(&json!({"text_config": null})).unwrap_err().to_string().contains("`text_config`"));
}

#[test]
fn all_names_of_an_activation_are_known() {
    let of = |name: &str| with("llama", &json!({"hidden_act": name})).unwrap().activation;
    for name in ["gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"] {
        assert_eq!(of(name), Activation::GeluNew, "{name}");
    }
    assert_eq!([of("gelu"), of("gelu_python")], [Activation::Gelu; 2]);
    assert_eq!([of("silu"), of("swish")], [Activation::Silu; 2]);
}

#[test]
fn what_is_not_supported_is_named() {
    let says = |kind: &str, own: &Value, words: &[&str]| {
        let message = message(kind, own);
        assert!(words.iter().all(|word| message.contains(word)) && !message.contains('\n'), "{message}");
    };
    says("mamba", &json!({}), &["`mamba`", "needs state-space layers", "gpt2", "llama", "olmo2"]);
    says("gemma3n", &json!({}), &["`gemma3n`", "no field names a missing feature", "gemma3_text"]);
    says("llama", &json!({"hidden_act": "relu2"}), &["hidden_act", "relu2"]);
    says("llama", &json!({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}), &["longrope", "yarn"]);
    says("llama", &json!({"rope_scaling": {"rope_type": "linear"}}), &["`factor`", "linear"]);
    let share = json!({"partial_rotary_factor": 0.5});
    says("llama", &share, &["partial_rotary_factor", "0.5", "whole heads"]);
    says("qwen3", &json!({"rope_parameters": share}), &["partial_rotary_factor", "0.5", "whole heads"]);
    let by_kind = json!({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}});
    says("qwen2", &by_kind, &["`full_attention`", "one rotary embedding"]);
    let both = json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "rope_parameters": {"rope_theta": 1e4}});
    says("llama", &both, &["both `rope_parameters` and `rope_scaling`"]);
    let flat = json!({"rope_parameters": {"rope_type": "linear", "factor": 2.0}});
    says("gemma3_text", &flat, &["`full_attention`", "`sliding_attention`"]);
    let ramp = json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "truncate": false}});
    says("gemma3_text", &ramp, &["`truncate` is false", "transformers ignores", "remove it"]);
    let odd = json!({"rotary_pct": 0.75, "rope_scaling": {"type": "yarn", "factor": 2.0}});
    says("gpt_neox", &odd, &["yarn", "not 3"]);
    let unused = json!({"sliding_window": 3, "layer_types": ["sliding_attention"], "num_hidden_layers": 1});
    says("qwen2", &unused, &["layer_types", "`use_sliding_window` is not true"]);
    says("llama", &json!({"num_key_value_heads": 2}), &["2 key and value heads", "3 query heads"]);
    says("llama", &json!({"head_dim": 257}), &["width of a head is 257"]);
    says("llama", &json!({"head_dim": 5}), &["5 columns", "in pairs"]);
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
