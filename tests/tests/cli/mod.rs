mod arguments;
mod average;
mod bad_models;
mod bench;
mod cases;
mod commands;
mod compare;
mod directory;
mod edits;
mod files;
mod fuzz;
mod generate;
mod grid;
mod growing;
mod headless;
mod help;
mod hub;
mod invert;
mod lists;
mod made;
mod memory;
mod passed_over;
mod pipes;
mod plots;
mod prompts;
mod readable;
mod results;
mod several;
mod shapes;
mod shards;
mod shown;
mod slice;
mod study;
mod text;
mod unfit;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use resolvent_tests::Golden;
use tempfile::TempDir;

/// Returns the path of the binary, after building it.
///
/// `cargo test` does not build the binaries of other packages.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let folder = built("test", &["build", "--package", "resolvent-cli"]);
        folder.join(format!("resolvent{}", std::env::consts::EXE_SUFFIX))
    })
}

/// Builds with this test's profile into its target folder, and returns the folder of what was built. `debug` is the
/// profile of tests that were not optimised.
pub(crate) fn built(debug: &str, arguments: &[&str]) -> PathBuf {
    let exe = std::env::current_exe().expect("a test has a path");
    // target/PROFILE/deps/all-HASH
    let folder = exe.ancestors().nth(2).expect("a test lies in the target folder");
    let target = folder.parent().expect("the profile's folder lies in the target folder");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => debug,
        Some(other) => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // Otherwise build scripts that read the name of the package or their folder (as ring's does) would run again, and
    // all that depends on them would be compiled again.
    build.env_remove("OUT_DIR");
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|own| name.to_string_lossy().starts_with(own)) {
            build.env_remove(name);
        }
    }
    build.args(arguments).args(["--quiet", "--profile", profile, "--target-dir"]);
    build.arg(target).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    let built = build.output().unwrap_or_else(|e| panic!("{build:?}: {e}"));
    assert!(built.status.success(), "{build:?}: {}", String::from_utf8_lossy(&built.stderr));
    folder.to_owned()
}

/// Returns a folder for the caches of child processes.
fn cache() -> &'static Path {
    static CACHE: OnceLock<TempDir> = OnceLock::new();
    CACHE.get_or_init(|| tempfile::tempdir().expect("a temporary folder")).path()
}

/// Returns a command that runs the binary with `arguments`, isolated from the user's environment.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_remove("RESOLVENT_LOG").env_remove("RESOLVENT_DEVICE").env("COLUMNS", "100");
    // There is no desktop session, because some drivers print messages about it.
    command.env("XDG_CACHE_HOME", cache()).env_remove("XDG_RUNTIME_DIR");
    // No test uses the network.
    command.env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", cache().join("hub"));
    for variable in ["HF_ENDPOINT", "HF_TOKEN", "SSL_CERT_FILE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

/// Exit code and output of a run of the binary.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("what is printed is UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    /// Checks that the exit code is 0, and returns stdout.
    #[track_caller]
    fn done(self) -> String {
        assert_eq!(self.code, Some(0), "stderr: {}", self.stderr);
        self.stdout
    }

    /// Checks that the exit code is 1, stdout is empty and stderr is one error line, and returns this line.
    #[track_caller]
    fn failed(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "stderr: {}", self.stderr);
        let line = self.stderr.strip_suffix('\n').unwrap_or(&self.stderr);
        assert!(line.starts_with("error: ") && !line.contains('\n'), "{line:?}");
        line.to_owned()
    }
}

fn run(arguments: &[&str]) -> Ran {
    command(arguments).output().unwrap_or_else(|e| panic!("{e}")).into()
}

/// Runs the binary on the host, where no driver can print messages.
fn on_host(arguments: &[&str]) -> Ran {
    run(&[arguments, &["--device", "host"]].concat())
}

/// Returns the smallest golden model directory as an argument: 2 blocks, d = 30, vocabulary 53, 24 positions, and no
/// tokenizer.
fn tiny() -> &'static str {
    static TINY: OnceLock<String> = OnceLock::new();
    TINY.get_or_init(|| utf8(&Golden::directory("tiny-odd")))
}

pub(crate) fn utf8(path: &Path) -> String {
    path.to_str().expect("a plain path").to_owned()
}

/// Returns the names of the entries of a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a readable folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}
