//! Files that appear whole: written beside their place under a passing name, and renamed.

use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// Checks that a file could be written to `path`, before the work is done.
///
/// # Errors
/// A directory that is missing or not writable, or a path that is one.
pub fn check_writable(path: &Path) -> Result<()> {
    temporary(path).map(|_| ())
}

/// Writes a file whole: to a temporary file beside `path`, which is then renamed and replaces what was there.
///
/// # Errors
/// As [`check_writable`], or a full disk.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |reason: String| Error::File { path: path.to_owned(), reason };
    let mut file = temporary(path)?;
    file.write_all(bytes).map_err(|e| fail(format!("cannot be written: {e}; is the disk full?")))?;
    file.persist(path).map_err(|e| fail(format!("cannot be written: {}", e.error)))?;
    Ok(())
}

fn temporary(path: &Path) -> Result<tempfile::NamedTempFile> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // Other users may read a result as they may read any new file; the crate's own default is private.
    #[cfg(unix)]
    let builder = builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let made = if path.is_dir() { Err(std::io::ErrorKind::IsADirectory.into()) } else { builder.tempfile_in(dir) };
    made.map_err(|e| Error::File {
        path: path.to_owned(),
        reason: format!("cannot be written: {e}; name a file in a directory that exists and is yours to write to"),
    })
}
