//! Callbacks for progress and for stopping, which belong to one call.

use std::ffi::{CString, c_char, c_int, c_void};

use resolvent::engine::{reported, stoppable};

use crate::status::Result;

/// Callbacks of one call. They are called on the thread of the call, before it returns. Either may be null.
///
/// They are called often, so they must be fast. They must return: no exception and no `longjmp` may leave them. They
/// may call this library.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Watch {
    /// Receives that `done` of `all` parts are done. `what` says what is counted; it is valid during the callback.
    pub progress: Option<unsafe extern "C" fn(user: *mut c_void, what: *const c_char, done: u64, all: u64)>,
    /// Returns whether the work has to stop: any value but 0 ends the call with `RESOLVENT_STATUS_STOPPED`.
    pub stop: Option<unsafe extern "C" fn(user: *mut c_void) -> c_int>,
    /// The first argument of both callbacks.
    pub user: *mut c_void,
}

/// Runs the work of a call with its callbacks.
///
/// # Safety
/// `watch` is null, or valid for a read, and its callbacks may be called with its `user` until this function returns.
pub(crate) unsafe fn watched<T>(watch: *const Watch, work: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: the caller ensures that the pointer is null or valid.
    let Some(&Watch { progress, stop, user }) = (unsafe { watch.as_ref() }) else { return work() };
    let reporting = || match progress {
        Some(progress) => reported(
            move |step| {
                let what = CString::new(step.what).unwrap_or_default();
                // SAFETY: the caller of `watched` allows this call, and `what` outlives it.
                unsafe { progress(user, what.as_ptr(), step.done, step.all) }
            },
            work,
        ),
        None => work(),
    };
    match stop {
        // SAFETY: the caller of `watched` allows this call.
        Some(stop) => stoppable(move || unsafe { stop(user) } != 0, reporting),
        None => reporting(),
    }
}
