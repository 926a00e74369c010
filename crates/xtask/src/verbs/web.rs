//! `web`: the page for browsers, as static files.

use crate::{Verb, web};

pub(crate) const VERB: Verb = Verb {
    name: "web",
    summary: "build the page for browsers (WebAssembly) into target/web",
    takes_arguments: false,
    run: |_| web::build().map(drop),
};
