//! A compiler for `wasm32-unknown-unknown`: the installed one with this target, or Debian's packages.
//!
//! rustup adds the target with one command. Where it cannot be downloaded, Debian's `rustc-web`, with which Debian
//! builds browsers, is unpacked below `target`, and compiles the standard library from its own sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Result, apt_install, cargo, output, root};

const TARGET: &str = "wasm32-unknown-unknown";

/// Vector instructions, which every browser has since 2023.
const FLAGS: &str = "-Ctarget-feature=+simd128";

const ADVICE: &str = "run `rustup target add wasm32-unknown-unknown`";

/// A compiler, with what it needs to build for browsers.
pub(super) enum Toolchain {
    /// The installed compiler, with the target's standard library.
    Installed,
    /// Debian's compiler, which lies in a folder.
    Debian {
        /// The folder of its packages.
        folder: PathBuf,
        /// A linker for WebAssembly.
        linker: PathBuf,
    },
}

impl Toolchain {
    /// Finds a compiler, or unpacks Debian's.
    pub(super) fn find() -> Result<Self> {
        let library = output(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))?;
        if Path::new(library.trim()).is_dir() {
            return Ok(Self::Installed);
        }
        let folder = root().join("target/web-toolchain/debian");
        if rustc(&folder).is_err() {
            unpack(&folder).map_err(|e| format!("{ADVICE}; Debian's compiler cannot be used instead: {e}"))?;
        }
        Ok(Self::Debian { linker: linker()?, folder })
    }

    /// Returns the command that builds the module.
    pub(super) fn build(&self) -> Command {
        // The library is a Rust library everywhere else, so that nothing else links it.
        let mut build = cargo(&["rustc", "--package", "resolvent-web", "--profile", "web", "--target", TARGET]);
        build.args(["--lib", "--crate-type", "cdylib", "--target-dir"]).arg(root().join("target/web-build"));
        let mut flags = FLAGS.to_owned();
        if let Self::Debian { folder, linker } = self {
            flags += &format!(" -Clinker={}", linker.display());
            build.args(["-Zbuild-std=std,panic_abort"]).env("RUSTC_BOOTSTRAP", "1");
            build.env("RUSTC", folder.join("usr/bin/rustc")).env("LD_LIBRARY_PATH", libraries(folder));
        }
        build.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", flags);
        // wasm-bindgen reads sections that the profile strips, and removes them itself.
        build.args(["--", "-Cstrip=none"]);
        build
    }
}

/// The folder of the compiler's own libraries. They are for one kind of processor, so there is only one such folder.
fn libraries(folder: &Path) -> PathBuf {
    let inside = fs::read_dir(folder.join("usr/lib")).into_iter().flatten().flatten().map(|entry| entry.path());
    let found = inside.into_iter().find(|path| path.to_string_lossy().ends_with("-linux-gnu"));
    found.unwrap_or_else(|| folder.join("usr/lib"))
}

/// Runs the compiler in `folder`, and returns its version.
fn rustc(folder: &Path) -> Result<String> {
    let mut asked = Command::new(folder.join("usr/bin/rustc"));
    output(asked.arg("--version").env("LD_LIBRARY_PATH", libraries(folder)))
}

/// Downloads and unpacks Debian's packages. Nothing is installed, except libraries that LLVM needs.
fn unpack(folder: &Path) -> Result {
    let packages = folder.join("packages");
    fs::create_dir_all(&packages).map_err(|e| format!("{}: {e}", packages.display()))?;
    // An old list names an old compiler. Only root can update it; others use what the list names.
    let _updated = output(Command::new("apt-get").args(["update", "-q"]));
    // The names of the compiler's library and of LLVM contain their versions.
    let library = depends("libstd-rust-web-dev", "libstd-rust-web-")?;
    let llvm = depends(&library, "libllvm")?;
    let mut download = Command::new("apt-get");
    download.args(["download", "rustc-web", "rust-web-src", "libstd-rust-web-dev", &library, &llvm]);
    eprintln!("downloading Debian's compiler for browsers, {library} with {llvm}");
    output(download.current_dir(&packages))?;
    for package in fs::read_dir(&packages).map_err(|e| format!("{}: {e}", packages.display()))?.flatten() {
        output(Command::new("dpkg").arg("-x").arg(package.path()).arg(folder))?;
    }
    match rustc(folder) {
        Ok(_) => Ok(()),
        // A library of LLVM's own is missing.
        Err(failure) => {
            apt_install("the libraries of LLVM", &[&llvm]).unwrap_or(Err(failure))?;
            rustc(folder).map(drop)
        }
    }
}

/// Returns the package that `package` depends on and whose name begins with `prefix`.
fn depends(package: &str, prefix: &str) -> Result<String> {
    let listed = output(Command::new("apt-cache").args(["depends", package]))?;
    let names = listed.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let found = names.map(str::trim).find(|name| name.starts_with(prefix));
    found.map(str::to_owned).ok_or_else(|| format!("{package} depends on no {prefix}...; run `apt-get update`"))
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
