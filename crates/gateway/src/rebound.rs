//! Development identities and pages of rebound names: what such a page may not do on its visitor's machine.
//!
//! With development identities whoever reaches a listener is whoever he says. One on loopback is reached by programs of
//! this machine, and by browsers on it, in which a page of a name that leads to 127.0.0.1 may send any header to its own
//! origin. Real credentials are not known to it, and without one there is nothing to take.

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderName, Request, Version};
use macp_auth::OwnHosts;
use macp_engine::Engine;
use macp_engine::counters::Transport;
use macp_kernel::Refusal;

const X_MACP_TOKEN: HeaderName = HeaderName::from_static("x-macp-token");

/// What looks at the `Host` of requests that show a development identity.
pub(crate) struct Rebound {
    hosts: OwnHosts,
    engine: Engine,
}

impl Rebound {
    /// For a listener on loopback with development identities, which these names reach.
    pub(crate) fn new(hosts: OwnHosts, engine: &Engine) -> Self {
        Self { hosts, engine: engine.via(Transport::Http) }
    }

    /// The refusal of a request that is addressed to a name of somebody else.
    pub(crate) fn refuses<B>(&self, request: &Request<B>) -> Option<Refusal> {
        if !is_foreign(&self.hosts, request) {
            return None;
        }
        let refusal = Refusal::forbidden(
            "development identities are for this machine, and this Host is none of its names: use localhost, set \
             MACP_HTTP_PUBLIC_URL to the URL that clients use, or configure tokens (MACP_AUTH_TOKENS_FILE)",
        );
        self.engine.refused("a request", "", &refusal);
        Some(refusal)
    }
}

/// Whether a request shows a credential and is addressed to none of these.
fn is_foreign<B>(hosts: &OwnHosts, request: &Request<B>) -> bool {
    shows_credential(request) && !host(request).is_some_and(|host| hosts.has(host))
}

/// Whether a page may have made the request, with a credential. A browser speaks HTTP/2 by TLS only, whose certificate
/// its names are compared with.
fn shows_credential<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.version() < Version::HTTP_2
        && (headers.contains_key(AUTHORIZATION) || headers.contains_key(X_MACP_TOKEN))
}

/// How the request was addressed. An absolute-form target has it itself.
fn host<B>(request: &Request<B>) -> Option<&str> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str());
    }
    let mut values = request.headers().get_all(HOST).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_for_names_of_this_machine() {
        let hosts = OwnHosts::and(["gw.example".to_owned()]);
        let bearer = ("authorization", "Bearer agent://a");
        let token = ("x-macp-token", "agent://a");
        for (version, target, headers, refused) in [
            (Version::HTTP_11, "/", &[("host", "localhost:8080"), bearer][..], false),
            (Version::HTTP_11, "/", &[("host", "gw.example"), bearer], false),
            (Version::HTTP_11, "/", &[("host", "evil.example"), bearer], true),
            (Version::HTTP_11, "/", &[("host", "evil.example"), token], true),
            (Version::HTTP_11, "/", &[("host", "evil.example")], false),
            (Version::HTTP_11, "/", &[("host", "localhost"), ("host", "localhost"), bearer], true),
            (Version::HTTP_10, "/", &[bearer], true),
            // The target's authority is the one that counts (RFC 9112 §3.2.2).
            (Version::HTTP_11, "http://evil.example/", &[("host", "localhost"), bearer], true),
            (Version::HTTP_11, "http://localhost/", &[("host", "evil.example"), bearer], false),
            (Version::HTTP_2, "http://gateway.internal/", &[bearer], false),
        ] {
            let mut request = Request::get(target).version(version);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let found = is_foreign(&hosts, &request.body(()).unwrap());
            assert_eq!(found, refused, "{target} {headers:?}");
        }
    }
}
