//! Small valid files that have every kind of part.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::Config;

pub(super) fn config() -> Value {
    json!({
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": 1, "n_embd": 4, "n_head": 2, "vocab_size": 5,
        "n_positions": 3, "n_inner": null, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "bos_token_id": 0,
        "eos_token_id": [1, 2], "scale_attn_weights": true, "tie_word_embeddings": true, "add_cross_attention": false,
    })
}

fn tensors() -> Vec<(String, Vec<usize>)> {
    Config::from_json(&config().to_string()).expect("a configuration").tensors()
}

pub(super) fn header() -> Value {
    let (mut header, mut at) = (Map::new(), 0);
    for (name, shape) in tensors() {
        let end = at + 4 * shape.iter().product::<usize>();
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    header.insert("__metadata__".to_owned(), json!({"format": "pt", "lm_head.weight": "wte.weight"}));
    Value::Object(header)
}

pub(super) fn with_header(header: &[u8], data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend(std::iter::repeat_n(0, data));
    bytes
}

pub(super) fn weights() -> Vec<u8> {
    let data: usize = tensors().iter().map(|(_, shape)| 4 * shape.iter().product::<usize>()).sum();
    with_header(header().to_string().as_bytes(), data)
}

pub(super) fn index() -> Value {
    let places: Map<String, Value> = tensors().into_iter().map(|(name, _)| (name, json!("a.safetensors"))).collect();
    json!({"metadata": {"total_size": 1}, "weight_map": places})
}

pub(super) fn prompts() -> Value {
    let pair = json!({"clean": "a b", "corrupted": "b b", "target": "a", "against": "#1"});
    json!({"version": 1, "tasks": {"one": {"about": "x", "prompts": [pair, pair]}, "two": {"prompts": [pair]}}})
}

fn vocab() -> Value {
    json!({"H": 0, "i": 1, "Ġ": 2, "t": 3, "h": 4, "e": 5, "c": 6, "a": 7, "Hi": 8, "th": 9, "the": 10, "Ġthe": 11, "<|endoftext|>": 12})
}

const MERGES: [&str; 4] = ["H i", "t h", "th e", "Ġ the"];

fn token(id: u32, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": true, "rstrip": false, "normalized": true, "special": true})
}

/// Returns the contents of `vocab.json`, `merges.txt` and the files beside them, by file name.
pub(super) fn parts() -> BTreeMap<&'static str, Value> {
    let config = json!({
        "tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true, "add_bos_token": true, "add_eos_token": false,
        "bos_token": "<s>", "mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": true}, "user_token": "<|user|>",
        "additional_special_tokens": ["<x>", "<y>"], "split_special_tokens": false,
    });
    BTreeMap::from([
        ("added_tokens.json", json!({"<|user|>": 13})),
        ("merges.txt", json!(format!("#version: 0.2\n{}\n", MERGES.join("\n")))),
        ("special_tokens_map.json", json!({"eos_token": {"content": "</s>", "rstrip": true}, "pad_token": "<pad>"})),
        ("tokenizer_config.json", config),
        ("vocab.json", vocab()),
    ])
}

/// Number of seeds of [`whole`].
pub(super) const WHOLE: usize = 5;

/// Returns one of the `tokenizer.json` seeds. They cover each kind of model, each with other parts.
pub(super) fn whole(which: usize) -> Value {
    let bpe = json!({"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab(), "merges": MERGES});
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let split = json!({"type": "Split", "pattern": {"Regex": "\\s+|\\w+"}, "behavior": "Isolated", "invert": false});
    let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let scores = json!([["<unk>", 0.0], ["▁", -1.0], ["H", -2.0], ["i", -2.5], ["Hi", -1.5], ["<0x41>", -9.0]]);
    let template = json!({
        "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}},
    });
    let parts = match which {
        0 => {
            json!({"model": bpe, "pre_tokenizer": byte_level, "decoder": byte_level, "post_processor": byte_level})
        }
        1 => json!({
            "model": bpe, "normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "NFKC"}]},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]}, "decoder": byte_level, "post_processor": template,
        }),
        2 => json!({
            "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": true, "vocab": scores}, "pre_tokenizer": metaspace, "decoder": metaspace,
            "normalizer": {"type": "Replace", "pattern": {"Regex": " +"}, "content": "▁"},
        }),
        3 => json!({
            "model": {"type": "WordPiece", "unk_token": "<s>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": {"<s>": 0, "hi": 1, "##a": 2}},
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
            "post_processor": {"type": "BertProcessing", "sep": ["<s>", 0], "cls": ["<s>", 0]},
        }),
        _ => json!({
            "model": {"type": "WordLevel", "unk_token": "<s>", "vocab": {"<s>": 0, "Hi": 1, "cat": 2}}, "pre_tokenizer": {"type": "Whitespace"},
            "decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "post_processor": {"type": "Sequence", "processors": [template, byte_level]},
        }),
    };
    let mut whole = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": []});
    let pieces = &parts["model"]["vocab"];
    let next = pieces.as_array().map_or(0, Vec::len).max(pieces.as_object().map_or(0, Map::len)) as u32;
    whole["added_tokens"] = json!([token(next, "<mask>"), token(next + 1, "<|user|>")]);
    for (key, part) in parts.as_object().into_iter().flatten() {
        whole[key] = part.clone();
    }
    whole
}
