//! Files that the `gguf` Python package wrote: `tests/data/make_gguf.py`.

use serde_json::json;

use super::super::dequantise::{dequantise, elements};
use super::super::kind::GgmlType;
use super::*;

/// Returns the bits of some numbers.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn every_format_has_the_bits_of_the_python_package() {
    let file = GgufFile::open(golden("blocks.gguf")).expect("a file");
    let bytes = |name: &str| {
        let tensor = file.tensors().iter().find(|tensor| tensor.name == name).expect("a tensor");
        (tensor.kind, &file.mapped().bytes()[tensor.bytes.clone()])
    };
    for kind in GgmlType::ALL {
        let (found, stored) = bytes(kind.name());
        let (_, values) = bytes(&format!("{}.values", kind.name()));
        let mut expected = vec![f32::NAN; values.len() / 4];
        dequantise(GgmlType::F32, values, &mut expected);
        let mut out = vec![f32::NAN; expected.len()];
        dequantise(found, stored, &mut out);
        assert_eq!((found, bits(&out)), (kind, bits(&expected)), "{}", kind.name());
        assert!(expected.iter().any(|&x| x != 0.0 && x.is_finite()), "{} has numbers", kind.name());
        // Any range of elements, whatever blocks it cuts.
        for (first, end) in [(0, 1), (5, 6), (31, 33), (17, 64), (1, expected.len()), (33, 95), (40, 40)] {
            let mut out = vec![f32::NAN; end - first];
            elements(found, stored, first, &mut out);
            assert_eq!(bits(&out), bits(&expected[first..end]), "{} {first}..{end}", kind.name());
        }
    }
}

/// Returns the weights of a Hugging Face tensor, as `weights` of make_gguf_models.py.
fn weights(name: &str, n: usize) -> Vec<f32> {
    let seed = name.bytes().fold(0x811C_9DC5_u32, |seed, byte| (seed ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let level = |i: usize| {
        let mut x = (i as u32).wrapping_mul(0x9E37_79B1).wrapping_add(seed);
        x ^= x >> 15;
        x = x.wrapping_mul(0x85EB_CA6B);
        x ^= x >> 13;
        ((x & 15) as f32 - 8.0) / 8.0
    };
    (0..n).map(level).collect()
}

/// Architectures, and the number of their tensors.
const MODELS: [(&str, usize); 17] = [
    ("cohere2", 18),
    ("command-r", 18),
    ("gemma", 20),
    ("gemma2", 24),
    ("gemma3", 28),
    ("gpt2", 28),
    ("gptneox", 28),
    ("granite", 28),
    ("llama", 21),
    ("olmo", 16),
    ("olmo2", 25),
    ("phi3", 15),
    ("qwen2", 26),
    ("qwen3", 25),
    ("smollm3", 20),
    ("stablelm", 26),
    ("starcoder2", 35),
];

#[test]
fn weights_are_those_of_hugging_face() {
    for (arch, count) in MODELS {
        let gguf = Gguf::open(&golden(&format!("{arch}.gguf"))).unwrap_or_else(|e| panic!("{e}"));
        for (name, shape, kind) in gguf.tensors() {
            let expected = weights(name, shape.iter().product());
            let what = format!("{arch} {name} {shape:?} {}", kind.name());
            assert_eq!(all(&gguf, name), expected, "{what}");
            // Single rows, and all rows but the first.
            let width: usize = shape[1..].iter().product();
            let mut row = vec![f32::NAN; width];
            for (at, expected) in expected.chunks(width).enumerate() {
                gguf.read(name, at..at + 1, &mut row).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(row, expected, "{what} row {at}");
            }
            let mut rest = vec![f32::NAN; expected.len() - width];
            gguf.read(name, 1..shape[0], &mut rest).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(rest, expected[width..], "{what}");
        }
        assert_eq!(gguf.tensors().count(), count, "{arch}");
    }
}

#[test]
fn each_is_a_model() {
    for (arch, _) in MODELS {
        let gguf = Gguf::open(&golden(&format!("{arch}.gguf"))).unwrap_or_else(|e| panic!("{e}"));
        let model = gguf.architecture().unwrap_or_else(|e| panic!("{arch}: {e}"));
        assert_eq!((model.sizes.layers, model.sizes.vocab), (2, 11), "{arch}");
    }
}

#[test]
fn shapes_are_those_of_hugging_face() {
    let gpt2 = Gguf::open(&golden("gpt2.gguf")).expect("a model");
    assert_eq!(shape(&gpt2, "h.1.attn.c_attn.weight"), [32, 96]);
    assert_eq!(shape(&gpt2, "h.0.mlp.c_proj.weight"), [96, 32]);
    assert_eq!(shape(&gpt2, "wpe.weight"), [64, 32]);
    let llama = Gguf::open(&golden("llama.gguf")).expect("a model");
    assert_eq!(shape(&llama, "model.layers.1.self_attn.k_proj.weight"), [16, 32]);
    assert_eq!(shape(&llama, "model.layers.1.mlp.down_proj.weight"), [32, 64]);
}

#[test]
fn reads_are_checked() {
    let gguf = Gguf::open(&golden("llama.gguf")).expect("a model");
    let mut row = [0.0; 32];
    let error = |result: Result<()>| result.expect_err("is refused").to_string();
    assert!(error(gguf.read("token_embd.weight", 0..1, &mut row)).contains("no tensor"));
    let name = "model.embed_tokens.weight";
    assert!(error(gguf.read(name, 11..12, &mut row)).contains("rows 11..12 of a tensor of shape [11, 32]"));
    assert!(error(gguf.read(name, 0..2, &mut row)).contains("64 elements, and the buffer has 32"));
    gguf.read(name, 11..11, &mut []).expect("no rows");
}

#[test]
fn configurations_are_those_of_hugging_face() {
    let config = |arch: &str| {
        let gguf = Gguf::open(&golden(&format!("{arch}.gguf"))).unwrap_or_else(|e| panic!("{e}"));
        Value::Object(gguf.config().clone())
    };
    let llama3 = json!({
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    });
    assert_eq!(
        config("llama"),
        json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "hidden_size": 32,
            "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "rope_scaling": llama3,
            "hidden_act": "silu", "attention_bias": false, "mlp_bias": false, "vocab_size": 11,
            "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": null,
        })
    );
    assert_eq!(
        config("gpt2"),
        json!({
            "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": 2, "n_embd": 32, "n_head": 4,
            "n_inner": 96, "n_positions": 64, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
            "vocab_size": 11, "tie_word_embeddings": true, "bos_token_id": null, "eos_token_id": null,
        })
    );
    assert_eq!(
        config("gptneox"),
        json!({
            "model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "num_hidden_layers": 2, "hidden_size": 32,
            "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64, "layer_norm_eps": 1e-5,
            "use_parallel_residual": true, "rotary_pct": 0.25, "rotary_emb_base": 10000.0, "rope_scaling": null,
            "hidden_act": "gelu", "attention_bias": true, "vocab_size": 11, "tie_word_embeddings": false,
            "bos_token_id": null, "eos_token_id": null,
        })
    );
    let some = |arch: &str, expected: Value| {
        let found = config(arch);
        for (key, value) in expected.as_object().into_iter().flatten() {
            assert_eq!(&found[key], value, "{arch} {key}");
        }
    };
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16});
    some("qwen2", json!({"model_type": "qwen2", "tie_word_embeddings": true, "rope_scaling": yarn, "head_dim": 8}));
    some("qwen3", json!({"model_type": "qwen3", "tie_word_embeddings": false, "head_dim": 16, "rope_theta": 1e6}));
    some("gemma", json!({"model_type": "gemma", "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": true}));
    some(
        "starcoder2",
        json!({
            "model_type": "starcoder2", "norm_epsilon": 1e-5, "use_bias": true, "sliding_window": null,
            "tie_word_embeddings": true, "num_key_value_heads": 2, "rope_theta": 1e5,
        }),
    );
    some(
        "phi3",
        json!({
            "model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "partial_rotary_factor": 0.75,
            "sliding_window": 9, "rope_scaling": null, "rms_norm_eps": 1e-5,
        }),
    );
    some(
        "granite",
        json!({
            "model_type": "granite", "attention_multiplier": 0.25, "embedding_multiplier": 12.0,
            "residual_multiplier": 0.5, "logits_scaling": 8.0, "attention_bias": true, "mlp_bias": false,
        }),
    );
    some("smollm3", json!({"model_type": "smollm3", "rope_theta": 5e6, "no_rope_layer_interval": 4}));
    some(
        "stablelm",
        json!({
            "model_type": "stablelm", "use_parallel_residual": false, "partial_rotary_factor": 0.25,
            "use_qkv_bias": false, "layer_norm_eps": 1e-5,
        }),
    );
    some("command-r", json!({"model_type": "cohere", "logit_scale": 0.0625, "rope_theta": 8e6, "rope_scaling": null}));
    some(
        "cohere2",
        json!({
            "model_type": "cohere2", "logit_scale": 0.0625, "sliding_window": 7,
            "layer_types": ["sliding_attention", "sliding_attention"],
        }),
    );
    some("olmo", json!({"model_type": "olmo", "architectures": ["OlmoForCausalLM"], "attention_bias": false}));
    some("olmo2", json!({"model_type": "olmo2", "rope_theta": 5e5, "num_key_value_heads": 2}));
    some(
        "gemma2",
        json!({
            "model_type": "gemma2", "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
            "query_pre_attn_scalar": 16, "sliding_window": 12, "layer_types": ["sliding_attention", "full_attention"],
            "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": true, "rope_theta": 1e4,
        }),
    );
    some(
        "gemma3",
        json!({
            "model_type": "gemma3_text", "attn_logit_softcapping": null, "final_logit_softcapping": null,
            "sliding_window": 8, "layer_types": ["sliding_attention", "sliding_attention"], "rope_theta": 1e6,
            "rope_local_base_freq": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        }),
    );
}
