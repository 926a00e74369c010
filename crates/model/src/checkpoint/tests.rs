mod hostile;

use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use tempfile::TempDir;

use super::*;
use crate::tokenizer::tests::shared;

const CONFIG: &str =
    r#"{"model_type": "gpt2", "n_layer": 2, "n_embd": 4, "n_head": 2, "vocab_size": 5, "n_positions": 3}"#;

/// A tensor of a file under construction.
#[derive(Clone)]
struct Raw {
    name: String,
    dtype: safetensors::Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Raw {
    fn f32(name: &str, shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self { name: name.to_owned(), dtype: safetensors::Dtype::F32, shape: shape.to_vec(), bytes }
    }

    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns the same tensor in another format, filled with `0.5, 1.5, ...`.
    fn stored_as(&self, dtype: safetensors::Dtype) -> Self {
        let values = (0..self.len()).map(|i| i as f32 + 0.5);
        let bytes = match dtype {
            safetensors::Dtype::F16 => values.flat_map(|x| f16::from_f32(x).to_le_bytes()).collect(),
            safetensors::Dtype::BF16 => values.flat_map(|x| bf16::from_f32(x).to_le_bytes()).collect(),
            safetensors::Dtype::F64 => values.flat_map(|x| f64::from(x).to_le_bytes()).collect(),
            _ => values.flat_map(f32::to_le_bytes).collect(),
        };
        Self { dtype, bytes, ..self.clone() }
    }
}

/// Returns all tensors of a configuration. Element `j` of tensor `i` is `i + j / 100`.
fn tensors(config: &str) -> Vec<Raw> {
    let fill = |(i, (name, shape)): (usize, (String, Vec<usize>))| {
        let len: usize = shape.iter().product();
        Raw::f32(&name, &shape, &(0..len).map(|j| i as f32 + j as f32 / 100.0).collect::<Vec<_>>())
    };
    Architecture::from_json(config).unwrap().tensors().into_iter().enumerate().map(fill).collect()
}

fn file_bytes(tensors: &[Raw]) -> Vec<u8> {
    let views = tensors.iter().map(|t| {
        let view = TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap();
        (t.name.clone(), view)
    });
    safetensors::serialize(views, None).unwrap()
}

/// Creates a model directory with one weight file.
fn model(config: &str, tensors: &[Raw]) -> TempDir {
    directory(config, &[("model.safetensors", &file_bytes(tensors))])
}

fn directory(config: &str, files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn untied() -> String {
    CONFIG.replace('}', r#", "tie_word_embeddings": false}"#)
}

fn open(dir: &TempDir) -> Checkpoint {
    Checkpoint::open(dir.path()).unwrap()
}

/// Reads all elements of a tensor.
fn all(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let shape = checkpoint.shape(name).unwrap().to_vec();
    let mut out = vec![f32::NAN; shape.iter().product()];
    checkpoint.read_f32(name, 0..shape[0], &mut out).unwrap();
    out
}

#[test]
fn every_tensor_reads_back() {
    let raw = tensors(CONFIG);
    let dir = model(CONFIG, &raw);
    let checkpoint = open(&dir);
    for (i, tensor) in raw.iter().enumerate() {
        assert_eq!(checkpoint.shape(&tensor.name), Some(tensor.shape.as_slice()));
        let expected: Vec<f32> = (0..tensor.len()).map(|j| i as f32 + j as f32 / 100.0).collect();
        assert_eq!(all(&checkpoint, &tensor.name), expected, "{}", tensor.name);
    }
    let size = std::fs::metadata(dir.path().join("model.safetensors")).unwrap().len();
    assert_eq!(checkpoint.file_bytes(), size);
    assert_eq!(checkpoint.paths().count(), 1);
}

#[test]
fn rows_are_those_of_the_leading_dimension() {
    let checkpoint = open(&model(CONFIG, &tensors(CONFIG)));
    let whole = all(&checkpoint, "wte.weight");
    let mut rows = [f32::NAN; 8];
    checkpoint.read_f32("wte.weight", 2..4, &mut rows).unwrap();
    assert_eq!(rows, whole[8..16]);
    checkpoint.read_f32("wte.weight", 5..5, &mut []).unwrap();
    let mut pair = [f32::NAN; 2];
    checkpoint.read_f32("h.1.mlp.c_fc.bias", 3..5, &mut pair).unwrap();
    assert_eq!(pair, all(&checkpoint, "h.1.mlp.c_fc.bias")[3..5]);
}

#[test]
fn reads_outside_a_tensor_are_refused() {
    let checkpoint = open(&model(CONFIG, &tensors(CONFIG)));
    let error =
        |name: &str, rows, len| checkpoint.read_f32(name, rows, &mut vec![0.0; len]).expect_err(name).to_string();
    assert_eq!(error("wte.weight", 4..6, 8), "tensor `wte.weight`: rows 4..6 of a tensor of shape [5, 4]");
    assert_eq!(error("wte.weight", 0..2, 7), "tensor `wte.weight`: rows 0..2 have 8 elements, and the buffer has 7");
    let backwards = Range { start: 3, end: 2 };
    assert!(error("wte.weight", backwards, 0).contains("rows 3..2"));
    let text = error("lm_head.weight", 0..1, 4);
    assert_eq!(text, "this checkpoint has no tensor `lm_head.weight`; see Architecture::tensors for the names");
}

#[test]
fn every_format_is_converted() {
    for dtype in [safetensors::Dtype::F16, safetensors::Dtype::BF16, safetensors::Dtype::F32] {
        let raw: Vec<Raw> = tensors(CONFIG).iter().map(|t| t.stored_as(dtype)).collect();
        let checkpoint = open(&model(CONFIG, &raw));
        for tensor in &raw {
            let expected: Vec<f32> = (0..tensor.len()).map(|i| i as f32 + 0.5).collect();
            assert_eq!(all(&checkpoint, &tensor.name), expected, "{dtype} {}", tensor.name);
        }
        assert_eq!(checkpoint.dtype("wte.weight").map(Dtype::size), Some(dtype.bitsize() / 8));
    }
}

#[test]
fn every_16_bit_pattern_is_converted() {
    let bits: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let mut out = vec![0.0; 1 << 16];
    for (dtype, reference) in [
        (Dtype::F16, (|b| f16::from_bits(b).to_f32()) as fn(u16) -> f32),
        (Dtype::Bf16, |b| bf16::from_bits(b).to_f32()),
    ] {
        convert::to_f32(dtype, &bits, &mut out);
        for (b, &x) in (0..=u16::MAX).zip(&out) {
            let expected = reference(b);
            assert!(x == expected || (x.is_nan() && expected.is_nan()), "{dtype:?} {b:#06x}: {x} {expected}");
        }
    }
}

#[test]
fn non_finite_elements_are_found() {
    for (at, value) in [(0, f32::NAN), (13, f32::INFINITY), (19, f32::NEG_INFINITY)] {
        let mut raw = tensors(CONFIG);
        raw[0].bytes[4 * at..4 * at + 4].copy_from_slice(&value.to_le_bytes());
        let checkpoint = open(&model(CONFIG, &raw));
        let text = checkpoint.read_f32("wte.weight", 0..5, &mut [0.0; 20]).unwrap_err().to_string();
        assert!(text.starts_with(&format!("tensor `wte.weight` contains {value} at flat index {at};")), "{text}");
        // The index counts from the tensor's start, whichever rows are read.
        let row = at / 4;
        let text = checkpoint.read_f32("wte.weight", row..row + 1, &mut [0.0; 4]).unwrap_err().to_string();
        assert!(text.contains(&format!("flat index {at};")), "{text}");
    }
    let mut long = vec![1.0f32; 10_000];
    assert_eq!(first_non_finite(&long), None);
    long[9_999] = f32::NAN;
    long[5_000] = f32::INFINITY;
    assert_eq!(first_non_finite(&long), Some(5_000));
    assert_eq!(first_non_finite(&[f32::MAX, f32::MIN, 0.0, -0.0, 1e-45]), None);
}

#[test]
fn names_may_have_the_prefix_and_masks_are_ignored() {
    let mut raw = tensors(CONFIG);
    for tensor in &mut raw {
        tensor.name.insert_str(0, "transformer.");
    }
    raw.push(Raw::f32("transformer.h.0.attn.masked_bias", &[], &[-1e4]));
    let mask = vec![1; 9];
    let name = "transformer.h.1.attn.bias".to_owned();
    raw.push(Raw { name, dtype: safetensors::Dtype::BOOL, shape: vec![1, 1, 3, 3], bytes: mask });
    let checkpoint = open(&model(CONFIG, &raw));
    assert_eq!(all(&checkpoint, "h.1.attn.c_attn.bias").len(), 12);
    assert_eq!(checkpoint.shape("h.1.attn.bias"), None);
}

/// Files of the base model, without a head, and files of a model that also reads images.
#[test]
fn names_of_other_models_around_the_same_one_are_known() {
    let text = r#""vocab_size": 5, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 4,
        "num_key_value_heads": 1, "intermediate_size": 3, "max_position_embeddings": 8, "tie_word_embeddings": true"#;
    let alone = format!(r#"{{"model_type": "gemma3_text", {text}}}"#);
    let around = format!(r#"{{"model_type": "gemma3", "text_config": {{"model_type": "gemma3_text", {text}}}}}"#);
    let raw = tensors(&alone);
    let expected = all(&open(&model(&alone, &raw)), "model.layers.0.mlp.up_proj.weight");
    let other = Raw::f32("vision_tower.vision_model.head.probe", &[2], &[0.0; 2]);
    for (config, start, more) in [
        (&alone, "", None),
        (&around, "language_model.model.", Some(&other)),
        (&around, "model.language_model.", Some(&other)),
        (&around, "model.", None),
    ] {
        let mut raw = raw.clone();
        for tensor in &mut raw {
            tensor.name = format!("{start}{}", tensor.name.strip_prefix("model.").unwrap());
        }
        raw.extend(more.cloned());
        let checkpoint = open(&model(config, &raw));
        assert_eq!(all(&checkpoint, "model.layers.0.mlp.up_proj.weight"), expected, "{start:?}");
    }
    // A tensor that does not belong to the model is named as it is stored.
    let mut raw = raw;
    raw.push(other);
    let text = Checkpoint::open(model(&alone, &raw).path()).unwrap_err().to_string();
    assert!(text.contains("contains `vision_tower.vision_model.head.probe` [2]"), "{text}");
}

#[test]
fn a_tied_model_uses_its_token_embedding() {
    let mut raw = tensors(&untied());
    // A head with other values is used, as Hugging Face's library does.
    let checkpoint = open(&model(CONFIG, &raw));
    assert_eq!(all(&checkpoint, "lm_head.weight"), all(&open(&model(&untied(), &raw)), "lm_head.weight"));
    assert!(!checkpoint.architecture().layout.tied);
    // The head may have the same values or another format, but not another shape.
    let (wte, head) = (raw[0].clone(), raw.len() - 1);
    raw[head].bytes = wte.bytes.clone();
    assert_eq!(open(&model(CONFIG, &raw)).shape("lm_head.weight"), None);
    raw[head] = raw[head].stored_as(safetensors::Dtype::F16);
    open(&model(CONFIG, &raw));
    let entry = |name: &str| &checkpoint.tensors[name];
    assert!(checkpoint.same_bytes(entry("h.0.ln_1.bias"), entry("h.0.ln_1.bias")));
    assert!(!checkpoint.same_bytes(entry("h.0.ln_1.bias"), entry("h.0.ln_2.bias")));
    raw[head] = Raw::f32("lm_head.weight", &[1, 4], &[0.0; 4]);
    let text = Checkpoint::open(model(CONFIG, &raw).path()).unwrap_err().to_string();
    assert!(text.contains("`lm_head.weight` is [1, 4] where config.json asks for [5, 4]"), "{text}");
}

/// The safetensors Python package writes tied tensors under one of their names only.
#[test]
fn a_tied_model_may_store_its_head_alone() {
    let mut raw = tensors(CONFIG);
    raw[0].name = "lm_head.weight".to_owned();
    let expected = all(&open(&model(CONFIG, &tensors(CONFIG))), "wte.weight");
    let checkpoint = open(&model(CONFIG, &raw));
    assert_eq!(all(&checkpoint, "wte.weight"), expected);
    assert_eq!(checkpoint.shape("lm_head.weight"), None);
    // If the embeddings are not tied, the head is the token embedding only if the file declares it.
    let text = Checkpoint::open(model(&untied(), &raw).path()).unwrap_err().to_string();
    assert!(text.contains("lacks `wte.weight` [5, 4]"), "{text}");
    let views = raw.iter().map(|t| (t.name.clone(), TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap()));
    let notes = [("transformer.wte.weight", "lm_head.weight"), ("format", "pt"), ("x", "no such tensor")];
    let notes = notes.map(|(a, b)| (a.to_owned(), b.to_owned())).into_iter().collect();
    let bytes = safetensors::serialize(views, Some(notes)).unwrap();
    let checkpoint = open(&directory(&untied(), &[("model.safetensors", &bytes)]));
    assert_eq!(all(&checkpoint, "wte.weight"), expected);
    assert_eq!(all(&checkpoint, "lm_head.weight"), expected);
}

#[test]
fn an_untied_head_is_a_tensor_of_its_own() {
    let checkpoint = open(&model(&untied(), &tensors(&untied())));
    assert_ne!(all(&checkpoint, "lm_head.weight"), all(&checkpoint, "wte.weight"));
}

/// Splits a model into two shards. Returns them and their index.
fn sharded(raw: &[Raw]) -> (Vec<u8>, Vec<u8>, serde_json::Value) {
    let (a, b) = raw.split_at(raw.len() / 2);
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let places = [a, b]
        .into_iter()
        .zip(names)
        .flat_map(|(shard, file)| shard.iter().map(move |t| (t.name.clone(), serde_json::Value::from(file))));
    let map: serde_json::Map<_, _> = places.collect();
    (file_bytes(a), file_bytes(b), serde_json::json!({ "metadata": {}, "weight_map": map }))
}

#[test]
fn shards_read_like_one_file() {
    let raw = tensors(CONFIG);
    let (a, b, index) = sharded(&raw);
    let index = index.to_string();
    let dir = directory(
        CONFIG,
        &[
            ("model-00001-of-00002.safetensors", &a),
            ("model-00002-of-00002.safetensors", &b),
            ("model.safetensors.index.json", index.as_bytes()),
        ],
    );
    let (shards, single) = (open(&dir), open(&model(CONFIG, &raw)));
    for tensor in &raw {
        assert_eq!(all(&shards, &tensor.name), all(&single, &tensor.name));
    }
    assert_eq!(shards.file_bytes(), (a.len() + b.len()) as u64);
    assert_eq!(shards.paths().count(), 2);
}

#[test]
fn the_hash_sees_every_byte() {
    let raw = tensors(CONFIG);
    let hash = |config: &str, raw: &[Raw]| open(&model(config, raw)).hash().to_owned();
    let base = hash(CONFIG, &raw);
    assert_eq!(base, hash(CONFIG, &raw), "the directory's name does not matter");
    assert_eq!(base.len(), 64);
    let mut other = raw.clone();
    other.last_mut().unwrap().bytes[0] ^= 1;
    assert_ne!(base, hash(CONFIG, &other));
    assert_ne!(base, hash(&CONFIG.replace("gpt2\"", "gpt2\", \"layer_norm_epsilon\": 1e-6"), &raw));
}

#[test]
fn the_trained_model_opens() {
    let Some(dir) = shared("models/sort-nano") else { return };
    let checkpoint = Checkpoint::open(&dir).unwrap();
    assert_eq!(checkpoint.architecture().n_params(), 85_728);
    for (name, _) in checkpoint.architecture().tensors() {
        assert!(all(&checkpoint, &name).iter().any(|&x| x != 0.0), "{name}");
    }
    assert_ne!(all(&checkpoint, "lm_head.weight"), all(&checkpoint, "wte.weight"));
    assert!(crate::Tokenizer::open(Path::new(&dir)).unwrap().is_none());
}

/// Almost no page of a file is resident after reading or hashing it.
#[cfg(target_os = "linux")]
#[test]
fn pages_are_released() {
    let config = CONFIG.replace("\"vocab_size\": 5", "\"vocab_size\": 4000000");
    let dir = model(&config, &tensors(&config));
    let checkpoint = open(&dir);
    let file = std::fs::canonicalize(dir.path().join("model.safetensors")).unwrap();
    let resident_kb = || -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let ours = maps.lines().skip_while(|line| !line.ends_with(file.to_str().unwrap()));
        let rss = ours.filter_map(|line| line.strip_prefix("Rss:")).next().unwrap();
        rss.trim().trim_end_matches(" kB").parse().unwrap()
    };
    // Touching all 64 MB of the mapping makes them resident, so the test does measure this mapping.
    std::hint::black_box(checkpoint.files[0].bytes().iter().step_by(4096).max());
    assert!(resident_kb() > 60_000, "{} kB", resident_kb());
    all(&checkpoint, "wte.weight");
    assert!(resident_kb() < 4_000, "{} kB after reading", resident_kb());
    checkpoint.hash();
    assert!(resident_kb() < 4_000, "{} kB after hashing", resident_kb());
}
