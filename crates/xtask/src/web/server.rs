//! A server of static files on the loopback address.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::UNIX_EPOCH;

use crate::process::Result;

/// A server that listens on this machine alone.
pub(crate) struct Server(TcpListener);

impl Server {
    /// Listens at a port; 0 is any free one.
    pub(crate) fn bind(port: u16) -> Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, port);
        let bound = TcpListener::bind(address);
        Ok(Self(bound.map_err(|e| format!("port {port}: {e}; name another one: `cargo xtask serve PORT`"))?))
    }

    /// Returns where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap_or_else(|_| (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Serves a folder until the process ends.
    pub(crate) fn serve(&self, folder: &Path) -> Result {
        for connection in self.0.incoming() {
            let Ok(connection) = connection else { continue };
            let folder = folder.to_owned();
            // A browser that leaves in the middle of an answer is no failure of the server.
            thread::spawn(move || drop(answer(&connection, &folder)));
        }
        Ok(())
    }
}

/// Longest request line and header that are read.
const LONGEST: u64 = 16 << 10;

/// Answers one request; the connection is closed then.
fn answer(connection: &TcpStream, folder: &Path) -> std::io::Result<()> {
    use std::io::Read;

    let mut lines = BufReader::new(connection.take(LONGEST)).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    // A browser waits for its request to be read before it reads the answer.
    let mut known = String::new();
    for line in lines.map_while(std::io::Result::ok).take_while(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("if-none-match")
        {
            value.trim().clone_into(&mut known);
        }
    }
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut out = connection;
    if !["GET", "HEAD"].contains(&method) {
        return out.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let opened = inside(path).map(|path| folder.join(path)).and_then(|path| {
        let file = File::open(&path).ok()?;
        let about = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        // A file that was built again has another time.
        let changed = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
        Some((file, about.len(), kind(&path), format!("\"{changed:x}-{:x}\"", about.len())))
    });
    let Some((mut file, length, kind, tag)) = opened else {
        return out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    if known == tag {
        return write!(out, "HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\nConnection: close\r\n\r\n");
    }
    // The browser asks each time, and fetches a file again only if it has changed.
    write!(
        out,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-cache\r\n\
         Content-Security-Policy: {}\r\nETag: {tag}\r\nConnection: close\r\n\r\n",
        policy()
    )?;
    if method == "GET" {
        std::io::copy(&mut file, &mut out)?;
    }
    Ok(())
}

/// The page, whose head has its content security policy.
const PAGE: &str = include_str!("../../../web/page/index.html");

/// Returns the content security policy of the page, for the worker, which has that of its own file.
fn policy() -> &'static str {
    let after = PAGE.split_once("\"Content-Security-Policy\" content=\"").map_or("", |(_, after)| after);
    after.split('"').next().unwrap_or_default()
}

/// Returns the file that the path of a request names, relative to the folder; `None` if it leads out of it.
fn inside(path: &str) -> Option<PathBuf> {
    let path = path.split(['?', '#']).next()?.strip_prefix('/')?;
    let path = if path.is_empty() { "index.html" } else { path };
    // The page's own files have plain names, so nothing needs decoding.
    let is_plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    (is_plain && !path.contains(['\\', ':', '%'])).then(|| PathBuf::from(path))
}

/// Returns the media type of a file.
fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_that_of_the_page() {
        assert!(policy().starts_with("default-src 'none'; "), "{}", policy());
        assert!(policy().contains("; connect-src 'self' blob:; "), "{}", policy());
    }

    #[test]
    fn requests_stay_inside_of_the_folder() {
        assert_eq!(inside("/"), Some("index.html".into()));
        assert_eq!(inside("/models/a/config.json?x#y"), Some("models/a/config.json".into()));
        for outside in ["", "index.html", "/../Cargo.toml", "/a/../../b", "//etc/passwd", "/%2e%2e/x", "/a\\b", "/c:x"]
        {
            assert_eq!(inside(outside), None, "{outside}");
        }
    }

    #[test]
    fn files_are_served_and_others_are_not() {
        use std::io::Read;

        let folder = std::env::temp_dir().join(format!("resolvent-serve-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("index.html"), "<p>here").expect("writable");
        let server = Server::bind(0).expect("a free port");
        let (address, root) = (server.address(), folder.clone());
        assert!(address.ip().is_loopback());
        thread::spawn(move || server.serve(&root));
        let get = |request: &str| {
            let mut connection = TcpStream::connect(address).expect("listens");
            write!(connection, "{request}\r\nHost: x\r\n\r\n").expect("is read");
            let mut all = String::new();
            connection.read_to_string(&mut all).expect("text");
            all
        };
        let page = get("GET / HTTP/1.1");
        assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("\r\n\r\n<p>here"), "{page}");
        assert!(page.contains("text/html") && page.contains("Content-Length: 7\r\n"), "{page}");
        let tag = page.split("ETag: ").nth(1).and_then(|rest| rest.lines().next()).expect("a tag");
        assert!(get(&format!("GET / HTTP/1.1\r\nif-none-match: {tag}")).starts_with("HTTP/1.1 304"));
        assert!(get("GET / HTTP/1.1\r\nIf-None-Match: \"other\"").starts_with("HTTP/1.1 200"));
        assert!(get("HEAD / HTTP/1.1").ends_with("\r\n\r\n"));
        assert!(get("GET /missing HTTP/1.1").starts_with("HTTP/1.1 404"));
        assert!(get("GET /../x HTTP/1.1").starts_with("HTTP/1.1 404"));
        assert!(get("POST / HTTP/1.1").starts_with("HTTP/1.1 405"));
        std::fs::remove_dir_all(&folder).expect("is there");
    }
}
