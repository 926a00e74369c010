//! `python`: the Python package's tests, on the wheel that is built for them and nothing else.

use std::fs;
use std::process::Command;

use crate::{
    Verb,
    process::{Result, root, run},
    python::Environment,
};

pub(crate) const VERB: Verb = Verb {
    name: "python",
    summary: "build the wheel as the tests are built, install it into a fresh environment and run pytest [ARGS]",
    takes_arguments: true,
    run: python,
};

fn python(arguments: &[String]) -> Result {
    let Some(environment) = Environment::fresh()? else {
        return Err("Python 3.9 or later is needed".to_owned());
    };
    tested(&environment, arguments)
}

/// The same as a part of `test`: where there is no Python, that is said and no failure.
pub(super) fn test() -> Result {
    match Environment::fresh()? {
        Some(environment) => tested(&environment, &[]),
        None => {
            eprintln!("left out: the Python package and its tests; Python 3.9 or later is not installed");
            Ok(())
        }
    }
}

fn tested(environment: &Environment, arguments: &[String]) -> Result {
    let folder = root().join("target/python/wheel");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let mut build = environment.maturin(&folder);
    run(build.args(["--profile", "dev"]))?;
    let find = ["--no-deps", "--no-index", "--force-reinstall", "--find-links"];
    run(environment.pip_install().args(find).arg(&folder).arg("resolvent"))?;
    let mut pytest = Command::new(&environment.python);
    pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "crates/python/tests"]).args(arguments);
    run(pytest.env("PYTHONDONTWRITEBYTECODE", "1").env("MPLBACKEND", "Agg"))
}
