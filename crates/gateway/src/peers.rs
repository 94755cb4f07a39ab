//! Who a connection or request comes from: addresses, lists of networks, and what trusted proxies say about it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// Whom a limit for each peer holds for. An IPv6 host has a whole network of addresses to choose from, so there it is
/// the network, of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    /// One address.
    V4(Ipv4Addr),
    /// The upper half of the addresses of a network.
    V6(u64),
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d].iter().fold(0, |upper, part| upper << 16 | u64::from(*part)))
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(upper) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*upper) << 64)),
        }
    }
}

/// A list of addresses and networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks(Vec<Network>);

/// Addresses that begin with the same bits; IPv4 as the IPv6 addresses that stand for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    bits: u128,
    length: u32,
}

impl Networks {
    /// A list separated by commas, of addresses like `10.0.0.1` and networks like `10.0.0.0/8` or `fd00::/8`; `none` is
    /// the empty one.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "none" {
            return Ok(Self::default());
        }
        text.split(',').map(|one| Network::parse(one.trim())).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let bits = bits(address);
        self.0.iter().any(|network| (bits ^ network.bits).leading_zeros() >= network.length)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is neither an address nor a network like 10.0.0.0/8");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let before = if address.is_ipv4() { 96 } else { 0 };
        let length = match length {
            None => 128,
            Some(length) => {
                before + length.parse::<u32>().ok().filter(|it| *it <= 128 - before).ok_or_else(wrong)?
            }
        };
        Ok(Self { bits: bits(address), length })
    }
}

fn bits(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address that a request comes from, as the proxies tell it: the last one in the chain that is none of them. A
/// client writes whatever it likes into these headers, and each proxy adds, at the end, whom it was called by; so only
/// what is behind the last untrusted address is known.
pub(crate) fn forwarded(headers: &HeaderMap, proxies: &Networks, direct: IpAddr) -> IpAddr {
    let mut known = direct;
    if !proxies.contains(direct) {
        return known;
    }
    for claimed in chain(headers).into_iter().rev() {
        // What is no address ends the chain: nothing before it is known.
        let Some(address) = claimed else { return known };
        known = address;
        if !proxies.contains(address) {
            return known;
        }
    }
    known
}

/// What the headers say, the farthest first. `X-Forwarded-For` goes before RFC 7239, since a proxy that knows only the
/// one passes the other on as the client wrote it, and nearly all write the first.
fn chain(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let elements = |name: &HeaderName| {
        headers.get_all(name).into_iter().flat_map(|value| {
            // A value that is no text is an element that is no address.
            value.to_str().unwrap_or("?").split(',').map(str::trim).collect::<Vec<_>>()
        })
    };
    if headers.contains_key(X_FORWARDED_FOR) {
        return elements(&X_FORWARDED_FOR).map(address).collect();
    }
    let of = |element: &str| {
        element.split(';').find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            name.eq_ignore_ascii_case("for").then(|| address(value.trim_matches('"')))?
        })
    };
    elements(&FORWARDED).map(of).collect()
}

/// An address with or without a port: `192.0.2.1:80`, `[2001:db8::1]:80`, `2001:db8::1`.
fn address(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']')?.0.parse().ok();
    }
    text.parse().ok().or_else(|| text.rsplit_once(':')?.0.parse::<Ipv4Addr>().ok().map(IpAddr::V4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        let networks = Networks::parse("10.0.0.0/8, 192.0.2.7, fd00::/8,2001:db8::1").unwrap();
        for inside in ["10.0.0.0", "10.255.1.2", "192.0.2.7", "::ffff:10.1.1.1", "fd12::1", "2001:db8::1"] {
            assert!(networks.contains(ip(inside)), "{inside}");
        }
        for outside in ["11.0.0.0", "192.0.2.8", "2001:db8::2", "fe80::1", "::1", "0.0.0.10"] {
            assert!(!networks.contains(ip(outside)), "{outside}");
        }
        assert!(Networks::parse("0.0.0.0/0").unwrap().contains(ip("1.2.3.4")));
        assert!(!Networks::parse("0.0.0.0/0").unwrap().contains(ip("2001:db8::2")));
        assert!(Networks::parse("none").unwrap().is_empty());
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "host", "10.0.0.1,", "10.0.0.1/-1"] {
            assert!(Networks::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_ipv6_peer_is_its_network() {
        let peer = |text: &str| Peer::from(ip(text));
        assert_eq!(peer("2001:db8:1:2::1"), peer("2001:db8:1:2:ffff::9"));
        assert_ne!(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.2"), peer("192.0.2.1"));
        assert_eq!(peer("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
    }

    #[test]
    fn only_what_trusted_proxies_added_is_believed() {
        let proxies = Networks::parse("10.0.0.0/8,fd00::1").unwrap();
        let peer = |direct: &str, headers: &[(&'static str, &str)]| {
            let headers = headers.iter().map(|(name, value)| {
                (HeaderName::from_static(name), http::HeaderValue::from_str(value).unwrap())
            });
            forwarded(&headers.collect(), &proxies, ip(direct)).to_string()
        };
        let xff = "x-forwarded-for";
        assert_eq!(peer("192.0.2.1", &[(xff, "203.0.113.9")]), "192.0.2.1", "nobody's proxy");
        assert_eq!(peer("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(peer("10.0.0.1", &[(xff, "203.0.113.9")]), "203.0.113.9");
        assert_eq!(peer("10.0.0.1", &[(xff, "1.1.1.1, 203.0.113.9")]), "203.0.113.9", "the client's claim");
        assert_eq!(peer("10.0.0.1", &[(xff, "1.1.1.1, 203.0.113.9, 10.0.0.2")]), "203.0.113.9");
        assert_eq!(peer("10.0.0.1", &[(xff, "1.1.1.1"), (xff, "203.0.113.9:443, 10.0.0.2")]), "203.0.113.9");
        assert_eq!(peer("10.0.0.1", &[(xff, "203.0.113.9, what, 10.0.0.2")]), "10.0.0.2");
        assert_eq!(peer("10.0.0.1", &[(xff, "10.0.0.9, 10.0.0.2")]), "10.0.0.9", "all of them proxies");
        assert_eq!(peer("fd00::1", &[(xff, "[2001:db8::1]:8080")]), "2001:db8::1");
        assert_eq!(peer("fd00::1", &[(xff, "2001:db8::1")]), "2001:db8::1");
        let rfc = "for=1.1.1.1, for=\"[2001:db8::1]:4711\";proto=https, For=10.0.0.2;by=10.0.0.1";
        assert_eq!(peer("10.0.0.1", &[("forwarded", rfc)]), "2001:db8::1");
        assert_eq!(peer("10.0.0.1", &[("forwarded", "for=unknown")]), "10.0.0.1");
        assert_eq!(peer("10.0.0.1", &[("forwarded", rfc), (xff, "203.0.113.9")]), "203.0.113.9");
    }
}
