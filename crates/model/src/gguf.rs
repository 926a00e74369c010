//! GGUF files (llama.cpp): their configuration, weights and tokenizer in the form of a Hugging Face model directory.

mod arch;
mod common;
mod config;
mod cursor;
mod dequantise;
mod fault;
mod fields;
mod file;
mod kind;
mod layout;
mod metadata;
mod model;
mod names;
mod parts;
mod relatives;
mod rope;
mod rows;
#[cfg(test)]
mod tests;
mod tokenizer;
#[cfg(test)]
pub(crate) mod writer;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result, shown};
use crate::floats::first_non_finite;
use crate::tokenizer::Tokenizer;
use arch::Arch;
use fault::{Fault, again};
use file::{GgufFile, Tensor};
pub(crate) use kind::GgmlType;
use layout::Entry;

/// The tensor with which Llama 3.1 and later rescale rotary positions. It is part of the configuration.
const DIVISORS: &str = "rope_freqs.weight";

/// A model in a GGUF file, or in the parts of a split one.
///
/// The files are mapped, not loaded. They must not be changed or truncated while the model is open.
#[derive(Debug)]
pub(crate) struct Gguf {
    parts: Vec<GgufFile>,
    arch: Arch,
    config: Map<String, Value>,
    tensors: BTreeMap<String, Entry>,
}

impl Gguf {
    /// Opens a file, or all parts of a split one, given any part.
    ///
    /// # Errors
    /// A file is missing, unreadable or damaged. The architecture, an option of the metadata, a tensor or its number
    /// format is not supported.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let parts = parts::open(path)?;
        let first = parts[0].path();
        let read = describe(&parts).map_err(|message| Fault::Unread(message).at(first));
        let (arch, config, tensors) = read?;
        Ok(Self { parts, arch, config, tensors })
    }

    /// Returns the configuration, as the `config.json` of a Hugging Face model.
    pub(crate) fn config(&self) -> &Map<String, Value> {
        &self.config
    }

    /// Returns the Hugging Face name, the shape in Hugging Face's order and the stored format of each tensor.
    ///
    /// A stored unembedding is left out if it is the same as the token embedding.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, &[usize], GgmlType)> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice(), entry.kind))
    }

    /// Reads `rows` of a tensor as f32 into `out`, row-major. Conversions of llama.cpp are undone.
    ///
    /// Rows count along the leading dimension. The length of `out` must be the number of rows times the product of the
    /// other dimensions. A `[n]` vector has n rows of one element.
    ///
    /// # Errors
    /// No tensor has this name, the rows lie outside the tensor, or `out` has another length. A weight is NaN or
    /// infinite.
    pub(crate) fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let entry = self.tensors.get(name).ok_or_else(|| Error::UnknownTensor { name: name.to_owned() })?;
        let fail = |message: String| Err(Error::ReadRange { name: name.to_owned(), message });
        let (n, width) = (entry.shape.first().copied().unwrap_or(0), entry.width());
        if rows.start > rows.end || rows.end > n {
            return fail(format!("rows {rows:?} of a tensor of shape {:?}", entry.shape));
        }
        let count = rows.len() * width;
        if out.len() != count {
            return fail(format!("rows {rows:?} have {count} elements, and the buffer has {}", out.len()));
        }
        rows::read(self.parts[entry.part].mapped(), entry, rows.clone(), out);
        match first_non_finite(out) {
            None => Ok(()),
            Some(at) => {
                let (name, value) = (name.to_owned(), out[at]);
                Err(Error::NonFinite { name, index: rows.start * width + at, value })
            }
        }
    }

    /// Returns the tokenizer; `None` if the file has none.
    ///
    /// # Errors
    /// [`Error::GgufTokenizer`] if it is of a kind that is not supported, or damaged. Token ids can be used then.
    pub(crate) fn tokenizer(&self) -> Result<Option<Tokenizer>> {
        tokenizer::build(self.parts[0].path(), self.parts[0].metadata(), self.arch)
    }

    /// Returns the BLAKE3 hash of the file; of several parts, the hash of their hashes.
    pub(crate) fn hash(&self) -> blake3::Hash {
        let hashes: Vec<blake3::Hash> = self.parts.iter().map(|part| part.mapped().hash()).collect();
        match hashes.as_slice() {
            [one] => *one,
            _ => {
                let mut hasher = blake3::Hasher::new();
                for hash in hashes {
                    hasher.update(hash.as_bytes());
                }
                hasher.finalize()
            }
        }
    }
}

type Described = (Arch, Map<String, Value>, BTreeMap<String, Entry>);

/// Translates metadata and tensors of all parts. Those of the first part are the metadata of the model.
fn describe(parts: &[GgufFile]) -> Result<Described, String> {
    let metadata = parts[0].metadata();
    let name = metadata.text("general.architecture").map_err(again)?;
    let arch =
        Arch::of(name.ok_or("its metadata lack `general.architecture`, so it is not a model; use another file")?)?;
    let stored: Vec<(usize, &Tensor)> =
        parts.iter().enumerate().flat_map(|(i, part)| part.tensors().iter().map(move |tensor| (i, tensor))).collect();
    let find = |name: &str| stored.iter().find(|(_, tensor)| tensor.name == name).copied();
    let blocks = config::blocks(metadata, arch)?;
    if blocks > stored.len() {
        let key = format!("{}.block_count", arch.name());
        return Err(format!("`{key}` is {blocks}, and the file has only {} tensors; download it again", stored.len()));
    }
    let embedding = find("token_embd.weight").ok_or("it has no tensor `token_embd.weight`; use a file with weights")?;
    let tied = find("output.weight").is_none_or(|output| same(parts, embedding, output));
    let facts = common::Stored {
        vocab: embedding.1.dims.get(1).copied().unwrap_or(0),
        inner: find("blk.0.ffn_up.weight").and_then(|(_, tensor)| tensor.dims.get(1).copied()),
        tied,
        query_bias: find("blk.0.attn_q.bias").is_some(),
        mlp_bias: find("blk.0.ffn_up.bias").is_some(),
        mlp_norm: find("blk.0.ffn_norm.weight").is_some(),
        divisors: find(DIVISORS).map(|(part, tensor)| divisors(&parts[part], tensor)).transpose()?,
    };
    let description = config::describe(metadata, arch, &facts)?;
    let mut tensors = BTreeMap::new();
    for (part, tensor) in stored {
        if tensor.name == DIVISORS || tied && tensor.name == "output.weight" {
            continue;
        }
        let name = arch.hugging_face(&tensor.name, blocks).ok_or_else(|| {
            let (name, arch) = (shown(&tensor.name), arch.name());
            format!("tensor `{name}` belongs to no supported part of a {arch} model; use another model")
        })?;
        tensors.insert(name, Entry::new(arch, part, tensor, (description.heads, description.kv_heads))?);
    }
    Ok((arch, description.config, tensors))
}

/// Reads the divisors of the rotary frequencies.
fn divisors(part: &GgufFile, tensor: &Tensor) -> Result<Vec<f32>, String> {
    // A head has fewer than 2^16 elements.
    match (tensor.kind, tensor.dims.as_slice()) {
        (GgmlType::F32, &[n @ 1..0x10000]) => {
            let mut out = vec![0.0; n];
            dequantise::dequantise(tensor.kind, &part.mapped().bytes()[tensor.bytes.clone()], &mut out);
            Ok(out)
        }
        (kind, dims) => Err(format!(
            "tensor `{DIVISORS}` is {} {dims:?}; it must be a short F32 vector: convert the model again",
            kind.name()
        )),
    }
}

/// Returns whether two tensors have the same format, sizes and bytes.
fn same(parts: &[GgufFile], (i, a): (usize, &Tensor), (j, b): (usize, &Tensor)) -> bool {
    const WINDOW: usize = 1 << 20;
    let (a_file, b_file) = (parts[i].mapped(), parts[j].mapped());
    let window = |tensor: &Tensor, from: usize| {
        let start = tensor.bytes.start + from;
        start..tensor.bytes.end.min(start + WINDOW)
    };
    a.kind == b.kind
        && a.dims == b.dims
        && (0..a.bytes.len()).step_by(WINDOW).all(|from| {
            let (in_a, in_b) = (window(a, from), window(b, from));
            let same = a_file.bytes()[in_a.clone()] == b_file.bytes()[in_b.clone()];
            a_file.release(in_a);
            b_file.release(in_b);
            same
        })
}
