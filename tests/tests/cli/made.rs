//! Model directories that are made in code, with a given shape, seeded weights, and a byte-level tokenizer.

use std::fs;
use std::path::PathBuf;

use resolvent_model::{Config, RandomWeights, WeightSource, tiny};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use tempfile::TempDir;

use super::utf8;

/// A model directory that is removed when the value is dropped.
pub(super) struct Made(TempDir);

impl Made {
    /// Creates a model with the given numbers of blocks, width and heads. `change` may change each tensor by its name.
    pub(super) fn new([n_layer, n_embd, n_head]: [usize; 3], seed: u64, change: impl Fn(&str, &mut [f32])) -> Self {
        let config = Config { n_layer, n_embd, n_head, n_inner: None, vocab_size: 257, n_positions: 32, ..tiny() };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = json!({
            "model_type": "gpt2", "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
            "n_layer": n_layer, "n_embd": n_embd, "n_head": n_head, "vocab_size": 257, "n_positions": 32,
        });
        let weights = RandomWeights::new(seed).with_std(0.4);
        let tensors: Vec<(String, Vec<usize>, Vec<f32>)> = config
            .tensors()
            .into_iter()
            .map(|(name, shape)| {
                let mut data = vec![0.0; shape.iter().product()];
                weights.read(&name, 0..shape[0], &mut data).expect("seeded");
                change(&name, &mut data);
                (name, shape, data)
            })
            .collect();
        let view = |(name, shape, data): &(String, Vec<usize>, Vec<f32>)| {
            let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
            (name.clone(), (shape.clone(), bytes))
        };
        let bytes: Vec<_> = tensors.iter().map(view).collect();
        let views = bytes.iter().map(|(name, (shape, bytes))| {
            (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("fits"))
        });
        let made = Self(folder);
        fs::write(made.file("config.json"), text.to_string()).expect("writable");
        let weights = safetensors::serialize(views, None).expect("a weight file");
        fs::write(made.file("model.safetensors"), weights).expect("writable");
        fs::write(made.file("tokenizer.json"), tokenizer()).expect("writable");
        made
    }

    /// Returns the path as an argument.
    pub(super) fn argument(&self) -> String {
        utf8(self.0.path())
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Returns a byte-level tokenizer without merges, in which the id of a byte is the byte.
fn tokenizer() -> String {
    let mut next = 256;
    let mut vocab = serde_json::Map::new();
    for byte in 0..=255u8 {
        // GPT-2's alphabet maps bytes without a visible character to characters from 256 on.
        let seen = matches!(byte, 33..=126 | 161..=172 | 174..=255);
        let character = char::from_u32(if seen { u32::from(byte) } else { next }).expect("a character");
        next += u32::from(!seen);
        vocab.insert(character.to_string(), json!(byte));
    }
    vocab.insert("<|endoftext|>".to_owned(), json!(256));
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{"id": 256, "content": "<|endoftext|>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "pre_tokenizer": level, "decoder": level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": []},
    })
    .to_string()
}

/// Returns a prompt file of tasks with pairs of texts. Every pair has the answers P and R.
pub(super) fn prompts(tasks: &[(&str, &[(&str, &str)])]) -> String {
    let each = tasks.iter().map(|(name, pairs)| {
        let pair = |(clean, corrupted): &(&str, &str)| {
            json!({"clean": clean, "corrupted": corrupted, "target": "P", "against": "R"})
        };
        ((*name).to_owned(), json!({"prompts": pairs.iter().map(pair).collect::<Vec<_>>()}))
    });
    json!({"version": 1, "tasks": each.collect::<serde_json::Map<_, _>>()}).to_string()
}
