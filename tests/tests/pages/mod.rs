//! Blocks of the pages are correct: Rust is compiled and run, commands are parsed and run, and outputs are compared.
//!
//! Python blocks run in `crates/python/tests/test_pages.py`. A block marked `no_run` is compiled or parsed, not run.

mod examples;
mod figures;
mod links;
pub(crate) mod output;
mod rust;
mod shell;
