//! `shaders`: every kernel in every shading language that a device may ask for.

use crate::{Verb, process::Result};

pub(crate) const VERB: Verb = Verb {
    name: "shaders",
    summary: "translate every kernel and variant to SPIR-V, MSL and HLSL",
    takes_arguments: false,
    run: |_| translate(),
};

/// The translation, which this build contains.
#[cfg(feature = "translate")]
pub(super) fn translate() -> Result {
    crate::translate::translate()
}

/// The translation, by this program built once more with a shader compiler in it.
#[cfg(not(feature = "translate"))]
pub(super) fn translate() -> Result {
    use crate::process::{cargo, run};

    run(&mut cargo(&["run", "--quiet", "--package", "xtask", "--features", "translate", "--", "shaders"]))
}
