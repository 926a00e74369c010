//! `sanitize`: tests of the crates with `unsafe`, under the address sanitizer of LLVM.

use std::fs;
use std::process::Command;

use crate::{
    Verb,
    process::{Result, cargo, output, root, run},
};

pub(crate) const VERB: Verb = Verb {
    name: "sanitize",
    summary: "the unit tests of the crates with `unsafe`, under the address sanitizer, on the host executor [ARGS]",
    takes_arguments: true,
    run: sanitize,
};

/// The crates with `unsafe` of their own that runs on the host, and `ops`, whose kernels the host executor runs.
const PACKAGES: [&str; 4] = ["resolvent-engine", "resolvent-ops", "resolvent-model", "resolvent-capi"];

/// Systems whose compiler comes with the sanitizer.
const HOSTS: [&str; 3] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin"];

fn sanitize(arguments: &[String]) -> Result {
    let about = output(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    if !HOSTS.contains(&host) {
        return Err(format!("the compiler has no address sanitizer for {host}: expected {}", HOSTS.join(", ")));
    }
    must_find()?;
    // With a target, build scripts and procedural macros are compiled as usual. Code of the standard library that is
    // not generic stays without checks; the allocator is replaced, so its memory is watched too.
    let mut tests = cargo(&["test", "--lib", "--target", host, "--target-dir", "target/sanitize"]);
    tests.args(PACKAGES.iter().flat_map(|name| ["--package", name])).args(arguments);
    tests.env(BOOTSTRAP, "1").env("RUSTFLAGS", SANITIZER);
    run(&mut tests)
}

/// With this variable, the installed compiler accepts unstable options as a nightly one does.
const BOOTSTRAP: &str = "RUSTC_BOOTSTRAP";
const SANITIZER: &str = "-Zsanitizer=address";

/// A program that reads memory after it is freed.
const WRONG: &str = "fn main() { let all = vec![1u8; 9]; let at = std::hint::black_box(all.as_ptr()); drop(all);
    println!(\"{}\", unsafe { *at }); }";

/// Checks that the sanitizer finds the fault of a wrong program.
fn must_find() -> Result {
    let folder = root().join("target/sanitize");
    let (source, program) = (folder.join("wrong.rs"), folder.join("wrong"));
    let failed = |e| format!("{}: {e}", source.display());
    fs::create_dir_all(&folder).and_then(|()| fs::write(&source, WRONG)).map_err(failed)?;
    output(Command::new("rustc").args([SANITIZER, "-o"]).arg(&program).arg(&source).env(BOOTSTRAP, "1"))?;
    let done = Command::new(&program).output().map_err(|e| format!("{}: {e}", program.display()))?;
    let said = String::from_utf8_lossy(&done.stderr);
    match !done.status.success() && said.contains("AddressSanitizer: heap-use-after-free") {
        true => Ok(()),
        false => Err("the sanitizer does not find that a wrong program reads freed memory".to_owned()),
    }
}
