//! `test`: runs all tests, and first makes a Vulkan driver available.

use super::python;
use crate::{
    Verb,
    process::{Result, cargo, run},
    real, valgrind, vulkan,
};

pub(crate) const VERB: Verb = Verb {
    name: "test",
    summary: "make sure of a Vulkan driver, then cargo test --workspace [ARGS]; without ARGS also the tests of `python`",
    takes_arguments: true,
    run: test,
};

fn test(arguments: &[String]) -> Result {
    vulkan::make_available()?;
    valgrind::make_available();
    // `check` runs the tests of xtask, and benches has none. Without the two, fewer dependencies are built.
    let mut tests = cargo(&["test", "--workspace", "--exclude", "xtask", "--exclude", "resolvent-benches"]);
    // Arguments select tests, which seldom need the real model.
    if arguments.is_empty() {
        match real::fetch() {
            Ok(model) => drop(tests.env(real::VARIABLE, model)),
            Err(reason) => eprintln!("TESTS OF A REAL LANGUAGE MODEL ARE LEFT OUT: {reason}"),
        }
    }
    run(tests.args(arguments))?;
    // The arguments select tests of cargo, so the Python tests run only without arguments.
    if arguments.is_empty() { python::test() } else { Ok(()) }
}
