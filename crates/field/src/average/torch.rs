//! Lens files: what `torch.save` writes for a Jacobian lens, without torch.
//!
//! The file is a zip archive with a pickle of `{"J": {block: tensor}, "n_prompts", "source_layers", "d_model"}` and one
//! file of elements for each tensor. TransformerLens 4 adds `metadata`. The pickle is parsed, and nothing in it is run.

pub(super) mod lens;
mod pickle;
mod unpickle;
mod zip;

use std::collections::BTreeMap;

use half::{bf16, f16};

use lens::Lens;
use unpickle::{Tensor, Value};

/// Name of the folder in the archive. Readers accept any.
const FOLDER: &str = "lens";

/// Returns the bytes of a lens file.
pub(super) fn write(lens: &Lens) -> Result<Vec<u8>, String> {
    if lens.blocks.is_empty() {
        return Err("a model of one block has no level between the first and the last; write .safetensors".to_owned());
    }
    let mut files = vec![("data.pkl".to_owned(), pickle::lens(lens)), ("byteorder".to_owned(), b"little".to_vec())];
    for (n, matrix) in lens.blocks.values().enumerate() {
        files.push((format!("data/{n}"), matrix.iter().flat_map(|x| x.to_le_bytes()).collect()));
    }
    files.push(("version".to_owned(), b"3\n".to_vec()));
    zip::write(FOLDER, &files)
}

/// Reads a lens file.
pub(super) fn read(bytes: &[u8]) -> Result<Lens, String> {
    let archive = zip::Archive::new(bytes)?;
    let root = unpickle::read(archive.file("data.pkl")?)?;
    if archive.file("byteorder").is_ok_and(|order| order != b"little") {
        return Err("its elements are big-endian; save it again on another machine".to_owned());
    }
    let Some(matrices) = root.get("J") else {
        let hint = if root.get("jacobian_sum").is_some() { ": it is a checkpoint of a fit" } else { "" };
        return Err(format!("it has no `J`{hint}; give a file that `JacobianLens.save` wrote"));
    };
    let d = root.get("d_model").and_then(Value::number).filter(|&d| d > 0).ok_or("it has no `d_model`")?;
    let mut blocks = BTreeMap::new();
    for (block, tensor) in matrices.entries().ok_or("`J` is not a dict")? {
        let block = block.number().ok_or("a key of `J` is not a block")?;
        let tensor = tensor.tensor().ok_or_else(|| format!("`J[{block}]` is not a tensor"))?;
        let matrix = elements(&archive, tensor, d).map_err(|reason| format!("`J[{block}]` {reason}"))?;
        blocks.insert(block, matrix);
    }
    if blocks.is_empty() {
        return Err("`J` has no block".to_owned());
    }
    let about = root.get("metadata").and_then(Value::entries).unwrap_or_default();
    let metadata: BTreeMap<String, String> =
        about.iter().filter_map(|(key, value)| Some((key.text()?.to_owned(), value.shown()?))).collect();
    Ok(Lens {
        blocks,
        d,
        prompts: root.get("n_prompts").and_then(Value::number).unwrap_or(0),
        target: metadata.get("target_layer").and_then(|block| block.parse().ok()),
        metadata,
    })
}

/// Returns the elements of a tensor `[d, d]`, row-major.
fn elements(archive: &zip::Archive<'_>, tensor: &Tensor, d: usize) -> Result<Vec<f32>, String> {
    if tensor.shape != [d, d] {
        return Err(format!("has shape {:?}, and `d_model` is {d}", tensor.shape));
    }
    let bytes = archive.file(&format!("data/{}", tensor.storage))?;
    let pairs = || bytes.as_chunks::<2>().0.iter();
    let all: Vec<f32> = match tensor.kind.as_str() {
        "FloatStorage" => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        "HalfStorage" => pairs().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        "BFloat16Storage" => pairs().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        "DoubleStorage" => bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        other => return Err(format!("is a {other}; save it as float32, float16 or bfloat16")),
    };
    let [down, across] = [0, 1].map(|axis| tensor.strides.get(axis).copied().unwrap_or(0));
    let at = |i: usize| {
        let within = (i / d).checked_mul(down)?.checked_add((i % d).checked_mul(across)?)?;
        all.get(within.checked_add(tensor.offset)?).copied()
    };
    // A file shorter than its shape says gives an error before memory of that size is taken.
    at(d.checked_mul(d).ok_or("is too large")? - 1).ok_or("has fewer elements than its shape")?;
    (0..d * d).map(at).collect::<Option<Vec<f32>>>().ok_or_else(|| "has fewer elements than its shape".to_owned())
}
