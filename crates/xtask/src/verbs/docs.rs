//! `docs`: the API pages, and the book if mdbook is installed.

use crate::{
    Verb,
    process::{Result, cargo, is_installed, run},
};
use std::process::Command;

pub(crate) const VERB: Verb = Verb {
    name: "docs",
    summary: "build the API pages (target/doc) and, if mdbook is installed, the book (docs/book)",
    takes_arguments: false,
    run: |_| rustdoc().and_then(|()| book()),
};

/// Builds the pages of the libraries; a warning is an error. Binaries are documented by `--help`, and the C library, whose pages
/// would have the path of the facade's, by its header.
pub(super) fn rustdoc() -> Result {
    run(cargo(&["doc", "--workspace", "--exclude", "resolvent-capi", "--no-deps", "--lib"])
        .env("RUSTDOCFLAGS", "-D warnings"))
}

/// Builds the book of `docs/`.
pub(super) fn book() -> Result {
    if !is_installed("mdbook") {
        eprintln!("left out: mdbook is not installed (cargo install mdbook)");
        return Ok(());
    }
    run(Command::new("mdbook").args(["build", "docs"]))
}
