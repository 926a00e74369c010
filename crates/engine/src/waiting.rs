//! Waiting for a device, to read or for all work to end.
//!
//! The async forms never block, as a browser requires. Outside of one, nothing delivers the driver's answers by itself:
//! each poll of a future asks for them, and so does [`Device::poll`]. The blocking forms wait for the device between
//! two polls. On the host, work is done when it is submitted, so every future is ready at its first poll.

use crate::blocking::block_on;
use crate::buffer::Storage;
use crate::device::{Device, Executor};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

impl Device {
    /// Waits for all submitted work, and for the errors it may have raised.
    ///
    /// # Errors
    /// A lost device, or what the driver refused since the last call that could return it.
    pub fn wait(&self) -> Result<()> {
        self.block_on(self.wait_async())
    }

    /// The form of [`Self::wait`] that does not block.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn wait_async(&self) -> Result<()> {
        self.count_wait();
        match self.usable()? {
            Executor::Gpu(gpu) => gpu.wait().await,
            Executor::Host(_) => Ok(()),
        }
    }

    /// Returns the error of a lost device, once its driver has reported the loss. The host executor is never lost.
    pub fn lost(&self) -> Option<Error> {
        match self.executor() {
            Executor::Gpu(gpu) => gpu.lost(),
            Executor::Host(_) => None,
        }
    }

    /// Reads a tensor back, row-major.
    ///
    /// # Errors
    /// As [`Self::read_many`].
    pub fn read(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        self.block_on(self.read_async(tensor))
    }

    /// The form of [`Self::read`] that does not block.
    ///
    /// # Errors
    /// As [`Self::read_many`].
    pub async fn read_async(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        Ok(self.read_many_async(&[tensor]).await?.remove(0))
    }

    /// Reads several tensors back, row-major, with one wait for the device, or a few if they are large.
    ///
    /// # Errors
    /// A tensor of another device, or that nothing has written; a lost device; no memory for the copy.
    pub fn read_many(&self, tensors: &[&Tensor]) -> Result<Vec<Vec<f32>>> {
        self.block_on(self.read_many_async(tensors))
    }

    /// The form of [`Self::read_many`] that does not block.
    ///
    /// # Errors
    /// As [`Self::read_many`].
    pub async fn read_many_async(&self, tensors: &[&Tensor]) -> Result<Vec<Vec<f32>>> {
        let most = self.info().max_binding;
        let mut read = Vec::with_capacity(tensors.len());
        let mut rest = tensors;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|tensor| {
                bytes += 4 * tensor.shape().elements() as u64;
                bytes <= most
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            read.extend(self.read_at_once(now).await?);
            rest = later;
        }
        Ok(read)
    }

    async fn read_at_once(&self, tensors: &[&Tensor]) -> Result<Vec<Vec<f32>>> {
        let executor = self.usable()?;
        let (mut of_gpu, mut of_host) = (Vec::new(), Vec::new());
        for tensor in tensors {
            let buffer = tensor.buffer();
            let unwritten = || Error::Buffer {
                label: buffer.label().to_owned(),
                reason: "was never written; submit its recording first".to_owned(),
            };
            match (executor, buffer.storage()) {
                (Executor::Gpu(gpu), Some(Storage::Gpu(block))) if gpu.owns(block) => {
                    of_gpu.push((block, buffer.label(), tensor.range()));
                }
                (Executor::Host(_), Some(Storage::Host(block))) => {
                    of_host.push(block.read()[tensor.range()].to_vec());
                }
                (_, None) => return Err(unwritten()),
                _ => return Err(Error::foreign(buffer.label())),
            }
        }
        self.count_wait();
        match executor {
            Executor::Gpu(gpu) => gpu.read(&of_gpu).await,
            Executor::Host(_) => Ok(of_host),
        }
    }

    /// Delivers the driver's answers that have arrived, and so wakes the futures that wait for them. Returns at once. A
    /// program that awaits reads outside of a browser calls it now and then, for example from a timer.
    ///
    /// # Errors
    /// A lost device.
    pub fn poll(&self) -> Result<()> {
        match self.usable()? {
            Executor::Gpu(gpu) => gpu.poll(),
            Executor::Host(_) => Ok(()),
        }
    }

    fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        match self.executor() {
            Executor::Gpu(gpu) => gpu.block_on(future),
            Executor::Host(_) => block_on(future),
        }
    }
}
