//! What a client asks for in its upgrade request: the protocol's own headers, subprotocol and credential.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{
    AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, Uri, Version};
use macp_auth::bearer;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::frame::Encoding;

const JSON: &str = "macp.v1.json";
const PROTO: &str = "macp.v1.proto";
/// An offered subprotocol with this beginning carries a credential: browsers can set no other header.
const BEARER: &str = "macp.bearer.";

/// A well-formed request for a WebSocket.
pub(crate) struct Handshake {
    /// Value of `Sec-WebSocket-Accept`.
    pub(crate) accept: String,
    /// The subprotocol to echo.
    pub(crate) protocol: Option<&'static str>,
    pub(crate) encoding: Encoding,
    pub(crate) credential: Credential,
}

/// What the request says about who is calling.
#[derive(PartialEq, Eq)]
pub(crate) enum Credential {
    None,
    Token(String),
    Ticket(String),
    /// Unusable; the text says why without repeating it.
    Bad(&'static str),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token(redacted)",
            Self::Ticket(_) => "Ticket(redacted)",
            Self::Bad(_) => "Bad",
        })
    }
}

/// Why a request cannot become a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// 426: not an upgrade to WebSocket 13.
    NotWebSocket,
    /// 400.
    Malformed(&'static str),
}

/// Reads the request's head.
pub(crate) fn read(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<Handshake, Refused> {
    let upgrades = lists(headers, &CONNECTION, "upgrade") && lists(headers, &UPGRADE, "websocket");
    let is_13 = headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|value| value == "13");
    if version != Version::HTTP_11 || !upgrades || !is_13 {
        return Err(Refused::NotWebSocket);
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .filter(|key| STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16))
        .ok_or(Refused::Malformed("Sec-WebSocket-Key is not base64 of 16 bytes"))?;
    let offered: Vec<&str> = tokens(headers, &SEC_WEBSOCKET_PROTOCOL).collect();
    let (protocol, encoding) = negotiate(&offered)?;
    Ok(Handshake {
        accept: derive_accept_key(key.as_bytes()),
        protocol,
        encoding,
        credential: credential(uri, headers, &offered),
    })
}

/// The first offered data subprotocol that is known; JSON when none is offered.
fn negotiate(offered: &[&str]) -> Result<(Option<&'static str>, Encoding), Refused> {
    let mut data = offered.iter().filter(|name| !name.starts_with(BEARER)).peekable();
    if data.peek().is_none() {
        return Ok((None, Encoding::Json));
    }
    data.find_map(|name| match *name {
        JSON => Some((Some(JSON), Encoding::Json)),
        PROTO => Some((Some(PROTO), Encoding::Proto)),
        _ => None,
    })
    .ok_or(Refused::Malformed("no offered subprotocol is known here: offer macp.v1.json or macp.v1.proto"))
}

/// The one credential of the request. A value of `Authorization` that is no bearer counts as none, as on HTTP.
fn credential(uri: &Uri, headers: &HeaderMap, offered: &[&str]) -> Credential {
    let mut found = Vec::new();
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    match (authorizations.next(), authorizations.next()) {
        (None, _) => {}
        (Some(value), None) => match std::str::from_utf8(value.as_bytes()) {
            Ok(value) => found.extend(bearer(value).map(|token| Credential::Token(token.to_owned()))),
            Err(_) => return Credential::Bad("the Authorization header is not UTF-8"),
        },
        (Some(_), Some(_)) => return Credential::Bad("send one Authorization header"),
    }
    for encoded in offered.iter().filter_map(|name| name.strip_prefix(BEARER)) {
        let token = URL_SAFE_NO_PAD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        match token {
            Some(token) if !token.is_empty() => found.push(Credential::Token(token)),
            _ => {
                return Credential::Bad(
                    "the credential in macp.bearer. is not unpadded base64url of a token",
                );
            }
        }
    }
    for ticket in uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.strip_prefix("ticket=")) {
        found.push(Credential::Ticket(ticket.to_owned()));
    }
    match (found.pop(), found.is_empty()) {
        (None, _) => Credential::None,
        (Some(one), true) => one,
        // Which of them counts must not depend on who reads first, a proxy or this server.
        (Some(_), false) => Credential::Bad("send one credential"),
    }
}

/// The members of a comma-separated header, repeated or not.
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|one| one.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(extra: &[(&str, &str)]) -> HeaderMap {
        let base = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        base.iter()
            .chain(extra)
            .map(|(name, value)| {
                (
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    http::HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn read_with(query: &str, extra: &[(&str, &str)]) -> Result<Handshake, Refused> {
        let uri: Uri = format!("/macp/v1/ws{query}").parse().unwrap();
        read(Version::HTTP_11, &uri, &request(extra))
    }

    #[test]
    fn the_accept_value_of_the_rfc() {
        let handshake = read_with("", &[]).unwrap();
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn only_websocket_13_over_http_1_1() {
        let uri = Uri::from_static("/macp/v1/ws");
        for (name, value) in [("connection", "close"), ("upgrade", "h2c"), ("sec-websocket-version", "8")] {
            let mut headers = request(&[]);
            headers.insert(name, value.parse().unwrap());
            assert_eq!(
                read(Version::HTTP_11, &uri, &headers).err(),
                Some(Refused::NotWebSocket),
                "{name}: {value}"
            );
        }
        assert_eq!(read(Version::HTTP_2, &uri, &request(&[])).err(), Some(Refused::NotWebSocket));
        for key in ["", "dGhlIHNhbXBsZSBub25jZQ", "c2hvcnQ="] {
            let mut headers = request(&[]);
            headers.insert(SEC_WEBSOCKET_KEY, key.parse().unwrap());
            assert!(matches!(read(Version::HTTP_11, &uri, &headers), Err(Refused::Malformed(_))), "{key:?}");
        }
    }

    #[test]
    fn subprotocols() {
        let bearer = "macp.bearer.dG9r"; // "tok"
        for (offered, expected) in [
            (&[][..], Some((None, Encoding::Json))),
            (&["macp.v1.json"], Some((Some(JSON), Encoding::Json))),
            (&["macp.v1.proto"], Some((Some(PROTO), Encoding::Proto))),
            (&["macp.v1.proto, macp.v1.json"], Some((Some(PROTO), Encoding::Proto))),
            (&["macp.v9", "macp.v1.json"], Some((Some(JSON), Encoding::Json))),
            (&["macp.v9 ,macp.bearer.dG9r , macp.v1.json"], Some((Some(JSON), Encoding::Json))),
            (&[bearer], Some((None, Encoding::Json))),
            (&["macp.v9"], None),
            (&["MACP.V1.JSON"], None),
            (&["macp.v9", bearer], None),
        ] {
            let offers: Vec<_> = offered.iter().map(|value| ("sec-websocket-protocol", *value)).collect();
            let negotiated = read_with("", &offers).ok().map(|found| (found.protocol, found.encoding));
            assert_eq!(negotiated, expected, "{offered:?}");
        }
    }

    #[test]
    fn credentials() {
        let token = |text: &str| Credential::Token(text.to_owned());
        let protocol = |value: &'static str| ("sec-websocket-protocol", value);
        let header = |value: &'static str| ("authorization", value);
        for (query, headers, expected) in [
            ("", &[][..], Credential::None),
            ("", &[header("Bearer tok")], token("tok")),
            ("", &[header("Basic dTpw")], Credential::None),
            ("", &[protocol("macp.v1.json, macp.bearer.dG9r")], token("tok")),
            ("", &[protocol("macp.bearer.YWdlbnQ6Ly9hP8O8")], token("agent://a?ü")),
            ("?ticket=abc", &[], Credential::Ticket("abc".into())),
            ("?x=1&ticket=abc&token=tok", &[], Credential::Ticket("abc".into())),
            ("?token=tok&access_token=tok", &[], Credential::None),
        ] {
            let found = read_with(query, headers).map(|found| found.credential);
            assert!(found == Ok(expected), "{query} {headers:?}");
        }
        for (query, headers) in [
            ("", &[header("Bearer a"), header("Bearer a")][..]),
            ("", &[header("Bearer a"), protocol("macp.bearer.dG9r")]),
            ("", &[protocol("macp.bearer.dG9r, macp.bearer.dG9r")]),
            ("", &[protocol("macp.bearer.")]),
            ("", &[protocol("macp.bearer.dG9r=")]),
            ("", &[protocol("macp.bearer._w")]), // 0xFF
            ("?ticket=a", &[header("Bearer a")]),
            ("?ticket=a&ticket=b", &[]),
        ] {
            let found = read_with(query, headers).map(|found| found.credential);
            assert!(matches!(found, Ok(Credential::Bad(_))), "{query} {headers:?} {found:?}");
        }
    }

    #[test]
    fn debug_output_has_no_secret() {
        for credential in [Credential::Token("s3cret".into()), Credential::Ticket("s3cret".into())] {
            assert!(!format!("{credential:?}").contains("s3cret"));
        }
    }
}
