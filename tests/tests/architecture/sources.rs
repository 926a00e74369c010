//! Rules for source files: their length, printing, and the libraries that they may name.

use std::path::Path;

use super::{files, text};

/// Largest number of lines of a source file.
const LINES: usize = 400;

#[test]
fn files_are_small() {
    for folder in ["crates", "shaders", "tests", "benches"] {
        for path in files(folder, &[".rs", ".wgsl", ".py", ".pyi", ".js", ".mjs"]) {
            let lines = text(&path).lines().count();
            assert!(lines <= LINES, "{} has {lines} lines; more than {LINES} hold more than one idea", path.display());
        }
    }
}

#[test]
fn the_readme_is_short() {
    let lines = text(Path::new("README.md")).lines().count();
    assert!(lines < 150, "README.md has {lines} lines; move what a first look does not need to docs/src");
}

/// Largest number of columns of a line.
const COLUMNS: usize = 120;

/// Returns whether a line of a file is too long. The formatter holds code of Rust, but neither comments nor texts. Rows
/// of a table cannot be broken.
fn is_too_long(path: &Path, line: &str) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let comment = if matches!(ending, "py" | "pyi" | "toml") { "#" } else { "//" };
    let inside = line.trim_start();
    let is_row = inside.trim_start_matches(['/', '!', ' ']).starts_with('|');
    let counts = ending == "wgsl" || (inside.starts_with(comment) && !is_row);
    counts && line.chars().count() > COLUMNS
}

#[test]
fn comments_and_kernels_fit_the_columns() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for folder in ["crates", "shaders", "tests", "benches"] {
        for path in files(folder, &[".rs", ".wgsl", ".py", ".pyi", "Cargo.toml"]) {
            seen += 1;
            let text = text(&path);
            let long = (1..).zip(text.lines()).filter(|(_, line)| is_too_long(&path, line));
            wrong.extend(long.map(|(number, _)| format!("{}:{number}", path.display())));
        }
    }
    assert!(seen > 300, "the scan itself found {seen} files");
    assert!(wrong.is_empty(), "lines of more than {COLUMNS} columns:\n{}", wrong.join("\n"));
}

#[test]
fn long_comments_are_found() {
    let long = |start: &str| format!("{start}{}", "x".repeat(COLUMNS + 1 - start.len()));
    for (path, line) in
        [("a.rs", "    /// "), ("a.rs", "// "), ("a.py", "# "), ("Cargo.toml", "# "), ("a.wgsl", "let a = ")]
    {
        assert!(is_too_long(Path::new(path), &long(line)), "{path}: {line}");
        assert!(!is_too_long(Path::new(path), &long(line)[1..]), "{path}: {line}");
    }
    for (path, line) in [("a.rs", "let a = \""), ("a.rs", "//! | "), ("a.py", "a = "), ("a.rs", "#[error(\"")] {
        assert!(!is_too_long(Path::new(path), &long(line)), "{path}: {line}");
    }
}

/// The printing macros panic if printing fails. So all output to users is written by one module, which does not panic.
#[test]
fn nothing_prints_but_the_terminal_module() {
    let prints = ["print", "println", "eprint", "eprintln"].map(|name| format!("{name}!("));
    let streams = ["io::stdout", "io::stderr"];
    let mut seen = 0;
    for path in files("crates", &[".rs"]) {
        let inside = |folder: &str| path.starts_with(folder);
        let source = path.components().nth(2).is_some_and(|part| part.as_os_str() == "src");
        let tests = path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("tests"));
        let terminal = ["crates/cli/src/terminal.rs", "crates/report/src/terminal/log.rs"];
        if !source || tests || inside("crates/xtask") || terminal.iter().any(|file| path.ends_with(file)) {
            continue;
        }
        seen += 1;
        for line in text(&path).lines() {
            let code = line.split("//").next().unwrap_or_default();
            let printing = prints.iter().any(|name| code.contains(name)) || streams.iter().any(|s| code.contains(s));
            assert!(!printing, "{}: use crates/cli/src/terminal.rs: {line}", path.display());
        }
    }
    assert!(seen > 100, "the scan itself found {seen} files");
}

/// The GPU library is named in one folder and in the manifest of one crate.
#[test]
fn wgpu_is_named_in_one_place() {
    named_in_one_place(&["wg", "pu"].concat(), "crates/engine", "crates/engine/src/gpu", 4);
}

/// The network library is named in one folder and in the manifest of one crate, and it is optional.
#[test]
fn the_network_is_named_in_one_place() {
    let library = ["ur", "eq"].concat();
    named_in_one_place(&library, "crates/model", "crates/model/src/hub", 1);
    let manifest: toml::Table = text("crates/model/Cargo.toml").parse().expect("is toml");
    assert_eq!(manifest["dependencies"][&library]["optional"].as_bool(), Some(true));
}

/// Checks that at least `least` files of `folder` name `library`, and that no other source file does. Exactly one
/// manifest must depend on it, that of `package`.
fn named_in_one_place(library: &str, package: &str, folder: &str, least: usize) {
    let uses = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.contains(&format!("{library}::")) || code.contains(&format!("use {library}"))
    };
    let sources = ["crates", "tests", "benches"].into_iter().flat_map(|folder| files(folder, &[".rs"]));
    let (mut inside, mut seen) = (0, 0);
    for path in sources {
        seen += 1;
        let named = text(&path).lines().any(uses);
        // The example of a program that embeds the engine has a device of its own.
        if path.ends_with("examples/inside_wgpu.rs") {
            continue;
        }
        if path.starts_with(folder) {
            inside += usize::from(named);
        } else {
            assert!(!named, "{} names {library}; only {folder} may", path.display());
        }
    }
    assert!(inside >= least && seen > 40, "the scan itself found {inside} of {seen} files");
    for path in ["crates", "tests", "benches"].into_iter().flat_map(|folder| files(folder, &["Cargo.toml"])) {
        let manifest: toml::Table = text(&path).parse().expect("is toml");
        let targets = manifest.get("target").and_then(toml::Value::as_table);
        let of_targets = targets.into_iter().flat_map(toml::Table::values).filter_map(|of| of.get("dependencies"));
        let named = of_targets.chain(manifest.get("dependencies")).any(|d| d.get(library).is_some());
        assert_eq!(named, path.starts_with(package), "{}", path.display());
    }
}

/// The crates with the kernels' bodies are one unit each. With several units and without optimisation across them,
/// small functions of the innermost loops are not inlined, and a forward pass takes almost three times as long.
#[test]
fn crates_of_kernels_are_one_unit() {
    let manifest = text("Cargo.toml");
    for profile in ["release", "dev"] {
        for package in ["resolvent-engine", "resolvent-ops"] {
            let section = format!("[profile.{profile}.package.{package}]\n");
            let settings = manifest.split(&section).nth(1).and_then(|rest| rest.split('[').next());
            let is_one = settings.is_some_and(|settings| settings.contains("codegen-units = 1\n"));
            assert!(is_one, "{section} needs `codegen-units = 1`");
        }
    }
}
