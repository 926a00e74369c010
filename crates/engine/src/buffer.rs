//! Buffers: named, counted handles to device memory that is taken late and given back early.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::{gpu, host};

/// A named piece of device memory, in 32-bit words (f32 or u32).
///
/// Cloning shares it. Memory is taken from the device's pool when the first launch that names the buffer
/// is executed, and goes back when the last handle is dropped: a buffer that only a recording holds lives
/// from its first launch to its last.
#[derive(Clone, Debug)]
pub struct Buffer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    label: String,
    words: usize,
    storage: OnceLock<Storage>,
}

/// Where a buffer's words are.
#[derive(Debug)]
pub(crate) enum Storage {
    Gpu(gpu::Block),
    Host(host::Block),
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Buffer {
    /// A buffer of `words` words that has no memory yet.
    pub(crate) fn unplaced(label: impl Into<String>, words: usize) -> Self {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Inner { id, label: label.into(), words, storage: OnceLock::new() }))
    }

    /// A buffer whose memory exists already.
    pub(crate) fn placed(label: impl Into<String>, words: usize, storage: Storage) -> Self {
        let buffer = Self::unplaced(label, words);
        buffer.place(storage);
        buffer
    }

    /// Gives the buffer its memory. A second call is ignored: the first one won the race.
    pub(crate) fn place(&self, storage: Storage) {
        let _lost_race = self.0.storage.set(storage);
    }

    /// The memory, if any launch has run yet.
    pub(crate) fn storage(&self) -> Option<&Storage> {
        self.0.storage.get()
    }

    /// Unique within the process.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The name it was given, as profiles and errors show it.
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// Length in 32-bit words.
    pub fn words(&self) -> usize {
        self.0.words
    }

    /// Length in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.words as u64 * 4
    }
}
