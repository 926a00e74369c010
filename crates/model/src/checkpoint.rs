//! The weights of a model directory, mapped into memory and read tensor by tensor.

mod convert;
mod file;
mod layout;
mod shards;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use rayon::prelude::*;

use crate::arch::{Architecture, Layout};
use crate::error::{Error, Result};
use crate::mapped::{PIECE, WINDOW};
pub(crate) use convert::first_non_finite;
use file::WeightFile;
#[cfg(feature = "hub")]
pub(crate) use shards::names as shard_names;

/// Number format of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// bfloat16: the upper 16 bits of IEEE 754 single precision.
    Bf16,
}

impl Dtype {
    /// Returns the size of one element in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// The format, shape and location of a stored tensor. `bytes` lies inside the file: opening the file checks that.
#[derive(Clone, Debug)]
struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Byte range from the start of the file. Its length is the product of `shape` times the size of `dtype`.
    bytes: Range<usize>,
}

/// The configuration and weights of a model directory: `config.json` with `model.safetensors`, or with
/// `model.safetensors.index.json` and its shards.
///
/// The files are mapped, not loaded. [`Checkpoint::read_f32`] releases the mapped pages as soon as it has converted
/// them. Reading a whole model therefore needs only the caller's buffer and about sixteen megabytes. The files must not
/// be changed or truncated while a checkpoint is open.
#[derive(Debug)]
pub struct Checkpoint {
    architecture: Architecture,
    config_hash: blake3::Hash,
    files: Vec<WeightFile>,
    tensors: BTreeMap<String, Entry>,
    hash: OnceLock<String>,
}

impl Checkpoint {
    /// Opens a model directory, and checks that it has exactly the tensors of its configuration, in the right shapes
    /// and number formats.
    ///
    /// Names may have their family's prefix, such as `transformer.`. Stored buffers such as causal masks are ignored.
    /// If the embeddings are tied, the token embedding is also the unembedding. A stored unembedding that differs from
    /// it is used nevertheless, with a warning, as in Hugging Face's library. If a tied model stores only the
    /// unembedding, that tensor serves as both.
    ///
    /// # Errors
    /// A file is missing, unreadable or damaged; the configuration is unusable; a tensor is missing, unexpected, of the
    /// wrong shape, stored twice, or in a format other than F32, F16 or BF16.
    pub fn open(dir: &Path) -> Result<Self> {
        let (architecture, config_bytes) = Architecture::open_with_bytes(dir)?;
        Self::assemble(dir, architecture, &config_bytes, shards::open(dir)?)
    }

    /// Opens a checkpoint that is embedded in the program. `config` is the text of its `config.json`, and `weights` is
    /// its safetensors file. `name` replaces the directory in messages.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`], except errors of the file system.
    pub fn embedded(name: &str, config: &str, weights: &'static [u8]) -> Result<Self> {
        let file = WeightFile::embedded(Path::new(name).join("model.safetensors"), weights)?;
        Self::assemble(Path::new(name), Architecture::from_json(config)?, config.as_bytes(), vec![file])
    }

    fn assemble(dir: &Path, architecture: Architecture, config_bytes: &[u8], files: Vec<WeightFile>) -> Result<Self> {
        let names = layout::Names::of(&files, &architecture.layout);
        let stored = layout::collect(&files, &names)?;
        let (tensors, spare) = layout::check(dir, &architecture, stored, &layout::shared(&files, &names))?;
        let config_hash = blake3::hash(config_bytes);
        let mut checkpoint = Self { architecture, config_hash, files, tensors, hash: OnceLock::new() };
        let Layout { embedding, head, .. } = &checkpoint.architecture.layout;
        if let (Some(spare), Some(tied)) = (spare, checkpoint.tensors.get(embedding))
            && !checkpoint.same_bytes(&spare, tied)
        {
            tracing::warn!(
                "{}: {head} differs from {embedding} although the embeddings are declared tied; \
                 {head} is used (remove it from the files to use {embedding})",
                dir.display()
            );
            checkpoint.tensors.insert(head.clone(), spare);
            checkpoint.architecture.layout.tied = false;
        }
        Ok(checkpoint)
    }

    /// Returns what the model computes.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Returns the shape of a tensor of [`Architecture::tensors`]; `None` for any other name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Returns the number format in which a tensor of [`Architecture::tensors`] is stored; `None` for any other name.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.tensors.get(name).map(|entry| entry.dtype)
    }

    /// Returns the paths of the weight files, in name order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(WeightFile::path)
    }

    /// Returns the total size of the weight files in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes().len() as u64).sum()
    }

    /// Reads `rows` of a tensor as f32 into `out`, row-major.
    ///
    /// Rows count along the leading dimension. The length of `out` must be the number of rows times the product of the
    /// other dimensions. A `[n]` vector has n rows of one element.
    ///
    /// # Errors
    /// The name is not in [`Architecture::tensors`], the rows lie outside the tensor, or `out` has another length. A
    /// weight is NaN or infinite: `out` is then partly written.
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
        for (i, window) in out.chunks_mut(WINDOW).enumerate() {
            let index = first + i * WINDOW;
            let start = entry.bytes.start + index * size;
            let bytes = start..start + window.len() * size;
            let stored = file.bytes()[bytes.clone()].par_chunks(PIECE * size);
            let pieces = window.par_chunks_mut(PIECE).zip(stored).enumerate();
            let fault = pieces.find_map_first(|(j, (piece, stored))| {
                convert::to_f32(entry.dtype, stored, piece);
                first_non_finite(piece).map(|at| (index + j * PIECE + at, piece[at]))
            });
            file.release(bytes);
            if let Some((index, value)) = fault {
                return Err(Error::NonFinite { name: name.to_owned(), index, value });
            }
        }
        Ok(())
    }

    /// Returns a content hash of the model, as 64 hexadecimal digits, for the provenance of results.
    ///
    /// It covers every byte of `config.json` and of the weight files, and is computed at the first call. It is a BLAKE3
    /// hash, so that a result file cannot name the wrong model, by accident or on purpose. A faster checksum could be
    /// forged, and a hash of samples would miss a retrained layer. BLAKE3 hashes over 1 GB/s on each core, so that a
    /// few cores are as fast as the disk. A model in shards has another hash than the same model in one file.
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

impl Entry {
    /// Returns the first element and the number of elements of `rows`; `None` if they lie outside the tensor.
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
