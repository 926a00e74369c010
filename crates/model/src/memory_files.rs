//! Files in memory, which the code that opens models finds before those of the system.
//!
//! They belong to a thread and to one call: [`with`] makes them visible while it runs `work`. So a model directory that
//! a browser has received is opened by the same code as one on a disk, with the same checks and messages.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Files = BTreeMap<PathBuf, Arc<Vec<u8>>>;

thread_local! {
    static FILES: RefCell<Files> = const { RefCell::new(BTreeMap::new()) };
}

/// Runs `work`, to which `files` are visible on this thread.
pub(crate) fn with<T>(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>, work: impl FnOnce() -> T) -> T {
    /// Restores the thread's former files, also if `work` panics.
    struct Former(Files);
    impl Drop for Former {
        fn drop(&mut self) {
            FILES.set(std::mem::take(&mut self.0));
        }
    }
    let files = files.into_iter().map(|(path, bytes)| (path, Arc::new(bytes))).collect();
    let _former = Former(FILES.replace(files));
    work()
}

/// Returns the file at `path`, if it is in memory.
pub(crate) fn get(path: &Path) -> Option<Arc<Vec<u8>>> {
    FILES.with_borrow(|files| files.get(path).cloned())
}

/// Returns the size of all files in memory.
pub(crate) fn bytes() -> u64 {
    FILES.with_borrow(|files| files.values().map(|bytes| bytes.len() as u64).sum())
}

/// Returns whether `path` is a file, or an error if its folder is in memory and lacks it. `None` if neither the path
/// nor its folder is in memory.
pub(crate) fn is_file(path: &Path) -> Option<io::Result<bool>> {
    let is_folder = |files: &Files, folder: &Path| files.keys().any(|file| file.starts_with(folder));
    FILES.with_borrow(|files| match path.parent() {
        _ if files.contains_key(path) => Some(Ok(true)),
        _ if is_folder(files, path) => Some(Ok(false)),
        // The folder of a plain name is the empty path, with which every path starts.
        Some(parent) if parent != Path::new("") && is_folder(files, parent) => {
            Some(Err(io::ErrorKind::NotFound.into()))
        }
        _ => None,
    })
}

/// Returns the paths of the files in `folder`; `None` if none of them is in memory.
pub(crate) fn list(folder: &Path) -> Option<Vec<PathBuf>> {
    let inside = |files: &Files| files.keys().filter(|file| file.parent() == Some(folder)).cloned().collect::<Vec<_>>();
    Some(FILES.with_borrow(inside)).filter(|paths| !paths.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_visible_during_the_call_alone() {
        let folder = Path::new("no such folder");
        let files = ["a", "b"].map(|name| (folder.join(name), name.as_bytes().to_vec()));
        let seen = with(files, || {
            let inner = with([], || get(&folder.join("a")));
            assert!(is_file(Path::new("c")).is_none() && is_file(Path::new("no")).is_none());
            assert_eq!(bytes(), 2);
            let kinds = [folder.into(), folder.join("a"), folder.join("c")].map(|path| is_file(&path));
            (get(&folder.join("b")), inner, kinds.map(|kind| kind.and_then(Result::ok)))
        });
        assert_eq!(seen, (Some(Arc::new(b"b".to_vec())), None, [Some(false), Some(true), None]));
        let missing = with([(folder.join("a"), Vec::new())], || is_file(&folder.join("c")));
        assert!(missing.is_some_and(|found| found.is_err_and(|e| e.kind() == io::ErrorKind::NotFound)));
        assert_eq!((get(&folder.join("a")), list(folder)), (None, None));
        let listed = with([(folder.join("a"), Vec::new()), (folder.join("sub/b"), Vec::new())], || list(folder));
        assert_eq!(listed, Some(vec![folder.join("a")]));
        let panicked = std::panic::catch_unwind(|| with([(folder.join("a"), Vec::new())], || panic!("in the middle")));
        assert!(panicked.is_err() && get(&folder.join("a")).is_none());
    }
}
