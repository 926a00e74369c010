//! The weights of a model directory, mapped into memory and read tensor by tensor.

mod convert;
mod file;
mod layout;
mod shards;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use crate::config::Config;
use crate::error::{Error, Result};
pub(crate) use convert::first_non_finite;
use file::WeightFile;
#[cfg(feature = "hub")]
pub(crate) use shards::names as shard_names;

/// Number format of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of a single.
    Bf16,
}

impl Dtype {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// Where a tensor lies: checked against its file when that is opened.
#[derive(Clone, Debug)]
struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Bytes from the start of the file; `shape` times `dtype` long.
    bytes: Range<usize>,
}

/// The configuration and weights of a GPT-2 directory: `config.json` with `model.safetensors`, or with
/// `model.safetensors.index.json` and its shards.
///
/// The files are mapped, not loaded. [`Checkpoint::read_f32`] converts and gives the mapped pages back as it
/// goes, so reading a whole model costs the caller's buffer and about a megabyte. The files must not be
/// changed or truncated while a checkpoint is open.
#[derive(Debug)]
pub struct Checkpoint {
    config: Config,
    config_hash: blake3::Hash,
    files: Vec<WeightFile>,
    tensors: BTreeMap<String, Entry>,
    hash: OnceLock<String>,
}

impl Checkpoint {
    /// Opens a model directory, and checks that it holds every tensor of its configuration in the right shape
    /// and number format and nothing else.
    ///
    /// Names may carry the `transformer.` prefix. Stored attention masks (`h.N.attn.bias`,
    /// `h.N.attn.masked_bias`) are passed over. If the unembedding is tied, a stored `lm_head.weight` is
    /// passed over as well, with a warning where it differs from `wte.weight`, which is what is used. A tied model may
    /// store `lm_head.weight` alone: it is used for both.
    ///
    /// # Errors
    /// A file is missing, unreadable or damaged; the configuration is unusable; a tensor is missing, extra,
    /// mis-shaped, stored twice or in another format than F32, F16 or BF16.
    pub fn open(dir: &Path) -> Result<Self> {
        let (config, config_bytes) = Config::open_with_bytes(dir)?;
        Self::assemble(dir, config, &config_bytes, shards::open(dir)?)
    }

    /// A checkpoint that is part of the program: the text of its `config.json` and its safetensors file. `name` stands
    /// for the directory in messages.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], but for what concerns files.
    pub fn embedded(name: &str, config: &str, weights: &'static [u8]) -> Result<Self> {
        let file = WeightFile::embedded(Path::new(name).join("model.safetensors"), weights)?;
        Self::assemble(Path::new(name), Config::from_json(config)?, config.as_bytes(), vec![file])
    }

    fn assemble(dir: &Path, config: Config, config_bytes: &[u8], files: Vec<WeightFile>) -> Result<Self> {
        let stored = layout::collect(&files)?;
        let (tensors, head) = layout::check(dir, &config, stored, &layout::shared(&files))?;
        let checkpoint =
            Self { config, config_hash: blake3::hash(config_bytes), files, tensors, hash: OnceLock::new() };
        if let (Some(head), Some(wte)) = (head, checkpoint.tensors.get("wte.weight"))
            && !checkpoint.same_bytes(&head, wte)
        {
            tracing::warn!(
                "{}: lm_head.weight differs from wte.weight although the embeddings are declared tied; \
                 wte.weight is used (set tie_word_embeddings to false in config.json to use lm_head.weight)",
                dir.display()
            );
        }
        Ok(checkpoint)
    }

    /// The checked configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Shape of a tensor of [`Config::tensors`]; none for another name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Number format in which a tensor of [`Config::tensors`] is stored; none for another name.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.tensors.get(name).map(|entry| entry.dtype)
    }

    /// The weight files, in name order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(WeightFile::path)
    }

    /// Size of all weight files together, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes().len() as u64).sum()
    }

    /// Reads rows of a tensor as f32: `rows` of its leading dimension, row-major, into `out`, whose length is
    /// the number of rows times the product of the other dimensions. A `[n]` vector has n rows of one.
    ///
    /// # Errors
    /// The name is none of [`Config::tensors`], the rows lie outside the tensor, `out` has another length, or a
    /// weight is NaN or infinite; `out` is then partly written.
    pub fn read_f32(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let entry = self.tensors.get(name).ok_or_else(|| Error::UnknownTensor { name: name.to_owned() })?;
        let (first, count) = entry
            .elements(&rows)
            .ok_or_else(|| range_error(name, format!("rows {rows:?} of a tensor of shape {:?}", entry.shape)))?;
        if out.len() != count {
            let message = format!("rows {rows:?} have {count} elements, and the buffer has {}", out.len());
            return Err(range_error(name, message));
        }
        let (file, size) = (&self.files[entry.file], entry.dtype.size());
        for (i, piece) in out.chunks_mut(PIECE).enumerate() {
            let index = first + i * PIECE;
            let start = entry.bytes.start + index * size;
            let bytes = start..start + piece.len() * size;
            convert::to_f32(entry.dtype, &file.bytes()[bytes.clone()], piece);
            file.release(bytes);
            if let Some(at) = first_non_finite(piece) {
                let (name, value) = (name.to_owned(), piece[at]);
                return Err(Error::NonFinite { name, index: index + at, value });
            }
        }
        Ok(())
    }

    /// Content hash of the model, as 64 hexadecimal digits, for the provenance of results.
    ///
    /// It covers every byte of `config.json` and of the weight files, and is computed at the first call.
    /// BLAKE3, since a result file should not be able to claim a model by accident or on purpose, and since
    /// it is as fast as the disk on a few cores (over 1 GB/s on each). A faster checksum could be forged, and a
    /// hash of samples would not see a retrained layer. A model in shards has another hash than in one file.
    pub fn hash(&self) -> &str {
        self.hash.get_or_init(|| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(self.config_hash.as_bytes());
            for file in &self.files {
                hasher.update(file.hash().as_bytes());
            }
            hasher.finalize().to_hex().to_string()
        })
    }

    fn same_bytes(&self, a: &Entry, b: &Entry) -> bool {
        let piece = |entry: &Entry, from: usize| {
            let start = entry.bytes.start + from;
            start..entry.bytes.end.min(start + 4 * PIECE)
        };
        a.dtype == b.dtype
            && a.bytes.len() == b.bytes.len()
            && (0..a.bytes.len()).step_by(4 * PIECE).all(|from| {
                let (file_a, file_b) = (&self.files[a.file], &self.files[b.file]);
                let (in_a, in_b) = (piece(a, from), piece(b, from));
                let same = file_a.bytes()[in_a.clone()] == file_b.bytes()[in_b.clone()];
                file_a.release(in_a);
                file_b.release(in_b);
                same
            })
    }
}

/// Elements converted between two releases of pages: a megabyte of f32.
const PIECE: usize = 1 << 18;

impl Entry {
    /// First element and number of elements of some rows; none where they lie outside.
    fn elements(&self, rows: &Range<usize>) -> Option<(usize, usize)> {
        let (&n_rows, rest) = self.shape.split_first()?;
        let width: usize = rest.iter().product();
        (rows.start <= rows.end && rows.end <= n_rows).then(|| (rows.start * width, (rows.end - rows.start) * width))
    }
}

fn range_error(name: &str, message: String) -> Error {
    Error::ReadRange { name: name.to_owned(), message }
}

#[cfg(test)]
mod tests;
