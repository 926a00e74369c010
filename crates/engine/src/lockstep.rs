//! Launches one by one on a GPU, each compared with its host body on the same inputs.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use resolvent_shaders::Access;

use crate::buffer::Storage;
use crate::error::{Error, Result};
use crate::gpu::{Block, Gpu};
use crate::kernel::{Bound, Constants, Kernel};
use crate::launch::Launch;
use crate::tensor::Tensor;

/// A launch on a GPU, compared with its host body.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Kernel name.
    pub kernel: &'static str,
    /// Name of the shader's variant.
    pub variant: &'static str,
    /// Shapes of the outputs, such as `[rows=16, n=768]`.
    pub shape: String,
    /// Largest difference of an output from the host's, relative to its largest element. Infinite if one of them is not
    /// finite.
    pub error: f64,
}

/// The comparisons of a device.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<Comparison>>);

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Comparison>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self) -> Vec<Comparison> {
        std::mem::take(&mut *self.lock())
    }
}

/// Runs each launch by itself and compares it. Returns the number of submissions.
pub(crate) fn submit(gpu: &Gpu, launches: Vec<Launch>, log: &Log) -> Result<u64> {
    let count = launches.len() as u64;
    for launch in launches {
        let before = Inputs::read(gpu, &launch)?;
        let shape = launch.sample(0.0).shape;
        gpu.submit(vec![launch])?;
        let (kernel, variant) = (before.kernel.name(), before.variant);
        for error in compare(gpu, vec![before])? {
            log.lock().push(Comparison { kernel, variant, shape: shape.clone(), error });
        }
    }
    Ok(count)
}

/// What a launch reads, and what it is to write.
pub(crate) struct Inputs {
    pub(crate) kernel: &'static Kernel,
    pub(crate) variant: &'static str,
    pub(crate) params: Vec<u8>,
    pub(crate) constants: Constants,
    pub(crate) bindings: Vec<Tensor>,
    /// The words of each binding.
    pub(crate) words: Vec<Vec<f32>>,
}

impl Inputs {
    /// Reads all bindings. A buffer without memory gets NaN, as the poisoned memory of the device.
    fn read(gpu: &Gpu, launch: &Launch) -> Result<Self> {
        launch.reads_are_written()?;
        let bindings = launch.bindings.clone();
        let mut read = words(gpu, &bindings)?.into_iter();
        let of = |tensor: &Tensor| match tensor.buffer().storage() {
            Some(_) => read.next().unwrap_or_default(),
            None => vec![f32::NAN; tensor.shape().elements()],
        };
        let words = bindings.iter().map(of).collect();
        let (params, constants) = (launch.params.clone(), launch.constants.clone());
        Ok(Self { kernel: launch.kernel, variant: launch.variant, params, constants, bindings, words })
    }

    /// Runs the host body. Returns the tensors that the launch writes, each with what the host body writes.
    fn on_host(mut self) -> Vec<(Tensor, Vec<f32>)> {
        let access = self.kernel.shader.bindings.iter().map(|binding| binding.access);
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for (access, words) in access.clone().zip(&mut self.words) {
            match access {
                Access::Read => reads.push(&words[..]),
                Access::ReadWrite => writes.push(&mut words[..]),
            }
        }
        (self.kernel.host)(Bound { params: &self.params, constants: &self.constants, reads, writes });
        let pairs = access.zip(self.bindings.into_iter().zip(self.words));
        pairs.filter(|(access, _)| *access == Access::ReadWrite).map(|(_, pair)| pair).collect()
    }
}

/// Compares what a GPU has written in launches with what their host bodies write, with one read. Returns the largest
/// difference of each launch.
pub(crate) fn compare(gpu: &Gpu, all: Vec<Inputs>) -> Result<Vec<f64>> {
    let expected: Vec<Vec<(Tensor, Vec<f32>)>> = all.into_iter().map(Inputs::on_host).collect();
    let written: Vec<Tensor> = expected.iter().flatten().map(|(tensor, _)| tensor.clone()).collect();
    let mut ours = words(gpu, &written)?.into_iter();
    let errors = expected.iter().map(|launch| {
        let pairs = launch.iter().zip(ours.by_ref());
        pairs.map(|((_, host), ours)| difference(&ours, host)).fold(0.0, f64::max)
    });
    Ok(errors.collect())
}

/// Reads the tensors that have memory.
fn words(gpu: &Gpu, tensors: &[Tensor]) -> Result<Vec<Vec<f32>>> {
    let mut parts: Vec<(&Block, &str, Range<usize>)> = Vec::new();
    for tensor in tensors {
        match tensor.buffer().storage() {
            Some(Storage::Gpu(block)) if gpu.owns(block) => {
                parts.push((block, tensor.buffer().label(), tensor.range()));
            }
            None => {}
            Some(_) => return Err(Error::foreign(tensor.buffer().label())),
        }
    }
    gpu.block_on(gpu.read(&parts))
}

/// Returns the largest difference over the largest element. Equal bits do not differ: words that nothing writes are NaN
/// in both, and some words are indices.
fn difference(ours: &[f32], host: &[f32]) -> f64 {
    let (mut largest, mut apart): (f64, f64) = (0.0, 0.0);
    for (&a, &b) in ours.iter().zip(host) {
        if b.is_finite() {
            largest = largest.max(f64::from(b).abs());
        }
        if a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan()) {
            let distance = (f64::from(a) - f64::from(b)).abs();
            apart = if distance.is_finite() { apart.max(distance) } else { f64::INFINITY };
        }
    }
    if apart == 0.0 { 0.0 } else { apart / largest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_relative_and_nan_is_no_number() {
        assert_eq!(difference(&[1.0, -4.0, f32::NAN], &[1.0, -4.0, f32::NAN]), 0.0);
        assert_eq!(difference(&[1.0, -3.0], &[1.0, -4.0]), 0.25);
        assert_eq!(difference(&[f32::NAN, 1.0], &[0.0, 1.0]), f64::INFINITY);
        assert_eq!(difference(&[0.0, 1.0], &[f32::NAN, 1.0]), f64::INFINITY);
        assert_eq!(difference(&[1e-30], &[0.0]), f64::INFINITY);
    }
}
