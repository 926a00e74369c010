//! Metadata that change the computation are understood or refused.

use super::super::writer::{Field, llama};
use serde_json::json;

use super::*;

fn with(key: &str, field: Field) -> String {
    refused(&llama().set(key, field))
}

#[test]
fn keys_that_are_not_understood_are_refused() {
    let error = with("llama.logit_scale", Field::F32(0.25));
    assert!(error.contains("`llama.logit_scale` = 0.25 is not supported"), "{error}");
    opened(&llama().set("general.name", Field::Text("x".to_owned()))).expect("does not change the computation");
    opened(&llama().set("gpt2.logit_scale", Field::F32(0.25))).expect("belongs to another architecture");
    for key in ["llama.expert_count", "llama.attention.clamp_kqv"] {
        opened(&llama().set(key, Field::U32(0))).expect("neutral");
        assert!(with(key, Field::U32(8)).contains("is 8; only 0 is supported"), "{key}");
    }
    opened(&llama().set("general.quantization_version", Field::U32(2))).expect("the present version");
    assert!(with("general.quantization_version", Field::U32(1)).contains("is 1; only 2 is supported"));
    assert!(with("llama.attention.causal", Field::Flag(false)).contains("only causal"));
    assert!(with("llama.rope.dimension_count", Field::U32(1)).contains("all of it must be rotated"));
    assert!(with("llama.attention.value_length", Field::U32(3)).contains("only equal widths"));
}

#[test]
fn sizes_are_checked() {
    assert!(refused(&llama().without("llama.context_length")).contains("lack `llama.context_length`"));
    assert!(with("llama.context_length", Field::I32(-1)).contains("must be a positive whole number"));
    assert!(with("llama.context_length", Field::Text("7".to_owned())).contains("found `7`"));
    assert!(with("llama.attention.head_count", Field::U32(4)).contains("does not divide"));
    assert!(with("llama.attention.head_count", Field::U32(0)).contains("must be a positive whole number"));
    assert!(with("llama.block_count", Field::U32(u32::MAX)).contains("the file has only 11 tensors"));
    assert!(with("llama.attention.layer_norm_rms_epsilon", Field::F32(f32::NAN)).contains("finite"));
    let error = with("llama.attention.head_count_kv", Field::I32s(vec![1, 2]));
    assert!(error.contains("the same for all blocks, found a list of 2 values"), "{error}");
    let same = opened(&llama().set("llama.attention.head_count_kv", Field::I32s(vec![1]))).expect("one for each block");
    assert_eq!(same.config()["num_key_value_heads"], 1);
}

#[test]
fn other_architectures_are_refused() {
    let error = with("general.architecture", Field::Text("mamba".to_owned()));
    assert!(error.contains("`mamba`; models of gpt2, llama"), "{error}");
}

#[test]
fn rotary_scaling_is_understood_or_refused() {
    let scaled = |kind: &str| {
        llama()
            .set("llama.rope.scaling.type", Field::Text(kind.to_owned()))
            .set("llama.rope.scaling.factor", Field::F32(4.0))
    };
    let found = |writer: &Writer| opened(writer).unwrap_or_else(|e| panic!("{e}")).config()["rope_scaling"].clone();
    assert_eq!(found(&scaled("none")), Value::Null);
    assert_eq!(found(&scaled("linear"))["factor"], 4.0);
    assert_eq!(found(&llama().set("llama.rope.scale_linear", Field::F32(2.0)))["rope_type"], "linear");
    let betas = scaled("yarn").set("llama.rope.scaling.yarn_beta_fast", Field::F32(16.0));
    assert_eq!(found(&betas)["beta_fast"], 16.0);
    assert!(refused(&scaled("longrope")).contains("`longrope`; none, linear and yarn"));
    assert!(
        refused(&scaled("linear").without("llama.rope.scaling.factor")).contains("lack `llama.rope.scaling.factor`")
    );
    let stretched = scaled("yarn").set("llama.rope.scaling.attn_factor", Field::F32(0.5));
    assert!(refused(&stretched).contains("only 1 is supported"));
    // A head is 2 wide, so it has one divisor.
    assert!(refused(&llama().zeros("rope_freqs.weight", &[1])).contains("another way than Llama 3"));
    assert!(refused(&llama().zeros("rope_freqs.weight", &[3])).contains("does not fit"));
}

/// Returns the model of a writer with the metadata of another architecture.
fn renamed(arch: &str) -> Writer {
    let mut writer = llama().set("general.architecture", Field::Text(arch.to_owned()));
    for (key, _) in &mut writer.fields {
        if let Some(rest) = key.strip_prefix("llama.") {
            *key = format!("{arch}.{rest}");
        }
    }
    let epsilon = Field::F32(1e-5);
    writer
        .set(&format!("{arch}.attention.layer_norm_epsilon"), epsilon)
        .set(&format!("{arch}.logit_scale"), Field::F32(4.0))
}

#[test]
fn shares_of_rotated_columns_are_checked() {
    let error = |n| refused(&renamed("stablelm").set("stablelm.rope.dimension_count", Field::U32(n)));
    assert!(error(1).contains("columns rotate in pairs"), "{}", error(1));
    assert!(error(10).contains("only 2 wide"), "{}", error(10));
}

#[test]
fn fields_of_relatives_are_checked() {
    let error = |arch: &str, key: &str, field| refused(&renamed(arch).set(&format!("{arch}.{key}"), field));
    let scale = error("olmo", "attention.layer_norm_epsilon", Field::F32(1e-6));
    assert!(scale.contains("the norms of this architecture have 1e-5"), "{scale}");
    let switch = error("granite", "rope.scaling.finetuned", Field::Flag(false));
    assert!(switch.contains("has no rotary positions"), "{switch}");
    let base = error("cohere2", "rope.freq_base_swa", Field::F32(7.0));
    assert!(base.contains("differs from the base of the other blocks"), "{base}");
    let none = refused(&renamed("command-r").without("command-r.logit_scale"));
    assert!(none.contains("lack `command-r.logit_scale`"), "{none}");
}

#[test]
fn a_window_makes_an_olmo_2_an_olmo_3() {
    let norms = ["post_attention_norm", "post_ffw_norm", "attn_q_norm", "attn_k_norm"];
    let mut writer = renamed("olmo2").set("olmo2.attention.sliding_window", Field::U32(5));
    writer = writer.without("olmo2.logit_scale").without("olmo2.attention.layer_norm_epsilon");
    for (key, field) in [
        ("type", Field::Text("yarn".to_owned())),
        ("factor", Field::F32(8.0)),
        ("original_context_length", Field::U32(32)),
    ] {
        writer = writer.set(&format!("olmo2.rope.scaling.{key}"), field);
    }
    writer.tensors.retain(|tensor| !tensor.name.starts_with("blk.0.attn_norm") && !tensor.name.contains("ffn_norm"));
    for norm in norms {
        let width = if norm == "attn_k_norm" { 2 } else { 6 };
        writer = writer.zeros(&format!("blk.0.{norm}.weight"), &[width]);
    }
    let config = opened(&writer).unwrap_or_else(|e| panic!("{e}")).config().clone();
    assert_eq!((&config["model_type"], &config["layer_types"]), (&"olmo3".into(), &json!(["sliding_attention"])));
    let parameters = &config["rope_parameters"];
    assert_eq!(
        (&parameters["full_attention"]["factor"], &parameters["full_attention"]["rope_type"]),
        (&json!(8.0), &json!("yarn"))
    );
    assert_eq!(parameters["sliding_attention"], json!({"rope_type": "default", "rope_theta": 1e4}));
}

#[test]
fn a_phi_without_a_window_has_a_window_of_0() {
    let phi = renamed("phi3").without("phi3.logit_scale").without("phi3.attention.layer_norm_epsilon");
    let mut phi = phi.set("phi3.attention.sliding_window", Field::U32(0));
    phi.tensors.retain(|tensor| !tensor.name.starts_with("blk.0.attn_q") && !tensor.name.starts_with("blk.0.attn_k"));
    phi.tensors.retain(|tensor| !tensor.name.starts_with("blk.0.attn_v") && !tensor.name.starts_with("blk.0.ffn_gate"));
    assert_eq!(opened(&phi).unwrap_or_else(|e| panic!("{e}")).config()["sliding_window"], Value::Null);
}

#[test]
fn a_window_makes_a_llama_a_llama_a_mistral() {
    let gguf = opened(&llama().set("llama.attention.sliding_window", Field::U32(5))).expect("a model");
    assert_eq!((&gguf.config()["model_type"], &gguf.config()["sliding_window"]), (&"mistral".into(), &5.into()));
}

#[test]
fn an_unembedding_of_the_same_bytes_is_the_embedding() {
    let tied = opened(&llama().zeros("output.weight", &[6, 11])).expect("a model");
    assert_eq!(tied.config()["tie_word_embeddings"], true);
    assert!(!tied.tensors().any(|(name, ..)| name == "lm_head.weight"));
    let mut writer = llama().zeros("output.weight", &[6, 11]);
    writer.tensors[11].bytes[7] = 1;
    let own = opened(&writer).expect("a model");
    assert_eq!(own.config()["tie_word_embeddings"], false);
    assert_eq!(shape(&own, "lm_head.weight"), [11, 6]);
}
