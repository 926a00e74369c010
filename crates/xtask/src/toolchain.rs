//! A compiler for another target: the installed one with the target's standard library, or Debian's packages.
//!
//! rustup adds a target with one command. Where it cannot be downloaded, Debian's `rustc-web`, with which Debian builds
//! browsers, is unpacked below `target`, and compiles the standard library from its own sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Result, apt_install, cargo, output, root};

/// A compiler for a target.
pub(crate) struct Toolchain {
    target: &'static str,
    /// The folder of Debian's compiler, unless the installed one has the target.
    debian: Option<PathBuf>,
}

impl Toolchain {
    /// Finds a compiler for `target`, or unpacks Debian's.
    pub(crate) fn find(target: &'static str) -> Result<Self> {
        let library = output(Command::new("rustc").args(["--print", "target-libdir", "--target", target]))?;
        if Path::new(library.trim()).is_dir() {
            return Ok(Self { target, debian: None });
        }
        let folder = root().join("target/web-toolchain/debian");
        if rustc(&folder).is_err() {
            let advice = format!("run `rustup target add {target}`");
            unpack(&folder).map_err(|e| format!("{advice}; Debian's compiler cannot be used instead: {e}"))?;
        }
        Ok(Self { target, debian: Some(folder) })
    }

    /// Returns whether this is Debian's compiler, which has no linker for the target.
    #[cfg(feature = "browser")]
    pub(crate) fn is_debian(&self) -> bool {
        self.debian.is_some()
    }

    /// Returns the folder of two objects that every program for MinGW is linked with: those of the installed compiler,
    /// or ones that Debian's compiles into `folder`.
    pub(crate) fn start_objects(&self, folder: &Path) -> Result<Option<PathBuf>> {
        let Some(debian) = &self.debian else { return Ok(None) };
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for name in ["rsbegin", "rsend"] {
            let source = debian.join(format!("usr/lib/rustlib/src/rust/library/rtstartup/{name}.rs"));
            let mut rustc = Command::new(debian.join("usr/bin/rustc"));
            rustc.args(["--target", self.target, "--emit=obj", "-o"]).arg(folder.join(format!("{name}.o"))).arg(source);
            output(rustc.env("RUSTC_BOOTSTRAP", "1").env("LD_LIBRARY_PATH", libraries(debian)))?;
        }
        Ok(Some(folder.to_owned()))
    }

    /// Returns a command of cargo for the target, whose artefacts are in `folder` below the root.
    pub(crate) fn cargo(&self, arguments: &[&str], folder: &str) -> Command {
        let mut command = cargo(arguments);
        command.args(["--target", self.target, "--target-dir"]).arg(root().join(folder));
        if let Some(folder) = &self.debian {
            command.args(["-Zbuild-std=std,panic_abort"]).env("RUSTC_BOOTSTRAP", "1");
            command.env("RUSTC", folder.join("usr/bin/rustc")).env("LD_LIBRARY_PATH", libraries(folder));
        }
        command
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
