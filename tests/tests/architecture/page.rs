//! The modules of the page for browsers: what they import from each other exists, and they form no circle.

use std::collections::BTreeMap;

use super::{files, text};

/// The glue of the WebAssembly module, which the build writes beside the page.
const BUILT: &str = "engine.js";

/// Modules by the names of their files.
type Modules = BTreeMap<String, String>;

/// Returns the file that a line imports from, and what it imports.
fn import(line: &str) -> Option<(&str, Vec<&str>)> {
    let (names, from) = line.strip_prefix("import {")?.split_once("} from \"./")?;
    Some((from.strip_suffix("\";")?, names.split(',').map(str::trim).collect()))
}

/// Returns whether a module exports a name.
fn exports(module: &str, name: &str) -> bool {
    let kinds = ["const", "let", "function", "async function"];
    let starts = kinds.map(|kind| format!("export {kind} {name}"));
    let ends = |rest: &str| rest.starts_with([' ', '(']);
    module.lines().any(|line| starts.iter().any(|start| line.strip_prefix(start.as_str()).is_some_and(ends)))
}

/// Returns what is wrong with the imports of modules.
fn faults(modules: &Modules) -> Vec<String> {
    let mut faults = Vec::new();
    let mut open: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (file, module) in modules {
        let lines =
            module.lines().filter(|line| line.starts_with("import ") && !line.ends_with(&format!("\"./{BUILT}\";")));
        for line in lines {
            let Some((from, names)) = import(line) else {
                faults.push(format!("{file}: write `{line}` as import {{ names }} from \"./file.js\";"));
                continue;
            };
            let exporter = modules.get(from).map_or("", String::as_str);
            let missing = names.iter().filter(|name| !exports(exporter, name));
            faults.extend(missing.map(|name| format!("{file}: {from} does not export {name}")));
            open.entry(file).or_default().push(from);
        }
    }
    // Modules whose imports are all done are done too. The others are a circle, or import one.
    while let Some(done) = open.iter().find(|(_, from)| !from.iter().any(|from| open.contains_key(from))) {
        let done = *done.0;
        open.remove(done);
    }
    faults.extend(open.keys().map(|file| format!("{file}: a circle of imports")));
    faults
}

#[test]
fn modules_of_the_page_import_what_exists_in_no_circle() {
    let name = |path: &std::path::Path| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let modules: Modules = files("crates/web/page", &[".js"]).iter().map(|path| (name(path), text(path))).collect();
    assert!(
        modules.contains_key("page.js") && modules.contains_key("worker.js"),
        "the scan found {:?}",
        modules.keys()
    );
    assert!(!modules.contains_key(BUILT), "the build writes a file {BUILT}; rename that of the page");
    assert_eq!(faults(&modules), [""; 0]);
}

#[test]
fn wrong_imports_are_found() {
    let found = |a: &str, b: &str| {
        let made_up = [("a.js", a), ("b.js", b), ("c.js", "export let c = 1;")];
        faults(&made_up.map(|(name, module)| (name.to_owned(), module.to_owned())).into())
    };
    let (a, b) = ("import { b, d } from \"./b.js\";", "export const b = 1;\nexport async function d() {}");
    assert_eq!(found(a, b), [""; 0]);
    assert_eq!(
        found(a, "export const bb = 1;\nconst b = 1;\nexport function d() {}"),
        ["a.js: b.js does not export b"]
    );
    assert_eq!(found("import { x } from \"./missing.js\";", b), ["a.js: missing.js does not export x"]);
    assert!(found("import b from \"./b.js\";", b)[0].starts_with("a.js: write `import b"));
    let back = format!("import {{ a }} from \"./a.js\";\n{b}");
    let circle = found(&format!("{a}\nexport function a() {{}}"), &back);
    assert_eq!(circle, ["a.js: a circle of imports", "b.js: a circle of imports"]);
}
