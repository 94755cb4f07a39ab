//! The allowlist of web origins, and the one way in which an `Origin` is compared, on every transport.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

/// The origins that browsers may call from, in one list that all its clones share. Empty by default: nothing
/// cross-origin.
#[derive(Clone, Default)]
pub struct Origins(Arc<RwLock<Box<[String]>>>);

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Origins").field(&*self.0.read()).finish()
    }
}

/// An entry of the allowlist that is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginsError {
    /// Nothing between two commas.
    #[error("an entry of the list of origins is empty")]
    Empty,
    /// `*` would let every page act with whatever credential it can get hold of.
    #[error("`*` is not accepted: list the origins, like https://app.example.org")]
    Wildcard,
    /// Not `scheme://host` or `scheme://host:port`.
    #[error("`{0}` is not an origin: write scheme://host or scheme://host:port, without a path")]
    NotAnOrigin(String),
}

impl Origins {
    /// Parses a comma-separated list; a text without any entry is the empty list.
    ///
    /// Scheme and host are compared without case; a default port and one trailing `/` are dropped.
    ///
    /// # Errors
    /// For the first entry that is empty, `*`, or not an origin.
    pub fn parse(list: &str) -> Result<Self, OriginsError> {
        if list.trim().is_empty() {
            return Ok(Self::default());
        }
        let entry = |entry: &str| match entry.trim() {
            "" => Err(OriginsError::Empty),
            "*" => Err(OriginsError::Wildcard),
            entry => normal(entry.strip_suffix('/').unwrap_or(entry))
                .ok_or_else(|| OriginsError::NotAnOrigin(entry.to_owned())),
        };
        let list = list.split(',').map(entry).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(RwLock::new(list))))
    }

    /// Whether nothing is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }

    /// The listed origins in their one spelling.
    #[must_use]
    pub fn list(&self) -> Vec<String> {
        self.0.read().to_vec()
    }

    /// Has the list of another from now on, here and in every clone.
    pub fn replace(&self, other: &Self) {
        // Never both locks at once: they may be the same one.
        let list = other.0.read().clone();
        *self.0.write() = list;
    }

    /// Whether this value of an `Origin` header is on the list.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        normal(origin).is_some_and(|origin| self.0.read().contains(&origin))
    }
}

/// The one spelling of an origin; `None` for anything else, also for `null`.
fn normal(origin: &str) -> Option<String> {
    let (scheme, authority) = origin.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let begins = scheme.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
        return None;
    }
    // The colons of an IPv6 address are inside its brackets.
    let port_at = authority.rfind(']').unwrap_or(0);
    let (host, port) = match authority[port_at..].rfind(':') {
        Some(colon) => (&authority[..port_at + colon], Some(&authority[port_at + colon + 1..])),
        None => (authority, None),
    };
    let host_is_plain = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)),
    };
    if host.is_empty() || !host_is_plain {
        return None;
    }
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse::<u16>().ok()?),
        Some(_) => return None,
    };
    let host = host.to_ascii_lowercase();
    let default = matches!((scheme.as_str(), port), ("http", Some(80)) | ("https", Some(443)));
    Some(match port.filter(|_| !default) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_parse() {
        for (list, expected) in [
            ("", &[][..]),
            ("  ", &[]),
            ("https://a.example", &["https://a.example"]),
            (" HTTPS://A.Example:443/ , http://b:8080", &["https://a.example", "http://b:8080"]),
            ("http://b:80", &["http://b"]),
            ("https://b:80", &["https://b:80"]),
            ("http://[::1]:3000", &["http://[::1]:3000"]),
            ("http://[::1]", &["http://[::1]"]),
            ("chrome-extension://abc", &["chrome-extension://abc"]),
        ] {
            let parsed = Origins::parse(list).unwrap();
            assert_eq!(parsed.list(), expected, "{list:?}");
        }
    }

    #[test]
    fn lists_refuse() {
        let parse = |list: &str| Origins::parse(list).map(|origins| origins.list());
        assert_eq!(parse("https://a,,https://b"), Err(OriginsError::Empty));
        assert_eq!(parse("https://a,"), Err(OriginsError::Empty));
        assert_eq!(parse("*"), Err(OriginsError::Wildcard));
        for entry in [
            "a.example",
            "null",
            "https://",
            "https:///",
            "https://a/b",
            "https://a//",
            "https://a?x",
            "https://a#x",
            "https://u@a",
            "https://a:",
            "https://a:99999",
            "https://a:+80",
            "https://*.example",
            "https://a b",
            "https://[::1",
            "https://[x]",
            "1http://a",
            "://a",
        ] {
            assert_eq!(parse(entry), Err(OriginsError::NotAnOrigin(entry.to_owned())), "{entry}");
        }
    }

    #[test]
    fn request_origins_match_without_case_and_default_port() {
        let origins = Origins::parse("https://app.example.org, http://localhost:5173").unwrap();
        for (origin, allowed) in [
            ("https://app.example.org", true),
            ("HTTPS://App.Example.ORG", true),
            ("https://app.example.org:443", true),
            ("http://localhost:5173", true),
            ("https://app.example.org/", false),
            ("https://app.example.org/x", false),
            ("https://app.example.org:444", false),
            ("http://app.example.org", false),
            ("http://localhost", false),
            ("https://evil.example/https://app.example.org", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(origins.allows(origin), allowed, "{origin:?}");
        }
    }

    #[test]
    fn clones_share_one_list() {
        let origins = Origins::parse("https://a.example").unwrap();
        let clone = origins.clone();
        origins.replace(&Origins::parse("https://b.example").unwrap());
        assert!(clone.allows("https://b.example") && !clone.allows("https://a.example"));
        clone.replace(&origins);
        assert_eq!(origins.list(), ["https://b.example"]);
    }
}
