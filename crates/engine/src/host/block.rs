//! Host memory: cache-line-aligned words behind a lock, recycled by size.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::lines::{Line, Lines};

/// Every word of a poisoned buffer: a NaN, as f32, and an index out of every range, as u32.
const POISON: Line = Line([f32::from_bits(0xFFFF_FFFF); 16]);

#[derive(Default)]
struct Shelf {
    by_size: HashMap<usize, Vec<Lines>>,
    bytes: usize,
}

/// Returns the length to reserve for `len` lines: at most a quarter more. A batch that grows layer by layer asks for
/// ever longer buffers, and the rounding lets them reuse memory that has been touched already. The system allocates
/// no page for lines that are never written.
fn class(len: usize) -> usize {
    len.next_multiple_of((len.next_power_of_two() / 8).max(1))
}

/// Free blocks, by length.
#[derive(Clone)]
pub(crate) struct Pool {
    shelf: Arc<Mutex<Shelf>>,
    poison: bool,
    /// Most bytes to retain for reuse; further blocks go back to the system.
    keep: usize,
}

impl Pool {
    pub(crate) fn new(poison: bool, keep: u64) -> Self {
        Self { shelf: Arc::default(), poison, keep: usize::try_from(keep).unwrap_or(usize::MAX) }
    }

    pub(crate) fn take(&self, words: usize) -> Block {
        let len = class(words.div_ceil(16));
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let found = shelf.by_size.get_mut(&len).and_then(Vec::pop);
        if found.is_some() {
            shelf.bytes -= len * 64;
        }
        drop(shelf);
        let mut lines = found.unwrap_or_else(|| Lines::zeroed(len));
        if self.poison {
            lines.fill(POISON);
        }
        Block { lines: RwLock::new(lines), pool: self.clone() }
    }

    fn give_back(&self, lines: Lines) {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if shelf.bytes + lines.len() * 64 <= self.keep {
            shelf.bytes += lines.len() * 64;
            shelf.by_size.entry(lines.len()).or_default().push(lines);
        }
    }
}

/// Memory of one buffer; goes back to its pool when dropped.
pub(crate) struct Block {
    lines: RwLock<Lines>,
    pool: Pool,
}

/// A locked block.
pub(super) enum Guard<'a> {
    Read(RwLockReadGuard<'a, Lines>),
    Write(RwLockWriteGuard<'a, Lines>),
}

/// Returns the words of `lines`.
pub(super) fn words(lines: &[Line]) -> &[f32] {
    bytemuck::cast_slice(lines)
}

/// Returns the words of `lines`.
pub(super) fn words_mut(lines: &mut [Line]) -> &mut [f32] {
    bytemuck::cast_slice_mut(lines)
}

/// Readable words.
pub(crate) struct Reading<'a>(RwLockReadGuard<'a, Lines>);

impl std::ops::Deref for Reading<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        words(&self.0)
    }
}

/// Writable bytes.
pub(crate) struct Writing<'a>(RwLockWriteGuard<'a, Lines>);

impl std::ops::Deref for Writing<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl std::ops::DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

impl Block {
    pub(super) fn read_lock(&self) -> RwLockReadGuard<'_, Lines> {
        self.lines.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write_lock(&self) -> RwLockWriteGuard<'_, Lines> {
        self.lines.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self) -> Reading<'_> {
        Reading(self.read_lock())
    }

    pub(crate) fn write(&self) -> Writing<'_> {
        Writing(self.write_lock())
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut *self.write_lock());
        self.pool.give_back(lines);
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "host block")
    }
}
