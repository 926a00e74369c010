//! `web`: the page for browsers, as static files.

use crate::{Verb, process::Result};

pub(crate) const VERB: Verb = Verb {
    name: "web",
    summary: "build the page for browsers (WebAssembly) into target/web",
    takes_arguments: false,
    run: |_| build(),
};

/// Builds in this process, whose build contains wasm-bindgen.
#[cfg(feature = "web")]
fn build() -> Result {
    use crate::web::{Profile, build};

    build(Profile::Published).map(drop)
}

/// Builds in another process: this program, built again with wasm-bindgen.
#[cfg(not(feature = "web"))]
fn build() -> Result {
    crate::process::again("web", VERB.name, &[])
}
