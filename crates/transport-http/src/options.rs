//! The binding's settings as plain data.

use std::sync::Arc;
use std::time::Duration;

use macp_auth::{Origins, Tickets};

/// Settings of the HTTP binding.
#[derive(Clone, Debug)]
pub struct Options {
    /// Path of the public URL (`MACP_HTTP_PUBLIC_URL`), under which every call is served as well as at the origin
    /// root, so that a proxy may strip it or not. Empty when there is none. A segment that begins with `:` or `*` works
    /// only if the router that this one is merged into was made with `without_v07_checks`.
    pub prefix: String,
    /// Largest body of a request in bytes (`MACP_HTTP_MAX_BODY_BYTES`).
    pub max_body_bytes: usize,
    /// Origins that browsers may call from (`MACP_HTTP_CORS_ORIGINS`).
    pub cors_origins: Origins,
    /// Silence after which a stream sends a comment; zero sends none.
    pub sse_keepalive: Duration,
    /// Time until the head of a response (`MACP_REQUEST_TIMEOUT_SECS`); a stream is not bounded after its head.
    pub request_timeout: Option<Duration>,
    /// Time for the body of a request (`MACP_BODY_TIMEOUT_SECS`).
    pub body_timeout: Duration,
    /// Where tickets are issued and redeemed; to be shared with the WebSocket binding and between listeners.
    pub tickets: Arc<Tickets>,
}

impl Options {
    /// The defaults for this payload limit.
    #[must_use]
    pub fn new(max_payload_bytes: usize) -> Self {
        Self {
            prefix: String::new(),
            max_body_bytes: Self::default_max_body(max_payload_bytes),
            cors_origins: Origins::default(),
            // Half of the 30 s after which common proxies cut an idle response.
            sse_keepalive: Duration::from_secs(15),
            request_timeout: Some(Duration::from_secs(30)),
            body_timeout: Duration::from_secs(20),
            tickets: Arc::default(),
        }
    }

    /// The default and smallest sensible body cap: the largest payload in base64, and room for the rest of its
    /// envelope.
    #[must_use]
    pub fn default_max_body(max_payload_bytes: usize) -> usize {
        let base64 = max_payload_bytes / 3 * 4 + (max_payload_bytes % 3 * 4).div_ceil(3);
        base64.saturating_add(65_536)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_cap_is_four_thirds_of_the_payload_rounded_up() {
        for (payload, cap) in [(0, 65_536), (1, 65_538), (2, 65_539), (3, 65_540), (1_048_576, 1_463_638)] {
            assert_eq!(Options::default_max_body(payload), cap, "{payload}");
        }
    }
}
