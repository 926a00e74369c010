//! Compiles `shaders/` into the table of kernels that `src/lib.rs` includes.
//!
//! All the work is in `compile/`, which the library's unit tests include as well. Here are only the effects: read
//! the tree, write to `OUT_DIR`, and turn every problem into a build error that names its file and line.

use std::path::{Path, PathBuf};

#[path = "compile/mod.rs"]
mod compile;
#[path = "src/kind.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the library, which exports it")]
mod kind;

fn main() {
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("set by cargo"));
    let root = root(manifest);
    println!("cargo::rerun-if-changed={}", root.join("shaders").display());
    for own in ["build.rs", "compile", "src/kind.rs"] {
        println!("cargo::rerun-if-changed={own}");
    }

    let result = compile::Tree::read(&root).and_then(|tree| compile::compile(&tree));
    match result {
        Ok(shaders) => write(&out, &compile::emit(&shaders)),
        Err(problems) => {
            for problem in &problems {
                for line in problem.to_string().lines() {
                    println!("cargo::error={line}");
                }
            }
            std::process::exit(1);
        }
    }
}

/// Returns the folder that contains `shaders/`: in a package this crate's own, and in the repository its root, to which
/// a link of this crate leads. The link is not used, because some systems check links out as files.
fn root(manifest: PathBuf) -> PathBuf {
    match std::fs::symlink_metadata(manifest.join("shaders")) {
        Ok(found) if found.is_dir() => manifest,
        _ => manifest.join("../.."),
    }
}

fn write(out: &Path, files: &[(String, String)]) {
    for (name, text) in files {
        let path = out.join(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }
}
