//! One `.safetensors` file, mapped or embedded in the program, with a header that has been checked.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, SafeTensorError};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::error::{Error, Result, one_line, shown};
use crate::files;

/// Bytes of the length that comes before the header.
const PREFIX: usize = 8;

/// A mapped weight file. All byte ranges in its header lie inside the map.
#[derive(Debug)]
pub(super) struct WeightFile {
    path: PathBuf,
    source: Bytes,
    header: Metadata,
    data_start: usize,
}

/// Where a file's bytes are.
#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Embedded(&'static [u8]),
}

impl WeightFile {
    /// Maps a file and checks its header.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let map = map(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        Self::parsed(path, Bytes::Mapped(map))
    }

    /// A file that is part of the program; `path` names it in messages.
    pub(super) fn embedded(path: PathBuf, bytes: &'static [u8]) -> Result<Self> {
        Self::parsed(path, Bytes::Embedded(bytes))
    }

    fn parsed(path: PathBuf, source: Bytes) -> Result<Self> {
        match parse(source.bytes()) {
            Ok((header, data_start)) => Ok(Self { path, source, header, data_start }),
            Err(message) => Err(Error::WeightFile { path, message }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file.
    pub(super) fn bytes(&self) -> &[u8] {
        self.source.bytes()
    }

    /// Name, format, shape and byte range in the file of every tensor, in file order.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (String, safetensors::Dtype, Vec<usize>, Range<usize>)> {
        self.header.offset_keys().into_iter().filter_map(|name| {
            let info = self.header.info(&name)?;
            let (start, end) = info.data_offsets;
            Some((name, info.dtype, info.shape.clone(), self.data_start + start..self.data_start + end))
        })
    }

    /// Names of tensors that share the bytes of another, and the name under which those are stored: how the Python package's
    /// `save_model` writes tied tensors.
    pub(super) fn shared(&self) -> impl Iterator<Item = (&str, &str)> {
        let notes = self.header.metadata().iter().flatten();
        let shared =
            notes.filter(|(name, stored)| self.header.info(stored).is_some() && self.header.info(name).is_none());
        shared.map(|(name, stored)| (name.as_str(), stored.as_str()))
    }

    /// Gives the pages of a byte range back to the system; reading them again maps them again.
    pub(super) fn release(&self, bytes: Range<usize>) {
        let Bytes::Mapped(map) = &self.source else { return };
        if bytes.is_empty() || bytes.end > map.len() {
            return;
        }
        #[cfg(unix)]
        {
            // SAFETY: the map is a shared, read-only mapping of a file, so MADV_DONTNEED drops page table
            // entries and the next access finds the same file contents: nothing that a borrow of the map
            // can see is written, given the rule of `map` below: no process changes the file.
            let done = unsafe {
                let advice = memmap2::UncheckedAdvice::DontNeed;
                map.unchecked_advise_range(advice, bytes.start, bytes.len())
            };
            // Only memory is at stake: a system that cannot do this keeps the pages until it wants them.
            if let Err(error) = done {
                tracing::debug!("{}: pages not released: {error}", self.path.display());
            }
        }
    }

    /// BLAKE3 of the whole file, a window at a time, so that its pages do not pile up.
    pub(super) fn hash(&self) -> blake3::Hash {
        const WINDOW: usize = 16 << 20;
        let mut hasher = blake3::Hasher::new();
        for (i, window) in self.bytes().chunks(WINDOW).enumerate() {
            hasher.update_rayon(window);
            self.release(i * WINDOW..i * WINDOW + window.len());
        }
        hasher.finalize()
    }
}

impl Bytes {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Embedded(bytes) => bytes,
        }
    }
}

fn map(path: &Path) -> io::Result<Mmap> {
    let file = files::open_regular(path)?;
    // SAFETY: the map is only read, and as bytes, for which every bit pattern is valid. Another process that
    // changes or truncates the file meanwhile would break the assumption of constant contents; the docs of
    // `Checkpoint` ask for that not to happen, as every program that maps weights must.
    unsafe { Mmap::map(&file) }
}

/// The header and where the data after it begin, or what is wrong.
fn parse(bytes: &[u8]) -> Result<(Metadata, usize), String> {
    if files::is_lfs_pointer(bytes) {
        return Err(files::LFS_POINTER.to_owned());
    }
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Err(format!("it is truncated at {} bytes", bytes.len()));
    };
    let declared = u64::from_le_bytes(*prefix);
    let header = usize::try_from(declared).ok().and_then(|n| rest.get(..n)).ok_or_else(|| {
        format!("its header is declared to be {declared} bytes, but only {} follow (truncated?)", rest.len())
    })?;
    check_spans(header, rest.len() - header.len())?;
    let (n, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| describe(&error))?;
    Ok((metadata, PREFIX + n))
}

/// What the safetensors crate (0.8) leaves: a name that appears twice (the last one wins there), and ends so
/// near the largest number that adding the length of the header overflows, a panic in checked builds.
fn check_spans(header: &[u8], data_len: usize) -> Result<(), String> {
    let mut json = serde_json::Deserializer::from_slice(header);
    let spans = json.deserialize_map(Spans).map_err(|e| format!("its header is damaged: {}", one_line(&e)))?;
    for (name, [start, end]) in spans {
        if start > end || end > data_len as u64 {
            return Err(format!(
                "tensor `{}` is declared at bytes {start}..{end} of {data_len} (truncated?)",
                shown(&name)
            ));
        }
    }
    Ok(())
}

/// Reads names and offsets of a header, refusing a repeated name.
struct Spans;

#[derive(serde::Deserialize)]
struct Span {
    data_offsets: [u64; 2],
}

impl<'de> Visitor<'de> for Spans {
    type Value = Vec<(String, [u64; 2])>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut names = HashSet::new();
        let mut spans = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(serde::de::Error::custom(format_args!("`{}` appears twice", shown(&name))));
            }
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
            } else {
                spans.push((name, map.next_value::<Span>()?.data_offsets));
            }
        }
        Ok(spans)
    }
}

fn describe(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            "its tensors do not fill it exactly (truncated, or followed by other data)".to_owned()
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("tensor `{}` overlaps another tensor or leaves a gap before it", shown(name))
        }
        SafeTensorError::TensorInvalidInfo => {
            "the byte range of a tensor does not match its shape and dtype".to_owned()
        }
        SafeTensorError::HeaderTooLarge => "its header is larger than 100 MB".to_owned(),
        other => one_line(other),
    }
}
