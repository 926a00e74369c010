//! Runs other programs from the root of the repository, and shows each command first.

use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    process::{Command, Stdio},
};

/// The result of a verb; an error is a message of one line.
pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// Returns the root of the repository.
pub(crate) fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).map(PathBuf::from).unwrap_or(own)
}

/// Returns a command of the cargo that runs this program, with the given arguments.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    as_from_a_shell(&mut command).args(arguments);
    command
}

/// Removes the variables of this package from the environment of a command that starts cargo.
///
/// Build scripts that read these variables (ring's does) would otherwise run again, and cargo would rebuild everything
/// that depends on them.
pub(crate) fn as_from_a_shell(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|own| name.to_string_lossy().starts_with(own)) {
            command.env_remove(name);
        }
    }
    command
}

/// Shows a command, runs it, and returns an error if it fails.
pub(crate) fn run(command: &mut Command) -> Result {
    let shown = show(command);
    eprintln!("$ {shown}");
    match command.current_dir(root()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` failed ({status})")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!("`{shown}`: no such program")),
        Err(error) => Err(format!("`{shown}`: {error}")),
    }
}

/// Runs a command without showing it, and returns what it prints; what it prints about a failure is the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let done = command.stdin(Stdio::null()).output().map_err(|error| format!("`{shown}`: {error}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(format!("`{shown}` failed: {}", said.lines().last().unwrap_or_default().trim()));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Returns whether a program can be started, by running it with `--version`.
pub(crate) fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Installs packages with apt-get if this runs as root, as in a container. Otherwise returns `None`: the user installs
/// them.
pub(crate) fn apt_install(what: &str, packages: &[&str]) -> Option<Result> {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if !is_root || !is_installed("apt-get") {
        return None;
    }
    eprintln!("installing {what}");
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let install = ["install", "-y", "-q", "--no-install-recommends"];
    Some(run(apt_get().args(["update", "-q"])).and_then(|()| run(apt_get().args(install).args(packages))))
}

/// Installs a program from Debian's packages where it is missing and can be installed.
///
/// # Errors
/// It is missing, and this user cannot install packages, or they do not install.
pub(crate) fn need(program: &str, packages: &[&str]) -> Result {
    if is_installed(program) {
        return Ok(());
    }
    let advice = format!("{program} is not installed (Debian and Ubuntu: `apt-get install {}`)", packages.join(" "));
    apt_install(program, packages).unwrap_or(Err(advice))
}

fn show(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let mut shown = name;
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown
}
