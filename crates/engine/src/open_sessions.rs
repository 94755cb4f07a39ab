//! How many open sessions each initiator has, for the caps on them.

use std::collections::HashMap;

use macp_kernel::ParticipantId;
use parking_lot::Mutex;

/// Open sessions by initiator. Suspended and terminal ones do not count.
#[derive(Debug, Default)]
pub(crate) struct OpenSessions(Mutex<HashMap<ParticipantId, u64>>);

impl OpenSessions {
    /// Takes a place for a session about to start, and says how many there were before.
    pub(crate) fn reserve(&self, initiator: &ParticipantId) -> u64 {
        let mut counts = self.0.lock();
        let count = counts.entry(initiator.clone()).or_default();
        *count += 1;
        *count - 1
    }

    /// Gives one place back.
    pub(crate) fn release(&self, initiator: &ParticipantId) {
        let mut counts = self.0.lock();
        if let Some(count) = counts.get_mut(initiator) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(initiator);
            }
        }
    }
}
