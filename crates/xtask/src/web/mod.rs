//! The page for browsers: its build, its server, and its test in one.

mod archive;
mod browser;
mod compare;
mod dawn;
mod http;
mod large;
mod module;
mod page;
mod server;
mod test;
mod trouble;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wasm_bindgen_cli_support::Bindgen;

pub(crate) use server::Server;
pub(crate) use test::test;

use crate::process::{Result, is_installed, root, run};

/// The embedded models, which the page loads by name.
const MODELS: [&str; 3] = ["atlas-nano", "atlas-micro", "atlas-small"];

/// The module for browsers, before wasm-bindgen.
const MODULE: &str = "target/web-build/wasm32-unknown-unknown/web/resolvent_web.wasm";

/// Installs what building and testing the page needs, if it is missing.
fn available() -> Result {
    module::build()?;
    browser::installed().map(drop)
}

/// Builds the page into `target/web`, and returns that folder.
pub(crate) fn build() -> Result<PathBuf> {
    run(&mut module::build()?)?;
    let page = root().join("crates/web/page");
    let folder = root().join("target/web");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let mut glue = Bindgen::new();
    glue.input_path(root().join(MODULE)).out_name("engine").typescript(false);
    glue.remove_name_section(true).remove_producers_section(true);
    let written = glue.web(true).and_then(|glue| glue.generate(&folder));
    written.map_err(|e| format!("wasm-bindgen cannot read {MODULE}: {e:#}"))?;
    pack(&folder)?;
    for (name, _) in sizes(&page)? {
        let to = folder.join(&name);
        if to.exists() {
            return Err(format!("{name} of the page has the name of a file of the engine; rename it"));
        }
        copy(&page.join(&name), &to)?;
    }
    let models = folder.join("models");
    fs::create_dir_all(&models).map_err(|e| format!("{}: {e}", models.display()))?;
    for model in MODELS {
        let file = models.join(format!("{model}.tar"));
        fs::write(&file, archive::archive(&archive::files(model))?).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    for (name, bytes) in sizes(&folder)? {
        eprintln!("{bytes:>10}  {name}");
    }
    eprintln!("wrote {}; show it with `cargo xtask serve`", folder.display());
    Ok(folder)
}

/// Compresses the module, for servers that do not compress what they send. The page also loads one that is not
/// compressed, which stays if there is no `gzip`.
fn pack(folder: &Path) -> Result {
    let module = folder.join("engine_bg.wasm");
    if !is_installed("gzip") {
        eprintln!("left out: gzip is not installed, so the module is not compressed");
        return Ok(());
    }
    run(Command::new("gzip").args(["-9", "-n"]).arg(&module))?;
    // Some servers declare files that end in .gz as compressed, and the browser would then decompress it too.
    let packed = folder.join("engine.bin");
    fs::rename(folder.join("engine_bg.wasm.gz"), &packed).map_err(|e| format!("{}: {e}", packed.display()))
}

/// Returns names and sizes of the files of a folder, without those of folders in it.
fn sizes(folder: &Path) -> Result<Vec<(String, u64)>> {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let about = entry.metadata().map_err(failed)?;
        if about.is_file() {
            found.push((entry.file_name().to_string_lossy().into_owned(), about.len()));
        }
    }
    found.sort();
    Ok(found)
}

fn copy(from: &Path, to: &Path) -> Result {
    let folder = to.parent().unwrap_or(to);
    let copied = fs::create_dir_all(folder).and_then(|()| fs::copy(from, to));
    copied.map(drop).map_err(|e| format!("cannot copy {} to {}: {e}", from.display(), to.display()))
}
