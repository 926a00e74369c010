//! Collects the inputs of launches that are to be tested on a GPU, from work on the host.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::buffer::Storage;
use crate::error::Result;
use crate::host::Host;
use crate::launch::{Key, Launch};
use crate::lockstep::Inputs;
use crate::tensor::Tensor;

/// Most launches of one kernel. They differ in the shapes of their outputs.
const LAUNCHES: usize = 3;

/// A launch whose kernel is to be tested.
pub(crate) struct Collected {
    pub(crate) key: Key,
    /// Shapes of the outputs.
    pub(crate) shape: String,
    pub(crate) grid: [u32; 3],
    /// Inputs, in host memory.
    pub(crate) inputs: Inputs,
}

/// Which kernels are wanted, and the launches that were found.
pub(crate) struct Collector {
    wanted: Vec<Key>,
    found: Mutex<Vec<Collected>>,
}

impl Collector {
    pub(crate) fn new(wanted: Vec<Key>) -> Self {
        Self { wanted, found: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Collected>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the kernels that no launch was found of.
    pub(crate) fn missing(&self) -> Vec<Key> {
        let found = self.lock();
        self.wanted.iter().filter(|key| found.iter().all(|launch| launch.key != **key)).cloned().collect()
    }

    pub(crate) fn take(&self) -> Vec<Collected> {
        std::mem::take(&mut *self.lock())
    }

    /// Runs launches on the host, and copies the inputs of those that are wanted.
    pub(crate) fn submit(&self, host: &Host, launches: Vec<Launch>) -> Result<()> {
        for launch in launches {
            // Constants only select a formula, so each launch is an input for all constants of its kernel.
            let same = |key: &&Key| (key.kernel, key.variant) == (launch.kernel.name(), launch.variant);
            for key in self.wanted.iter().filter(same) {
                self.collect(key, &launch);
            }
            host.submit(vec![launch])?;
        }
        Ok(())
    }

    fn collect(&self, key: &Key, launch: &Launch) {
        let shape = launch.sample(0.0).shape;
        let mut found = self.lock();
        let mut of_kernel = found.iter().filter(|other| other.key == *key);
        if of_kernel.clone().count() == LAUNCHES || of_kernel.any(|other| other.shape == shape) {
            return;
        }
        let inputs = Inputs {
            kernel: launch.kernel,
            variant: launch.variant,
            params: launch.params.clone(),
            constants: key.constants(),
            bindings: launch.bindings.clone(),
            words: launch.bindings.iter().map(words).collect(),
        };
        found.push(Collected { key: key.clone(), shape, grid: launch.grid, inputs });
    }
}

/// Returns the words of a tensor in host memory; NaN if nothing has written it.
fn words(tensor: &Tensor) -> Vec<f32> {
    match tensor.buffer().storage() {
        Some(Storage::Host(block)) => block.read()[tensor.range()].to_vec(),
        _ => vec![f32::NAN; tensor.shape().elements()],
    }
}
