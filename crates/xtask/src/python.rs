//! A throw-away Python environment with pinned packages.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{Result, apt_install, as_from_a_shell, is_installed, root, run};

/// A fresh virtual environment that holds `crates/python/requirements.txt`.
pub(crate) struct Environment {
    /// Its interpreter.
    pub(crate) python: PathBuf,
}

impl Environment {
    /// Makes it; none where there is no Python. A machine of Debian's family on which this runs as root gets the module
    /// `venv` installed where it is missing, as Debian leaves it out.
    pub(crate) fn fresh() -> Result<Option<Self>> {
        let Some(python) = ["python3", "python"].into_iter().find(|name| is_recent(name)) else {
            return Ok(None);
        };
        let folder = root().join("target/python/environment");
        let make = || run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder));
        if let Err(failure) = make() {
            apt_install("Python's venv module", &["python3-venv"]).unwrap_or(Err(failure))?;
            make()?;
        }
        let inside = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
        let environment = Self { python: folder.join(inside) };
        let requirements = root().join("crates/python/requirements.txt");
        run(environment.pip_install().arg("-r").arg(requirements))?;
        Ok(Some(environment))
    }

    /// `pip install`, without words.
    pub(crate) fn pip_install(&self) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        command
    }

    /// `maturin build` of the package into a folder.
    pub(crate) fn maturin(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-m", "maturin", "build", "--manifest-path", "crates/python/Cargo.toml", "--out"]);
        as_from_a_shell(&mut command).arg(folder);
        command
    }
}

/// Whether this is a Python that the package is for.
fn is_recent(name: &str) -> bool {
    let mut asked = Command::new(name);
    asked.args(["-c", "import sys; sys.exit(sys.version_info < (3, 9))"]);
    asked.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    is_installed(name) && asked.status().is_ok_and(|status| status.success())
}
