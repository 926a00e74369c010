use serde_json::{Value, json};

use super::super::Architecture;

/// Returns the message about a file of an unknown family.
fn message(fields: &Value) -> String {
    let mut config = json!({"model_type": "unheard-of", "hidden_size": 12, "hidden_act": "silu"});
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Architecture::from_json(&config.to_string()).expect_err("is refused").to_string()
}

#[test]
fn keys_name_the_feature_that_is_missing() {
    let cases = [
        (json!({"num_local_experts": 8}), "a mixture of experts (`num_local_experts`)"),
        (json!({"n_routed_experts": 64, "kv_lora_rank": 512}), "a mixture of experts (`n_routed_experts`)"),
        (json!({"kv_lora_rank": 512, "num_experts": 1}), "multi-head latent attention (`kv_lora_rank`)"),
        (json!({"mamba_d_state": 16}), "state-space layers (`mamba_d_state`)"),
        (json!({"linear_num_key_heads": 16}), "recurrent or convolution layers (`linear_num_key_heads`)"),
        (json!({"relative_attention_num_buckets": 32}), "relative position buckets (`relative_attention_num_buckets`)"),
        (json!({"is_encoder_decoder": true}), "an encoder beside the decoder (`is_encoder_decoder`)"),
        (json!({"alibi": true}), "ALiBi position biases (`alibi`)"),
        (json!({"attn_config": {"alibi": true}}), "ALiBi position biases (`alibi`)"),
        (json!({"layer_types": ["full_attention", "linear_attention"]}), "layers of the kind `linear_attention`"),
        (json!({"type_vocab_size": 2}), "attention to later tokens (`type_vocab_size`)"),
        (json!({"hidden_act": "relu2"}), "the activation `relu2` (`hidden_act`)"),
        (json!({"rope_scaling": {"type": "longrope"}}), "the rotary scaling `longrope` (`rope_scaling`)"),
        (json!({"text_config": {"model_type": "llama"}}), "images or sound beside text (`text_config` describes"),
        (json!({"model_type": "bloom"}), "ALiBi position biases, which"),
        (json!({"model_type": "bert"}), "attention to later tokens, which"),
        (json!({"model_type": "t5"}), "an encoder beside the decoder, which"),
        (json!({"model_type": "nemotron"}), "the activation `relu2`, which"),
    ];
    for (fields, feature) in cases {
        let message = message(&fields);
        assert!(message.contains(&format!("and it needs {feature}")), "{fields}: {message}");
        assert!(message.contains("which is missing here); supported values of model_type: gpt2, "), "{message}");
    }
}

#[test]
fn keys_without_effect_name_no_feature() {
    let neutral = json!({
        "num_experts": 1, "alibi": false, "is_encoder_decoder": false, "kv_lora_rank": null, "hidden_act": "gelu",
        "layer_types": ["full_attention", "sliding_attention"], "rope_parameters": {"rope_type": "yarn"},
        "type_vocab_size": 2, "is_decoder": true,
    });
    let message = message(&neutral);
    assert!(message.contains("no field names a missing feature: if it computes what"), "{message}");
    let empty = Architecture::from_json("{}").expect_err("is refused").to_string();
    assert!(empty.contains("(it names neither model_type nor architectures); supported"), "{empty}");
}
