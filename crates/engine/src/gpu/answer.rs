//! An answer of the driver, as a future that never blocks.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::fault::Faults;
use crate::error::{Error, Result};

struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

/// Where the driver puts its answer.
pub(super) struct Reply<T>(Arc<Mutex<State<T>>>);

impl<T> Reply<T> {
    pub(super) fn give(self, value: T) {
        let waker = {
            let mut state = lock(&self.0);
            state.value = Some(value);
            state.waker.take()
        };
        // The lock is free: a waker may poll the future at once.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The answer that a [`Reply`] gives.
pub(super) struct Answer<T> {
    state: Arc<Mutex<State<T>>>,
    device: wgpu::Device,
    faults: Arc<Faults>,
}

impl<T> Answer<T> {
    pub(super) fn new(device: &wgpu::Device, faults: &Arc<Faults>) -> (Reply<T>, Self) {
        let state = Arc::new(Mutex::new(State { value: None, waker: None }));
        (Reply(Arc::clone(&state)), Self { state, device: device.clone(), faults: Arc::clone(faults) })
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        lock(&self.state).waker = Some(context.waker().clone());
        // This returns at once. In a browser it does nothing, and the browser delivers answers itself.
        let polled = self.device.poll(wgpu::PollType::Poll);
        if let Some(value) = lock(&self.state).value.take() {
            return Poll::Ready(Ok(value));
        }
        // The driver of a lost device never answers.
        self.faults.check_lost()?;
        match polled {
            Ok(_) => Poll::Pending,
            Err(e) => Poll::Ready(Err(Error::DeviceLost { reason: e.to_string() })),
        }
    }
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
