//! `platforms`: type-checks for the systems on which no test runs.

use crate::{
    Verb,
    process::{Result, need, run},
    toolchain::Toolchain,
};

pub(crate) const VERB: Verb = Verb {
    name: "platforms",
    summary: "cargo check of the library, the command and the C library for Windows, macOS and Arm [TARGETS]",
    takes_arguments: true,
    run: platforms,
};

/// The targets. Two of the three GPU interfaces, and two of the three operating systems, are compiled for none of the
/// tests.
const TARGETS: [&str; 3] = ["x86_64-pc-windows-gnu", "aarch64-apple-darwin", "aarch64-unknown-linux-gnu"];

/// What is checked, without the feature `hub`: its cryptography is partly C, which needs a compiler of the other
/// system.
const CHECKED: [&str; 11] = [
    "check",
    "--package",
    "resolvent",
    "--package",
    "resolvent-cli",
    "--package",
    "resolvent-capi",
    "--no-default-features",
    "--features",
    "resolvent/atlas,resolvent-cli/atlas,resolvent-capi/atlas",
    "--quiet",
];

/// What rustc calls for libraries of Windows, and Debian's package with it.
const DLLTOOL: [&str; 2] = ["x86_64-w64-mingw32-dlltool", "binutils-mingw-w64-x86-64"];

/// Makes the tools available that a target needs.
fn make_available(target: &str) -> Result {
    let [tool, package] = DLLTOOL;
    if target.contains("windows") && !cfg!(windows) { need(tool, &[package]) } else { Ok(()) }
}

fn platforms(arguments: &[String]) -> Result {
    let chosen = chosen(arguments)?;
    let mut failures = Vec::new();
    for target in chosen {
        let toolchain = make_available(target).and_then(|()| Toolchain::find(target));
        let check = toolchain.map(|toolchain| toolchain.cargo(&CHECKED, "target/platforms"));
        match check.and_then(|mut check| run(&mut check)) {
            Ok(()) => eprintln!("{target}: no errors"),
            Err(reason) => failures.push(format!("{target}: {reason}")),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
}

/// Returns the targets that the arguments name, or all.
fn chosen(arguments: &[String]) -> Result<Vec<&'static str>> {
    if arguments.is_empty() {
        return Ok(TARGETS.to_vec());
    }
    let find = |name: &String| {
        let found = TARGETS.into_iter().find(|target| target == name);
        found.ok_or_else(|| format!("unknown target `{name}`: expected {}", TARGETS.join(", ")))
    };
    arguments.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_chosen_by_name() {
        assert_eq!(chosen(&[]), Ok(TARGETS.to_vec()));
        assert_eq!(chosen(&["aarch64-apple-darwin".to_owned()]), Ok(vec!["aarch64-apple-darwin"]));
        assert!(
            chosen(&["wasm32".to_owned()]).expect_err("is unknown").starts_with("unknown target `wasm32`: expected ")
        );
    }
}
