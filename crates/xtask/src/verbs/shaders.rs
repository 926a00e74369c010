//! `shaders`: translates every kernel to every shading language that a device may need.

use crate::{Verb, process::Result};

pub(crate) const VERB: Verb = Verb {
    name: "shaders",
    summary: "translate every kernel and variant to SPIR-V, MSL and HLSL",
    takes_arguments: false,
    run: |_| translate(),
};

/// Translates all kernels in this process, whose build contains the shader compiler.
#[cfg(feature = "translate")]
pub(super) fn translate() -> Result {
    crate::translate::translate()
}

/// Translates all kernels in another process: this program, built again with the shader compiler.
#[cfg(not(feature = "translate"))]
pub(super) fn translate() -> Result {
    use crate::process::{cargo, run};

    run(&mut cargo(&["run", "--quiet", "--package", "xtask", "--features", "translate", "--", "shaders"]))
}
