//! Writes files whole: under a temporary name in the same directory, followed by a rename.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Checks that a file could be written to `path`, before the work is done.
///
/// # Errors
/// A directory that is missing or not writable, or a path that is a directory itself.
pub fn check_writable(path: &Path) -> Result<()> {
    match Target::of(path)? {
        Target::File(at) => temporary(path, &at).map(|_| ()),
        // Opening a pipe would wait for its reader, and the reader would take the pipe's closing for the end of the
        // output.
        Target::Stream(_) => Ok(()),
    }
}

/// Writes a file whole: to a temporary file beside it, which is then renamed and replaces what was there.
///
/// A symbolic link stays a link, and its target is replaced. The new file gets the permissions of the one that it
/// replaces. A path that is not a regular file, such as a pipe or a device, is written to directly.
///
/// # Errors
/// As [`check_writable`], or a full disk.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    match Target::of(path)? {
        Target::File(at) => write_file(path, &at, &mut |file| file.write_all(bytes).map_err(|e| unwritten(path, &e))),
        Target::Stream(at) => {
            let opened = std::fs::OpenOptions::new().write(true).open(at);
            opened.and_then(|mut file| file.write_all(bytes)).map_err(|e| unwritten(path, &e))
        }
    }
}

/// Writes a regular file whole by `write`, which may seek in it; see [`write_whole`]. `path` leads to the file `at`.
///
/// # Errors
/// As [`write_whole`], or the error of `write`.
pub(crate) fn write_file(path: &Path, at: &Path, write: &mut dyn FnMut(&mut File) -> Result<()>) -> Result<()> {
    let mut file = temporary(path, at)?;
    write(file.as_file_mut())?;
    keep_permissions(file.as_file(), at).map_err(|e| unwritten(path, &e))?;
    file.persist(at).map_err(|e| unwritten(path, &e.error))?;
    Ok(())
}

/// Writes a file whole, unless there is one. Of several writers at the same time, one writes. Returns whether this one
/// did.
///
/// # Errors
/// As [`write_whole`].
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<bool> {
    let mut file = temporary(path, path)?;
    file.write_all(bytes).map_err(|e| unwritten(path, &e))?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(unwritten(path, &e.error)),
    }
}

/// What a write to a path changes.
pub(crate) enum Target {
    /// A regular file, which need not exist.
    File(PathBuf),
    /// A pipe, a terminal or another device, which a rename must not replace.
    Stream(PathBuf),
}

impl Target {
    /// Finds the target of `path` by following its symbolic links.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let at = resolve_links(path).map_err(|e| misplaced(path, &e))?;
        match std::fs::metadata(&at) {
            Ok(found) if found.is_dir() => Err(misplaced(path, &io::ErrorKind::IsADirectory.into())),
            Ok(found) if !found.is_file() => Ok(Self::Stream(at)),
            // A missing directory is reported when a file is created in it.
            Ok(_) | Err(_) => Ok(Self::File(at)),
        }
    }
}

/// Number of links that Linux follows.
const MOST_LINKS: usize = 40;

/// Returns the path at the end of a chain of symbolic links. The last link may name a file that does not exist yet, so
/// `canonicalize` is of no use.
fn resolve_links(path: &Path) -> io::Result<PathBuf> {
    let mut at = path.to_owned();
    for _ in 0..MOST_LINKS {
        match std::fs::read_link(&at) {
            Ok(to) => at = at.parent().unwrap_or(Path::new("")).join(to),
            Err(_) => return Ok(at),
        }
    }
    Err(io::Error::other("its symbolic links form a loop"))
}

/// Gives `file` the permissions of the file at `at`, if there is one. `file` is about to replace it.
pub(crate) fn keep_permissions(file: &File, at: &Path) -> io::Result<()> {
    match std::fs::metadata(at) {
        Ok(old) if cfg!(unix) => file.set_permissions(old.permissions()),
        _ => Ok(()),
    }
}

/// Returns the error of a write to `path` that failed after it began.
pub(crate) fn unwritten(path: &Path, error: &io::Error) -> Error {
    let reason = format!("cannot be written: {error}; is the disk full, or the size of files limited (ulimit -f)?");
    Error::File { path: path.to_owned(), reason }
}

fn misplaced(path: &Path, error: &io::Error) -> Error {
    // The name of the temporary file would say nothing to the reader.
    let error = error.to_string();
    let error = error.split(" at path ").next().unwrap_or_default();
    let reason = format!("cannot be written: {error}; name a file in a directory that exists and is yours to write to");
    Error::File { path: path.to_owned(), reason }
}

/// Creates a temporary file beside `at`, the file at the end of the links of `path`.
fn temporary(path: &Path, at: &Path) -> Result<tempfile::NamedTempFile> {
    let dir = at.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let builder = tempfile::Builder::new();
    // A result is a new file like any other, so the user's umask decides who can read it. The default of `tempfile` is
    // private.
    #[cfg(unix)]
    let builder = {
        let mut builder = builder;
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        builder
    };
    builder.tempfile_in(dir).map_err(|e| misplaced(path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.json");
        for bytes in [&b"first and longer"[..], b"second"] {
            check_writable(&path).expect("writable");
            write_whole(&path, bytes).expect("writes");
            assert_eq!(std::fs::read(&path).expect("a file"), bytes);
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
        assert!(write_whole(folder.path(), b"").is_err() && check_writable(folder.path()).is_err());
        assert!(check_writable(&folder.path().join("missing/out.json")).is_err());
    }

    #[cfg(unix)]
    mod unix {
        use super::*;
        use std::os::unix::fs::{PermissionsExt, symlink};

        fn mode(path: &Path) -> u32 {
            std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
        }

        #[test]
        fn links_stay_links() {
            let folder = tempfile::tempdir().expect("a folder");
            let at = |name: &str| folder.path().join(name);
            std::fs::create_dir(at("data")).expect("a folder");
            // The first link is relative to its folder and leads through a second link to a file that does not exist
            // yet.
            symlink("data/second", at("first")).expect("a link");
            symlink("real", at("data/second")).expect("a link");
            for bytes in [&b"new"[..], b"newer"] {
                write_whole(&at("first"), bytes).expect("writes");
                assert_eq!(std::fs::read(at("data/real")).expect("the target"), bytes);
            }
            for link in ["first", "data/second"] {
                assert!(std::fs::symlink_metadata(at(link)).expect("a link").is_symlink(), "{link}");
            }
            symlink("b", at("a")).expect("a link");
            symlink("a", at("b")).expect("a link");
            let error = write_whole(&at("a"), b"").expect_err("a loop").to_string();
            assert!(error.contains("symbolic links form a loop"), "{error}");
            symlink("data", at("folder")).expect("a link");
            assert!(check_writable(&at("folder")).is_err(), "a link to a folder");
        }

        #[test]
        fn permissions_stay() {
            let folder = tempfile::tempdir().expect("a folder");
            let [fresh, plain, path] = ["fresh", "plain", "old"].map(|name| folder.path().join(name));
            for wanted in [0o600, 0o640, 0o664, 0o444] {
                std::fs::write(&path, b"old").or_else(|_| std::fs::remove_file(&path)).expect("writable");
                std::fs::set_permissions(&path, PermissionsExt::from_mode(wanted)).expect("ours");
                write_whole(&path, b"new").expect("writes");
                assert_eq!(mode(&path), wanted, "{wanted:o}");
                std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("ours");
            }
            // A new file gets the permissions of any new file of this process, by its umask.
            std::fs::write(&plain, b"").expect("writable");
            write_whole(&fresh, b"").expect("writes");
            assert_eq!(mode(&fresh), mode(&plain));
        }

        #[cfg(target_os = "linux")]
        #[test]
        fn a_device_is_written_to_and_not_replaced() {
            let folder = tempfile::tempdir().expect("a folder");
            let full = folder.path().join("full.json");
            symlink("/dev/full", &full).expect("a link");
            check_writable(&full).expect("is asked when it is written");
            let error = write_whole(&full, b"more").expect_err("is full").to_string();
            assert!(error.contains("full.json: cannot be written") && error.contains("disk full"), "{error}");
            write_whole(Path::new("/dev/null"), b"more").expect("takes all");
            assert!(std::fs::metadata("/dev/null").is_ok_and(|found| !found.is_file()));
            assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left");
        }
    }
}
