//! Reading of the small files of a model directory, as bytes, text or JSON.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result, one_line};
use crate::memory_files;

/// Largest configuration, index, vocabulary or merge list that is read. GPT-2's largest is 2 MB.
const MAX_BYTES: u64 = 256 << 20;

/// Reads a regular file of at most [`MAX_BYTES`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    read_bounded(path).map_err(|source| Error::Io { path: path.into(), source })
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match memory_files::get(path) {
        Some(file) => (&file[..]).take(MAX_BYTES + 1).read_to_end(&mut bytes)?,
        None => open_regular(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?,
    };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("larger than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Opens a file, after a check that it is a regular one: opening a pipe would wait for a writer.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    File::open(path)
}

/// Returns whether a path exists.
///
/// Fails if the system does not tell, for example in a folder without search permission. `Path::exists` is false then.
pub(crate) fn exists(path: &Path) -> Result<bool> {
    match is_file(path) {
        Ok(_) => Ok(true),
        // No file exists if its name is invalid, or if its parent is not a folder.
        Err(source)
            if [ErrorKind::NotFound, ErrorKind::NotADirectory, ErrorKind::InvalidFilename].contains(&source.kind()) =>
        {
            Ok(false)
        }
        Err(source) => Err(Error::Io { path: path.into(), source }),
    }
}

/// Returns whether a path is a regular file; otherwise it is a folder or a device.
pub(crate) fn is_file(path: &Path) -> io::Result<bool> {
    memory_files::is_file(path).unwrap_or_else(|| std::fs::metadata(path).map(|found| found.is_file()))
}

/// Returns the paths of what a folder contains, in any order.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match memory_files::list(folder) {
        Some(paths) => Ok(paths),
        None => Ok(std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect()),
    }
}

/// Returns the text of a file without its byte order mark.
///
/// # Errors
/// A description of what the file is instead of UTF-8 text.
pub fn text(bytes: &[u8]) -> Result<&str, String> {
    if is_lfs_pointer(bytes) {
        return Err(LFS_POINTER.to_owned());
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|e| match bytes {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "it is UTF-16 text, not UTF-8: save it as UTF-8".to_owned(),
        _ => format!("not UTF-8 text ({e})"),
    })
}

/// Returns the object of a JSON file, or a description of what the file is instead.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text(bytes)?).map_err(|e| format!("not a JSON object ({})", one_line(&e)))
}

/// The message about a pointer file that git has not replaced by the content.
pub(crate) const LFS_POINTER: &str = "it is a Git LFS pointer, not the file itself: run `git lfs pull`";

/// Returns whether a file is the pointer that git leaves in place of a large file until `git lfs pull`.
pub(crate) fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"version https://git-lfs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_marks_are_skipped_and_other_encodings_named() {
        assert_eq!(text("\u{feff}é".as_bytes()), Ok("é"));
        assert_eq!(text("é\u{feff}".as_bytes()), Ok("é\u{feff}"), "only a mark at the start is one");
        for order in [u16::to_le_bytes, u16::to_be_bytes] {
            let bytes: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(order).collect();
            assert!(text(&bytes).is_err_and(|e| e.contains("UTF-16") && e.contains("save it as UTF-8")));
        }
        assert!(text(b"\xFFa").is_err_and(|e| e.starts_with("not UTF-8 text (")));
        assert_eq!(object(b"\xEF\xBB\xBF{\"a\": 1}").map(|map| map.len()), Ok(1));
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
        assert!(object(pointer).is_err_and(|e| e.contains("git lfs pull")));
    }

    /// A path that cannot be examined is not a missing one. The test uses a link to itself, because root may search a
    /// folder without search permission.
    #[cfg(unix)]
    #[test]
    fn a_path_that_cannot_be_examined_is_an_error() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("config.json");
        assert!(exists(&path).is_ok_and(|there| !there));
        let none = [dir.path().join("x".repeat(5000)), dir.path().join("file/x")];
        std::fs::write(dir.path().join("file"), "").expect("writable");
        assert!(none.iter().all(|path| exists(path).is_ok_and(|there| !there)));
        std::os::unix::fs::symlink(&path, &path).expect("a link");
        let line = exists(&path).expect_err("is unknown").to_string();
        assert!(line.starts_with("cannot read ") && line.contains("config.json"), "{line}");
    }
}
