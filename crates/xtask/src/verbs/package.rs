//! `package`: makes the packages for the registry, and checks that they build from their archives alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{
    Verb,
    process::{Result, cargo, root, run},
};

pub(crate) const VERB: Verb = Verb {
    name: "package",
    summary: "make the packages for crates.io, check them from their archives; `registry` rehearses their upload [registry]",
    takes_arguments: true,
    run: |arguments| match arguments {
        [] => package(),
        [what] if what == "registry" => rehearse(),
        _ => Err("invalid arguments: expected none, or `registry`".to_owned()),
    },
};

/// The published packages, from the bottom up: the order in which they are published.
const PUBLISHED: [&str; 10] = [
    "resolvent-unify",
    "resolvent-atlas",
    "resolvent-shaders",
    "resolvent-engine",
    "resolvent-ops",
    "resolvent-model",
    "resolvent-field",
    "resolvent-report",
    "resolvent",
    "resolvent-cli",
];

/// The largest archive that crates.io accepts, in bytes.
const LARGEST: u64 = 10 << 20;

fn package() -> Result {
    let folder = root().join("target/package");
    let check = folder.join("check");
    if check.exists() {
        fs::remove_dir_all(&check).map_err(|e| format!("{}: {e}", check.display()))?;
    }
    fs::create_dir_all(&check).map_err(|e| format!("{}: {e}", check.display()))?;
    // Cargo's own verification would ask the registry for the packages that are not there yet.
    let mut make = cargo(&["package", "--no-verify", "--allow-dirty", "--offline"]);
    run(make.args(PUBLISHED.iter().flat_map(|name| ["--package", name])))?;
    let version = env!("CARGO_PKG_VERSION");
    for name in PUBLISHED {
        let archive = folder.join(format!("{name}-{version}.crate"));
        let bytes = fs::metadata(&archive).map_err(|e| format!("{}: {e}", archive.display()))?.len();
        eprintln!("{name}: {:.2} MB", bytes as f64 / 1e6);
        if bytes > LARGEST {
            return Err(format!("{name} has {bytes} bytes, and crates.io accepts {LARGEST}: split it"));
        }
        run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&check))?;
    }
    workspace(&check, version)?;
    let manifest = check.join("Cargo.toml");
    let mut build = cargo(&["check", "--offline", "--workspace", "--manifest-path"]);
    // The folder of the repository's own builds has the dependencies already.
    run(build.arg(&manifest).arg("--target-dir").arg(root().join("target")))
}

/// Lets Cargo rehearse the upload: it makes the archives, asks the registry for the versions of all dependencies, and
/// uploads nothing. It would also build each package, for many minutes; `package` does this faster, without the
/// registry.
fn rehearse() -> Result {
    // Packages with `publish = false` are left out.
    let mut publish = cargo(&["publish", "--workspace", "--dry-run", "--no-verify", "--allow-dirty", "--locked"]);
    run(publish.arg("--target-dir").arg(root().join("target")))
}

/// Makes a workspace of the unpacked packages, in which they are found instead of the registry's. Versions of other
/// packages and the profiles are those of the repository.
fn workspace(folder: &Path, version: &str) -> Result {
    let read = |path: &Path| fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).map_err(|e| format!("{name}: {e}"));
    let own = read(&root().join("Cargo.toml"))?;
    let profiles = own.find("[profile.").map_or("", |at| &own[at..]);
    let folders: String = PUBLISHED.iter().map(|name| format!("\"{name}-{version}\", ")).collect();
    let paths = PUBLISHED.iter().map(|name| format!("{name} = {{ path = \"{name}-{version}\" }}\n"));
    let paths: String = paths.collect();
    let text =
        format!("[workspace]\nresolver = \"3\"\nmembers = [{folders}]\n\n[patch.crates-io]\n{paths}\n{profiles}");
    write("Cargo.toml", &text)?;
    write("Cargo.lock", &read(&root().join("Cargo.lock"))?)
}
