//! `test`: all tests, with a Vulkan driver to run them on.

use super::python;
use crate::{
    Verb,
    process::{Result, cargo, run},
    vulkan,
};

pub(crate) const VERB: Verb = Verb {
    name: "test",
    summary: "make sure of a Vulkan driver, then cargo test --workspace [ARGS]; without ARGS also the tests of `python`",
    takes_arguments: true,
    run: test,
};

fn test(arguments: &[String]) -> Result {
    vulkan::make_available()?;
    // `check` runs the tests of xtask, and benches has none; what they alone depend on need not be built here.
    run(cargo(&["test", "--workspace", "--exclude", "xtask", "--exclude", "resolvent-benches"])
        .args(arguments))?;
    // What is chosen is chosen among the tests of cargo.
    if arguments.is_empty() { python::test() } else { Ok(()) }
}
