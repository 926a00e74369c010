use super::*;

fn source(name: &str, folder: &str, text: &str) -> Source {
    Source { name: name.to_owned(), path: format!("shaders/{folder}/{name}.wgsl"), text: text.to_owned() }
}

/// Assembles `text` as `shaders/ops/x.wgsl` with the library files given.
fn with(text: &str, library: &[(&str, &str)], manifest: &str) -> Vec<Result<Assembled, String>> {
    let library =
        library.iter().map(|(name, text)| ((*name).to_owned(), source(name, "lib", text))).collect::<Library>();
    let manifest = Manifest::parse(manifest).expect("the manifest is right");
    let shader = source("x", "ops", text);
    let one = |switches| assemble(&shader, &switches, &library, &manifest).map_err(|problem| problem.to_string());
    manifest.variants("x").into_iter().map(one).collect()
}

fn text(shader: &str, library: &[(&str, &str)]) -> String {
    with(shader, library, "").remove(0).expect("assembles").text
}

fn error(shader: &str, library: &[(&str, &str)]) -> String {
    with(shader, library, "").remove(0).expect_err("does not assemble")
}

#[test]
fn a_diamond_of_imports_is_included_once() {
    let library = [("a", "#import c\na"), ("b", "#import c // for c\nb"), ("c", "c")];
    assert_eq!(text("#import a\n#import b\n#import a\nx", &library), "c\na\nb\nx\n");
}

#[test]
fn an_unknown_import_names_the_importing_line() {
    let library = [("a", "one\n#import nowhere")];
    let message = error("#import a\n", &library);
    assert!(message.starts_with("shaders/lib/a.wgsl:2: there is no shaders/lib/nowhere.wgsl"), "{message}");
    assert!(message.contains("known imports: a"), "{message}");
}

#[test]
fn a_cycle_of_imports_is_found() {
    let library = [("a", "#import b"), ("b", "//\n#import a")];
    assert!(error("#import a", &library).starts_with("shaders/lib/b.wgsl:2: cyclic import: a -> b -> a"));
    assert!(error("#import s", &[("s", "#import s")]).contains("cyclic import: s -> s"));
    // A library file may be named like the shader that imports it.
    assert_eq!(text("#import x\nshader", &[("x", "library")]), "library\nshader\n");
}

#[test]
fn a_part_is_one_shaders() {
    let library: Library = ["x_sum", "xy_sum", "y_sum"]
        .map(|name| (name.to_owned(), source(name, "parts", "a piece")))
        .into_iter()
        .collect();
    let manifest = Manifest::parse("").expect("the manifest is right");
    let import = |name: &str| {
        let shader = source("x", "ops", &format!("#import {name}\n"));
        assemble(&shader, &Switches::base(), &library, &manifest).map_err(|problem| problem.to_string())
    };
    assert_eq!(import("x_sum").expect("its own").text, "a piece\n");
    for other in ["y_sum", "xy_sum"] {
        let message = import(other).expect_err("another's");
        let whole = format!("shaders/ops/x.wgsl:1: shaders/parts/{other}.wgsl is a part of another shader");
        assert!(message.starts_with(&whole), "{message}");
    }
}

const WIDE: &str = "[x.base]\nWIDE = false\n[x.wide]\nWIDE = true\nTILE = 4\n";

#[test]
fn flags_decide_branches_and_nest() {
    let shader = "#ifdef WIDE\n wide\n#ifndef WIDE\n never\n#else\n both\n#endif\n#else\n narrow\n#endif\n#ifndef WIDE\n  thin\n#endif";
    let [base, wide] = with(shader, &[], WIDE).try_into().expect("two variants");
    assert_eq!(base.expect("assembles").text, " narrow\n  thin\n");
    assert_eq!(wide.expect("assembles").text, "const TILE: u32 = 4u;\n wide\n both\n");
}

#[test]
fn an_import_in_a_branch_not_taken_is_left_out() {
    let [base, wide] = with("#ifdef WIDE\n#import a\n#endif", &[("a", "a")], WIDE).try_into().expect("two");
    assert_eq!(base.expect("assembles").text, "");
    assert!(wide.expect("assembles").text.ends_with("a\n"));
}

#[test]
fn unbalanced_branches_are_errors() {
    assert!(error("x\n#ifdef F16\ny", &[]).starts_with("shaders/ops/x.wgsl:2: this `#ifdef` has no `#endif`"));
    assert!(error("x\n#endif", &[]).starts_with("shaders/ops/x.wgsl:2: `#endif` without `#ifdef`"));
    assert!(error("#else", &[]).starts_with("shaders/ops/x.wgsl:1: `#else` without `#ifdef`"));
    assert!(error("#ifdef F16\n#else\n#else\n#endif", &[]).starts_with("shaders/ops/x.wgsl:3: a second `#else`"));
    // A branch ends in the file that it began in.
    let message = error("#ifndef F16\n#import a\n#endif", &[("a", "#endif")]);
    assert!(message.starts_with("shaders/lib/a.wgsl:1: `#endif` without `#ifdef`"), "{message}");
}

#[test]
fn typing_errors_are_errors() {
    assert!(error("#include a", &[]).contains("`#include a` is no directive"));
    assert!(error("#import", &[]).contains("`#import` is no directive"));
    assert!(error("#import a b", &[]).contains("is no directive"));
    assert!(error("#ifdef WYDE\n#endif", &[]).contains("no variant declares the flag `WYDE`"));
    let unused = with("x", &[], WIDE).remove(1).expect_err("the flag is not used");
    assert!(unused.starts_with("shaders/variants.toml:3: flag `WIDE` of `x.wide` is never used"), "{unused}");
}

#[test]
fn every_line_leads_back_to_its_file() {
    let manifest = "[x.base]\n\n[x.half]\nF16 = true\nTILE = 2\n";
    let library = [("a", "// a\na2\n#ifdef F16\na4\n#endif\na6")];
    let half = with("// x\n#import a\nx3", &library, manifest).remove(1).expect("assembles");
    assert_eq!(half.text, "enable f16;\nconst TILE: u32 = 2u;\n// x\n// a\na2\na4\na6\nx3\n");
    let places: Vec<(&str, u32)> = (1..=8).map(|line| half.lines.locate(line)).collect();
    let (m, a, x) = ("shaders/variants.toml", "shaders/lib/a.wgsl", "shaders/ops/x.wgsl");
    assert_eq!(places, [(m, 3), (m, 3), (x, 1), (a, 1), (a, 2), (a, 4), (a, 6), (x, 3)]);
    let runs = half.lines.runs();
    assert_eq!(runs, [(1, m, 3), (2, m, 3), (3, x, 1), (4, a, 1), (6, a, 4), (7, a, 6), (8, x, 3)]);
}
