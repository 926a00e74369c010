//! `capi`: the C library, optimised, with its header.

use std::fs;

use crate::{
    Verb,
    process::{Result, cargo, root, run},
};

pub(crate) const VERB: Verb = Verb {
    name: "capi",
    summary: "build the C library, optimised, into target/capi: a shared library, a static one and the header",
    takes_arguments: false,
    run: |_| capi(),
};

fn capi() -> Result {
    run(&mut cargo(&["build", "--release", "--package", "resolvent-capi"]))?;
    let (built, folder) = (root().join("target/release"), root().join("target/capi"));
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    // On Windows, programs link `resolvent.dll.lib`, which leads to the shared library.
    let shared = format!("{}resolvent{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let names = [shared.as_str(), "libresolvent.a", "resolvent.lib", "resolvent.dll.lib", "libresolvent.dll.a"];
    let files = names.map(|name| built.join(name));
    let files = files.into_iter().filter(|file| file.is_file());
    for file in files.chain([root().join("crates/capi/include/resolvent.h")]) {
        let to = folder.join(file.file_name().unwrap_or_default());
        let bytes = fs::copy(&file, &to).map_err(|e| format!("{}: {e}", file.display()))?;
        eprintln!("{}: {:.1} MB", to.display(), bytes as f64 / 1e6);
    }
    Ok(())
}
