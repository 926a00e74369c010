//! Matches the tensors of the files with those of the configuration.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use super::file::WeightFile;
use super::{Dtype, Entry};
use crate::arch::{Architecture, Layout, Orientation};
use crate::error::{Error, Result, shown};

/// A stored tensor. Its number format may be unsupported; the format of `entry` is then a placeholder.
#[derive(Clone)]
pub(super) struct Stored {
    dtype: safetensors::Dtype,
    entry: Entry,
}

/// Returns all tensors except the ignored ones, by canonical name.
pub(super) fn collect(files: &[WeightFile], names: &Names<'_>) -> Result<BTreeMap<String, Stored>> {
    let mut found = BTreeMap::<String, Stored>::new();
    for (index, file) in files.iter().enumerate() {
        for (full, dtype, shape, bytes) in file.tensors() {
            let name = names.canonical(&full).into_owned();
            if (names.layout.ignored.0)(&name) {
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
pub(super) fn shared(files: &[WeightFile], names: &Names<'_>) -> BTreeMap<String, String> {
    let all = files.iter().flat_map(WeightFile::shared);
    all.map(|(name, stored)| (names.canonical(name).into_owned(), names.canonical(stored).into_owned())).collect()
}

/// How the names of the files become those of the layout.
pub(super) struct Names<'l> {
    layout: &'l Layout,
    /// Whether the files leave out [`Layout::base`].
    bare: bool,
}

impl<'l> Names<'l> {
    pub(super) fn of(files: &[WeightFile], layout: &'l Layout) -> Self {
        let known = Self { layout, bare: false };
        let mut names = files.iter().flat_map(WeightFile::tensors).map(|(name, ..)| name);
        Self { layout, bare: !names.any(|name| known.canonical(&name).starts_with(layout.base)) }
    }

    fn canonical<'n>(&self, name: &'n str) -> Cow<'n, str> {
        let Layout { renamed, base, head, .. } = self.layout;
        let name = renamed
            .iter()
            .find_map(|(from, to)| {
                let rest = name.strip_prefix(from)?;
                Some(if to.is_empty() { Cow::Borrowed(rest) } else { Cow::Owned(format!("{to}{rest}")) })
            })
            .unwrap_or(Cow::Borrowed(name));
        if self.bare && name != *head { Cow::Owned(format!("{base}{name}")) } else { name }
    }
}

/// Adds the tensors that are stored only under another name: the token embedding of a tied model, and the tensors that
/// the files declare as shared.
fn fill(architecture: &Architecture, stored: &mut BTreeMap<String, Stored>, shared: &BTreeMap<String, String>) {
    let Layout { embedding, head, tied, .. } = &architecture.layout;
    for (name, _) in architecture.tensors() {
        if stored.contains_key(&name) {
            continue;
        }
        let tied = (*tied && name == *embedding).then_some(head.as_str());
        let source = shared.get(&name).map(String::as_str).or(tied);
        if let Some(tensor) = source.and_then(|source| stored.get(source)).cloned() {
            stored.insert(name, tensor);
        }
    }
}

/// Checks names, shapes and formats. Returns the tensors of the configuration, and the head if a tied model stores one.
pub(super) fn check(
    dir: &Path,
    architecture: &Architecture,
    mut stored: BTreeMap<String, Stored>,
    shared: &BTreeMap<String, String>,
) -> Result<(BTreeMap<String, Entry>, Option<Entry>)> {
    fill(architecture, &mut stored, shared);
    let head = &architecture.layout.head;
    let mut missing = Vec::new();
    let mut wrong = Vec::new();
    let mut transposed = false;
    let mut tensors = BTreeMap::new();
    let mut unreadable = None;
    let mut expected = architecture.tensors();
    let spare_head = architecture.layout.tied && stored.contains_key(head);
    if spare_head {
        let sizes = architecture.sizes();
        expected.push((head.clone(), vec![sizes.vocab, sizes.d]));
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
        let fix = if missing.len() == 1 && missing[0].starts_with(&format!("`{head}")) {
            "if the model uses its token embedding as head, set tie_word_embeddings to true in config.json"
        } else {
            "use the config.json that came with these weights (is the number of layers right?), and every shard"
        };
        return Err(Error::MissingTensors { dir, tensors: some_of(&missing), fix });
    }
    if !wrong.is_empty() {
        let fix = if transposed {
            match architecture.layout.blocks.first().map(|block| block.out.orientation) {
                Some(Orientation::InOut) => "this family stores its matrices as [in, out]: transpose them",
                _ => "this family stores its matrices as [out, in]: transpose them",
            }
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
    let spare = spare_head.then(|| tensors.remove(head)).flatten();
    Ok((tensors, spare))
}

fn readable(dtype: safetensors::Dtype) -> Option<Dtype> {
    match dtype {
        safetensors::Dtype::F32 => Some(Dtype::F32),
        safetensors::Dtype::F16 => Some(Dtype::F16),
        safetensors::Dtype::BF16 => Some(Dtype::Bf16),
        _ => None,
    }
}

/// Lists the first three entries, and the number of further ones.
fn some_of(list: &[String]) -> String {
    let shown = list.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    match list.len().saturating_sub(3) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
