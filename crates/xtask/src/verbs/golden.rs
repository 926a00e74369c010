//! `golden`: regenerates the golden files of `tests/data` from the published implementation.

use crate::{
    Verb,
    process::{Result, is_installed, root, run},
};
use std::process::Command;

pub(crate) const VERB: Verb = Verb {
    name: "golden",
    summary: "regenerate the golden files of tests/data, in a fresh Python environment with pinned packages",
    takes_arguments: true,
    run: golden,
};

fn golden(arguments: &[String]) -> Result {
    let Some(python) = ["python3", "python"].into_iter().find(|name| is_installed(name)) else {
        return Err("Python 3 with its venv module is needed".to_owned());
    };
    let data = root().join("tests/data");
    let environment = root().join("target/golden-venv");
    run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&environment))?;
    let inside = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    run(Command::new(&inside).args(install).arg(data.join("requirements.txt")))?;
    for script in ["make_goldens.py", "make_families.py"] {
        run(Command::new(&inside).arg(data.join(script)).args(arguments))?;
    }
    Ok(())
}
