//! The compiler and the linker for `wasm32-unknown-unknown`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Result, apt_install, output};
use crate::toolchain::Toolchain;

const TARGET: &str = "wasm32-unknown-unknown";

/// Vector instructions, which every browser has since 2023.
const FLAGS: &str = "-Ctarget-feature=+simd128";

const ADVICE: &str = "run `rustup target add wasm32-unknown-unknown`";

/// Returns the command that builds the module.
pub(super) fn build() -> Result<Command> {
    let toolchain = Toolchain::find(TARGET)?;
    // The library is a Rust library everywhere else, so that nothing else links it.
    let arguments = ["rustc", "--package", "resolvent-web", "--profile", "web", "--lib", "--crate-type", "cdylib"];
    let mut build = toolchain.cargo(&arguments, "target/web-build");
    let mut flags = FLAGS.to_owned();
    if toolchain.is_debian() {
        flags += &format!(" -Clinker={}", linker()?.display());
    }
    build.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", flags);
    // wasm-bindgen reads sections that the profile strips, and removes them itself.
    build.args(["--", "-Cstrip=none"]);
    Ok(build)
}

/// Returns the linker of the installed compiler, or another one for WebAssembly.
fn linker() -> Result<PathBuf> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let about = output(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let own = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/rust-lld");
    if own.is_file() {
        return Ok(own);
    }
    match output(Command::new("wasm-ld").arg("--version")) {
        Ok(_) => Ok("wasm-ld".into()),
        Err(_) => {
            let missing = Err(format!("there is no linker for WebAssembly: install lld, or {ADVICE}"));
            apt_install("a linker for WebAssembly", &["lld"]).unwrap_or(missing)?;
            Ok("wasm-ld".into())
        }
    }
}
