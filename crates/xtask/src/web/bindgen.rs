//! The JavaScript around the module, by the library of wasm-bindgen's own program.
//!
//! The module and this library must be of one version. Both depend on one package of wasm-bindgen that is linked once,
//! so cargo never selects two.

use std::path::Path;

use wasm_bindgen_cli_support::Bindgen;

use crate::process::Result;

/// Writes `engine.js` and `engine_bg.wasm` into `folder`.
pub(super) fn write(module: &Path, folder: &Path) -> Result {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(module).out_name("engine").typescript(false);
    bindgen.remove_name_section(true).remove_producers_section(true);
    let written = bindgen.web(true).and_then(|bindgen| bindgen.generate(folder));
    written.map_err(|e| format!("wasm-bindgen on {}: {e:#}", module.display()))
}
