//! Reading the small files of a model directory whole.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// Largest configuration, index, vocabulary or merge list read; GPT-2's largest is 2 MB.
const MAX_BYTES: u64 = 256 << 20;

/// The bytes of a regular file of at most [`MAX_BYTES`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    read_bounded(path).map_err(|source| Error::Io { path: path.into(), source })
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("larger than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Opens a file after seeing that it is one: opening a pipe would wait for a writer.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    File::open(path)
}
