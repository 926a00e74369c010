//! `api`: the list of public items.

use crate::{Verb, process::Result};

pub(crate) const VERB: Verb = Verb {
    name: "api",
    summary: "write docs/public-items.txt, which `check` compares with the sources",
    takes_arguments: false,
    run: |_| write(),
};

/// Writes the list in this process, whose build contains a parser of Rust.
#[cfg(feature = "parser")]
fn write() -> Result {
    crate::api::write()
}

/// Writes the list in another process: this program, built again with the parser.
#[cfg(not(feature = "parser"))]
fn write() -> Result {
    use crate::process::{cargo, run};

    run(&mut cargo(&["run", "--quiet", "--package", "xtask", "--features", "parser", "--", "api"]))
}
