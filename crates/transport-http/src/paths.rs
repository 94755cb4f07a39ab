//! The paths of the binding, as constants and as routes.

use macp_engine::Method;

/// Under which the calls are, `{prefix}/macp/v1/{Method}`, and the resources.
pub const RPC_BASE: &str = "/macp/v1";

/// The discovery document, always at the origin root.
pub const WELL_KNOWN: &str = "/.well-known/macp.json";

/// The event stream of one session, as a template.
pub const EVENTS: &str = "/macp/v1/sessions/{session_id}/events";

/// Under which the example paths of RFC-MACP-0006 are.
pub const RFC_BASE: &str = "/macp";

/// The OpenAPI document of the binding.
pub const OPENAPI: &str = "/openapi.json";

/// Where tickets are issued.
pub const TICKET: &str = "/macp/ticket";

/// The path of a call below a prefix.
#[must_use]
pub fn rpc(prefix: &str, method: Method) -> String {
    format!("{prefix}{RPC_BASE}/{}", method.name())
}

/// The prefixes that calls are served under: none, and the configured one.
pub(crate) fn prefixes(configured: &str) -> impl Iterator<Item = String> {
    let configured = configured.trim_matches('/');
    let prefixed = (!configured.is_empty()).then(|| format!("/{configured}"));
    std::iter::once(String::new()).chain(prefixed)
}

/// A literal path as a route: braces would be captures.
pub(crate) fn route(path: &str) -> String {
    path.replace('{', "{{").replace('}', "}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_normal() {
        for (configured, expected) in [
            ("", &[""][..]),
            ("/", &[""]),
            ("/a/b", &["", "/a/b"]),
            ("a/", &["", "/a"]),
            ("/%41", &["", "/%41"]),
        ] {
            assert_eq!(prefixes(configured).collect::<Vec<_>>(), expected, "{configured:?}");
        }
        assert_eq!(rpc("/a", Method::Send), "/a/macp/v1/Send");
    }
}
