//! Writes the Rust blocks of the pages to one file of functions, and the examples of the facade to another one. The
//! test module `pages` compiles and runs both.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[path = "src/fences.rs"]
#[allow(unreachable_pub, reason = "shared with the library, which exports it")]
mod fences;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for watched in ["README.md", "CONTRIBUTING.md", "crates/python/README.md", "crates/resolvent/README.md", "docs/src"]
    {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    println!("cargo::rerun-if-changed=src/fences.rs");
    let (mut code, mut table) = (String::new(), String::new());
    let all = fences::all(&root);
    for (i, fence) in all.iter().enumerate().filter(|(_, fence)| fence.language() == "rust") {
        // As in mdBook, lines that begin with `# ` are compiled but not shown.
        let line = |line: &str| line.strip_prefix("# ").unwrap_or(line).to_owned() + "\n";
        let text: String = fence.text.lines().map(line).collect();
        let body = match text.contains("fn main()") {
            true => format!("{text}pub(super) fn run() -> Outcome {{ main() }}\n"),
            false => format!("pub(super) fn run() -> Outcome {{\n{text};\nOk(())\n}}\n"),
        };
        let next = all.get(i + 1).filter(|next| next.language() == "output");
        _ = write!(code, "\n// {}\nmod block_{i} {{\nuse super::Outcome;\n{body}}}\n", fence.place);
        _ = writeln!(
            table,
            "    Block {{ place: {:?}, is_no_run: {}, shown: {:?}, run: block_{i}::run }},",
            fence.place,
            fence.is_no_run(),
            next.map_or("", |next| &next.text),
        );
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("set by cargo")).join("pages.rs");
    let code = format!("{code}\npub(super) static BLOCKS: &[Block] = &[\n{table}];\n");
    std::fs::write(&out, code).unwrap_or_else(|e| panic!("cannot write {}: {e}", out.display()));
    examples(&root.join("crates/resolvent/examples"), &out.with_file_name("examples.rs"));
}

/// Writes each example of `folder` to `out` as a module with a function `run`.
fn examples(folder: &Path, out: &Path) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let fail = |path: &Path, e: std::io::Error| -> ! { panic!("{}: {e}", path.display()) };
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| fail(folder, e));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap_or_else(|e| fail(folder, e)).path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "rs"));
    paths.sort();
    let (mut code, mut table) = (String::new(), String::new());
    for path in &paths {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| fail(path, e));
        let name = path.file_stem().and_then(|name| name.to_str()).expect("names are UTF-8");
        // Documentation of a crate cannot stand in an included file.
        let text = text.replace("//!", "//");
        // An example finds its files beside itself.
        let facade = format!("{:?}", folder.with_file_name("").display().to_string());
        let text = text.replace("env!(\"CARGO_MANIFEST_DIR\")", &facade);
        _ = write!(code, "mod {name} {{\n{text}\npub(super) fn run() -> super::Outcome {{ main() }}\n}}\n");
        _ = writeln!(table, "    ({name:?}, {name}::run),");
    }
    let code = format!("{code}\npub(super) static EXAMPLES: &[(&str, fn() -> Outcome)] = &[\n{table}];\n");
    std::fs::write(out, code).unwrap_or_else(|e| fail(out, e));
}
