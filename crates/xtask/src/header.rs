//! The header of the C library, which cbindgen writes from the sources of `crates/capi`.

use std::fs;

use cbindgen::{Builder, Config, EnumConfig, ExportConfig, Language, RenameRule, Style};

use crate::process::{Result, root};

/// Where the header is, from the root.
pub(crate) const HEADER: &str = "crates/capi/include/resolvent.h";

/// The sources with declarations, in the order of the header.
const SOURCES: [&str; 6] = ["status", "watch", "model", "run", "result", "analyses"];

/// Types, with their names in C.
const NAMES: [(&str, &str); 10] = [
    ("Status", "resolvent_status"),
    ("Watch", "resolvent_watch"),
    ("Options", "resolvent_options"),
    ("Sizes", "resolvent_sizes"),
    ("EditKind", "resolvent_edit_kind"),
    ("Edit", "resolvent_edit"),
    ("Check", "resolvent_check"),
    ("ModelHandle", "resolvent_model"),
    ("RunHandle", "resolvent_run"),
    ("ResultHandle", "resolvent_result"),
];

/// The comment at the top of the header.
const TOP: &str =
    "/* resolvent: a portable analysis engine for Transformer Field Theory. SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * `cargo xtask header` writes this file from the sources of crates/capi. Do not edit it.
 *
 * - A call returns a status. If it is not RESOLVENT_STATUS_OK, resolvent_last_error() has a message, and outputs other
 *   than lengths are null or unchanged.
 * - What has a variable size is copied into a buffer of yours: `(buffer, capacity, length)`. A call with a null buffer
 *   sets `length` alone. Capacities and lengths count elements, and bytes with the zero byte for text. `length` may
 *   be null.
 * - Text is UTF-8 and ends with a zero byte. Arrays are row-major.
 * - Handles are freed by you, each once, in any order. Several threads may use one handle at once, but none while it is
 *   freed. There is no global state.
 */";

/// Returns the header.
pub(crate) fn generate() -> Result<String> {
    let rename = NAMES.map(|(ours, of_c)| (ours.to_owned(), of_c.to_owned())).into_iter().collect();
    let config = Config {
        language: Language::C,
        cpp_compat: true,
        include_guard: Some("RESOLVENT_H".to_owned()),
        header: Some(TOP.to_owned()),
        usize_is_size_t: true,
        no_includes: true,
        sys_includes: ["stddef.h", "stdint.h"].map(str::to_owned).into(),
        style: Style::Both,
        line_length: 120,
        export: ExportConfig { include: vec!["EditKind".to_owned()], rename, ..ExportConfig::default() },
        enumeration: EnumConfig { rename_variants: RenameRule::QualifiedScreamingSnakeCase, ..EnumConfig::default() },
        ..Config::default()
    };
    let sources = SOURCES.map(|name| root().join(format!("crates/capi/src/{name}.rs")));
    let builder = sources.into_iter().fold(Builder::new().with_config(config), Builder::with_src);
    let bindings = builder.generate().map_err(|e| format!("cbindgen: {e}"))?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).map_err(|e| format!("the header is not UTF-8: {e}"))?;
    // The heading is that of rustdoc.
    Ok(text.replace(" * # Safety\n * ", " * Required: "))
}

/// Writes the header.
pub(crate) fn write() -> Result {
    fs::write(root().join(HEADER), generate()?).map_err(|e| format!("{HEADER}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_that_of_the_sources() {
        let committed = fs::read_to_string(root().join(HEADER)).expect("the header can be read");
        let generated = generate().expect("the header can be generated");
        for (ours, theirs) in committed.lines().zip(generated.lines()) {
            assert_eq!(ours, theirs, "run `cargo xtask header`, and commit {HEADER}");
        }
        assert_eq!(committed.lines().count(), generated.lines().count(), "run `cargo xtask header`");
        for (_, name) in NAMES {
            assert!(generated.contains(&format!("}} {name};")) || generated.contains(&format!(" {name};")), "{name}");
        }
    }
}
