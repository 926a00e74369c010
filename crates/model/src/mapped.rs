//! The bytes of a weight file: mapped, in memory, or embedded in the program.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::{Error, Result};
use crate::{files, memory_files};

/// A weight file that is not loaded but mapped. Its contents must not change while it is open.
#[derive(Debug)]
pub(crate) struct Mapped {
    path: PathBuf,
    source: Source,
}

/// Most bytes before or after a page that a system maps with it. Linux maps the window or the folio of its cache that
/// contains the page, of up to 2 MiB.
#[cfg(unix)]
const AROUND: usize = 2 << 20;

/// Number of elements that a thread converts at a time: a quarter of a megabyte of f32.
pub(crate) const PIECE: usize = 1 << 16;

/// Number of elements to convert before their pages are released: sixteen megabytes of f32.
pub(crate) const WINDOW: usize = 64 * PIECE;

/// Where the bytes are.
#[derive(Debug)]
enum Source {
    File(Mmap),
    Memory(Arc<Vec<u8>>),
    Embedded(&'static [u8]),
}

impl Mapped {
    /// Maps a file, or shares one that is in memory.
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        if let Some(bytes) = memory_files::get(&path) {
            return Ok(Self { path, source: Source::Memory(bytes) });
        }
        match map(&path) {
            Ok(map) => Ok(Self { path, source: Source::File(map) }),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    /// Returns a file that is embedded in the program. `path` names it in messages.
    pub(crate) fn embedded(path: PathBuf, bytes: &'static [u8]) -> Self {
        Self { path, source: Source::Embedded(bytes) }
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the whole file.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.source {
            Source::File(map) => map,
            Source::Memory(bytes) => bytes,
            Source::Embedded(bytes) => bytes,
        }
    }

    /// Releases the pages of a byte range to the system, and those around it, which the system mapped unasked. Reading
    /// them again maps them again.
    pub(crate) fn release(&self, bytes: Range<usize>) {
        let Source::File(map) = &self.source else { return };
        if bytes.is_empty() || bytes.end > map.len() {
            return;
        }
        #[cfg(unix)]
        {
            // SAFETY: the map is a shared, read-only mapping of a file. MADV_DONTNEED only drops page table entries,
            // and the next access finds the same file contents, because no process changes the file (see `map` below).
            // No byte changes that a borrow of the map can see.
            let done = unsafe {
                let advice = memmap2::UncheckedAdvice::DontNeed;
                let (start, end) = (bytes.start.saturating_sub(AROUND), (bytes.end + AROUND).min(map.len()));
                map.unchecked_advise_range(advice, start, end - start)
            };
            // A failure costs only memory: the system retains the pages until it needs the space.
            if let Err(error) = done {
                tracing::debug!("{}: pages not released: {error}", self.path.display());
            }
        }
    }

    /// Returns the BLAKE3 hash of the whole file. Each window is released once it is hashed, so that few pages are
    /// resident.
    pub(crate) fn hash(&self) -> blake3::Hash {
        const WINDOW: usize = 16 << 20;
        let mut hasher = blake3::Hasher::new();
        for (i, window) in self.bytes().chunks(WINDOW).enumerate() {
            hasher.update_rayon(window);
            self.release(i * WINDOW..i * WINDOW + window.len());
        }
        hasher.finalize()
    }
}

fn map(path: &Path) -> io::Result<Mmap> {
    let file = files::open_regular(path)?;
    // SAFETY: the map is only read, and as bytes, for which every bit pattern is valid. The contents must stay
    // constant, although another process could change or truncate the file. The docs of `Checkpoint` and of `Mapped`
    // forbid that, as every program that maps weights must.
    unsafe { Mmap::map(&file) }
}
