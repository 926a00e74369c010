//! Model directories that cannot be used: the command prints one line that names the cause, and writes no file.

use safetensors::tensor::Dtype;
use serde_json::json;

use super::directory::{Directory, Tensor};
use super::{names, on_host, utf8};

/// Returns the error line of `run` for a model, after checking that no file was written.
#[track_caller]
fn refused(model: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = utf8(&folder.path().join("out.safetensors"));
    let line = on_host(&["run", "--tokens", "1,2", "--model", model, "--out", &out, "--json"]).failed();
    assert_eq!(names(folder.path()), Vec::<String>::new(), "{line}");
    line
}

/// Checks that `run` refuses the directory with an error line that contains all of `parts`.
#[track_caller]
fn says(directory: &Directory, parts: &[&str]) {
    let line = refused(&directory.argument());
    for part in parts {
        assert!(line.contains(part), "`{part}` is not in: {line}");
    }
    assert!(line.len() < 700, "{} characters: {line}", line.len());
}

#[test]
fn directories_that_are_no_models() {
    let line = refused("no/such/model");
    assert!(line.contains("no model `no/such/model`") && line.contains("no directory"), "{line}");
    assert!(line.contains("check the path"), "{line}");
    let copy = Directory::copy();
    let file = utf8(&copy.file("config.json"));
    assert!(refused(&file).contains("config.json"));
    says(&Directory::copy().without("config.json"), &["has no config.json", "model.safetensors"]);
    says(&Directory::copy().without("model.safetensors"), &["has no model.safetensors", "beside its config.json"]);
    assert!(refused("random:x").contains("invalid seed `x`"));
    assert!(refused("").contains("no model ``"));
}

#[test]
fn invalid_configurations() {
    let copy = Directory::copy;
    says(&copy().write("config.json", b"{\"n_layer\": 2,"), &["config.json: not a JSON object", "download it again"]);
    says(&copy().write("config.json", b""), &["config.json"]);
    says(&copy().write("config.json", b"[]"), &["not a JSON object"]);
    says(&copy().write("config.json", &[0xFF, 0xFE]), &["not UTF-8"]);
    says(
        &copy().set("model_type", json!("bert")).set("architectures", json!(["BertModel"])),
        &["this family of models is not supported", "bert"],
    );
    says(&copy().set("activation_function", json!("relu")), &["activation_function", "relu", "gelu_new"]);
    says(&copy().set("n_head", json!(4)), &["`n_embd` is 30, which `n_head` = 4 does not divide"]);
    says(&copy().set("n_head", json!(0)), &["`n_head` is 0"]);
    says(&copy().set("n_layer", json!("two")), &["`n_layer` must be a positive whole number"]);
    says(&copy().set("n_layer", json!(-2)), &["`n_layer` must be a positive whole number"]);
    says(&copy().set("layer_norm_epsilon", json!(0)), &["layer_norm_epsilon"]);
    says(&copy().set("n_embd", json!(null)), &["`n_embd` is missing"]);
}

/// Sizes that exceed any memory are refused before memory is allocated.
#[test]
fn huge_sizes() {
    let copy = Directory::copy;
    says(&copy().set("vocab_size", json!(u64::MAX)), &["vocab_size"]);
    says(&copy().set("vocab_size", json!(1_000_000_000)), &["wte.weight", "1000000000"]);
    says(&copy().set("n_layer", json!(4096)), &["lacks"]);
    says(&copy().set("n_layer", json!(1_000_000_000_000_u64)), &["`n_layer` is 1000000000000"]);
    says(&copy().set("n_embd", json!(1_000_000_000)).set("n_head", json!(100_000_000)), &["config.json"]);
    says(&copy().set("n_positions", json!(900_000_000)), &["wpe.weight"]);
}

#[test]
fn weights_that_do_not_match_the_configuration() {
    let copy = Directory::copy;
    let name = |tensors: &std::collections::BTreeMap<String, Tensor>, part: &str| {
        tensors.keys().find(|name| name.ends_with(part)).expect("a tensor").clone()
    };
    says(&copy().tensors(|t| drop(t.remove(&name(t, "h.1.mlp.c_fc.bias")))), &["lacks", "h.1.mlp.c_fc.bias", "[120]"]);
    says(
        &copy().tensors(|t| drop(t.insert("h.1.adapter.weight".into(), Tensor::zeros(&[3, 4])))),
        &["h.1.adapter.weight", "does not ask for"],
    );
    says(&copy().set("n_layer", json!(1)), &["h.1.", "does not ask for"]);
    says(&copy().set("n_layer", json!(3)), &["lacks", "h.2."]);
    let transposed = copy().tensors(|t| {
        let name = name(t, "h.0.attn.c_attn.weight");
        t.insert(name, Tensor::zeros(&[90, 30]));
    });
    says(&transposed, &["h.0.attn.c_attn.weight", "[30, 90]", "[90, 30]"]);
    let integers = copy().tensors(|t| {
        let name = name(t, "ln_f.bias");
        t.insert(name, Tensor { dtype: Dtype::I32, ..Tensor::zeros(&[30]) });
    });
    says(&integers, &["ln_f.bias", "I32", "F32, F16 or BF16"]);
    for (number, shown) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let broken = copy().tensors(|t| {
            let name = name(t, "h.1.ln_2.weight");
            t.get_mut(&name).expect("a tensor").bytes[28..32].copy_from_slice(&number.to_le_bytes());
        });
        says(&broken, &["h.1.ln_2.weight", shown, "index 7", "download"]);
    }
}

#[test]
fn weight_files_that_are_damaged() {
    let copy = Directory::copy;
    let unusable = &["model.safetensors is not a usable safetensors file"];
    says(&copy().bytes(|b| b.truncate(b.len() - 4)), unusable);
    says(&copy().bytes(|b| b.truncate(100)), unusable);
    says(&copy().bytes(|b| b.truncate(5)), unusable);
    says(&copy().bytes(Vec::clear), unusable);
    says(&copy().bytes(|b| b.extend([0; 64])), unusable);
    for length in [u64::MAX, 1 << 40, 1, 0] {
        says(&copy().bytes(|b| b[..8].copy_from_slice(&length.to_le_bytes())), unusable);
    }
    // Edits of the header: invalid types, keys and values, and a shape that needs more data than the file has.
    let replace = |from: &str, to: &str| {
        copy().bytes(|b| {
            let at = b.windows(from.len()).position(|w| w == from.as_bytes()).expect("is in the header");
            b[at..at + from.len()].copy_from_slice(to.as_bytes());
        })
    };
    says(&replace("\"F32\"", "\"F99\""), unusable);
    says(&replace("data_offsets", "data_offsetz"), unusable);
    says(&replace("\"shape\":[", "\"shape\":{"), unusable);
    says(&replace("53,30]", "99,30]"), unusable);
    says(&copy().without("model.safetensors").write("model.safetensors.index.json", b"{}"), &["index.json"]);
    let escape = json!({ "weight_map": { "wte.weight": "../../secret.safetensors" } }).to_string();
    says(
        &copy().without("model.safetensors").write("model.safetensors.index.json", escape.as_bytes()),
        &["expected the name of a file beside the index"],
    );
}

/// Ids need no tokenizer, so that a damaged tokenizer is an error only if a command reads text.
#[test]
fn tokenizers_that_are_damaged() {
    let says = |directory: &Directory, parts: &[&str]| {
        let model = directory.argument();
        on_host(&["run", "--tokens", "1,2", "--model", &model]).done();
        let texts: [&[&str]; 3] = [
            &["run", "ab", "--model", &model],
            &["sensitivity", "--tokens", "1,2", "--target", " ab", "--model", &model],
            &["patch", "--tokens", "1,2", "--corrupted", "ab", "--target", "#1", "--model", &model],
        ];
        for text in texts {
            let line = on_host(text).failed();
            for part in parts {
                assert!(line.contains(part), "`{part}` is not in: {line}");
            }
        }
    };
    let copy = || Directory::copy().with_tokenizer();
    says(&copy().write("tokenizer.json", b"{}"), &["tokenizer.json", "`model` is missing"]);
    says(&copy().write("vocab.json", b"{\"a\": 0, \"b\": 0}"), &["vocab.json", "given twice"]);
    says(&copy().without("merges.txt"), &["merges.txt"]);
    says(&copy().write("tokenizer_config.json", b"{\"tokenizer_class\": \"X\"}"), &["`X` is not supported"]);
    says(&copy().write("merges.txt", "x é\n".as_bytes()), &["merges.txt: line 1", "which the vocabulary lacks"]);
}
