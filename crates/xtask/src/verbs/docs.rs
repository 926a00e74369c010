//! `docs`: the API pages, and the book, as sites.

use std::path::PathBuf;
use std::process::Command;

use crate::{
    Verb,
    process::{Result, cargo, is_installed, output, root, run},
};

pub(crate) const VERB: Verb = Verb {
    name: "docs",
    summary: "build the API pages (target/doc) and the book (target/book); installs mdbook into target if it is missing",
    takes_arguments: false,
    run: |_| rustdoc().and_then(|()| site()),
};

/// Builds the pages of the libraries; a warning is an error. Binaries are documented by `--help`, and the C library,
/// whose pages would have the path of the facade's, by its header.
pub(super) fn rustdoc() -> Result {
    run(cargo(&["doc", "--workspace", "--exclude", "resolvent-capi", "--no-deps", "--lib"])
        .env("RUSTDOCFLAGS", "-D warnings"))
}

/// Builds the book of `docs/` if mdbook is there already.
pub(super) fn book() -> Result {
    match mdbook() {
        Some(program) => build(program),
        None => {
            eprintln!("left out: the book; `cargo xtask docs` installs mdbook");
            Ok(())
        }
    }
}

/// Builds the book, and first mdbook where it is missing. That takes minutes, once.
fn site() -> Result {
    let program = mdbook().map_or_else(install, Ok)?;
    build(program)?;
    eprintln!("{}", root().join("target/book/index.html").display());
    Ok(())
}

fn build(program: PathBuf) -> Result {
    run(Command::new(program).args(["build", "docs"]))
}

/// The folder of programs that this verb installs.
fn folder() -> PathBuf {
    root().join("target/tools")
}

/// Returns mdbook: the user's, or the one that this verb has installed.
fn mdbook() -> Option<PathBuf> {
    if is_installed("mdbook") {
        return Some("mdbook".into());
    }
    let own = folder().join("bin").join(format!("mdbook{}", std::env::consts::EXE_SUFFIX));
    output(Command::new(&own).arg("--version")).is_ok().then_some(own)
}

/// Installs mdbook below `target`, with the search in its pages and without its server.
fn install() -> Result<PathBuf> {
    let mut install = cargo(&["install", "--locked", "mdbook", "--no-default-features", "--features", "search"]);
    run(install.arg("--root").arg(folder()))?;
    mdbook().ok_or_else(|| "mdbook was installed and cannot be started".to_owned())
}
