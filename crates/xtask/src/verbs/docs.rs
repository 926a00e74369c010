//! `docs`: the API pages, and the book where mdbook is installed.

use crate::{
    Verb,
    process::{Result, cargo, is_installed, run},
};
use std::process::Command;

pub(crate) const VERB: Verb = Verb {
    name: "docs",
    summary: "build the API pages (target/doc) and, where mdbook is installed, the book (docs/book)",
    takes_arguments: false,
    run: |_| rustdoc().and_then(|()| book()),
};

/// The libraries' pages; a warning is an error. The binaries have none of their own: `--help` is their page.
pub(super) fn rustdoc() -> Result {
    run(cargo(&["doc", "--workspace", "--no-deps", "--lib"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// The book of `docs/`.
pub(super) fn book() -> Result {
    if !is_installed("mdbook") {
        eprintln!("left out: mdbook is not installed (cargo install mdbook)");
        return Ok(());
    }
    run(Command::new("mdbook").args(["build", "docs"]))
}
