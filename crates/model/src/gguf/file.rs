//! One `.gguf` file, mapped, with a checked header.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::cursor::Cursor;
use super::fault::Fault;
use super::kind::{GgmlType, other_name};
use super::metadata::{self, Metadata, Value};
use crate::error::{Result, shown};
use crate::files;
use crate::mapped::Mapped;

/// Most dimensions of a tensor.
const MAX_DIMS: u32 = 4;

/// Alignment of tensors in bytes unless `general.alignment` states another.
const ALIGNMENT: u64 = 32;

/// A tensor of a file. Its bytes lie inside the file and overlap no other tensor.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    /// The name in the file, such as `blk.0.attn_q.weight`.
    pub(super) name: String,
    pub(super) kind: GgmlType,
    /// Sizes, the one along a row first.
    pub(super) dims: Vec<usize>,
    /// Byte range from the start of the file.
    pub(super) bytes: Range<usize>,
}

/// A GGUF file.
#[derive(Debug)]
pub(super) struct GgufFile {
    file: Mapped,
    metadata: BTreeMap<String, Value>,
    tensors: Vec<Tensor>,
}

impl GgufFile {
    /// Maps a file and checks its header.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let file = Mapped::open(path)?;
        match parse(file.bytes()) {
            Ok((metadata, tensors)) => Ok(Self { file, metadata, tensors }),
            Err(fault) => Err(fault.at(file.path())),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(super) fn mapped(&self) -> &Mapped {
        &self.file
    }

    pub(super) fn metadata(&self) -> Metadata<'_> {
        Metadata { map: &self.metadata, bytes: self.file.bytes() }
    }

    pub(super) fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }
}

fn parse(bytes: &[u8]) -> Result<(BTreeMap<String, Value>, Vec<Tensor>), Fault> {
    if files::is_lfs_pointer(bytes) {
        return Err(Fault::Damaged(files::LFS_POINTER.to_owned()));
    }
    let mut cursor = Cursor::new(bytes);
    let magic = cursor.array::<4>()?;
    if &magic != b"GGUF" {
        return Err(Fault::Damaged("it does not begin with GGUF".to_owned()));
    }
    check_version(cursor.u32()?)?;
    let (n_tensors, n_keys) = (cursor.u64()?, cursor.u64()?);
    cursor.within("the metadata");
    let n_keys = cursor.count(n_keys, metadata::LEAST)?;
    let metadata = metadata::read(&mut cursor, n_keys)?;
    cursor.within("the list of tensors");
    let n_tensors = cursor.count(n_tensors, Stored::LEAST)?;
    let mut stored = Vec::with_capacity(n_tensors);
    for _ in 0..n_tensors {
        stored.push(Stored::read(&mut cursor)?);
    }
    let alignment = alignment(Metadata { map: &metadata, bytes })?;
    let start = (cursor.at() as u64).next_multiple_of(alignment);
    let tensors: Vec<Tensor> =
        stored.into_iter().map(|tensor| tensor.placed(start, alignment, bytes.len())).collect::<Result<_, _>>()?;
    check_names(&tensors)?;
    check_overlap(&tensors)?;
    Ok((metadata, tensors))
}

fn check_version(version: u32) -> Result<(), Fault> {
    let message = match version {
        2 | 3 => return Ok(()),
        1 => "it is GGUF version 1; versions 2 and 3 are read: convert the model again".to_owned(),
        // The upper half of a big-endian 2 or 3, read as little-endian.
        _ if version & 0xffff == 0 => {
            "it is a big-endian GGUF file; only little-endian ones are read: convert it with gguf_convert_endian of \
             the gguf Python package"
                .to_owned()
        }
        _ => format!("it is GGUF version {version}; versions 2 and 3 are read"),
    };
    Err(Fault::Unread(message))
}

fn alignment(metadata: Metadata<'_>) -> Result<u64, String> {
    let alignment = metadata.whole("general.alignment")?.unwrap_or(ALIGNMENT);
    match alignment.is_power_of_two() && alignment <= 1 << 20 {
        true => Ok(alignment),
        false => Err(format!("`general.alignment` is {alignment}; it must be a power of two of at most {}", 1 << 20)),
    }
}

/// An entry of the list of tensors.
struct Stored {
    name: String,
    dims: Vec<u64>,
    kind: u32,
    offset: u64,
}

impl Stored {
    /// Size of the smallest entry: no name, no dimensions.
    const LEAST: usize = 8 + 4 + 4 + 8;

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, String> {
        let name = cursor.text()?.to_owned();
        let n = cursor.u32()?;
        if !(1..=MAX_DIMS).contains(&n) {
            return Err(format!("tensor `{}` has {n} dimensions; 1 to {MAX_DIMS} are possible", shown(&name)));
        }
        let dims = (0..n).map(|_| cursor.u64()).collect::<Result<_, _>>()?;
        Ok(Self { name, dims, kind: cursor.u32()?, offset: cursor.u64()? })
    }

    /// Checks the format, the sizes and the place. `start` is the first byte after the header and its padding.
    fn placed(self, start: u64, alignment: u64, len: usize) -> Result<Tensor, Fault> {
        let shown_name = shown(&self.name);
        let Some(kind) = GgmlType::of(self.kind) else {
            return Err(Fault::Unread(format!(
                "tensor `{shown_name}` is stored as {}; {} are read: quantise the model to one of these",
                other_name(self.kind),
                GgmlType::names()
            )));
        };
        let wrong = |what: String| Fault::Damaged(format!("tensor `{shown_name}` {what}"));
        let (block, size) = (kind.block() as u64, kind.block_bytes() as u64);
        if self.dims.contains(&0) || !self.dims[0].is_multiple_of(block) {
            let name = kind.name();
            return Err(wrong(format!("has sizes {:?}, which {name} in blocks of {block} does not allow", self.dims)));
        }
        let elements = self.dims.iter().try_fold(1u64, |product, &n| product.checked_mul(n));
        let bytes = elements.and_then(|n| (n / block).checked_mul(size));
        if !self.offset.is_multiple_of(alignment) {
            return Err(wrong(format!("begins at offset {}, which {alignment} does not divide", self.offset)));
        }
        let range = bytes.and_then(|bytes| {
            let first = start.checked_add(self.offset)?;
            let end = first.checked_add(bytes).filter(|&end| end <= len as u64)?;
            Some(usize::try_from(first).ok()?..usize::try_from(end).ok()?)
        });
        let dims = self.dims.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<_>>>();
        match (range, dims) {
            (Some(bytes), Some(dims)) => Ok(Tensor { name: self.name, kind, dims, bytes }),
            _ => Err(wrong(format!(
                "of {} {:?} at offset {} reaches beyond the file of {len} bytes (truncated?)",
                kind.name(),
                self.dims,
                self.offset
            ))),
        }
    }
}

fn check_names(tensors: &[Tensor]) -> Result<(), String> {
    let mut names = HashSet::new();
    match tensors.iter().find(|tensor| !names.insert(tensor.name.as_str())) {
        None => Ok(()),
        Some(tensor) => Err(format!("tensor `{}` is listed twice", shown(&tensor.name))),
    }
}

fn check_overlap(tensors: &[Tensor]) -> Result<(), String> {
    let mut sorted: Vec<&Tensor> = tensors.iter().collect();
    sorted.sort_by_key(|tensor| tensor.bytes.start);
    match sorted.windows(2).find(|pair| pair[0].bytes.end > pair[1].bytes.start) {
        None => Ok(()),
        Some(pair) => {
            let [a, b] = [0, 1].map(|i| shown(&pair[i].name));
            Err(format!("tensors `{a}` and `{b}` overlap"))
        }
    }
}
