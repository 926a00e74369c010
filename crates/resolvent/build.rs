//! Notes the version of the compiler, which `doctor` reports.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let output = env::var_os("RUSTC").and_then(|compiler| Command::new(compiler).arg("--version").output().ok());
    let version = output.and_then(|output| String::from_utf8(output.stdout).ok());
    let version = version.as_deref().map_or("unknown", str::trim);
    println!("cargo::rustc-env=RESOLVENT_COMPILER={version}");
}
