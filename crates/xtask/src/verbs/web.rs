//! `web`: the page for browsers, as static files.

use crate::{Verb, process::Result};

pub(crate) const VERB: Verb = Verb {
    name: "web",
    summary: "build the page for browsers (WebAssembly) into target/web",
    takes_arguments: false,
    run: build,
};

/// Builds in this process, whose build contains wasm-bindgen.
#[cfg(feature = "browser")]
fn build(_: &[String]) -> Result {
    crate::web::build().map(drop)
}

#[cfg(not(feature = "browser"))]
fn build(_: &[String]) -> Result {
    again("web", &[])
}

/// Runs a verb in another process: this program, built again with wasm-bindgen and a reader of JSON.
#[cfg(not(feature = "browser"))]
pub(super) fn again(verb: &str, arguments: &[String]) -> Result {
    use crate::process::{cargo, run};

    let mut again = cargo(&["run", "--quiet", "--package", "xtask", "--features", "browser", "--", verb]);
    run(again.args(arguments))
}
