//! Damaged and malicious files: errors are one line, and nothing panics.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn error(dir: &TempDir) -> String {
    let text = Checkpoint::open(dir.path()).map(|_| ()).expect_err("must not open").to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

fn weight_error(bytes: &[u8]) -> String {
    let text = error(&directory(CONFIG, &[("model.safetensors", bytes)]));
    assert!(text.ends_with("download or export it again"), "{text}");
    text
}

/// Returns a file with the given header, and `data` zero bytes after it.
fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(std::iter::repeat_n(0, data));
    bytes
}

#[test]
fn truncated_files() {
    let whole = file_bytes(&tensors(CONFIG));
    assert!(weight_error(&[]).contains("is not a usable safetensors file: it is truncated at 0 bytes"));
    assert!(weight_error(&whole[..5]).contains("it is truncated at 5 bytes"));
    let text = weight_error(&whole[..100]);
    assert!(text.contains("its header is declared to be") && text.contains("but only 92 follow"), "{text}");
    let text = weight_error(&whole[..whole.len() - 1]);
    assert!(text.contains("is declared at bytes") && text.contains("(truncated?)"), "{text}");
    let mut longer = whole;
    longer.push(0);
    assert!(weight_error(&longer).contains("its tensors do not fill it exactly"));
}

#[test]
fn impossible_headers() {
    let huge = u64::MAX.to_le_bytes();
    assert!(weight_error(&huge).contains("its header is declared to be 18446744073709551615 bytes"));
    let cases = [
        ("{", 0, "its header is damaged: EOF"),
        ("[]", 0, "its header is damaged: invalid type: sequence, expected an object of tensors"),
        (r#"{"a": 1}"#, 0, "its header is damaged: invalid type"),
        (r#"{"a": {"dtype": "F32", "shape": [1]}}"#, 4, "missing field `data_offsets`"),
        (r#"{"a": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}"#, 4, "unknown variant `F33`"),
        (r#"{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}"#, 4, "invalid"),
        (r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}"#, 4, "its header is damaged"),
        (r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}"#, 4, "`a` is declared at bytes 4..0 of 4"),
        (r#"{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}"#, 4, "`a` is declared at bytes 0..36 of 4"),
        (r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}"#, 4, "does not match its shape and dtype"),
        (r#"{"a": {"dtype": "F32", "shape": [18446744073709551615, 2], "data_offsets": [0, 4]}}"#, 4, "overflow"),
        (r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}"#, 8, "leaves a gap before it"),
        (
            r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}"#,
            4,
            "overlaps another tensor",
        ),
        (
            r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}"#,
            4,
            "`a` appears twice",
        ),
    ];
    for (header, data, expected) in cases {
        let text = weight_error(&with_header(header, data));
        assert!(text.contains(expected), "{header}: {text}");
    }
}

/// End offsets near 2^64: adding to them overflows in the safetensors crate.
#[test]
fn offsets_that_overflow() {
    let step = (1u64 << 60) - 1;
    let tensor = |i: u64| {
        let (start, end) = (i * step * 2, (i + 1) * step * 2);
        format!(r#""t{i}": {{"dtype": "F16", "shape": [{step}], "data_offsets": [{start}, {end}]}}"#)
    };
    let header = format!("{{{}}}", (0..8).map(tensor).collect::<Vec<_>>().join(","));
    let text = weight_error(&with_header(&header, 64));
    assert!(text.contains("`t0` is declared at bytes 0.."), "{text}");
}

#[test]
fn files_that_are_something_else() {
    let text = weight_error(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 548105171\n");
    assert!(text.contains("Git LFS pointer") && text.contains("git lfs pull"), "{text}");
    weight_error(b"PK\x03\x04 a zip file, as PyTorch writes");
    weight_error(&[0; 64]);
    let dir = directory(CONFIG, &[]);
    std::fs::create_dir(dir.path().join("model.safetensors")).unwrap();
    assert!(error(&dir).contains("not a regular file"));
}

#[test]
fn directories_without_weights() {
    let dir = directory(CONFIG, &[]);
    assert!(error(&dir).contains("has no model.safetensors; put the weights of the model beside its config.json"));
    for name in ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin", "tf_model.h5"]
    {
        let dir = directory(CONFIG, &[(name, b"")]);
        assert!(error(&dir).contains("convert them with `save_pretrained"), "{name}");
    }
}

#[test]
fn missing_tensors() {
    let mut raw = tensors(CONFIG);
    raw.remove(3);
    let text = error(&model(CONFIG, &raw));
    assert!(text.contains("lacks `h.0.ln_1.bias` [4]; use the config.json that came with these weights"), "{text}");
    let text = error(&model(CONFIG, &raw[..10]));
    assert!(
        text.contains("`h.0.ln_1.bias` [4], `h.0.mlp.c_fc.bias` [16], `h.0.mlp.c_proj.weight` [16, 4] and"),
        "{text}"
    );
    assert!(text.contains("and 15 more; use"), "{text}");
    let text = error(&model(&untied(), &tensors(CONFIG)));
    assert!(text.contains("lacks `lm_head.weight` [5, 4]; if the model uses its token embedding"), "{text}");
}

#[test]
fn extra_tensors() {
    let mut raw = tensors(CONFIG);
    raw.push(Raw::f32("score.weight\n", &[2], &[0.0; 2]));
    let text = error(&model(CONFIG, &raw));
    assert!(text.contains("contains `score.weight\\n` [2], which its config.json does not ask for"), "{text}");
    let shallow = CONFIG.replace("\"n_layer\": 2", "\"n_layer\": 1");
    let text = error(&model(&shallow, &tensors(CONFIG)));
    assert!(text.contains("contains `h.1.attn.c_attn.bias` [12],") && text.contains("and 9 more, which"), "{text}");
    // This is not a mask: masks belong to a numbered layer.
    let mut raw = tensors(CONFIG);
    raw.push(Raw::f32("h.x.attn.bias", &[1], &[0.0]));
    assert!(error(&model(CONFIG, &raw)).contains("contains `h.x.attn.bias` [1]"));
}

#[test]
fn tensors_of_other_shapes() {
    let mut raw = tensors(CONFIG);
    raw[1] = Raw::f32("wpe.weight", &[2, 4], &[0.0; 8]);
    let text = error(&model(CONFIG, &raw));
    assert!(
        text.contains("`wpe.weight` is [2, 4] where config.json asks for [3, 4]; use the config.json that came"),
        "{text}"
    );
    raw[4].shape = vec![12, 4];
    let text = error(&model(CONFIG, &raw));
    assert!(
        text.contains("`h.0.attn.c_attn.weight` is [12, 4] where config.json asks for [4, 12]; this family stores"),
        "{text}"
    );
    let mut raw = tensors(CONFIG);
    raw[0] = Raw::f32("wte.weight", &[], &[0.0]);
    assert!(error(&model(CONFIG, &raw)).contains("`wte.weight` is [] where"));
}

#[test]
fn tensors_in_other_formats() {
    let mut raw = tensors(CONFIG);
    raw[1] = raw[1].stored_as(safetensors::Dtype::F64);
    let text = error(&model(CONFIG, &raw));
    assert_eq!(text, "tensor `wpe.weight` is stored as F64; convert the model to F32, F16 or BF16");
}

#[test]
fn tensors_stored_twice() {
    let mut raw = tensors(CONFIG);
    let again = Raw { name: "transformer.wpe.weight".to_owned(), ..raw[1].clone() };
    raw.push(again);
    let text = error(&model(CONFIG, &raw));
    assert!(
        text.starts_with("tensor `wpe.weight` is stored twice, in ") && text.ends_with("keep one of them"),
        "{text}"
    );
}

/// Returns the error of opening a model in two valid shards after `change` has edited its index or directory.
fn index_error(change: impl FnOnce(&mut serde_json::Value, &Path)) -> String {
    let (a, b, mut index) = sharded(&tensors(CONFIG));
    let dir = directory(CONFIG, &[("model-00001-of-00002.safetensors", &a), ("model-00002-of-00002.safetensors", &b)]);
    change(&mut index, dir.path());
    std::fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    error(&dir)
}

#[test]
fn indexes_that_disagree_with_their_shards() {
    let text = index_error(|_, dir| std::fs::remove_file(dir.join("model-00002-of-00002.safetensors")).unwrap());
    assert!(text.contains("shard `model-00002-of-00002.safetensors` is not in the directory"), "{text}");
    let text = index_error(|index, _| index["weight_map"]["wte.weight"] = json!("model-00002-of-00002.safetensors"));
    assert!(text.contains("tensor `wte.weight` is not in shard `model-00002-of-00002.safetensors`"), "{text}");
    let text = index_error(|index, _| *index = json!({}));
    assert!(text.contains("`weight_map` is missing; download or export the whole model"), "{text}");
    let text = index_error(|index, _| index["weight_map"] = json!([]));
    assert!(text.contains("`weight_map` must be an object"), "{text}");
    let text = index_error(|index, _| index["weight_map"] = json!({}));
    assert!(text.contains("`weight_map` is empty"), "{text}");
    let text = index_error(|index, _| index["weight_map"]["wte.weight"] = json!(1));
    assert!(text.contains("the shard of tensor `wte.weight` must be a file name, found 1"), "{text}");
    let text = index_error(|index, _| *index = json!("text"));
    assert!(text.contains("not a JSON object"), "{text}");
    // Both shards have the same tensor.
    let text = index_error(|_, dir| {
        let raw = tensors(CONFIG);
        let mut second = raw[raw.len() / 2..].to_vec();
        second.push(raw[0].clone());
        std::fs::write(dir.join("model-00002-of-00002.safetensors"), file_bytes(&second)).unwrap();
    });
    assert!(text.contains("tensor `wte.weight` is stored twice, in "), "{text}");
    assert!(text.contains("model-00001-of-00002.safetensors and in "), "{text}");
}

#[test]
fn shards_outside_the_directory() {
    for path in ["../x.safetensors", "/etc/passwd", "sub/x.safetensors", "..", ".", "", "a\\b", "C:x", "x/", "./x"] {
        let text = index_error(|index, _| index["weight_map"]["wte.weight"] = json!(path));
        assert!(text.contains("expected the name of a file beside the index"), "{path}: {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let dir = directory(CONFIG, &[("model.safetensors", &bytes)]);
        prop_assert!(Checkpoint::open(dir.path()).is_err());
    }

    #[test]
    fn random_headers_do_not_panic(header in "\\{(\"[a-c]\":\\{\"(dtype|shape|data_offsets)\":(\"F32\"|\\[[0-9]{0,20},[0-9]{1,20}\\])\\},?){0,3}\\}") {
        let dir = directory(CONFIG, &[("model.safetensors", &with_header(&header, 8))]);
        prop_assert!(Checkpoint::open(dir.path()).is_err());
    }

    #[test]
    fn mutated_headers_do_not_panic(edits in prop::collection::vec((0..2600usize, any::<u8>()), 1..4)) {
        let mut bytes = file_bytes(&tensors(CONFIG));
        for (at, value) in edits {
            bytes[at] = value;
        }
        read_whatever_opens(CONFIG, &bytes);
    }

    #[test]
    fn mutated_configs_do_not_panic(at in 0..CONFIG.len(), value in 0x20u8..0x7f) {
        let mut config = CONFIG.as_bytes().to_vec();
        config[at] = value;
        read_whatever_opens(std::str::from_utf8(&config).unwrap(), &file_bytes(&tensors(CONFIG)));
    }
}

/// Opens a model that may be damaged. If it opens, reading its tensors to the last byte must not panic.
fn read_whatever_opens(config: &str, bytes: &[u8]) {
    let dir = directory(config, &[("model.safetensors", bytes)]);
    match Checkpoint::open(dir.path()) {
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        Ok(checkpoint) => {
            for (name, shape) in checkpoint.architecture().tensors() {
                let mut out = vec![0.0; shape.iter().product()];
                // Damaged weights may be NaN or infinite, which is an error here.
                let _ = checkpoint.read_f32(&name, 0..shape[0], &mut out);
            }
        }
    }
}
