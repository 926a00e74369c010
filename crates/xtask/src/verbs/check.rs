//! `check`: formatting, lints, translations of the kernels, documentation and spelling.

use super::{docs, shaders};
use crate::{
    Verb,
    process::{Result, cargo, is_installed, run},
};
use std::process::Command;

pub(crate) const VERB: Verb = Verb {
    name: "check",
    summary: "formatting, clippy, kernels in every shading language, rustdoc; typos, actionlint and the book where installed",
    takes_arguments: false,
    run: check,
};

/// Runs every step even after one has failed, so that one call shows all failures.
fn check(_: &[String]) -> Result {
    let steps = [
        run(&mut cargo(&["fmt", "--all", "--check"])),
        run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
        // The command without the embedded models and downloads.
        run(&mut cargo(&["clippy", "--package", "resolvent-cli", "--no-default-features", "--", "-D", "warnings"])),
        run(&mut cargo(&["test", "--quiet", "--package", "xtask", "--features", "translate,browser"])),
        // The C header and the list of public items. Apart from the others, so that they share dependencies with
        // `shaders`.
        run(&mut cargo(&["test", "--quiet", "--package", "xtask", "--features", "parser", "of_the_sources"])),
        shaders::translate(false),
        docs::rustdoc(),
        typos(),
        workflows(),
        docs::book(),
    ];
    let failures: Vec<String> = steps.into_iter().filter_map(Result::err).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
}

/// Checks the workflows of hosted runners.
fn workflows() -> Result {
    if !is_installed("actionlint") {
        eprintln!("left out: actionlint is not installed (https://github.com/rhysd/actionlint)");
        return Ok(());
    }
    run(&mut Command::new("actionlint"))
}

fn typos() -> Result {
    if !is_installed("typos") {
        eprintln!("left out: typos is not installed (cargo install typos-cli)");
        return Ok(());
    }
    run(&mut Command::new("typos"))
}
