//! `serve`: builds the page for browsers, and serves it on this machine.

use crate::{Verb, process::Result, web};

pub(crate) const VERB: Verb = Verb {
    name: "serve",
    summary: "build target/web, and serve it on this machine alone until it is stopped [PORT]",
    takes_arguments: true,
    run: serve,
};

/// Where the page is served, unless another port is given.
const PORT: u16 = 8020;

fn serve(arguments: &[String]) -> Result {
    let port = match arguments {
        [] => PORT,
        [port] => port.parse().map_err(|_| format!("invalid port `{port}`: expected a number up to 65535"))?,
        _ => return Err("expected one port at most".to_owned()),
    };
    let folder = web::build()?;
    let server = web::Server::bind(port)?;
    eprintln!("http://{} (stop with Ctrl-C)", server.address());
    server.serve(&folder)
}
