//! Stopping long work: between launches, a callback decides whether the work continues.
//!
//! The callback belongs to a thread, not to a device: other threads continue their work on the same device.

use std::cell::RefCell;

use crate::error::{Error, Result};

type Stop = Box<dyn FnMut() -> bool>;

thread_local! {
    static STOP: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

/// Runs `work`, and calls `stop` on this thread before each submission to a GPU, and on the host before each group of
/// launches of a few milliseconds. The calls are frequent, so `stop` must be cheap. Once it returns true, submissions
/// and downloads fail with [`Error::Stopped`].
pub fn stoppable<T>(stop: impl FnMut() -> bool + 'static, work: impl FnOnce() -> T) -> T {
    /// Restores the thread's former callback, also if `work` panics.
    struct Former(Option<Stop>);
    impl Drop for Former {
        fn drop(&mut self) {
            STOP.set(self.0.take());
        }
    }
    let _former = Former(STOP.replace(Some(Box::new(stop))));
    work()
}

/// Checks whether the work of this thread may continue; for loops that take long without the device.
///
/// # Errors
/// [`Error::Stopped`] if the callback returns true.
pub fn go_on() -> Result<()> {
    // The callback is taken out during its call, so that it may itself run work.
    let Some(mut stop) = STOP.take() else { return Ok(()) };
    let stopped = stop();
    STOP.set(Some(stop));
    if stopped { Err(Error::Stopped) } else { Ok(()) }
}
