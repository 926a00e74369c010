//! Requests to a hub, and its answers. Only this module and `address` name the HTTP client.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LOCATION, RANGE};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::Hub;
use super::address::{encoded, join, origin};
use super::name::is_commit;
use crate::error::shown;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(20);
/// Longest wait for further bytes of a connection.
const SILENCE: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 10;

/// The reason why a request to a hub failed, as a part of a message, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) message: String,
    pub(super) fix: String,
}

impl Trouble {
    pub(super) fn new(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { message: message.into(), fix: fix.into() }
    }
}

/// The address of one file of a repository.
#[derive(Clone, Copy)]
pub(super) struct RepoFile<'a> {
    pub(super) repo: &'a str,
    pub(super) revision: &'a str,
    pub(super) file: &'a str,
}

/// A hub's description of a file, obtained before its download.
#[derive(Debug)]
pub(super) struct Meta {
    /// The commit of the revision.
    pub(super) commit: String,
    /// Identifier of the content. If it has 64 digits, it is the SHA-256.
    pub(super) etag: String,
    /// Size in bytes.
    pub(super) size: u64,
    /// Address of exactly this content, if the hub has given one. It may expire after an hour or so.
    pub(super) at: Option<String>,
}

/// Whether a repository has a file.
pub(super) enum Found {
    File(Meta),
    /// The repository has no file of this name.
    Absent,
}

/// The content of a file, or the rest of it.
pub(super) struct Content {
    /// Position of the first byte.
    pub(super) start: u64,
    /// Size of the whole file, if the server states it.
    pub(super) size: Option<u64>,
    pub(super) bytes: Box<dyn Read>,
}

/// A client of one hub.
pub(super) struct Remote<'a> {
    agent: Agent,
    endpoint: &'a str,
    token: Option<&'a str>,
}

impl<'a> Remote<'a> {
    pub(super) fn new(hub: &'a Hub) -> Result<Self, Trouble> {
        let endpoint = hub.endpoint.as_str();
        if origin(endpoint).is_none() {
            let message = format!("invalid address `{}`: expected http://HOST or https://HOST", shown(endpoint));
            return Err(Trouble::new(message, "check HF_ENDPOINT"));
        }
        // The HTTP client would report a token that is not a valid header value as a network fault.
        if let Some(token) = hub.token.as_deref().filter(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            let at = token.bytes().position(|b| !b.is_ascii_graphic()).unwrap_or_default();
            let message = format!("invalid HF_TOKEN: character {} cannot be part of a token", at + 1);
            return Err(Trouble::new(message, "set HF_TOKEN to the token alone, without spaces or line breaks"));
        }
        let roots = hub.certificates.as_deref().map_or(Ok(RootCerts::WebPki), roots)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // This module follows redirects itself: only the hub may receive the token, and every answer's headers are
            // read.
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("resolvent/", env!("CARGO_PKG_VERSION")))
            // The stated sizes are those of the files only if nothing is compressed in transfer.
            .accept_encoding("identity")
            .tls_config(TlsConfig::builder().root_certs(roots).build());
        Ok(Self { agent: config.build().into(), endpoint, token: hub.token.as_deref() })
    }

    /// Looks up a file of a repository. `known` says whether the hub is known to have the repository.
    pub(super) fn look_up(&self, file: RepoFile<'_>, known: bool) -> Result<Found, Trouble> {
        let (mut url, mut seen) = (self.url(file), Seen::default());
        for _ in 0..MAX_REDIRECTS {
            let answer = self.agent.head(&url);
            let answer = self.send(answer, &url)?;
            seen.note(answer.headers());
            match next(&url, &answer)? {
                Some(target) => {
                    let leaves = origin(&target) != origin(&url);
                    url = target;
                    // A redirect to another host leads to the content. It need not be followed once the answers have
                    // described the file.
                    if !(leaves && seen.is_whole()) {
                        continue;
                    }
                }
                None if answer.status().is_success() => seen.note_last(answer.headers()),
                None => return self.refusal(file, known, &answer),
            }
            return self.meta(seen, url).map(Found::File).ok_or_else(|| {
                let message = format!("{} does not answer as a hub does", self.endpoint);
                Trouble::new(message, "check HF_ENDPOINT, and whether a proxy or a login page answers instead")
            });
        }
        Err(self.redirects())
    }

    /// Requests the content at an address from byte `from` on. A server may send it from the start instead.
    pub(super) fn content(&self, mut url: String, from: u64) -> Result<Content, Trouble> {
        for _ in 0..MAX_REDIRECTS {
            let mut request = self.agent.get(&url);
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let answer = self.send(request, &url)?;
            if let Some(target) = next(&url, &answer)? {
                url = target;
                continue;
            }
            let (start, size) = match answer.status() {
                StatusCode::OK => (0, number(answer.headers(), CONTENT_LENGTH.as_str())),
                StatusCode::PARTIAL_CONTENT => range(answer.headers()).ok_or_else(|| self.odd("Content-Range"))?,
                StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => return self.content(url, 0),
                status => return Err(self.status(status)),
            };
            return Ok(Content { start, size, bytes: Box::new(answer.into_body().into_reader()) });
        }
        Err(self.redirects())
    }

    /// Returns the hub's own address of a file.
    pub(super) fn url(&self, RepoFile { repo, revision, file }: RepoFile<'_>) -> String {
        format!("{}/{repo}/resolve/{}/{}", self.endpoint, encoded(revision), encoded(file))
    }

    fn send(
        &self,
        mut request: ureq::RequestBuilder<ureq::typestate::WithoutBody>,
        url: &str,
    ) -> Result<Response<Body>, Trouble> {
        if let Some(token) = self.token.filter(|_| origin(url) == origin(self.endpoint)) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request.call().map_err(|error| {
            let host = origin(url).map_or_else(|| self.endpoint.to_owned(), |(s, host)| format!("{s}://{host}"));
            let reason = reason(&error);
            let fix = match reason.contains("certificate") {
                true => "behind a proxy that rewrites TLS, set SSL_CERT_FILE to its certificates",
                false => "check the network and the name",
            };
            Trouble::new(format!("{host} cannot be reached: {reason}"), fix)
        })
    }

    /// Returns the description of a file that the answers gave. `url` is the last address.
    fn meta(&self, seen: Seen, url: String) -> Option<Meta> {
        let meta = seen.meta()?;
        // An address on another host or with the commit always denotes this content. The file of a branch may change.
        let exact = origin(&url) != origin(self.endpoint) || url.contains(&meta.commit);
        Some(Meta { at: exact.then_some(url), ..meta })
    }

    /// Interprets an answer other than success for a file.
    fn refusal(&self, file: RepoFile<'_>, known: bool, answer: &Response<Body>) -> Result<Found, Trouble> {
        let (endpoint, repo, status) = (self.endpoint, file.repo, answer.status());
        let code = answer.headers().get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        Err(match (status.as_u16(), code) {
            (404, "EntryNotFound") => return Ok(Found::Absent),
            (_, "RevisionNotFound") => Trouble::new(
                format!("{endpoint}/{repo} has no revision `{}`", file.revision),
                "check what follows the @",
            ),
            (_, "GatedRepo") => {
                Trouble::new(format!("{endpoint}/{repo} is gated"), "accept its terms on that page, and set HF_TOKEN")
            }
            (404, _) if known => return Ok(Found::Absent),
            // The hub refuses a model with an error code, but an invalid token without one.
            (401 | 403, "") if self.token.is_some() => self.status(status),
            (401 | 403 | 404, _) => Trouble::new(
                format!("{endpoint} shows no model `{repo}` ({})", status.as_u16()),
                match self.token {
                    Some(_) => "check the name, and HF_TOKEN if it is private",
                    None => "check the name, or set HF_TOKEN if it is private",
                },
            ),
            _ => self.status(status),
        })
    }

    fn status(&self, status: StatusCode) -> Trouble {
        let (endpoint, code) = (self.endpoint, status.as_u16());
        match (code, self.token) {
            (401, Some(_)) => Trouble::new(
                format!("{endpoint} refuses the token in HF_TOKEN ({code})"),
                "set HF_TOKEN to a valid token, or unset it for a public model",
            ),
            (403, Some(_)) => Trouble::new(
                format!("the token in HF_TOKEN does not give access at {endpoint} ({code})"),
                "set HF_TOKEN to a token that may read this model, or unset it for a public model",
            ),
            (401 | 403, None) => Trouble::new(format!("{endpoint} asks for a token ({code})"), "set HF_TOKEN to one"),
            _ => Trouble::new(format!("{endpoint} answers {status}"), "try again later"),
        }
    }

    fn redirects(&self) -> Trouble {
        Trouble::new(format!("{} redirects without end", self.endpoint), "check HF_ENDPOINT")
    }

    fn odd(&self, header: &str) -> Trouble {
        Trouble::new(format!("{} sends an invalid {header} header", self.endpoint), "check HF_ENDPOINT")
    }
}

/// The description of a file, from the headers of the answers so far. Redirects to large files have headers of their
/// own; the last answer describes any other file.
#[derive(Default)]
struct Seen {
    commit: Option<String>,
    etag: Option<String>,
    size: Option<u64>,
}

impl Seen {
    fn note(&mut self, headers: &HeaderMap) {
        self.commit = self.commit.take().or_else(|| text(headers, "x-repo-commit"));
        self.etag = self.etag.take().or_else(|| text(headers, "x-linked-etag"));
        self.size = self.size.or_else(|| number(headers, "x-linked-size"));
    }

    fn note_last(&mut self, headers: &HeaderMap) {
        self.etag = self.etag.take().or_else(|| text(headers, ETAG.as_str()));
        self.size = self.size.or_else(|| number(headers, CONTENT_LENGTH.as_str()));
    }

    fn is_whole(&self) -> bool {
        self.commit.is_some() && self.etag.is_some() && self.size.is_some()
    }

    /// Returns the description if it is complete, and safe to be part of a path.
    fn meta(self) -> Option<Meta> {
        let commit = self.commit.filter(|commit| is_commit(commit))?;
        let etag = self.etag?;
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let safe = !etag.is_empty() && etag.len() <= 128 && !etag.starts_with('.') && etag.bytes().all(allowed);
        Some(Meta { commit, etag: safe.then(|| etag.to_owned())?, size: self.size?, at: None })
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

/// Parses `Content-Range: bytes 5-9/10` into the start and the size of the whole file.
fn range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let range = text(headers, CONTENT_RANGE.as_str())?;
    let (span, size) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((span.split_once('-')?.0.parse().ok()?, size.parse().ok()))
}

/// Returns the target of a redirect; `None` for any other answer.
fn next(url: &str, answer: &Response<Body>) -> Result<Option<String>, Trouble> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let target = text(answer.headers(), LOCATION.as_str()).and_then(|location| join(url, &location));
    target.map(Some).ok_or_else(|| {
        let message = format!("{} redirects to an address that cannot be followed", shown(url));
        Trouble::new(message, "check HF_ENDPOINT")
    })
}

/// Reads the certificates of a PEM file, which replace the built-in ones.
fn roots(path: &Path) -> Result<RootCerts, Trouble> {
    let unusable = |why: String| {
        let message = format!("the certificates in {} cannot be used: {why}", path.display());
        Trouble::new(message, "check SSL_CERT_FILE")
    };
    let text = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match certificates.is_empty() {
        true => Err(unusable("it contains no certificate in PEM format".to_owned())),
        false => Ok(RootCerts::new_with_certs(&certificates)),
    }
}

/// Describes why a request failed. A system error appears without the text that the client adds.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::HostNotFound => "no such host".to_owned(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_paths_are_checked() {
        let meta = |commit: &str, etag: &str| {
            let seen = Seen { commit: Some(commit.to_owned()), etag: Some(etag.to_owned()), size: Some(1) };
            seen.meta().map(|meta| meta.etag)
        };
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(meta(commit, "\"abc\"").as_deref(), Some("abc"));
        assert_eq!(meta(commit, "W/\"abc-gzip\"").as_deref(), Some("abc-gzip"));
        for etag in ["", "\"\"", "..", "../x", "a/b", "a\\b", "a:b", ".x"] {
            assert_eq!(meta(commit, etag), None, "{etag}");
        }
        for commit in ["", "main", "../../../../etc", "0123456789ABCDEF0123456789abcdef01234567"] {
            assert_eq!(meta(commit, "abc"), None, "{commit}");
        }
    }

    #[test]
    fn ranges_are_read() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, value.parse().expect("a header"));
            range(&headers)
        };
        assert_eq!(of("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(of("bytes 5-9/*"), Some((5, None)));
        for value in ["bytes */10", "5-9/10", "bytes 5", "bytes -9/10"] {
            assert_eq!(of(value), None, "{value}");
        }
    }
}
