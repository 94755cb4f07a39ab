//! The `message_id`s that a session has accepted: the duplicate check.

use std::fmt;

use crate::time::UnixMillis;

/// Accepted `message_id`s with their acceptance times.
///
/// Each message is looked for here, among as many as the session has had, and so they are found by hash, with a seed against
/// ids that are chosen to collide. There is no way to walk them: their order differs between two runs, and nothing may
/// depend on it.
#[derive(Clone, Default, PartialEq)]
pub struct MessageIds(
    #[allow(clippy::disallowed_types, reason = "never walked")]
    std::collections::HashMap<Box<str>, UnixMillis>,
);

impl MessageIds {
    /// When the message was accepted, if it was.
    #[must_use]
    pub fn accepted_at(&self, message_id: &str) -> Option<UnixMillis> {
        self.0.get(message_id).copied()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn add(&mut self, message_id: &str, at: UnixMillis) {
        self.0.insert(message_id.into(), at);
    }
}

impl fmt::Debug for MessageIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageIds({})", self.count())
    }
}
