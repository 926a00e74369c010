//! One name for each op: shader file, entry, module, reference and page. Every kernel has a host body.

use std::collections::BTreeSet;

use super::{files, root};

/// Returns the names of the files in `folder` with this ending, without the ending.
fn stems(folder: &str, ending: &str) -> BTreeSet<String> {
    let stem = |path: &std::path::PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    files(folder, &[ending]).iter().filter_map(stem).collect()
}

/// Modules of the ops crate that are not ops.
const NO_OP: [&str; 17] = [
    "lib",
    "accumulate",
    "arguments",
    "blocks",
    "derivatives",
    "host",
    "items",
    "jets",
    "linear",
    "op",
    "peak",
    "rows",
    "rules",
    "scores",
    "tile",
    "tuning",
    "weight",
];
/// Ops that are chains of others, without a shader of their own.
const CHAINS: [&str; 1] = ["mlp"];

/// Separate shader files with further entries of an op, with the op whose reference and page they share.
const FURTHER: [(&str, &str); 3] =
    [("attention_second", "attention"), ("attention_edit", "attention"), ("matmul_f16", "matmul")];

fn ops() -> BTreeSet<String> {
    stems("shaders/ops", ".wgsl")
}

#[test]
fn every_shader_has_a_module_a_reference_and_a_page() {
    assert!(ops().len() >= 8, "found {:?}", ops());
    for op in ops() {
        let home = FURTHER.iter().find(|(further, _)| *further == op).map_or(op.as_str(), |(_, home)| home);
        for place in [
            format!("crates/ops/src/{op}.rs"),
            format!("crates/reference/src/ops/{home}.rs"),
            format!("docs/src/ops/{home}.md"),
        ] {
            assert!(root().join(&place).is_file(), "shaders/ops/{op}.wgsl has no {place}");
        }
    }
}

#[test]
fn every_module_has_a_shader() {
    let modules = stems("crates/ops/src", ".rs");
    for module in modules.iter().filter(|m| !NO_OP.contains(&m.as_str()) && !CHAINS.contains(&m.as_str())) {
        assert!(ops().contains(module), "crates/ops/src/{module}.rs has no shaders/ops/{module}.wgsl");
    }
    for name in CHAINS {
        assert!(modules.contains(name), "CHAINS names `{name}`, but there is no such module");
    }
}

/// Each reflected kernel is declared once, under its own name, with a host body.
#[test]
fn every_kernel_is_declared_with_a_host_body() {
    let mut declared: Vec<&str> = resolvent_ops::kernels().iter().map(|k| k.name()).collect();
    let mut reflected: Vec<&str> = resolvent_shaders::ALL.iter().map(|k| k.name).collect();
    declared.sort_unstable();
    reflected.sort_unstable();
    assert_eq!(declared, reflected);
    let names: BTreeSet<&str> = declared.iter().copied().collect();
    assert_eq!(names.len(), declared.len(), "a kernel is declared twice");
    for kernel in resolvent_shaders::ALL {
        assert_eq!(kernel.name, format!("{}.{}", kernel.shader, kernel.entry));
    }
}

/// The test modules of the kernels have a test that is named after each op.
#[test]
fn every_op_is_tested() {
    let tests: String = files("tests/tests/kernels", &[".rs"]).iter().map(super::text).collect();
    let modules = ops().into_iter().chain(CHAINS.map(str::to_owned));
    for op in modules {
        assert!(tests.contains(&format!("fn {op}()")), "no test in tests/tests/kernels is called `{op}`");
    }
}
