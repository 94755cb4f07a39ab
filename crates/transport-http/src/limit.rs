//! When to come back, as headers: `Retry-After`, and the fields of draft-ietf-httpapi-ratelimit-headers.

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};
use macp_auth::Tickets;
use macp_engine::Limits;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// Seconds after which a server that accepts nothing now may do so again.
const UNAVAILABLE_SECS: u64 = 1;

/// A limit on how often something may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    name: &'static str,
    quota: u64,
    window_secs: u64,
}

impl Limit {
    /// Messages, and the calls that cost as much as one.
    pub(crate) fn messages(limits: &Limits) -> Self {
        Self { name: "messages", quota: limits.messages_per_minute.into(), window_secs: 60 }
    }

    /// `SessionStart`s.
    pub(crate) fn session_starts(limits: &Limits) -> Self {
        Self { name: "session-starts", quota: limits.session_starts_per_minute.into(), window_secs: 60 }
    }

    /// Tickets.
    pub(crate) const TICKETS: &'static Self =
        &Self { name: "tickets", quota: Tickets::PER_IDENTITY as u64, window_secs: Tickets::WINDOW_SECS };

    /// Says that the limit is used up for so many milliseconds.
    pub(crate) fn announce(self, headers: &mut HeaderMap, wait_ms: u64) {
        let Self { name, quota, window_secs } = self;
        let secs = retry_after(headers, wait_ms);
        for (header, value) in [
            (RATELIMIT_POLICY, format!("\"{name}\";q={quota};w={window_secs}")),
            (RATELIMIT, format!("\"{name}\";r=0;t={secs}")),
        ] {
            // Names and numbers are always a header's value.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(header, value);
            }
        }
    }
}

/// Says when to come back, in whole seconds, which are the answer.
pub(crate) fn retry_after(headers: &mut HeaderMap, wait_ms: u64) -> u64 {
    let secs = wait_ms.div_ceil(1000);
    headers.insert(RETRY_AFTER, HeaderValue::from(secs));
    secs
}

/// Says that nothing is accepted for the moment.
pub(crate) fn unavailable(headers: &mut HeaderMap) {
    headers.insert(RETRY_AFTER, HeaderValue::from(UNAVAILABLE_SECS));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up() {
        for (wait_ms, secs) in [(1, "1"), (1000, "1"), (1001, "2"), (60_000, "60")] {
            let mut headers = HeaderMap::new();
            Limit::messages(&Limits::default()).announce(&mut headers, wait_ms);
            assert_eq!(headers[RETRY_AFTER], secs);
            assert_eq!(headers[RATELIMIT_POLICY], "\"messages\";q=600;w=60");
            assert_eq!(headers[RATELIMIT], format!("\"messages\";r=0;t={secs}"));
        }
    }
}
