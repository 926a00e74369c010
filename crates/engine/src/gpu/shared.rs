//! An open device, as submissions and reads share it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::answer::{Answer, Reply};
use super::fault::Faults;
use super::flight::Flight;
use super::memory::Memory;
use super::pipeline::Pipelines;
use crate::error::Result;

/// What submissions and reads need of the device.
pub(super) struct Shared {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) faults: Arc<Faults>,
    pub(super) memory: Arc<Memory>,
    pub(super) pipelines: Pipelines,
    pub(super) flight: Mutex<Flight>,
    /// Number of submissions so far, and of those that are known to be done. They are here because the lock of `flight`
    /// may be taken by a thread that submits, for long.
    pub(super) sent: AtomicU64,
    pub(super) landed: AtomicU64,
}

impl Shared {
    pub(super) fn lock_flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the driver call `request` when it has done all that was submitted before, and waits for that without
    /// blocking. Fails if there was a fault since the last call that could return one.
    pub(super) async fn answered<T: Send + 'static>(&self, request: impl FnOnce(Reply<T>)) -> Result<T> {
        let before = self.sent.load(Ordering::SeqCst);
        let (reply, answer) = Answer::new(&self.device, &self.faults);
        request(reply);
        let answer = answer.await;
        self.landed.fetch_max(before, Ordering::SeqCst);
        self.faults.check("wait")?;
        answer
    }

    /// Waits for all that was submitted.
    pub(super) async fn drained(&self) -> Result<()> {
        // Uploads are staged until something is submitted; an empty submission sends them, so their copies can go.
        self.queue.submit([]);
        self.answered(|reply| self.queue.on_submitted_work_done(move || reply.give(()))).await
    }
}
