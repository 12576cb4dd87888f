//! Addresses of the web, and what of them may be shown.

use url::Url;

use crate::error::{Error, FetchErrorKind, Result};

/// The address without credentials and without its query, which may hold a signature.
pub(crate) fn shown(address: &str) -> String {
    let end = address.find(['?', '#']).unwrap_or(address.len());
    let address = &address[..end];
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// An address that can be asked.
///
/// # Errors
/// [`Error::Fetch`] of the kind `Invalid` for one that is not complete or not of the web.
pub(crate) fn parse(address: &str) -> Result<Url> {
    let invalid = |reason: String| Error::fetch(shown(address), FetchErrorKind::Invalid, reason);
    let url = Url::parse(address).map_err(|error| invalid(format!("not an address: {error}")))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        other => Err(invalid(format!("addresses begin with http:// or https://, not with {other}:"))),
    }
}

/// Whether credentials for one address may be shown to the other: same scheme, host and port.
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// Whether the address is one of this machine, which no proxy reaches.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// One segment of a path, or a value of a query: everything but letters, digits and `-._~` is percent-encoded (RFC 3986).
pub(crate) fn encoded(segment: &str) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// A path of a repository, encoded segment by segment.
///
/// # Errors
/// [`Error::Fetch`] of the kind `Invalid` for a path that would name something else once it is part of an address: with an
/// empty segment, `.` or `..`.
pub(crate) fn encoded_path(about: &str, path: &str) -> Result<String> {
    if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        let reason = format!("{path:?} is not a path of a repository");
        return Err(Error::fetch(about, FetchErrorKind::Invalid, reason));
    }
    Ok(path.split('/').map(encoded).collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_holds_no_secret() {
        assert_eq!(shown("https://a:b@host:1/x/y?Signature=z#f"), "https://host:1/x/y");
        assert_eq!(shown("https://host?token=z"), "https://host");
        assert_eq!(shown("/x/@y?z"), "/x/@y");
        assert_eq!(shown("http://host/a@b"), "http://host/a@b");
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        let same = |one: &str, other: &str| same_origin(&parse(one).unwrap(), &parse(other).unwrap());
        assert!(same("https://host/a", "https://HOST:443/b?c"));
        assert!(!same("https://host/a", "http://host/a"));
        assert!(!same("https://host/a", "https://host:444/a"));
        assert!(!same("https://host/a", "https://cdn.host/a"));
        assert!(!same("https://host/a", "https://host.evil/a"));
    }

    #[test]
    fn paths_are_encoded_by_segment() {
        assert_eq!(encoded_path("", "a b/ü#?/100%.zip").unwrap(), "a%20b/%C3%BC%23%3F/100%25.zip");
        for path in ["../x", "a//b", "a/./b", "/a", "", "a/.."] {
            assert!(encoded_path("", path).is_err(), "{path}");
        }
    }

    #[test]
    fn only_addresses_of_the_web_are_asked() {
        for address in ["file:///etc/passwd", "ftp://host/x", "host/x", "https://", "data:,x"] {
            assert!(parse(address).is_err(), "{address}");
        }
        for (address, local) in [
            ("http://127.0.0.1:80/", true),
            ("http://[::1]/", true),
            ("http://localhost/", true),
            ("http://localhost.example/", false),
            ("http://128.0.0.1/", false),
        ] {
            assert_eq!(is_loopback(&parse(address).unwrap()), local, "{address}");
        }
    }
}
