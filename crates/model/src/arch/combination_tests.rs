//! Families that combine features of others: their own switches.

use serde_json::{Value, json};

use super::tests::{message, windows, with};
use super::*;

#[test]
fn layers_slide_and_rotate_where_their_family_says() {
    let sliding = json!({"sliding_window": 3});
    let olmo3 = with("olmo3", &sliding).unwrap();
    assert_eq!(windows(&olmo3), [Some(3), Some(3), Some(3), None]);
    let rotary = |model: &Architecture| model.attention.iter().map(|plan| plan.rotary).collect::<Vec<_>>();
    assert_eq!(rotary(&olmo3), [Some(1), Some(1), Some(1), Some(0)]);
    assert_eq!(windows(&with("starcoder2", &sliding).unwrap()), [Some(3); 4]);
    for kind in ["starcoder2", "phi3", "smollm3", "granite", "gemma", "olmo", "stablelm"] {
        let rotary = json!({"partial_rotary_factor": if kind == "stablelm" { 0.5 } else { 1.0 }});
        assert_eq!(windows(&with(kind, &rotary).unwrap()), [None; 4], "{kind}");
    }
    assert_eq!(windows(&with("ministral", &json!({})).unwrap()), [Some(4096); 4]);
    let neo = json!({"num_layers": 4, "num_heads": 3, "attention_types": [[["global", "local"], 2]], "window_size": 5});
    assert_eq!(windows(&with("gpt_neo", &neo).unwrap()), [None, Some(5), None, Some(5)]);
    assert_eq!(rotary(&with("gpt_neo", &neo).unwrap()), [None; 4]);
    assert_eq!(rotary(&with("smollm3", &json!({})).unwrap()), [Some(0), Some(0), Some(0), None]);
    let listed = json!({"no_rope_layers": [0, 1, 0, 1], "use_sliding_window": true, "sliding_window": 2});
    let listed = with("smollm3", &listed).unwrap();
    assert_eq!(rotary(&listed), [None, Some(0), None, Some(0)]);
    assert_eq!(windows(&listed), [Some(2), None, Some(2), None]);
}

#[test]
fn a_fused_projection_is_taken_apart_by_kind() {
    let model = with("phi3", &json!({})).unwrap();
    let [q, k, v] = &model.layout.blocks[0].qkv[..] else { panic!("three parts") };
    let taken = |part: &Part| part.outputs_taken().collect::<Vec<_>>();
    assert_eq!([taken(q), taken(k), taken(v)], [(0..12).collect(), (12..16).collect(), (16..20).collect::<Vec<_>>()]);
    let [gate, up] = &model.layout.blocks[0].up[..] else { panic!("two parts") };
    assert_eq!([taken(gate), taken(up)], [(0..20).collect::<Vec<_>>(), (20..40).collect()]);
    assert_eq!(model.tensors().iter().filter(|(name, _)| name.contains("0.mlp.gate_up_proj")).count(), 1);
}

#[test]
fn features_that_are_missing_are_named() {
    let says = |kind: &str, own: &Value, words: &[&str]| {
        let message = message(kind, own);
        assert!(words.iter().all(|word| message.contains(word)) && !message.contains('\n'), "{message}");
    };
    says("olmo", &json!({"clip_qkv": 8}), &["`clip_qkv` is 8", "not supported"]);
    says("stablelm", &json!({"qk_layernorm": true}), &["`qk_layernorm` is true", "layer norms of queries and keys"]);
    for kind in ["longrope", "su", "yarn"] {
        says("phi3", &json!({"rope_scaling": {"type": kind}}), &["rotary scaling", kind, "not supported"]);
    }
    says("phi3", &json!({"rope_scaling": {"type": "linear"}}), &["`linear` is none of this family"]);
    says("smollm3", &json!({"no_rope_layers": [1]}), &["`no_rope_layers` has 1 entries for 4 layers"]);
    says("smollm3", &json!({"no_rope_layers": "1"}), &["`no_rope_layers` must be a list of 0 and 1"]);
    says("olmo3", &json!({"rope_theta": 1e4}), &["`rope_theta` is 10000", "full attention only"]);
    says("granite", &json!({"logits_scaling": 0}), &["`logits_scaling` is 0"]);
    let neo = |types: Value| json!({"num_layers": 4, "num_heads": 3, "attention_types": types});
    says("gpt_neo", &neo(json!([[["global"], 3]])), &["`attention_types` is not that of 4 layers"]);
    says("gpt_neo", &neo(json!([[["global"], u64::MAX]])), &["`attention_types` is not that of 4 layers"]);
    says("gpt_neo", &neo(json!([[["sparse"], 4]])), &["`sparse`", "global and local"]);
    says("gpt_neo", &neo(json!(["global"])), &["`attention_types` must be a list"]);
    says("gpt_neo", &json!({"num_layers": 4}), &["`attention_types` is missing"]);
}

#[test]
fn factors_are_those_of_modules() {
    let own = json!({"residual_multiplier": 0.5, "logits_scaling": 4, "attention_multiplier": 0.25});
    let model = with("granite", &own).unwrap();
    let factors = &model.layout.factors;
    assert_eq!(factors.len(), 9);
    assert_eq!(factors[0], ("model.layers.0.self_attn.o_proj".to_owned(), 0.5));
    assert_eq!(factors[8], ("model.norm".to_owned(), 0.25));
    assert_eq!((model.attention_scale(2), model.embedding_scale), (0.25, 1.0));
}

#[test]
fn buffers_of_old_files_are_no_weights() {
    let neo = json!({"num_layers": 4, "num_heads": 3, "attention_types": [[["local"], 4]]});
    let ignored = with("gpt_neo", &neo).unwrap().layout.ignored;
    assert!(
        (ignored.0)("transformer.h.0.attn.attention.bias") && (ignored.0)("transformer.h.0.attn.attention.masked_bias")
    );
    assert!(!(ignored.0)("transformer.h.0.attn.attention.out_proj.bias"));
}

#[test]
fn neighbouring_columns_are_put_apart() {
    let model = with("cohere", &json!({})).unwrap();
    let [q, k, v] = &model.layout.blocks[0].qkv[..] else { panic!("three parts") };
    assert_eq!(q.outputs_taken().collect::<Vec<_>>(), [0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11]);
    assert_eq!(k.outputs_taken().collect::<Vec<_>>(), [0, 2, 1, 3]);
    assert_eq!(v.outputs_taken().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(message("cohere", &json!({"use_qk_norm": true})).contains("layer norms of queries and keys"));
    let second = with("cohere2", &json!({"sliding_window": 3})).unwrap();
    let rotated = |model: &Architecture| (0..4).map(|l| model.attention_rotates(l)).collect::<Vec<_>>();
    assert_eq!(
        (windows(&second), rotated(&second)),
        ([Some(3), Some(3), Some(3), None].into(), vec![true, true, true, false])
    );
    assert_eq!(rotated(&model), [true; 4]);
}
