//! `web-test`: the page in a real browser.

use crate::{Verb, process::Result};

pub(crate) const VERB: Verb = Verb {
    name: "web-test",
    summary: "build target/web, use it in a headless browser, and compare its numbers with the command line's",
    takes_arguments: false,
    run: |_| test(),
};

/// Tests in this process, whose build can read JSON.
#[cfg(feature = "browser")]
fn test() -> Result {
    crate::web::test()
}

/// Tests in another process: this program, built again so that it can read JSON.
#[cfg(not(feature = "browser"))]
fn test() -> Result {
    use crate::process::{cargo, run};

    run(&mut cargo(&["run", "--quiet", "--package", "xtask", "--features", "browser", "--", "web-test"]))
}
