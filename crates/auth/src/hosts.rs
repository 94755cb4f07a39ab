//! Which values of `Host` name this machine, the one rule on every transport.
//!
//! A page whose owner has his name lead to 127.0.0.1 is of the same origin as what is served there. The `Host` that its
//! browser sends gives it away.

use std::net::{IpAddr, Ipv6Addr};

/// The names by which a listener that only this machine reaches may be addressed: `localhost`, loopback addresses, and
/// those that are added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnHosts(Vec<String>);

impl OwnHosts {
    /// These names, without port, beside those of every machine.
    #[must_use]
    pub fn and(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Whether this value of a `Host` header, or authority of a target, names this machine.
    #[must_use]
    pub fn has(&self, host: &str) -> bool {
        let Some((name, _)) = split_port(host) else { return false };
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        name == "localhost"
            || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            || self.0.iter().any(|own| own.eq_ignore_ascii_case(&name))
    }
}

/// `host[:port]` as a lower-case host and its port; `None` for anything else.
#[must_use]
pub fn split_port(authority: &str) -> Option<(String, Option<u16>)> {
    // The colons of an IPv6 address are inside its brackets.
    let port_at = authority.rfind(']').unwrap_or(0);
    let (host, port) = match authority[port_at..].rfind(':') {
        Some(colon) => (&authority[..port_at + colon], Some(&authority[port_at + colon + 1..])),
        None => (authority, None),
    };
    let is_plain = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    let port = match port {
        None => None,
        // Parsing alone would take a sign.
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    is_plain.then(|| (host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_and_those_that_look_like_them() {
        let own = OwnHosts::and(["dev.box".to_owned()]);
        for (host, is_own) in [
            ("localhost", true),
            ("LOCALHOST:8080", true),
            ("127.0.0.1:8080", true),
            ("127.9.9.9", true),
            ("[::1]:8080", true),
            ("dev.box:8080", true),
            ("DEV.box", true),
            ("evil.example", false),
            ("localhost.", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("dev.box.evil.example", false),
            ("localhost:", false),
            ("localhost:+80", false),
            ("localhost:99999", false),
            ("user@localhost", false),
            ("10.0.0.1", false),
            ("0.0.0.0", false),
            ("[::2]", false),
            ("[::1", false),
            ("", false),
        ] {
            assert_eq!(own.has(host), is_own, "{host:?}");
        }
        assert!(!OwnHosts::default().has("dev.box"));
    }
}
