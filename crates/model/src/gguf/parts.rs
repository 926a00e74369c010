//! The parts of a split model: `NAME-00001-of-00003.gguf` and its siblings.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::fault::Fault;
use super::file::GgufFile;
use super::metadata::Metadata;
use crate::error::{Error, Result, shown};
use crate::files;

/// Opens a file, or all parts of a split one in order. `path` may be any of the parts.
pub(super) fn open(path: &Path) -> Result<Vec<GgufFile>> {
    let given = GgufFile::open(path.into())?;
    let damaged = |message: String| Fault::Damaged(message).at(path);
    let Some((number, count)) = place(given.metadata()).map_err(damaged)? else { return Ok(vec![given]) };
    let mut given = Some(given);
    let mut parts: Vec<GgufFile> = Vec::new();
    for i in 0..count {
        let part = match given.take_if(|_| i == number) {
            Some(part) => part,
            None => GgufFile::open(sibling(path, number, i, count).map_err(damaged)?)?,
        };
        let found = place(part.metadata()).map_err(|message| Fault::Damaged(message).at(part.path()))?;
        if found != Some((i, count)) {
            let found = found.map_or("no part".to_owned(), |(i, n)| format!("part {} of {n}", i + 1));
            let message = format!("it must be part {} of {count}, and its metadata say that it is {found}", i + 1);
            return Err(Fault::Damaged(message).at(part.path()));
        }
        parts.push(part);
    }
    check_tensors(&parts)?;
    Ok(parts)
}

/// Returns the number of a part, counted from 0, and the number of parts; `None` for a model in one file.
fn place(metadata: Metadata<'_>) -> Result<Option<(u64, u64)>, String> {
    let count = metadata.whole("split.count")?.unwrap_or(0);
    if count < 2 {
        return Ok(None);
    }
    match metadata.whole("split.no")? {
        Some(number) if number < count => Ok(Some((number, count))),
        other => {
            let other = other.map_or("missing".to_owned(), |number| number.to_string());
            Err(format!("`split.no` is {other}; it must be below `split.count` = {count}"))
        }
    }
}

/// Returns the path of part `i`, given that of part `number`.
fn sibling(path: &Path, number: u64, i: u64, count: u64) -> Result<PathBuf, String> {
    let end = |number: u64| format!("-{:05}-of-{count:05}.gguf", number + 1);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.strip_suffix(&end(number)).ok_or_else(|| {
        format!("it is part {} of {count}, so its name must end in `{}`: rename the parts", number + 1, end(number))
    })?;
    let found = path.with_file_name(format!("{stem}{}", end(i)));
    match files::exists(&found) {
        Ok(false) => Err(format!("it is one of {count} parts, and `{stem}{}` is not beside it", end(i))),
        _ => Ok(found),
    }
}

/// Checks that no two parts have the same tensor, and that there are as many tensors as the first part states.
fn check_tensors(parts: &[GgufFile]) -> Result<()> {
    let mut places: HashMap<&str, &Path> = HashMap::new();
    for part in parts {
        for tensor in part.tensors() {
            if let Some(first) = places.insert(&tensor.name, part.path()) {
                let (name, first, second) = (shown(&tensor.name), first.into(), part.path().into());
                return Err(Error::DuplicateTensor { name, first, second });
            }
        }
    }
    let Some(first) = parts.first() else { return Ok(()) };
    let damaged = |message: String| Fault::Damaged(message).at(first.path());
    match first.metadata().whole("split.tensors.count").map_err(damaged)? {
        Some(stated) if stated != places.len() as u64 => {
            let found = places.len();
            Err(damaged(format!("its parts have {found} tensors, and `split.tensors.count` is {stated}")))
        }
        _ => Ok(()),
    }
}
