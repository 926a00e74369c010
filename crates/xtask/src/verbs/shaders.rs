//! `shaders`: translates every kernel to every shading language that a device may need.

use crate::{Verb, process::Result};

pub(crate) const VERB: Verb = Verb {
    name: "shaders",
    summary: "translate every kernel and variant to SPIR-V, MSL and HLSL, and compare the hashes; or `renew` them",
    takes_arguments: true,
    run: shaders,
};

fn shaders(arguments: &[String]) -> Result {
    match arguments {
        [] => translate(false),
        [renew] if renew == "renew" => translate(true),
        _ => Err("expected nothing, or `renew`".to_owned()),
    }
}

/// Translates all kernels in this process, whose build contains the shader compiler.
#[cfg(feature = "translate")]
pub(super) fn translate(renew: bool) -> Result {
    crate::translate::translate(renew)
}

/// Translates all kernels in another process: this program, built again with the shader compiler.
#[cfg(not(feature = "translate"))]
pub(super) fn translate(renew: bool) -> Result {
    use crate::process::{cargo, run};

    let mut again = cargo(&["run", "--quiet", "--package", "xtask", "--features", "translate", "--", "shaders"]);
    run(again.args(renew.then_some("renew")))
}
