//! Matches the tensors of the files with those of the configuration.

use std::collections::BTreeMap;
use std::path::Path;

use super::file::WeightFile;
use super::{Dtype, Entry};
use crate::config::Config;
use crate::error::{Error, Result, shown};

const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "wte.weight";

/// A stored tensor. Its number format may be unsupported; the format of `entry` is then a placeholder.
#[derive(Clone)]
pub(super) struct Stored {
    dtype: safetensors::Dtype,
    entry: Entry,
}

/// Returns all tensors except the stored attention masks, by canonical name.
pub(super) fn collect(files: &[WeightFile]) -> Result<BTreeMap<String, Stored>> {
    let mut found = BTreeMap::<String, Stored>::new();
    for (index, file) in files.iter().enumerate() {
        for (full, dtype, shape, bytes) in file.tensors() {
            let name = canonical(&full).to_owned();
            if is_mask(&name) {
                continue;
            }
            let readable = readable(dtype).unwrap_or(Dtype::F32);
            let entry = Entry { file: index, dtype: readable, shape, bytes };
            if let Some(other) = found.insert(name.clone(), Stored { dtype, entry }) {
                let first = files[other.entry.file].path().into();
                return Err(Error::DuplicateTensor { name: shown(&name), first, second: file.path().into() });
            }
        }
    }
    Ok(found)
}

/// Returns the canonical names of tensors that share the bytes of another tensor, each with the canonical name of that
/// tensor.
pub(super) fn shared(files: &[WeightFile]) -> BTreeMap<String, String> {
    let all = files.iter().flat_map(WeightFile::shared);
    all.map(|(name, stored)| (canonical(name).to_owned(), canonical(stored).to_owned())).collect()
}

fn canonical(name: &str) -> &str {
    name.strip_prefix("transformer.").unwrap_or(name)
}

/// Adds the tensors that are stored only under another name: the token embedding of a tied model, and the tensors that
/// the files declare as shared.
fn fill(config: &Config, stored: &mut BTreeMap<String, Stored>, shared: &BTreeMap<String, String>) {
    for (name, _) in config.tensors() {
        if stored.contains_key(&name) {
            continue;
        }
        let tied = (config.tie_word_embeddings && name == EMBEDDING).then_some(HEAD);
        let source = shared.get(&name).map(String::as_str).or(tied);
        if let Some(tensor) = source.and_then(|source| stored.get(source)).cloned() {
            stored.insert(name, tensor);
        }
    }
}

/// Checks names, shapes and formats. Returns the tensors of the configuration, and the head if a tied model stores one.
pub(super) fn check(
    dir: &Path,
    config: &Config,
    mut stored: BTreeMap<String, Stored>,
    shared: &BTreeMap<String, String>,
) -> Result<(BTreeMap<String, Entry>, Option<Entry>)> {
    fill(config, &mut stored, shared);
    let mut missing = Vec::new();
    let mut wrong = Vec::new();
    let mut transposed = false;
    let mut tensors = BTreeMap::new();
    let mut unreadable = None;
    let mut expected = config.tensors();
    let spare_head = config.tie_word_embeddings && stored.contains_key(HEAD);
    if spare_head {
        expected.push((HEAD.to_owned(), vec![config.vocab_size, config.n_embd]));
    }
    for (name, shape) in expected {
        let Some(Stored { dtype, entry }) = stored.remove(&name) else {
            missing.push(format!("`{name}` {shape:?}"));
            continue;
        };
        if entry.shape != shape {
            transposed |= entry.shape.iter().rev().eq(&shape);
            wrong.push(format!("`{name}` is {:?} where config.json asks for {shape:?}", entry.shape));
        } else if readable(dtype).is_none() {
            unreadable = unreadable.or(Some((name, dtype)));
        } else {
            tensors.insert(name, entry);
        }
    }
    let dir = dir.to_path_buf();
    if !missing.is_empty() {
        let fix = if missing.len() == 1 && missing[0].starts_with("`lm_head") {
            "if the model uses its token embedding as head, set tie_word_embeddings to true in config.json"
        } else {
            "use the config.json that came with these weights (is n_layer right?), and every shard"
        };
        return Err(Error::MissingTensors { dir, tensors: some_of(&missing), fix });
    }
    if !wrong.is_empty() {
        let fix = if transposed {
            "GPT-2 stores its matrices as [in, out]: transpose them if they come from another format"
        } else {
            "use the config.json that came with these weights"
        };
        return Err(Error::TensorShape { dir, tensors: some_of(&wrong), fix });
    }
    if !stored.is_empty() {
        let extra: Vec<_> = stored.iter().map(|(name, s)| format!("`{}` {:?}", shown(name), s.entry.shape)).collect();
        return Err(Error::ExtraTensors { dir, tensors: some_of(&extra) });
    }
    if let Some((name, dtype)) = unreadable {
        return Err(Error::Dtype { name, dtype: dtype.to_string() });
    }
    let head = spare_head.then(|| tensors.remove(HEAD)).flatten();
    Ok((tensors, head))
}

fn readable(dtype: safetensors::Dtype) -> Option<Dtype> {
    match dtype {
        safetensors::Dtype::F32 => Some(Dtype::F32),
        safetensors::Dtype::F16 => Some(Dtype::F16),
        safetensors::Dtype::BF16 => Some(Dtype::Bf16),
        _ => None,
    }
}

/// Returns whether a tensor is a causal mask, which older files contain.
fn is_mask(name: &str) -> bool {
    let Some((layer, part)) = name.strip_prefix("h.").and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    matches!(part, "attn.bias" | "attn.masked_bias") && !layer.is_empty() && layer.bytes().all(|b| b.is_ascii_digit())
}

/// Lists the first three entries, and the number of further ones.
fn some_of(list: &[String]) -> String {
    let shown = list.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    match list.len().saturating_sub(3) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
