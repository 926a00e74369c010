//! Addresses: resolves redirects, and tells which hosts may receive the token.

use ureq::http::Uri;

/// Resolves the redirect `location` against `url`; `None` if it is not an address, or leaves https.
pub(super) fn join(url: &str, location: &str) -> Option<String> {
    let (scheme, host) = origin(url)?;
    let target = if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else {
        let path = url.split(['?', '#']).next()?;
        format!("{}/{location}", path.rsplit_once('/')?.0)
    };
    let target = target.split('#').next()?.to_owned();
    let (to, _) = origin(&target)?;
    (scheme == "http" || to == "https").then_some(target)
}

/// Returns scheme and host, with port, of an http(s) address.
pub(super) fn origin(url: &str) -> Option<(String, String)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme))?.to_owned();
    Some((scheme, uri.authority()?.as_str().to_ascii_lowercase()))
}

/// Percent-encodes a text as one part of a path.
pub(super) fn encoded(text: &str) -> String {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().fold(String::new(), |mut path, b| {
        match unreserved(b) {
            true => path.push(char::from(b)),
            false => path.push_str(&format!("%{b:02X}")),
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved() {
        let at = |location: &str| join("https://hub.org/a/b?c=/d", location);
        let to = |url: &str| Some(url.to_owned());
        assert_eq!(at("/x/y?z=1"), to("https://hub.org/x/y?z=1"));
        assert_eq!(at("y"), to("https://hub.org/a/y"));
        assert_eq!(at("//cdn.org/y"), to("https://cdn.org/y"));
        assert_eq!(at("https://cdn.org/y#z"), to("https://cdn.org/y"));
        assert_eq!(at("http://cdn.org/y"), None, "https is not left");
        assert_eq!(at("file:///etc/passwd"), None);
        assert_eq!(join("http://127.0.0.1:80/a", "http://127.0.0.1:81/b"), to("http://127.0.0.1:81/b"));
    }

    #[test]
    fn parts_of_an_address_are_encoded() {
        assert_eq!(encoded("refs/pr/3"), "refs%2Fpr%2F3");
        assert_eq!(encoded("a b?c#d%e&ü"), "a%20b%3Fc%23d%25e%26%C3%BC");
    }
}
