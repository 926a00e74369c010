//! Memory of tensors, and what is written to it.

use bytemuck::NoUninit;
use rayon::prelude::*;

use crate::buffer::{Buffer, Storage};
use crate::device::{Device, Executor};
use crate::error::{Error, Result};
use crate::gpu::{self, Gpu};
use crate::host;
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
        let start = tensor.range().start + offset;
        if (start * 4 + bytes.len()) as u64 > buffer.bytes() {
            let reason = "is too small for what is written to it".to_owned();
            return Err(Error::Buffer { label: buffer.label().to_owned(), reason });
        }
        match self.reserved(buffer)? {
            Reserved::Gpu(gpu, block) => gpu.write(block, start as u64 * 4, bytes),
            Reserved::Host(block) => {
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
        }
    }

    /// Passes the words of a reserved tensor to `fill` if they are host memory, which saves the copy of
    /// [`Device::write`]. Returns `None` on a GPU, where `fill` is not called.
    ///
    /// # Errors
    /// The tensor was not reserved, or belongs to another device.
    pub fn in_place<T>(&self, tensor: &Tensor, fill: impl FnOnce(&mut [f32]) -> T) -> Result<Option<T>> {
        match self.reserved(tensor.buffer())? {
            Reserved::Gpu(..) => Ok(None),
            Reserved::Host(block) => {
                let (mut bytes, words) = (block.write(), tensor.range());
                Ok(Some(fill(bytemuck::cast_slice_mut(&mut bytes[words.start * 4..words.end * 4]))))
            }
        }
    }

    /// Returns the memory of a buffer that was reserved on this device.
    fn reserved<'a>(&'a self, buffer: &'a Buffer) -> Result<Reserved<'a>> {
        match (self.usable()?, buffer.storage()) {
            (Executor::Gpu(gpu), Some(Storage::Gpu(block))) if gpu.owns(block) => Ok(Reserved::Gpu(gpu, block)),
            (Executor::Host(_), Some(Storage::Host(block))) => Ok(Reserved::Host(block)),
            (_, None) => Err(Error::Buffer { label: buffer.label().to_owned(), reason: "was not reserved".to_owned() }),
            _ => Err(Error::foreign(buffer.label())),
        }
    }
}

/// Memory of a buffer.
enum Reserved<'a> {
    Gpu(&'a Gpu, &'a gpu::Block),
    Host(&'a host::Block),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_memory_is_filled_in_place() {
        let device = Device::host();
        let whole = device.reserve("x", &[("rows", 3), ("d", 2)]).expect("fits");
        let last = Tensor::view(whole.buffer().clone(), 4, Shape::new(&[("d", 2)])).expect("inside");
        device.write(&whole, 0, bytemuck::cast_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])).expect("fits");
        let before = device.in_place(&last, |words| {
            let before = words.to_vec();
            words.copy_from_slice(&[7.0, 8.0]);
            before
        });
        assert_eq!(before.expect("was reserved"), Some(vec![5.0, 6.0]));
        assert_eq!(device.read(&whole).expect("was written"), [1.0, 2.0, 3.0, 4.0, 7.0, 8.0]);
    }
}
