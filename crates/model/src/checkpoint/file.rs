//! One `.safetensors` file, mapped or embedded in the program, with a checked header.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, SafeTensorError};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::error::{Error, Result, one_line, shown};
use crate::files;
use crate::mapped::Mapped;

/// Size in bytes of the header's length, which precedes the header.
const PREFIX: usize = 8;

/// A weight file. All byte ranges of its header lie inside the file.
#[derive(Debug)]
pub(super) struct WeightFile {
    file: Mapped,
    header: Metadata,
    data_start: usize,
}

impl WeightFile {
    /// Maps a file and checks its header.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        Self::parsed(Mapped::open(path)?)
    }

    /// Checks the header of a file that is embedded in the program. `path` names the file in messages.
    pub(super) fn embedded(path: PathBuf, bytes: &'static [u8]) -> Result<Self> {
        Self::parsed(Mapped::embedded(path, bytes))
    }

    fn parsed(file: Mapped) -> Result<Self> {
        match parse(file.bytes()) {
            Ok((header, data_start)) => Ok(Self { file, header, data_start }),
            Err(message) => Err(Error::WeightFile { path: file.path().into(), message }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the whole file.
    pub(super) fn bytes(&self) -> &[u8] {
        self.file.bytes()
    }

    /// Returns name, format, shape and byte range of every tensor, in file order. Byte ranges count from the start of
    /// the file.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (String, safetensors::Dtype, Vec<usize>, Range<usize>)> {
        self.header.offset_keys().into_iter().filter_map(|name| {
            let info = self.header.info(&name)?;
            let (start, end) = info.data_offsets;
            Some((name, info.dtype, info.shape.clone(), self.data_start + start..self.data_start + end))
        })
    }

    /// Returns the names of tensors that share the bytes of another tensor, each with the name under which the bytes
    /// are stored. The metadata of a file lists such names if `save_model` of the safetensors Python package wrote tied
    /// tensors.
    pub(super) fn shared(&self) -> impl Iterator<Item = (&str, &str)> {
        let notes = self.header.metadata().iter().flatten();
        let shared =
            notes.filter(|(name, stored)| self.header.info(stored).is_some() && self.header.info(name).is_none());
        shared.map(|(name, stored)| (name.as_str(), stored.as_str()))
    }

    /// Releases the pages of a byte range to the system. Reading them again maps them again.
    pub(super) fn release(&self, bytes: Range<usize>) {
        self.file.release(bytes);
    }

    /// Returns the BLAKE3 hash of the whole file.
    pub(super) fn hash(&self) -> blake3::Hash {
        self.file.hash()
    }
}

/// Parses the header. Returns it with the offset of the data, or a message that says what is wrong.
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

/// Checks the names and offsets of a header, where the safetensors crate (0.8) leaves two faults.
///
/// If a name appears twice, the crate uses the last entry. If an end offset is near the largest number, adding the
/// length of the header to it overflows, which panics in builds with overflow checks.
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

/// A visitor that reads the names and offsets of a header, and refuses a repeated name.
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
