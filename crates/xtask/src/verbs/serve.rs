//! `serve`: builds the page for browsers, and serves it on this machine.

use crate::{Verb, process::Result};

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
    build_and_serve(port)
}

/// Builds in this process, whose build contains wasm-bindgen.
#[cfg(feature = "web")]
fn build_and_serve(port: u16) -> Result {
    use crate::web::{Profile, Server, build};

    let folder = build(Profile::Published)?;
    let server = Server::bind(port)?;
    eprintln!("http://{} (stop with Ctrl-C)", server.address());
    server.serve(&folder)
}

/// Builds in another process: this program, built again with wasm-bindgen.
#[cfg(not(feature = "web"))]
fn build_and_serve(port: u16) -> Result {
    crate::process::again("web", VERB.name, &[port.to_string()])
}
