//! Signals that by default end the process in the middle of a write.

/// Makes a write beyond the limit on the size of files (`ulimit -f`) an error like that of a full disk.
///
/// By default the system ends the process at this write, and leaves a file that is half written.
#[cfg(unix)]
pub(crate) fn file_size_is_an_error() {
    // SAFETY: the call installs no handler, so no code of ours runs in a signal. No other threads exist yet.
    let _previous = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Does nothing: this system has no such signal.
#[cfg(not(unix))]
pub(crate) fn file_size_is_an_error() {}
