//! The folders of cached files, and their sizes.

use std::fs;
use std::path::{Path, PathBuf};

use resolvent_engine::Options;

use crate::open::with_cache;

/// A folder of cached files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheFolder {
    /// What is cached in it.
    pub name: &'static str,
    /// Its path; `None` if nothing is cached.
    pub path: Option<PathBuf>,
    /// Whether it exists.
    pub exists: bool,
    /// Whether files can be written into it, or whether it can be created.
    pub is_writable: bool,
    /// Its contents, folder by folder.
    pub parts: Vec<CachePart>,
}

/// A part of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachePart {
    /// The name of the folder or file.
    pub name: String,
    /// Number of files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Returns the caches of this program: its own, and that of the hub.
pub(super) fn caches() -> Vec<CacheFolder> {
    let own = with_cache(&Options::default()).cache_folder().map(Path::to_owned);
    #[allow(unused_mut, reason = "changed with the feature `hub` only")]
    let mut all = vec![folder("results of self-tests, measured variants, compiled kernels", own)];
    #[cfg(feature = "hub")]
    all.push(folder("models of the hub", Some(resolvent_model::Hub::from_env().cache().to_owned())));
    all
}

fn folder(name: &'static str, path: Option<PathBuf>) -> CacheFolder {
    let (exists, parts) = path.as_deref().map_or((false, Vec::new()), |path| (path.is_dir(), parts(path)));
    let is_writable = path.as_deref().is_some_and(is_writable);
    CacheFolder { name, path, exists, is_writable, parts }
}

/// Returns whether a file can be created in a folder, or in the nearest folder above it that exists.
fn is_writable(folder: &Path) -> bool {
    let Some(existing) = folder.ancestors().find(|path| path.is_dir()) else { return false };
    // The permissions of a folder do not tell this: a file system may be read-only or full.
    let probe = existing.join(format!(".resolvent-doctor-{}", std::process::id()));
    let is_written = fs::write(&probe, b"x").is_ok();
    let _missing = fs::remove_file(&probe);
    is_written
}

/// Returns the entries of a folder with the numbers of files and bytes below them, sorted by name. Hidden ones are left
/// out.
fn parts(folder: &Path) -> Vec<CachePart> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut parts: Vec<CachePart> = entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let (files, bytes) = size(&entry.path());
            (!name.starts_with('.')).then_some(CachePart { name, files, bytes })
        })
        .collect();
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    parts
}

/// Returns the number of files below a path, and their bytes. Links are not followed: the hub's cache links to its own
/// files.
fn size(path: &Path) -> (u64, u64) {
    let (mut open, mut total) = (vec![path.to_owned()], (0, 0));
    while let Some(path) = open.pop() {
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {
                open.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            }
            Ok(found) if found.is_file() => total = (total.0 + 1, total.1 + found.len()),
            _ => {}
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_added_up_below_each_entry() {
        let root = std::env::temp_dir().join(format!("resolvent-doctor-test-{}", std::process::id()));
        fs::create_dir_all(root.join("a/b")).expect("a folder");
        fs::write(root.join("a/one"), [0; 3]).expect("a file");
        fs::write(root.join("a/b/two"), [0; 4]).expect("a file");
        fs::write(root.join(".hidden"), [0; 9]).expect("a file");
        let found = folder("test", Some(root.clone()));
        assert_eq!(found.parts, [CachePart { name: "a".to_owned(), files: 2, bytes: 7 }]);
        assert!(found.exists && found.is_writable);
        assert!(folder("none", Some(root.join("x/y"))).is_writable, "it can be created");
        assert!(!folder("off", None).is_writable);
        fs::remove_dir_all(root).expect("is removed");
    }
}
