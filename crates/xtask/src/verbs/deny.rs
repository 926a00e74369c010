//! `deny`: licences, duplicates and sources of all dependencies.

use crate::{
    Verb,
    process::{Result, cargo, is_installed, run},
};

pub(crate) const VERB: Verb = Verb {
    name: "deny",
    summary: "check licences, duplicates and sources of dependencies by deny.toml; needs cargo-deny",
    takes_arguments: false,
    run: |_| deny(),
};

/// Checks what needs no network. The data base of advisories does: `cargo deny check advisories`.
fn deny() -> Result {
    if !is_installed("cargo-deny") {
        return Err("cargo-deny is not installed: run `cargo install --locked cargo-deny`".to_owned());
    }
    run(&mut cargo(&["deny", "--offline", "--all-features", "check", "licenses", "bans", "sources"]))
}
