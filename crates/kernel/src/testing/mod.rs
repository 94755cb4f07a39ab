//! Builders and strategies for tests of this and other crates (feature `testing`).
//!
//! [`message`] makes payloads, [`script`] plays them against the kernel by hand, [`traffic`] makes random traffic,
//! [`projection`] shows a mode's state as JSON. Names below are shared by all of them.

pub mod message;
pub mod projection;
pub mod script;
pub mod traffic;

pub use message::Message;
pub use script::Script;

use crate::catalog::Catalog;
use crate::policy::Policy;
use crate::time::UnixMillis;

/// Session id of every built session.
pub const SESSION: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
/// Who starts built sessions; a declared participant too.
pub const INITIATOR: &str = "agent://initiator";
/// A declared participant.
pub const A: &str = "agent://a";
/// Another declared participant.
pub const B: &str = "agent://b";
/// Nobody's participant.
pub const OUTSIDER: &str = "agent://outsider";

/// Acceptance time of built starts, in milliseconds.
pub const STARTED: i64 = 100;
/// Time-to-live of built sessions, in milliseconds.
pub const TTL: i64 = 60_000;
/// Configuration version of built sessions.
pub const CONFIGURATION: &str = "cfg-1";

/// Id of the policy in [`policed`] registries.
pub const POLICY: &str = "policy.test.rules";

/// The built-in registries and [`POLICY`], for sessions of `mode`, with these rules.
///
/// # Panics
/// When the rules are not admitted.
#[must_use]
#[track_caller]
pub fn policed(mode: &str, rules: &str) -> Catalog {
    let policy = match Policy::admit(message::policy(POLICY, mode, rules), UnixMillis(0)) {
        Ok(policy) => policy,
        Err(error) => panic!("{rules}: {error}"),
    };
    match Catalog::built_in().with_policy(policy) {
        Ok(catalog) => catalog,
        Err(error) => panic!("{error}"),
    }
}

/// A verified caller with the default capabilities.
#[must_use]
pub fn caller(sender: &str) -> crate::Caller {
    crate::Caller::new(sender)
}
