//! `web-test`: the page in a real browser.

use crate::{Verb, process::Result};

pub(crate) const VERB: Verb = Verb {
    name: "web-test",
    summary: "build target/web, use it in a headless browser, and compare its numbers with the command line's [STEP ... | --short]",
    takes_arguments: true,
    run: test,
};

/// Tests in this process, whose build can read JSON.
#[cfg(feature = "browser")]
fn test(steps: &[String]) -> Result {
    crate::web::test(steps)
}

/// Tests in another process: this program, built again so that it can read JSON.
#[cfg(not(feature = "browser"))]
fn test(steps: &[String]) -> Result {
    use crate::process::{cargo, run};

    let mut again = cargo(&["run", "--quiet", "--package", "xtask", "--features", "browser", "--", "web-test"]);
    run(again.args(steps))
}
