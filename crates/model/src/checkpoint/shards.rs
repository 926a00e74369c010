//! Finds and opens the weight files of a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde_json::Value;

use super::file::WeightFile;
use crate::error::{Error, Result, shown};
use crate::files;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Opens the one weight file of a directory, or the shards of its index in name order.
pub(super) fn open(dir: &Path) -> Result<Vec<WeightFile>> {
    let single = dir.join(SINGLE);
    if files::exists(&single)? {
        return Ok(vec![WeightFile::open(single)?]);
    }
    if files::exists(&dir.join(INDEX))? {
        return open_shards(dir, &dir.join(INDEX));
    }
    let fix = if has_other_weights(dir) {
        "it has weights in another format: convert them with `save_pretrained(..., safe_serialization=True)` of transformers"
    } else {
        "put the weights of the model beside its config.json (a sharded model has model.safetensors.index.json)"
    };
    Err(Error::NotAModel { dir: dir.into(), wanted: SINGLE, fix })
}

/// Returns whether a directory has weights in files of PyTorch, TensorFlow or Flax, in one file or in shards.
fn has_other_weights(dir: &Path) -> bool {
    let paths = files::list(dir).unwrap_or_default();
    paths.iter().filter_map(|path| path.file_name()?.to_str()).any(|name| {
        let stem = ["pytorch_model", "tf_model", "flax_model"].iter().any(|stem| name.starts_with(stem));
        stem && [".bin", ".h5", ".msgpack", ".index.json"].iter().any(|end| name.ends_with(end))
    })
}

/// Returns the names of the shards of an index. Each is a plain name of a file beside the index.
#[cfg(feature = "hub")]
pub(crate) fn names(index: &Path) -> Result<BTreeSet<String>> {
    Ok(read(index)?.into_values().collect())
}

/// Reads an index: the shard name of each tensor name.
fn read(index: &Path) -> Result<BTreeMap<String, String>> {
    parse(&files::read(index)?).map_err(|message| Error::ShardIndex { path: index.into(), message })
}

fn open_shards(dir: &Path, index: &Path) -> Result<Vec<WeightFile>> {
    let fail = |message: String| Error::ShardIndex { path: index.into(), message };
    let weight_map = read(index)?;
    let shards: BTreeSet<&str> = weight_map.values().map(String::as_str).collect();
    let mut opened = Vec::new();
    for shard in shards {
        let path = dir.join(shard);
        if !files::exists(&path)? {
            return Err(fail(format!("shard `{}` is not in the directory", shown(shard))));
        }
        let file = WeightFile::open(path)?;
        let stored: BTreeSet<String> = file.tensors().map(|(name, ..)| name).collect();
        let absent = weight_map.iter().find(|(name, place)| *place == shard && !stored.contains(*name));
        if let Some((name, _)) = absent {
            return Err(fail(format!(
                "tensor `{}` is not in shard `{}`, where the index puts it",
                shown(name),
                shown(shard)
            )));
        }
        opened.push(file);
    }
    Ok(opened)
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let index = files::object(bytes)?;
    let weight_map = index.get("weight_map").ok_or("`weight_map` is missing")?;
    let weight_map = weight_map.as_object().ok_or("`weight_map` must be an object of tensor and file names")?;
    if weight_map.is_empty() {
        return Err("`weight_map` is empty".to_owned());
    }
    let entry = |(name, shard): (&String, &Value)| match shard.as_str() {
        Some(shard) if is_plain_name(shard) => Ok((name.clone(), shard.to_owned())),
        Some(shard) => Err(format!(
            "invalid shard `{}`: expected the name of a file beside the index, without folders",
            shown(shard)
        )),
        None => Err(format!(
            "the shard of tensor `{}` must be a file name, found {}",
            shown(name),
            shown(&shard.to_string())
        )),
    };
    weight_map.iter().map(entry).collect()
}

/// Returns whether a name denotes a file in the same directory, on every operating system.
fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !name.contains(['/', '\\', ':', '\0'])
}
