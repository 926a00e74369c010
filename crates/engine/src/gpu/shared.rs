//! An open device, as submissions and reads share it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fault::Faults;
use super::flight::Flight;
use super::memory::Memory;
use super::pipeline::Pipelines;
use crate::error::{Error, Result};

/// What submissions and reads need of the device.
pub(super) struct Shared {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) faults: Arc<Faults>,
    pub(super) memory: Arc<Memory>,
    pub(super) pipelines: Pipelines,
    pub(super) flight: Mutex<Flight>,
}

impl Shared {
    pub(super) fn lock_flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the queue to drain.
    pub(super) fn submit_pending(&self) -> Result<()> {
        let polled = self.device.poll(wgpu::PollType::wait_indefinitely());
        self.lock_flight().landed();
        self.faults.check("wait")?;
        polled.map(|_| ()).map_err(|e| Error::DeviceLost { reason: e.to_string() })
    }
}
