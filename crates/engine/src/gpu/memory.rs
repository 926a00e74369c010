//! Device memory: blocks, and the pool that recycles those of recordings.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::bind_groups::BindGroups;
use super::fault;
use crate::error::Result;

const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// What blocks need of the device.
pub(super) struct Memory {
    device: wgpu::Device,
    pool: Pool,
    pub(super) bind_groups: BindGroups,
}

impl Memory {
    pub(super) fn new(device: &wgpu::Device, pool: Pool) -> Arc<Self> {
        Arc::new(Self { device: device.clone(), pool, bind_groups: BindGroups::new() })
    }

    /// Whether pooled memory is filled with NaN before its first launch.
    pub(super) fn is_poisoned(&self) -> bool {
        self.pool.poison
    }
}

/// Memory of one buffer; goes back to the pool, or to the driver, when dropped.
pub(crate) struct Block {
    buffer: wgpu::Buffer,
    pooled: bool,
    home: Weak<Memory>,
}

impl Block {
    /// New memory, never recycled.
    pub(super) fn fresh(memory: &Arc<Memory>, label: &str, bytes: u64) -> Result<Self> {
        let buffer = create(memory, label, bytes)?;
        Ok(Self { buffer, pooled: false, home: Arc::downgrade(memory) })
    }

    /// Takes memory from the pool. Launches run in submission order, so a block may be reused while earlier launches
    /// that use it are still queued.
    pub(super) fn pooled(memory: &Arc<Memory>, label: &str, bytes: u64) -> Result<Self> {
        let size = bytes.next_multiple_of(256);
        let buffer = match memory.pool.take(size) {
            Some(buffer) => buffer,
            None => create(memory, label, size)?,
        };
        Ok(Self { buffer, pooled: true, home: Arc::downgrade(memory) })
    }

    /// Whether the block is memory of this device.
    pub(super) fn is_of(&self, memory: &Arc<Memory>) -> bool {
        std::ptr::eq(self.home.as_ptr(), Arc::as_ptr(memory))
    }

    pub(super) fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }
}

fn create(memory: &Memory, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
    let size = bytes.next_multiple_of(256).max(256);
    let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage: USAGE, mapped_at_creation: false };
    fault::scoped(&memory.device, label, size, || memory.device.create_buffer(&descriptor))
}

impl Drop for Block {
    fn drop(&mut self) {
        let Some(memory) = self.home.upgrade() else { return };
        let retained = self.pooled && memory.pool.give_back(&self.buffer);
        if !retained {
            // A cached bind group would keep the memory alive for ever.
            memory.bind_groups.forget(&self.buffer);
        }
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "gpu block of {} bytes", self.buffer.size())
    }
}

#[derive(Default)]
struct Shelf {
    by_size: HashMap<u64, Vec<wgpu::Buffer>>,
    bytes: u64,
}

/// Free blocks, by size.
pub(super) struct Pool {
    shelf: Mutex<Shelf>,
    poison: bool,
    /// Most bytes to retain for reuse; further blocks go back to the driver.
    keep: u64,
}

impl Pool {
    pub(super) fn new(poison: bool, keep: u64) -> Self {
        Self { shelf: Mutex::default(), poison, keep }
    }

    fn take(&self, size: u64) -> Option<wgpu::Buffer> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = shelf.by_size.get_mut(&size).and_then(Vec::pop)?;
        shelf.bytes -= size;
        Some(buffer)
    }

    fn give_back(&self, buffer: &wgpu::Buffer) -> bool {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = shelf.bytes + buffer.size() <= self.keep;
        if keep {
            shelf.bytes += buffer.size();
            shelf.by_size.entry(buffer.size()).or_default().push(buffer.clone());
        }
        keep
    }
}
