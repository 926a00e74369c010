//! wasm-bindgen's program, of exactly the version of its library.

use std::path::PathBuf;

use crate::process::{Result, cargo, output, root, run};

/// Returns the path of `wasm-bindgen`. It is installed below `target` if this version is not there yet.
pub(super) fn installed() -> Result<PathBuf> {
    let version = version()?;
    let folder = root().join("target/web-toolchain/bindgen");
    let program = folder.join("bin").join(format!("wasm-bindgen{}", std::env::consts::EXE_SUFFIX));
    let found = output(std::process::Command::new(&program).arg("--version"));
    if found.is_ok_and(|found| found.split_whitespace().nth(1) == Some(version.as_str())) {
        return Ok(program);
    }
    // Only its runner of tests downloads something, for which the default features are. The program runs once for a
    // second, so a low level is enough.
    let mut install = cargo(&["install", "wasm-bindgen-cli", "--version", &version, "--no-default-features"]);
    install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").args(["--bin", "wasm-bindgen", "--force", "--root"]);
    run(install.arg(&folder))?;
    Ok(program)
}

/// Returns the version of the library in Cargo.lock.
fn version() -> Result<String> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).map_err(|e| format!("Cargo.lock: {e}"))?;
    let after = lock.split("name = \"wasm-bindgen\"\nversion = \"").nth(1);
    let version = after.and_then(|rest| rest.split('"').next()).ok_or("Cargo.lock has no wasm-bindgen")?;
    Ok(version.to_owned())
}
