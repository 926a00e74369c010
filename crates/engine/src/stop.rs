//! Stopping long work: whoever runs it is asked, between its launches, whether it may go on.
//!
//! The question belongs to a thread, not to a device: work of other threads on the same device goes on.

use std::cell::RefCell;

use crate::error::{Error, Result};

type Stop = Box<dyn FnMut() -> bool>;

thread_local! {
    static STOP: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

/// Runs `work`. `stop` is asked on this thread before each launch on the host and each submission to a GPU, so often and
/// cheaply; once it says true, whatever is submitted or downloaded fails with [`Error::Stopped`].
pub fn stoppable<T>(stop: impl FnMut() -> bool + 'static, work: impl FnOnce() -> T) -> T {
    /// Gives the thread back its former question, also where `work` panics.
    struct Former(Option<Stop>);
    impl Drop for Former {
        fn drop(&mut self) {
            STOP.set(self.0.take());
        }
    }
    let _former = Former(STOP.replace(Some(Box::new(stop))));
    work()
}

/// Asks whether the work of this thread may go on; for loops that take long without the device.
///
/// # Errors
/// [`Error::Stopped`].
pub fn go_on() -> Result<()> {
    // Out of its place while it is asked, so that it may itself run work.
    let Some(mut stop) = STOP.take() else { return Ok(()) };
    let stopped = stop();
    STOP.set(Some(stop));
    if stopped { Err(Error::Stopped) } else { Ok(()) }
}
