//! Forked processes: a child has none of its parent's threads, so it computes with new ones. It cannot use the parent's
//! GPU handles.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// The process that works (upper 32 bits), [`INTERRUPTED`], and the number of its threads at work.
///
/// A child inherits the state of its parent, and reads from it whether other threads were at work at the fork.
static WORK: AtomicU64 = AtomicU64::new(0);

/// Set in a process that was forked during the work of another thread: locks of that thread stay locked in it.
const INTERRUPTED: u64 = 1 << 31;

/// Threads of this process, if it is a child of the process that worked first.
static RENEWED: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// Returns the id of this process. A browser has none, and no forks.
fn this_process() -> u32 {
    if cfg!(target_family = "wasm") { 0 } else { std::process::id() }
}

/// Runs `work` with threads of this process.
///
/// In a forked child it runs on new threads. The calling thread meanwhile calls `meanwhile` at the given interval, for
/// signals that only that thread may handle. In other processes the calling thread runs `work`.
///
/// # Errors
/// [`Error::Forked`]: this process was forked while another thread of its parent was at work.
pub fn in_own_threads<T: Send>(
    (interval, mut meanwhile): (Duration, impl FnMut()),
    work: impl FnOnce() -> T + Send,
) -> Result<T> {
    let _at_work = AtWork::enter()?;
    let Some(threads) = renewed()? else { return Ok(work()) };
    let mut done = None;
    threads.in_place_scope(|scope| {
        let (end, ended) = channel::<()>();
        let done = &mut done;
        scope.spawn(move |_| {
            let _end = end;
            *done = Some(work());
        });
        while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            meanwhile();
        }
    });
    done.ok_or(Error::Stopped)
}

/// A thread at work.
struct AtWork(u32);

impl AtWork {
    fn enter() -> Result<Self> {
        let process = this_process();
        let mut seen = WORK.load(Ordering::Acquire);
        loop {
            let next = entered(process, seen);
            match WORK.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if next & INTERRUPTED != 0 => {
                    return Err(Error::Forked {
                        reason: "this process was forked while another thread of its parent computed".to_owned(),
                    });
                }
                Ok(_) => return Ok(Self(process)),
                Err(other) => seen = other,
            }
        }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        // A child that was forked in the middle of the work does not count it.
        if this_process() == self.0 {
            WORK.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Returns the state after a thread of `process` starts work.
fn entered(process: u32, seen: u64) -> u64 {
    let (owner, count) = (seen >> 32, seen & (INTERRUPTED - 1));
    let of_process = u64::from(process) << 32;
    match owner == u64::from(process) {
        true if seen & INTERRUPTED != 0 => seen,
        true => seen + 1,
        // The parent was forked in this state.
        false if count > 0 => of_process | INTERRUPTED,
        false => of_process | 1,
    }
}

/// Returns new threads if this process is a child of the one that worked first, whose threads it lacks.
fn renewed() -> Result<Option<Arc<ThreadPool>>> {
    static FIRST: OnceLock<u32> = OnceLock::new();
    let process = this_process();
    if *FIRST.get_or_init(|| process) == process {
        return Ok(None);
    }
    let mut renewed = RENEWED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, threads)) = &*renewed
        && *of == process
    {
        return Ok(Some(threads.clone()));
    }
    let threads = ThreadPoolBuilder::new()
        .build()
        .map_err(|e| Error::Forked { reason: format!("the forked process cannot start threads: {e}") })?;
    let threads = Arc::new(threads);
    // The former pool belongs to the parent: its threads do not exist here.
    std::mem::forget(renewed.replace((process, threads.clone())));
    Ok(Some(threads))
}

/// The process that opened a GPU.
#[derive(Clone, Copy)]
pub(crate) struct Opener(u32);

impl Opener {
    /// Returns this process.
    pub(crate) fn this() -> Self {
        Self(this_process())
    }

    /// Returns whether this is another process, forked from the opener.
    pub(crate) fn is_parent(self) -> bool {
        self.0 != this_process()
    }

    /// Checks that this process may use the GPU.
    ///
    /// # Errors
    /// [`Error::Forked`]: the parent opened it.
    pub(crate) fn check(self) -> Result<()> {
        match self.is_parent() {
            false => Ok(()),
            true => {
                let reason = "a forked process cannot use the GPU of its parent".to_owned();
                Err(Error::Forked { reason })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: u64 = 7 << 32;
    const CHILD: u64 = 8 << 32;

    #[test]
    fn work_is_counted_in_each_process() {
        assert_eq!(entered(7, 0), PARENT | 1);
        assert_eq!(entered(7, PARENT | 1), PARENT | 2);
        assert_eq!(entered(8, PARENT), CHILD | 1);
    }

    #[test]
    fn a_fork_during_work_is_refused_for_good() {
        let state = entered(8, PARENT | 1);
        assert_eq!(state, CHILD | INTERRUPTED);
        assert_eq!(entered(8, state), state);
    }

    #[test]
    fn work_of_the_first_process_stays_on_its_thread() {
        let caller = std::thread::current().id();
        let nothing = || {};
        let on = in_own_threads((Duration::from_millis(1), nothing), || std::thread::current().id());
        assert_eq!(on, Ok(caller));
    }

    #[test]
    fn the_opener_may_use_its_gpu_and_a_child_may_not() {
        assert!(Opener::this().check().is_ok());
        let error = Opener(this_process() + 1).check().expect_err("another process").to_string();
        assert!(error.contains("start processes with the method `spawn`"), "{error}");
    }
}
