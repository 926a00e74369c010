//! `web-test`: the page in a real browser.

use crate::{Verb, process::Result};

pub(crate) const VERB: Verb = Verb {
    name: "web-test",
    summary: "build target/web, use it in a headless browser, and compare its numbers with the command line's [STEP ... | --short]",
    takes_arguments: true,
    run: test,
};

#[cfg(feature = "browser")]
fn test(steps: &[String]) -> Result {
    crate::web::test(steps)
}

#[cfg(not(feature = "browser"))]
fn test(steps: &[String]) -> Result {
    super::web::again("web-test", steps)
}
