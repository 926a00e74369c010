//! Memory of tensors, and what is written to it.

use bytemuck::NoUninit;
use rayon::prelude::*;

use crate::buffer::{Buffer, Storage};
use crate::device::{Device, Executor};
use crate::error::{Error, Result};
use crate::tensor::{Shape, Tensor};

/// Bytes that a thread copies at a time: a huge page.
const PART: usize = 2 << 20;

impl Device {
    /// Copies `data` (f32 or u32) to a new tensor of shape `dims`.
    pub fn upload<T: NoUninit>(&self, name: &str, dims: &[(&'static str, usize)], data: &[T]) -> Result<Tensor> {
        let (tensor, bytes) = (self.reserve(name, dims)?, bytemuck::cast_slice(data));
        let want = tensor.buffer().bytes();
        if bytes.len() as u64 != want {
            let reason = format!("is {} and was given {} bytes", tensor.shape(), bytes.len());
            return Err(Error::Buffer { label: name.to_owned(), reason });
        }
        self.write(&tensor, 0, bytes)?;
        Ok(tensor)
    }

    /// A tensor with memory of its own, to be filled by [`Device::write`] piece by piece.
    pub fn reserve(&self, name: &str, dims: &[(&'static str, usize)]) -> Result<Tensor> {
        let shape = Shape::new(dims);
        let words = shape.elements();
        let (bytes, limit) = (words as u64 * 4, self.info().max_binding);
        if bytes > limit {
            return Err(Error::TooLarge { label: name.to_owned(), bytes, limit });
        }
        let storage = match self.usable()? {
            Executor::Gpu(gpu) => Storage::Gpu(gpu.reserve(name, bytes)?),
            Executor::Host(host) => Storage::Host(host.reserve(words)),
        };
        Tensor::new(Buffer::placed(name, words, storage), shape)
    }

    /// Writes `bytes` into a reserved tensor from word `offset` on, before any launch to come.
    pub fn write(&self, tensor: &Tensor, offset: usize, bytes: &[u8]) -> Result<()> {
        let buffer = tensor.buffer();
        let fail = |reason: &str| Error::Buffer { label: buffer.label().to_owned(), reason: reason.to_owned() };
        let start = tensor.range().start + offset;
        if (start * 4 + bytes.len()) as u64 > buffer.bytes() {
            return Err(fail("is too small for what is written to it"));
        }
        match (self.usable()?, buffer.storage()) {
            (Executor::Gpu(gpu), Some(Storage::Gpu(block))) if gpu.owns(block) => {
                gpu.write(block, start as u64 * 4, bytes)
            }
            (Executor::Host(_), Some(Storage::Host(block))) => {
                let mut words = block.write();
                let words = &mut words[start * 4..][..bytes.len()];
                match bytes.len() {
                    // Tables of each pass are small: waking threads would take longer than the copy.
                    0..=PART => words.copy_from_slice(bytes),
                    // The system clears new pages at their first write, so that several threads clear more at a time.
                    _ => {
                        let parts = words.par_chunks_mut(PART).zip(bytes.par_chunks(PART));
                        parts.for_each(|(to, from)| to.copy_from_slice(from));
                    }
                }
                Ok(())
            }
            (_, None) => Err(fail("was not reserved")),
            _ => Err(Error::foreign(buffer.label())),
        }
    }
}
