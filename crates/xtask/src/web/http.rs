//! Requests to a server on this machine, with bodies in JSON: all that the WebDriver protocol needs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::process::Result;

/// Longest wait for an answer: the page computes for seconds on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Sends a request with a body, or one without, and returns the JSON of the answer, whatever its status.
pub(super) fn request(port: u16, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    let failed = |e: std::io::Error| format!("{method} {path}: {e}");
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
    connection.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let body = body.map(ToString::to_string).unwrap_or_default();
    write!(
        connection,
        "{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .map_err(failed)?;
    let mut answer = BufReader::new(connection);
    let (mut line, mut length) = (String::new(), None);
    loop {
        line.clear();
        if answer.read_line(&mut line).map_err(failed)? == 0 || line == "\r\n" {
            break;
        }
        let header = line.to_ascii_lowercase();
        length = header.strip_prefix("content-length:").and_then(|n| n.trim().parse().ok()).or(length);
    }
    let mut text = vec![0; length.ok_or_else(|| format!("{method} {path}: the answer has no length"))?];
    answer.read_exact(&mut text).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|e| format!("{method} {path}: {e}"))
}
