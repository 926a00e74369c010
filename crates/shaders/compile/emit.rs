//! The generated Rust: one module per shader, one static per entry, and the assembled modules beside it.

use super::{
    Shader, interface,
    reflect::{Entry, Extent},
};
use std::fmt::Write as _;

/// Returns the files to write into `OUT_DIR`: `kernels.rs` and the WGSL that it includes.
pub(crate) fn emit(shaders: &[Shader]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut code = String::from("// Generated from shaders/ by build.rs.\n");
    for shader in shaders {
        module(&mut code, shader);
        for (switches, assembled) in &shader.variants {
            files.push((file_name(shader, &switches.variant), assembled.text.clone()));
        }
    }
    let all: Vec<String> = shaders
        .iter()
        .flat_map(|shader| shader.entries.iter().map(|entry| format!("    &{}::{},\n", shader.name, constant(entry))))
        .collect();
    _ = write!(code, "\n/// Every kernel, by shader and then in the order of the file.\n");
    _ = write!(code, "pub static ALL: &[&Kernel] = &[\n{}];\n", all.concat());
    files.push(("kernels.rs".to_owned(), code));
    files
}

fn file_name(shader: &Shader, variant: &str) -> String {
    format!("{}.{variant}.wgsl", shader.name)
}

fn constant(entry: &Entry) -> String {
    entry.name.to_uppercase()
}

fn module(code: &mut String, shader: &Shader) {
    _ = writeln!(code, "\n/// `{}`", shader.path);
    // Fenced: the header's shapes in square brackets would read as links.
    _ = writeln!(code, "///\n/// ```text");
    for line in shader.header.lines() {
        _ = writeln!(code, "/// {line}");
    }
    _ = writeln!(code, "/// ```\npub mod {} {{", shader.name);
    _ = writeln!(code, "    static VARIANTS: &[crate::Variant] = &[");
    for (switches, assembled) in &shader.variants {
        _ = writeln!(code, "        crate::Variant {{\n            name: {:?},", switches.variant);
        _ = writeln!(
            code,
            "            source: include_str!(concat!(env!(\"OUT_DIR\"), \"/{}\")),",
            file_name(shader, &switches.variant)
        );
        _ = writeln!(
            code,
            "            features: crate::Features {{ subgroup: {}, f16: {}, cooperative: {} }},",
            switches.subgroup(),
            switches.f16(),
            switches.cooperative()
        );
        _ = writeln!(code, "            numbers: &{:?},", switches.numbers);
        _ = writeln!(code, "            flags: &{:?},", switches.flags.iter().collect::<Vec<_>>());
        _ = writeln!(code, "            lines: &[");
        for (start, file, line) in assembled.lines.runs() {
            _ = writeln!(code, "                crate::Run {{ start: {start}, file: {file:?}, line: {line} }},");
        }
        _ = writeln!(code, "            ],\n        }},");
    }
    _ = writeln!(code, "    ];");
    interface::params(code, shader);
    for entry in &shader.entries {
        kernel(code, shader, entry);
        interface::bindings(code, shader, entry);
    }
    _ = writeln!(code, "}}");
}

fn kernel(code: &mut String, shader: &Shader, entry: &Entry) {
    _ = writeln!(code, "\n    /// `{}.{}`", shader.name, entry.name);
    if !entry.bindings.is_empty() {
        _ = writeln!(code, "    ///\n    /// | slot | name | access | element |\n    /// |---|---|---|---|");
    }
    for binding in &entry.bindings {
        _ = writeln!(
            code,
            "    /// | {} | `{}` | {:?} | {:?} |",
            binding.slot, binding.name, binding.access, binding.element
        );
    }
    _ = writeln!(code, "    pub static {}: crate::Kernel = crate::Kernel {{", constant(entry));
    _ = writeln!(code, "        name: \"{}.{}\",", shader.name, entry.name);
    _ = writeln!(code, "        shader: {:?},\n        entry: {:?},", shader.name, entry.name);
    _ = writeln!(code, "        params_size: {},\n        bindings: &[", entry.params_size);
    for binding in &entry.bindings {
        _ = writeln!(
            code,
            "            crate::Binding {{ slot: {}, name: {:?}, access: crate::Access::{:?}, element: crate::Element::{:?} }},",
            binding.slot, binding.name, binding.access, binding.element
        );
    }
    _ = writeln!(code, "        ],\n        overrides: &[");
    for constant in &entry.overrides {
        let default = match constant.default {
            Some(value) => format!("Some({value:?}_f64)"),
            None => "None".to_owned(),
        };
        _ = writeln!(
            code,
            "            crate::Override {{ name: {:?}, kind: crate::Scalar::{:?}, default: {default} }},",
            constant.name, constant.kind
        );
    }
    _ = writeln!(code, "        ],\n        workgroup: [");
    for extent in &entry.workgroup {
        _ = match extent {
            Extent::Literal(value) => writeln!(code, "            crate::Extent::Literal({value}),"),
            Extent::Override(name) => writeln!(code, "            crate::Extent::Override({name:?}),"),
            Extent::Number(name) => writeln!(code, "            crate::Extent::Number({name:?}),"),
        };
    }
    _ = writeln!(code, "        ],\n        variants: VARIANTS,\n    }};");
}
