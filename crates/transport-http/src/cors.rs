//! Cross-origin access: the allowlist of origins, preflights, and the headers of actual responses.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::error::bare;

const ALLOW_METHODS: HeaderValue = HeaderValue::from_static("POST");
const ALLOW_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, Last-Event-ID, traceparent, tracestate");
const EXPOSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "MACP-Error-Code, MACP-High-Water-Sequence, ETag, Link, Retry-After, RateLimit, RateLimit-Policy",
);
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");

/// The origins that browsers may call from. Empty by default: nothing cross-origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Arc<[String]>);

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
        Ok(Self(list.split(',').map(entry).collect::<Result<_, _>>()?))
    }

    /// Whether nothing is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The listed origins in their one spelling.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether this value of an `Origin` header is on the list.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        normal(origin).is_some_and(|origin| self.0.contains(&origin))
    }

    /// The request's origin as sent, if there is exactly one and it is on the list.
    fn listed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.is_empty() {
            return None;
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        let (origin, None) = (origins.next()?, origins.next()) else { return None };
        let listed = self.allows(origin.to_str().ok()?);
        if !listed {
            tracing::debug!(?origin, "origin is not on the list (MACP_HTTP_CORS_ORIGINS)");
        }
        listed.then(|| origin.clone())
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

/// The answer to `OPTIONS` on any path: always 204, with permissions only for a listed origin.
pub(crate) fn preflight(origins: &Origins, headers: &HeaderMap) -> Response {
    let mut response = bare(StatusCode::NO_CONTENT);
    if let Some(origin) = origins.listed(headers) {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, ALLOW_METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOW_HEADERS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        headers.insert(VARY, VARY_ORIGIN);
    }
    response
}

/// Lets a listed origin read an actual response, whatever its status. Only for a list that is not empty.
pub(crate) async fn decorate(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS {
        return next.run(request).await;
    }
    let origin = origins.listed(request.headers());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE_HEADERS);
    }
    headers.append(VARY, VARY_ORIGIN);
    response
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
            assert_eq!(parsed.iter().collect::<Vec<_>>(), expected, "{list:?}");
        }
    }

    #[test]
    fn lists_refuse() {
        assert_eq!(Origins::parse("https://a,,https://b"), Err(OriginsError::Empty));
        assert_eq!(Origins::parse("https://a,"), Err(OriginsError::Empty));
        assert_eq!(Origins::parse("*"), Err(OriginsError::Wildcard));
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
            assert_eq!(Origins::parse(entry), Err(OriginsError::NotAnOrigin(entry.to_owned())), "{entry}");
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
}
