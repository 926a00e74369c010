//! The compiler as a whole: its output for a small tree, and its problems for a wrong one.

use super::{Tree, compile, emit, reflect};
use crate::kind::{Access, Element, Scalar};
use reflect::{Binding, Entry, Extent, Field, Override};

fn tree(shaders: &[(&str, &str)], manifest: &str) -> Tree {
    let mut tree = Tree { manifest: manifest.to_owned(), ..Tree::default() };
    for (name, text) in shaders {
        tree.shaders.push(super::assemble::Source {
            name: (*name).to_owned(),
            path: format!("shaders/ops/{name}.wgsl"),
            text: (*text).to_owned(),
        });
    }
    tree
}

fn entries(text: &str) -> Vec<Entry> {
    compile(&tree(&[("x", text)], "")).expect("compiles").remove(0).entries
}

/// Returns the first problem that the compiler reports.
fn error(text: &str, manifest: &str) -> String {
    compile(&tree(&[("x", text)], manifest)).expect_err("does not compile").remove(0).to_string()
}

const SCALE: &str = "\
// y = a x
override WG: u32 = 64u;
override A: f32 = -0.5;
override ON: bool = true;
override D: i32;
struct Params { n: u32, pad: u32, k: f32, i: i32, pad2: u32 }
@group(0) @binding(0) var<uniform> p: Params; // params
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>; // [n, 4]
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // [n, 4]
@group(0) @binding(1) var<storage, read> ids: array<u32>; // [n]
@group(0) @binding(2) var<storage, read_write> count: array<atomic<u32>>; // [1]
fn load(i: u32) -> vec4<f32> { return x[i]; }
@compute @workgroup_size(WG, 2) fn primal(@builtin(global_invocation_id) id: vec3<u32>) {
  if (ON && id.x < p.n) { y[id.x] = A * load(id.x) * f32(D); }
}
@compute @workgroup_size(8) fn tally() {
  if (arrayLength(&ids) > 3u) { atomicAdd(&count[0], 1u); }
}
";

#[test]
fn each_entry_has_what_it_uses() {
    let [primal, tally] = entries(SCALE).try_into().expect("two entries");
    let binding = |slot, name: &str, access, element| {
        let shape = match name {
            "x" | "y" => "[n, 4]",
            "ids" => "[n]",
            _ => "[1]",
        };
        Binding { slot, name: name.to_owned(), access, element, shape: shape.to_owned() }
    };
    assert_eq!(
        primal.bindings,
        [binding(1, "x", Access::Read, Element::Vec4F32), binding(4, "y", Access::ReadWrite, Element::Vec4F32)]
    );
    assert_eq!((primal.name.as_str(), primal.params_size), ("primal", 20));
    let field = |name: &str, kind, word| Field { name: name.to_owned(), kind, word };
    assert_eq!(primal.fields, [field("n", Scalar::U32, 0), field("k", Scalar::F32, 2), field("i", Scalar::I32, 3)]);
    assert_eq!(primal.workgroup, [Extent::Override("WG".to_owned()), Extent::Literal(2), Extent::Literal(1)]);
    assert_eq!(
        tally.bindings,
        [binding(1, "ids", Access::Read, Element::U32), binding(2, "count", Access::ReadWrite, Element::AtomicU32)]
    );
    assert_eq!((tally.name.as_str(), tally.params_size), ("tally", 0));
    let constant = |name: &str, kind, default| Override { name: name.to_owned(), kind, default };
    let overrides = [
        constant("WG", Scalar::U32, Some(64.0)),
        constant("A", Scalar::F32, Some(-0.5)),
        constant("ON", Scalar::Bool, Some(1.0)),
        constant("D", Scalar::I32, None),
    ];
    assert_eq!((&primal.overrides[..], &tally.overrides[..]), (&overrides[..], &overrides[..]));
}

#[test]
fn a_broken_shader_names_its_file_and_line() {
    let message = error("// head\nfn f() -> f32 {\n  return 1.0 + nothing;\n}\n", "");
    assert!(message.starts_with("shaders/ops/x.wgsl:3: no definition in scope"), "{message}");
    assert!(message.contains("| "), "the offending line is shown: {message}");
}

#[test]
fn an_invalid_shader_names_its_cause_and_its_imported_file() {
    let mut tree = tree(&[("x", "// head\n#import a\n@compute @workgroup_size(1) fn primal() { _ = f(); }\n")], "");
    let text = "// head\nfn f() -> f32 {\n  let y = vec2<f32>(1.0);\n  return y;\n}\n";
    let library = super::assemble::Source { name: "a".into(), path: "shaders/lib/a.wgsl".into(), text: text.into() };
    tree.library.insert("a".to_owned(), library);
    let message = compile(&tree).expect_err("the types differ").remove(0).to_string();
    assert!(message.starts_with("shaders/lib/a.wgsl:"), "{message}");
    assert!(message.contains("Function [0] 'f' is invalid: "), "the cause is in the first line: {message}");
}

#[test]
fn a_variant_may_use_only_the_features_that_it_declares() {
    let subgroup = "// head\n@compute @workgroup_size(32) fn primal() { _ = subgroupAdd(1.0); }\n";
    assert!(error(subgroup, "").starts_with("shaders/ops/x.wgsl"));
    let guarded =
        "// head\n@compute @workgroup_size(32) fn primal() {\n#ifdef SUBGROUP\n _ = subgroupAdd(1.0);\n#endif\n}\n";
    let manifest = "[x.base]\n[x.subgroup]\nSUBGROUP = true\n";
    assert_eq!(compile(&tree(&[("x", guarded)], manifest)).expect("compiles")[0].variants.len(), 2);
    let with_f16 = "// head\n@compute @workgroup_size(1) fn primal() {\n#ifdef F16\n var h = f16(1.0);\n#endif\n}\n";
    assert!(compile(&tree(&[("x", with_f16)], "[x.base]\n[x.f16]\nF16 = true\n")).is_ok());
    let float_atomic = "// head\nvar<workgroup> a: atomic<f32>;\n@compute @workgroup_size(1) fn primal() { _ = &a; }\n";
    assert!(error(float_atomic, "").contains("SHADER_FLOAT32_ATOMIC"));
    let packed = "// head\n@compute @workgroup_size(1) fn primal() { var v = unpack2x16float(7u); }\n";
    assert_eq!(entries(packed).len(), 1);
}

const PAIR: &str = "[x.base]\nN = 64\nM = 2\n[x.wide]\nN = 128\nM = 2\nWIDE = true\n";

fn pair(declaration: &str, base: &str, wide: &str) -> String {
    format!(
        "// head\n{declaration}\n#ifdef WIDE\n{wide}\n#else\n{base}\n#endif\n\
         @compute @workgroup_size(1) fn primal() {{ a[0] = 1.0; }}\n"
    )
}

#[test]
fn variants_that_differ_in_their_interface_are_reported() {
    let a = |slot: u32| format!("@group(0) @binding({slot}) var<storage, read_write> a: array<f32>; // [1]");
    let message = error(&pair("", &a(1), &a(2)), PAIR);
    assert!(message.starts_with("shaders/ops/x.wgsl: `primal` has other bindings in variant `wide`"), "{message}");
    let message = error(&pair(&a(1), "override C: u32 = 1u;", "override C: u32 = 2u;"), PAIR);
    assert!(message.contains("has other overrides in variant `wide`"), "{message}");
    let message = error(&pair(&a(1), "", "@compute @workgroup_size(1) fn jvp() { a[0] = 2.0; }"), PAIR);
    assert!(message.contains("variant `wide` has the entries jvp, primal, `base` has primal"), "{message}");
}

#[test]
fn a_workgroup_may_differ_by_a_number_only() {
    let with = |size: &str| {
        format!(
            "// head\n#ifdef WIDE\n const K = 2u;\n#else\n const K = 1u;\n#endif\n@compute @workgroup_size({size}) fn primal() {{ }}\n"
        )
    };
    let shaders = compile(&tree(&[("x", &with("N, M"))], PAIR)).expect("compiles");
    assert_eq!(
        shaders[0].entries[0].workgroup,
        [Extent::Number("N".to_owned()), Extent::Literal(2), Extent::Literal(1)]
    );
    assert!(error(&with("K"), PAIR).contains("the workgroup of `primal` differs between variants"));
}

#[test]
fn what_the_engine_cannot_bind_or_set_is_reported_with_its_line() {
    let entry = "@compute @workgroup_size(1) fn primal() { _ = &a; }\n";
    let storage = |ty: &str| format!("// head\n@group(0) @binding(1) var<storage, read> a: {ty}; // [1]\n{entry}");
    assert!(error(&storage("array<f32, 4>"), "").starts_with("shaders/ops/x.wgsl:2: `a` has to be a run-time"));
    assert!(error(&storage("array<vec3<f32>>"), "").contains("the elements of `a` have an unknown type"));
    let entry = "@compute @workgroup_size(1) fn primal() { _ = A; }\n";
    let constant = |line: &str| format!("// head\noverride B: u32 = 1u;\n{line}\n{entry}");
    assert!(
        error(&constant("@id(3) override A: u32 = 1u;"), "").starts_with("shaders/ops/x.wgsl:3: override `A` has an")
    );
    assert!(error(&constant("override A: u32 = 2u * B;"), "").contains("has to be a constant"));
    assert!(error("// head\nconst X = 1u;\n", "").contains("has to have an entry point"));
    assert!(error("// head\n@compute @workgroup_size(1) fn Primal() { }\n", "").contains("snake_case"));
    let computed = "// head\noverride B: u32 = 1u;\n@compute @workgroup_size(2u * B) fn primal() { }\n";
    assert!(error(computed, "").contains("neither a number nor an override"), "{}", error(computed, ""));
}

#[test]
fn names_are_distinct_and_known() {
    let empty = "// head\n@compute @workgroup_size(1) fn primal() { }\n";
    let reported = |names: &[(&str, &str)], manifest: &str| -> Vec<String> {
        compile(&tree(names, manifest)).expect_err("wrong").iter().map(ToString::to_string).collect()
    };
    assert!(reported(&[("x", empty), ("x", empty)], "")[0].contains("has the same name"));
    assert!(reported(&[("X", empty)], "")[0].contains("snake_case"));
    assert!(reported(&[("x", empty)], "[y.base]\n")[0].contains("there is no shader `y`"));
}

#[test]
fn a_mistake_that_the_variants_share_is_reported_once() {
    let text = "const X: u32 = N + M;\n#ifdef WIDE\n#endif\n@compute @workgroup_size(1) fn primal() { }\n";
    let problems = compile(&tree(&[("x", text)], PAIR)).expect_err("there is no header");
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn each_variant_is_stored_once() {
    let shaders = compile(&tree(&[("x", SCALE)], "")).expect("compiles");
    let files = emit(&shaders);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x.base.wgsl", "kernels.rs"]);
    let code = &files[1].1;
    assert_eq!(code.matches("include_str!").count(), 1);
    assert!(code.contains("pub static PRIMAL: crate::Kernel") && code.contains("pub static TALLY: crate::Kernel"));
    assert!(code.contains("&x::PRIMAL,\n    &x::TALLY,\n"));
}

#[test]
fn arguments_are_generated_in_the_order_of_the_wgsl() {
    let shaders = compile(&tree(&[("x", SCALE)], "")).expect("compiles");
    let code = &emit(&shaders)[1].1;
    let has = |text: &str| assert!(code.contains(text), "no `{text}` in\n{code}");
    has("pub n: u32,\n        /// `k: f32`\n        pub k: f32,\n");
    has("[self.n, 0, self.k.to_bits(), self.i.cast_unsigned(), 0]");
    has("k: f32::from_bits(words[2]),\n                i: words[3].cast_signed(),");
    // The file declares y before x; the slots decide.
    has("/// Slot 1: `` [n, 4] ``\n            pub x: R,");
    has("vec![self.x, self.y]");
    has("pub fn of(([x], [y]): ([R; 1], [W; 1]))");
    // `tally` has no params.
    has("type Params = ();\n\n            const KERNEL: &'static crate::Kernel = &super::TALLY;");
}

#[test]
fn params_that_rust_cannot_fill_in_are_reported() {
    let uniform = |ty: &str| {
        format!(
            "// head\nstruct S {{ v: vec4<f32> }}\n@group(0) @binding(0) var<uniform> p: {ty}; // params\n\
                 @compute @workgroup_size(1) fn primal() {{ _ = p; }}\n"
        )
    };
    assert!(error(&uniform("S"), "").contains("3: field `v` of the params has to be u32, i32 or f32"));
    assert!(error(&uniform("vec4<f32>"), "").contains("3: the uniform has to be a struct"));
    let differs = pair("", "struct S { n: u32 }", "struct S { m: u32 }")
        .replace(
            "@compute",
            "\
        @group(0) @binding(0) var<uniform> p: S; // params\n@compute",
        )
        .replace("a[0] = 1.0", "_ = p");
    assert!(error(&differs, PAIR).contains("`primal` has other params in variant `wide`"), "{}", error(&differs, PAIR));
}

#[test]
fn no_shaders_are_no_kernels() {
    let nowhere = Tree::read(std::path::Path::new("/nowhere-at-all")).expect("missing folders are empty");
    let files = emit(&compile(&nowhere).expect("nothing is wrong with nothing"));
    assert_eq!(files.len(), 1);
    assert!(files[0].1.contains("pub static ALL: &[&Kernel] = &[\n];"));
}

/// Compiles each library file alone, for each setting of its switches, with nothing but its own imports.
#[test]
fn each_library_file_compiles_alone() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let whole = Tree::read(&root).expect("the tree can be read");
    for (name, source) in whole.library.iter().filter(|(_, source)| !source.is_part()) {
        let mut import = format!("#import {name}\n");
        let mut manifest = "[x.base]\nGROUP = 64\nVECTORS = false\nWIDE = false\n".to_owned();
        if source.text.contains("#ifdef WIDE") {
            manifest += "[x.wide]\nGROUP = 128\nWIDE = true\n";
        }
        if source.text.contains("#ifdef VECTORS") {
            manifest += "[x.vectors]\nGROUP = 16\nVECTORS = true\n";
        }
        if source.text.contains("subgroupBroadcast") {
            import = format!("#ifdef SUBGROUP\n{import}#endif\n");
            manifest += "[x.subgroup]\nGROUP = 8\nLANES = 8\nSUBGROUP = true\n";
        }
        let text = format!("// head\n{import}@compute @workgroup_size(1) fn primal() {{ }}\n");
        let mut one = tree(&[("x", &text)], &manifest);
        one.library = whole.library.clone();
        compile(&one).unwrap_or_else(|problems| panic!("shaders/lib/{name}.wgsl does not compile alone: {problems:?}"));
    }
}
