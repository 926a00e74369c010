//! `windows`: the command for Windows, built with MinGW, and tried under Wine on the host executor.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{
    Verb,
    process::{Result, need, output, root, run},
    toolchain::Toolchain,
};

pub(crate) const VERB: Verb = Verb {
    name: "windows",
    summary: "build resolvent.exe with MinGW (target/windows), without downloads, and try it under Wine",
    takes_arguments: false,
    run: |_| {
        let program = build()?;
        try_out(&program)
    },
};

const TARGET: &str = "x86_64-pc-windows-gnu";

/// The folder of everything that is built and written here.
fn folder() -> PathBuf {
    root().join("target/windows")
}

/// Builds the command, and returns its path.
fn build() -> Result<PathBuf> {
    need("x86_64-w64-mingw32-gcc", &["gcc-mingw-w64-x86-64-win32"])?;
    let toolchain = Toolchain::find(TARGET)?;
    // Downloads need C code of a library for cryptography.
    let what = ["build", "--release", "--package", "resolvent-cli", "--no-default-features", "--features", "atlas"];
    let mut build = toolchain.cargo(&what, "target/windows");
    if let Some(objects) = toolchain.start_objects(&folder().join("objects"))? {
        build.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS", format!("-Lnative={}", objects.display()));
    }
    run(&mut build)?;
    Ok(folder().join(TARGET).join("release/resolvent.exe"))
}

/// Runs the command as a user would, in a folder whose name has spaces and letters beyond ASCII.
fn try_out(program: &Path) -> Result {
    need("wine", &["wine"])?;
    let place = folder().join("café in Zürich");
    let _absent = fs::remove_dir_all(&place);
    let model = place.join("naïve model");
    fs::create_dir_all(&model).map_err(|e| format!("{}: {e}", place.display()))?;
    let atlas = root().join("crates/model/atlas");
    for file in ["nano/config.json", "nano/model.safetensors", "tokenizer.json"] {
        let from = atlas.join(file);
        let to = model.join(from.file_name().unwrap_or_default());
        fs::copy(&from, &to).map_err(|e| format!("{}: {e}", from.display()))?;
    }
    let alone = place.join("resolvent.exe");
    fs::copy(program, &alone).map_err(|e| format!("{}: {e}", alone.display()))?;
    random_numbers(&place)?;

    let prompt = |name: &str| format!("When Mary and John went to the store, {name} gave a drink to");
    let [clean, corrupted] = [prompt("John"), prompt("Mary")];
    let patch = ["patch", &clean, "--corrupted", &corrupted, "--target", " Mary", "--against", " John"];
    let files = ["--out", "façade & more.json", "--plot", "figure ä.svg"];
    let study = ["study", "--quick", "--no-nulls", "--task", "ioi", "--limit", "4", "--out", "study ö"];
    let tries: [(&[&str], bool, &str); 6] = [
        (&["doctor", "--no-test"], true, "x86_64-windows"),
        (&["run", &clean], true, "\" Mary\""),
        (&["run", "The cat", "--model", "naïve model"], true, "next token"),
        (&["run", "The cat", "--model", "naïve nothing"], false, "naïve nothing"),
        (&[&patch[..], &files[..]].concat(), true, "checks: "),
        (&study, true, "index.html"),
    ];
    for (arguments, succeeds, part) in tries {
        let printed = wine(&alone, arguments, succeeds)?;
        if !printed.contains(part) {
            return Err(format!("`{}` does not print {part}: {printed}", arguments.join(" ")));
        }
    }
    for file in ["façade & more.json", "figure ä.svg", "study ö/index.html"] {
        let path = place.join(file);
        let length = fs::metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?.len();
        eprintln!("{}: {length} bytes", path.display());
    }
    Ok(())
}

/// Runs a Windows program in its folder under Wine, and returns what it prints.
fn wine(program: &Path, arguments: &[&str], succeeds: bool) -> Result<String> {
    eprintln!("$ wine resolvent.exe {}", arguments.join(" "));
    let mut command = Command::new("wine");
    command.arg(program).args(arguments).current_dir(program.parent().unwrap_or(program));
    // A prefix of its own leaves that of the user as it is.
    command.env("WINEPREFIX", folder().join("prefix")).env("WINEDEBUG", "-all").env("RESOLVENT_DEVICE", "host");
    let done = command.output().map_err(|e| format!("wine: {e}"))?;
    let text = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if done.status.success() == succeeds { Ok(text) } else { Err(format!("{}: {text}", done.status)) }
}

/// A source of random numbers that the standard library asks for. Wine has none before version 9.
const RANDOM: &str = "#include <windows.h>\n#include <ntsecapi.h>\n\
    __declspec(dllexport) BOOL WINAPI ProcessPrng(PUCHAR bytes, SIZE_T n) { return RtlGenRandom(bytes, (ULONG)n); }\n";

/// Puts `bcryptprimitives.dll` beside the program. A Wine that has one of its own uses that.
fn random_numbers(place: &Path) -> Result {
    let source = folder().join("bcryptprimitives.c");
    fs::write(&source, RANDOM).map_err(|e| format!("{}: {e}", source.display()))?;
    let mut cc = Command::new("x86_64-w64-mingw32-gcc");
    cc.args(["-shared", "-O1", "-o"]).arg(place.join("bcryptprimitives.dll")).arg(&source).arg("-ladvapi32");
    output(&mut cc).map(drop)
}
