//! Files of a crate must not import each other in a circle: to understand one of them, one has to read them all.

mod graph;
mod parse;

use graph::Sources;

use super::{files, root};

/// Circles that exist: a folder, the files below it that form the circle, and the reason.
const ALLOWED: [(&str, &str, &str); 18] = [
    (
        "crates/cli/src",
        "bench.rs devices.rs download.rs forward.rs green.rs invert.rs main.rs observable.rs options.rs \
         output.rs patch.rs regime.rs scale.rs sensitivity.rs slice.rs steps.rs study.rs terminal.rs \
         transfer.rs",
        "`main.rs` has the error type and the context of a command, and calls the commands",
    ),
    ("crates/field/src", "interaction.rs interaction/put.rs", "`put.rs` computes on the request that it is a part of"),
    (
        "crates/field/src/invert",
        "baseline.rs mod.rs newton.rs",
        "`mod.rs` has the problem that its parts solve, and calls them",
    ),
    (
        "crates/field/src",
        "labelled.rs store/layout.rs store/mod.rs",
        "a labelled result writes itself by the store, which reads labelled results",
    ),
    ("crates/field/src", "patch.rs predictors.rs", "predictors read a patch result, which is made with them"),
    (
        "crates/field/src/scale",
        "align.rs fit.rs mod.rs",
        "`mod.rs` has the types that its parts compute, and calls them",
    ),
    (
        "crates/field/src/slice",
        "mod.rs passes.rs strongest.rs",
        "`mod.rs` has the request that its parts read, and calls them",
    ),
    (
        "crates/field/src/study",
        "inverse.rs left_out.rs mod.rs patching.rs predictors.rs propagation.rs reduction.rs regimes.rs \
         scaling.rs superposed.rs tasks.rs transfers.rs",
        "`mod.rs` has the study that each step extends, and calls the steps",
    ),
    (
        "crates/model/src",
        "capture.rs head.rs linear.rs model.rs read.rs run.rs sweep.rs",
        "a model runs, and a run, its sweeps and its linearisations read their model",
    ),
    (
        "crates/model/src",
        "checkpoint.rs checkpoint/convert.rs checkpoint/layout.rs",
        "`checkpoint.rs` has the types that its parts fill, and calls them",
    ),
    (
        "crates/model/src",
        "hub.rs hub/fetch.rs hub/remote.rs",
        "`hub.rs` has the types that its parts use, and calls them",
    ),
    ("crates/model/src", "prompt_rows.rs prompt_set.rs", "rows of a prompt set and the set name each other"),
    (
        "crates/model/src",
        "tokenizer.rs tokenizer/build.rs",
        "`tokenizer.rs` has the type that `build.rs` builds, and calls it",
    ),
    (
        "crates/ops/src",
        "add.rs attention.rs attention_second.rs gelu.rs lib.rs matmul.rs matmul_f16.rs peak.rs unembed.rs",
        "`lib.rs` lists the kernels of all ops, and has names that ops use; ops fuse with each other",
    ),
    (
        "crates/ops/src",
        "observe.rs observe/host.rs",
        "`observe.rs` has the parameters that its host bodies read, and lists the bodies",
    ),
    (
        "crates/python/src",
        "analyses.rs arguments.rs edit.rs linearization.rs model.rs observable.rs result.rs run.rs slice.rs \
         study.rs",
        "Python's classes return each other",
    ),
    ("crates/report/src/figure", "grid.rs mod.rs", "a grid is a figure, and contains figures"),
    (
        "crates/resolvent/src/bench",
        "mod.rs passes.rs",
        "`mod.rs` has the measurement that `passes.rs` returns, and calls it",
    ),
];

/// Returns the files that a made-up crate consists of. In its text, `== name` begins a file.
fn made_up(source: &'static str) -> Sources {
    let part = |name: &str| source.split("== ").find_map(|part| part.strip_prefix(&format!("{name}\n")));
    Sources::read("lib.rs", |name| part(name).map(str::to_owned))
}

/// Returns the roots of all crates: libraries, programs and build scripts.
fn roots() -> Vec<String> {
    let paths = files("crates", &["lib.rs", "main.rs", "build.rs"]);
    let names = paths.iter().map(|path| path.to_str().expect("names are UTF-8").to_owned());
    let is_root = |name: &String| {
        let parts: Vec<&str> = name.split('/').collect();
        matches!(parts[..], ["crates", _, "src", "lib.rs" | "main.rs"] | ["crates", _, "build.rs"])
    };
    names.filter(is_root).collect()
}

#[test]
fn files_import_each_other_in_no_other_circles() {
    let allowed: Vec<Vec<String>> = ALLOWED
        .iter()
        .map(|(folder, names, _)| names.split_whitespace().map(|name| format!("{folder}/{name}")).collect())
        .collect();
    let (mut seen, mut found, mut wrong) = (0, Vec::new(), String::new());
    for start in roots() {
        let sources = Sources::read(&start, |path| std::fs::read_to_string(root().join(path)).ok());
        seen += sources.len();
        for circle in sources.circles() {
            if !allowed.contains(&circle) {
                wrong += &format!("\na circle of {} files:\n  {}", circle.len(), sources.within(&circle).join("\n  "));
            }
            found.push(circle);
        }
    }
    for circle in allowed.iter().filter(|circle| !found.contains(circle)) {
        wrong += &format!("\nALLOWED lists a circle that does not exist: {}", circle.join(" "));
    }
    assert!(wrong.is_empty(), "move what all of them use into a file of its own:{wrong}");
    assert!(seen > 300, "the scan itself found {seen} files");
}

#[test]
fn direct_and_longer_circles_are_found() {
    let direct = made_up(
        "== lib.rs\nmod a; mod b;\n== a.rs\nuse crate::b::B; struct A;\n== b.rs\nfn f(_: super::a::A) {} struct B;\n",
    );
    assert_eq!(direct.circles(), [["a.rs", "b.rs"]]);
    assert_eq!(direct.within(&direct.circles()[0]), ["a.rs -> b.rs", "b.rs -> a.rs"]);
    let longer = made_up(
        "== lib.rs\nmod a; mod b; mod c; mod d;\n== a.rs\nuse crate::b; fn f() { b::g() }\n\
         == b.rs\nuse super::c::*; fn g() {}\n== c.rs\nuse crate::{a::f as h, d::D}; fn k() {}\n== d.rs\nstruct D;\n",
    );
    assert_eq!(longer.circles(), [["a.rs", "b.rs", "c.rs"]]);
}

#[test]
fn a_parent_and_its_part_form_a_circle_if_both_import() {
    let both =
        made_up("== lib.rs\nmod a;\n== a/mod.rs\nmod p; use p::P; struct A;\n== a/p.rs\nuse super::A; struct P;\n");
    assert_eq!(both.circles(), [["a/mod.rs", "a/p.rs"]]);
    let declared = made_up("== lib.rs\nmod a;\n== a/mod.rs\nmod p; struct A;\n== a/p.rs\nuse super::A; struct P;\n");
    assert!(declared.circles().is_empty(), "a declaration is no import");
}

#[test]
fn re_exports_lead_to_the_file_that_defines() {
    let through = "mod a; mod b; mod c; pub use a::A; pub use c::*;\n== a.rs\nuse crate::C; struct A;\n";
    let circle = format!("== lib.rs\n{through}== b.rs\n== c.rs\nfn f(_: crate::A) {{}} struct C;\n");
    assert_eq!(made_up(circle.leak()).circles(), [["a.rs", "c.rs"]]);
    let none = format!("== lib.rs\n{through}== b.rs\nuse crate::A;\n== c.rs\nstruct C;\n");
    assert!(made_up(none.leak()).circles().is_empty(), "`lib.rs` re-exports `A`, and does not use it");
    let used = made_up("== lib.rs\nmod a; pub use a::A; struct L(A);\n== a.rs\nuse crate::L; struct A;\n");
    assert_eq!(used.circles(), [["a.rs", "lib.rs"]]);
}

#[test]
fn inline_modules_belong_to_their_file() {
    let inside = made_up(
        "== lib.rs\nmod a;\nmod b { pub mod c; pub struct B; }\n== a.rs\npub struct A; use crate::b::c::C;\n\
         == b/c.rs\npub struct C; mod d { use crate::a::A; }\n",
    );
    assert_eq!(inside.circles(), [["a.rs", "b/c.rs"]]);
}

#[test]
fn imports_of_tests_and_of_other_crates_form_no_circle() {
    let tested = made_up(
        "== lib.rs\nmod a; mod b;\n== a.rs\nstruct A; #[cfg(test)] mod tests { use crate::b::B; }\n\
         == b.rs\nuse super::a::A; struct B;\n",
    );
    assert!(tested.circles().is_empty());
    let others = made_up(
        "== lib.rs\nmod a; mod b;\n== a.rs\nuse std::b::B; fn f() { other::b::B }\n\
         == b.rs\nuse crate::a::f; struct B;\n",
    );
    assert!(others.circles().is_empty());
}
