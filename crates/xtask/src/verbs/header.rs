//! `header`: the header of the C library.

use crate::{Verb, process::Result};

pub(crate) const VERB: Verb = Verb {
    name: "header",
    summary: "write crates/capi/include/resolvent.h from the sources of the C library",
    takes_arguments: false,
    run: |_| write(),
};

/// Writes the header in this process, whose build contains the generator.
#[cfg(feature = "parser")]
fn write() -> Result {
    crate::header::write()
}

/// Writes the header in another process: this program, built again with the generator.
#[cfg(not(feature = "parser"))]
fn write() -> Result {
    use crate::process::{cargo, run};

    run(&mut cargo(&["run", "--quiet", "--package", "xtask", "--features", "parser", "--", "header"]))
}
