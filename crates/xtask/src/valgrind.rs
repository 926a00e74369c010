//! Makes valgrind available, which checks the memory of the C library in a test.

use crate::process::{apt_install, is_installed};

/// Installs valgrind where it is missing and can be installed. Without it, the test says that it leaves the check out.
pub(crate) fn make_available() {
    if !cfg!(target_os = "linux") || is_installed("valgrind") {
        return;
    }
    match apt_install("valgrind", &["valgrind"]) {
        Some(Ok(())) => {}
        Some(Err(reason)) => eprintln!("valgrind cannot be installed: {reason}"),
        None => eprintln!("valgrind is not installed (Debian and Ubuntu: `apt-get install valgrind`)"),
    }
}
