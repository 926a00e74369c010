//! `serve`: builds the page for browsers, and serves it on this machine.

use crate::{Verb, process::Result};

pub(crate) const VERB: Verb = Verb {
    name: "serve",
    summary: "build target/web, and serve it on this machine alone until it is stopped [PORT]",
    takes_arguments: true,
    run: serve,
};

/// Where the page is served, unless another port is given.
#[cfg(feature = "browser")]
const PORT: u16 = 8020;

#[cfg(feature = "browser")]
fn serve(arguments: &[String]) -> Result {
    let port = match arguments {
        [] => PORT,
        [port] => port.parse().map_err(|_| format!("invalid port `{port}`: expected a number up to 65535"))?,
        _ => return Err("expected one port at most".to_owned()),
    };
    let folder = crate::web::build()?;
    let server = crate::web::Server::bind(port)?;
    eprintln!("http://{} (stop with Ctrl-C)", server.address());
    server.serve(&folder)
}

#[cfg(not(feature = "browser"))]
fn serve(arguments: &[String]) -> Result {
    super::web::again("serve", arguments)
}
