//! `wheel`: the Python package for CPython 3.9 and up, as one file.

use crate::{
    Verb,
    process::{Result, root, run},
    python::Environment,
};

pub(crate) const VERB: Verb = Verb {
    name: "wheel",
    summary: "build the Python package, optimised, into target/wheels; ARGS are maturin's",
    takes_arguments: true,
    run: wheel,
};

fn wheel(arguments: &[String]) -> Result {
    let Some(environment) = Environment::fresh()? else {
        return Err("Python 3.9 or later is needed".to_owned());
    };
    run(environment.maturin(&root().join("target/wheels")).arg("--release").args(arguments))
}
