//! What the model of a GGUF file computes, and which file a path denotes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::Gguf;
use crate::arch::Architecture;
use crate::error::{Error, Result, shown};
use crate::files;

impl Gguf {
    /// Returns the GGUF file that a path denotes: the file itself, or the one in a directory without a `config.json`.
    /// Any part of a split model denotes the model.
    ///
    /// # Errors
    /// The directory cannot be read, or has several models.
    pub(crate) fn at(path: &Path) -> Result<Option<PathBuf>> {
        let is_gguf = |path: &Path| path.extension() == Some(OsStr::new("gguf"));
        let failed = |source| Error::Io { path: path.into(), source };
        if files::is_file(path).map_err(failed)? {
            return Ok(is_gguf(path).then(|| path.to_path_buf()));
        }
        if files::exists(&path.join("config.json"))? {
            return Ok(None);
        }
        let mut found = files::list(path).map_err(failed)?;
        found.retain(|path| is_gguf(path));
        found.sort();
        let model = |path: &PathBuf| {
            let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
            stem.rsplit_once("-of-")
                .and_then(|(first, _)| first.rsplit_once('-'))
                .map_or(stem.clone(), |(name, _)| name.to_owned())
        };
        match found.as_slice() {
            [] => Ok(None),
            [first, rest @ ..] if rest.iter().all(|path| model(path) == model(first)) => Ok(Some(first.clone())),
            [_, ..] => Err(Error::NotAModel {
                dir: path.into(),
                wanted: "config.json, and several models in .gguf files",
                fix: "name one of the files",
            }),
        }
    }

    /// Returns what the model computes, after a check that the file has all of its weights.
    ///
    /// # Errors
    /// A feature of the model is not supported, or tensors are missing, superfluous or of another shape.
    pub(crate) fn architecture(&self) -> Result<Architecture> {
        let path = self.parts[0].path();
        let architecture = Architecture::from_map(self.config(), path)?;
        let stored: BTreeMap<&str, &[usize]> = self.tensors().map(|(name, shape, _)| (name, shape)).collect();
        let wrong = |message: String| Error::Gguf { path: path.into(), message };
        let expected = architecture.tensors();
        for (name, shape) in &expected {
            match stored.get(name.as_str()) {
                None => return Err(wrong(format!("it lacks `{name}` {shape:?}"))),
                Some(found) if found != shape => {
                    return Err(wrong(format!("`{name}` is {found:?} where its metadata ask for {shape:?}")));
                }
                Some(_) => {}
            }
        }
        let known: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        match stored.keys().find(|name| !known.contains(*name)) {
            Some(name) => Err(wrong(format!("its metadata have no place for its tensor `{}`", shown(name)))),
            None => Ok(architecture),
        }
    }
}
