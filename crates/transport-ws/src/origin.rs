//! Who may open a socket from a browser: the checks of `Origin` and `Host` before the upgrade.
//!
//! Browsers apply no same-origin policy to WebSocket and CORS layers do not see it, so without these checks any page
//! could connect with whatever credential it can get hold of.

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Uri};
use macp_auth::{OwnHosts, split_port};

use crate::options::Options;

/// Why an upgrade is refused with 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    Host,
    Origin,
}

/// Checks both headers; returns the `Origin`, if there is one.
pub(crate) fn check<'h>(
    headers: &'h HeaderMap,
    uri: &Uri,
    options: &Options,
) -> Result<Option<&'h str>, Denied> {
    // HTTP/2 and absolute-form requests carry the authority in the target.
    let host = match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => single(headers, &HOST).map_err(|()| Denied::Host)?,
    };
    let is_foreign = |own: &OwnHosts| !host.is_some_and(|host| own.has(host));
    if options.own_hosts.as_ref().is_some_and(is_foreign) {
        return Err(Denied::Host);
    }
    let Some(origin) = single(headers, &ORIGIN).map_err(|()| Denied::Origin)? else { return Ok(None) };
    let parsed = Origin::parse(origin).ok_or(Denied::Origin)?;
    let scheme = if options.tls { "https" } else { "http" };
    let same = host.and_then(|host| Origin::new(scheme, host)).is_some_and(|own| own == parsed);
    let public = || options.public_origin.as_deref().and_then(Origin::parse).is_some_and(|own| own == parsed);
    if same || public() || options.cors_origins.allows(origin) {
        Ok(Some(origin))
    } else {
        Err(Denied::Origin)
    }
}

/// The value of a header that may be there once.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Scheme, host and port, compared without case and with the default port made explicit.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    fn parse(origin: &str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        Self::new(scheme, authority)
    }

    fn new(scheme: &str, authority: &str) -> Option<Self> {
        let scheme = scheme.to_ascii_lowercase();
        let begins = scheme.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
            return None;
        }
        let (host, port) = split_port(authority)?;
        let default = match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        Some(Self { scheme, host, port: port.or(default) })
    }
}

#[cfg(test)]
mod tests {
    use macp_auth::Origins;

    use super::*;

    fn verdict(options: &Options, host: &str, origin: Option<&str>) -> Result<bool, Denied> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        check(&headers, &Uri::from_static("/macp/v1/ws"), options).map(|origin| origin.is_some())
    }

    #[test]
    fn origins() {
        let mut options = Options::new(1 << 20);
        options.cors_origins = Origins::parse("https://app.example.org, chrome-extension://abc").unwrap();
        options.public_origin = Some("https://public.example".into());
        let ok = Ok(true);
        let no = Err(Denied::Origin);
        for (host, origin, expected) in [
            ("gw.example", "http://gw.example", ok),
            ("gw.example", "HTTP://GW.example:80", ok),
            ("gw.example:80", "http://gw.example", ok),
            ("gw.example:8080", "http://gw.example:8080", ok),
            ("[::1]:8080", "http://[::1]:8080", ok),
            ("gw.example", "https://app.example.org", ok),
            ("gw.example", "https://APP.example.org:443", ok),
            ("gw.example", "chrome-extension://abc", ok),
            ("gw.example", "https://public.example", ok),
            ("gw.example", "http://public.example", no),
            ("gw.example", "https://gw.example", no),
            ("gw.example:8080", "http://gw.example", no),
            ("gw.example", "http://gw.example:8080", no),
            ("gw.example", "http://app.example.org", no),
            ("gw.example", "https://app.example.org:444", no),
            ("gw.example", "https://app.example.org/", no),
            ("gw.example", "https://app.example.org.evil.example", no),
            ("gw.example", "https://evil.example", no),
            ("gw.example", "null", no),
            ("gw.example", "*", no),
            ("gw.example", "", no),
            ("gw.example", "http://user@gw.example", no),
            ("gw.example", "http://gw.example:", no),
            ("gw.example", "http://gw.example:+80", no),
        ] {
            assert_eq!(verdict(&options, host, Some(origin)), expected, "{host} {origin}");
        }
        assert_eq!(verdict(&options, "gw.example", None), Ok(false), "no browser");
    }

    #[test]
    fn same_origin_has_the_scheme_of_the_listener() {
        let options = Options { tls: true, ..Options::new(1 << 20) };
        assert_eq!(verdict(&options, "gw.example", Some("https://gw.example")), Ok(true));
        assert_eq!(verdict(&options, "gw.example:443", Some("https://gw.example")), Ok(true));
        assert_eq!(verdict(&options, "gw.example", Some("http://gw.example")), Err(Denied::Origin));
    }

    #[test]
    fn hosts_of_a_loopback_listener() {
        let mut options = Options::new(1 << 20);
        options.own_hosts = Some(OwnHosts::and(["dev.box".to_owned()]));
        // Which names those are is tested with the rule itself, in macp-auth.
        for (host, allowed) in [("dev.box:8080", true), ("10.0.0.1", false), ("", false)] {
            assert_eq!(verdict(&options, host, None).is_ok(), allowed, "{host}");
        }
        // A page on a rebound name is same-origin with itself; the host gives it away.
        assert_eq!(verdict(&options, "evil.example", Some("http://evil.example")), Err(Denied::Host));
        options.own_hosts = None;
        assert_eq!(verdict(&options, "evil.example", None), Ok(false));
    }

    #[test]
    fn repeated_headers_are_refused() {
        let options = Options::new(1 << 20);
        let uri = Uri::from_static("/macp/v1/ws");
        for (name, denied) in [(HOST, Denied::Host), (ORIGIN, Denied::Origin)] {
            let mut headers = HeaderMap::new();
            headers.append(&name, "http://a".parse().unwrap());
            headers.append(&name, "http://a".parse().unwrap());
            assert_eq!(check(&headers, &uri, &options), Err(denied));
        }
    }
}
