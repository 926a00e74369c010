//! Lets a GPU run only kernels that were tested on it.

use std::collections::HashSet;
use std::sync::{OnceLock, PoisonError, RwLock};

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::launch::{Key, Launch};

/// Tests kernels on a GPU.
pub(crate) type Test = dyn Fn(&Gpu, &[Key]) -> Result<()> + Send + Sync;

/// The kernels that were tested on a device, and the test of all others.
pub(crate) struct Guard {
    test: Box<Test>,
    tested: RwLock<HashSet<Key>>,
    failed: OnceLock<Error>,
}

impl Guard {
    pub(crate) fn new(test: Box<Test>) -> Self {
        Self { test, tested: RwLock::default(), failed: OnceLock::new() }
    }

    /// Returns the error of the first kernel that failed its test.
    pub(crate) fn failed(&self) -> Option<&Error> {
        self.failed.get()
    }

    /// Tests the kernels of `launches` that were not tested yet. Two threads may test one kernel at the same time: no
    /// lock is taken meanwhile, since a thread of a pool that waits may start other work.
    pub(crate) fn check(&self, gpu: &Gpu, launches: &[Launch]) -> Result<()> {
        let mut new: Vec<Key> = Vec::new();
        {
            let tested = self.tested.read().unwrap_or_else(PoisonError::into_inner);
            for key in launches.iter().map(Launch::key) {
                if !tested.contains(&key) && !new.contains(&key) {
                    new.push(key);
                }
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        (self.test)(gpu, &new).inspect_err(|error| {
            if matches!(error, Error::WrongKernel { .. }) {
                let _first = self.failed.set(error.clone());
            }
        })?;
        self.tested.write().unwrap_or_else(PoisonError::into_inner).extend(new);
        Ok(())
    }
}
