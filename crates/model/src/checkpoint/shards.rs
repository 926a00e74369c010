//! Which weight files a directory has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde_json::Value;

use super::file::WeightFile;
use crate::error::{Error, Result, shown};
use crate::files;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The one weight file of a directory, or the shards of its index in name order.
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

/// Whether a directory has weights as PyTorch, TensorFlow or Flax writes them, whole or in shards.
fn has_other_weights(dir: &Path) -> bool {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.into_string().ok()).any(|name| {
        let stem = ["pytorch_model", "tf_model", "flax_model"].iter().any(|stem| name.starts_with(stem));
        stem && [".bin", ".h5", ".msgpack", ".index.json"].iter().any(|end| name.ends_with(end))
    })
}

/// Names of the shards of an index, each a plain name beside it.
#[cfg(feature = "hub")]
pub(crate) fn names(index: &Path) -> Result<BTreeSet<String>> {
    Ok(read(index)?.into_values().collect())
}

/// Tensor name to shard name.
fn read(index: &Path) -> Result<BTreeMap<String, String>> {
    parse(&files::read(index)?).map_err(|message| Error::ShardIndex { path: index.into(), message })
}

fn open_shards(dir: &Path, index: &Path) -> Result<Vec<WeightFile>> {
    let fail = |message: String| Error::ShardIndex { path: index.into(), message };
    let places = read(index)?;
    let shards: BTreeSet<&str> = places.values().map(String::as_str).collect();
    let mut opened = Vec::new();
    for shard in shards {
        let path = dir.join(shard);
        if !files::exists(&path)? {
            return Err(fail(format!("shard `{}` is not in the directory", shown(shard))));
        }
        let file = WeightFile::open(path)?;
        let stored: BTreeSet<String> = file.tensors().map(|(name, ..)| name).collect();
        let absent = places.iter().find(|(name, place)| *place == shard && !stored.contains(*name));
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
    let places = index.get("weight_map").ok_or("`weight_map` is missing")?;
    let places = places.as_object().ok_or("`weight_map` must be an object of tensor and file names")?;
    if places.is_empty() {
        return Err("`weight_map` is empty".to_owned());
    }
    let place = |(name, shard): (&String, &Value)| match shard.as_str() {
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
    places.iter().map(place).collect()
}

/// Whether a name stays in its directory on every system.
fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !name.contains(['/', '\\', ':', '\0'])
}
