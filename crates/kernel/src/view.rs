//! Read models: what clients are shown of a session.

use macp_wire::v1::{ParticipantActivity, SessionMetadata};

use crate::session::Session;

/// A session's metadata (RFC-MACP-0001 §7.1, RFC-MACP-0006 §3.5). The intent is left out on purpose.
#[must_use]
pub fn metadata(session: &Session) -> SessionMetadata {
    let binding = &session.binding;
    SessionMetadata {
        session_id: session.id.as_str().to_owned(),
        mode: binding.mode.clone(),
        state: session.lifecycle.wire().into(),
        started_at_unix_ms: binding.started_at.0,
        expires_at_unix_ms: session.expires_at.0,
        mode_version: binding.mode_version.clone(),
        configuration_version: binding.configuration_version.clone(),
        policy_version: binding.policy.id().to_owned(),
        participants: binding.participants.iter().map(|p| p.as_str().to_owned()).collect(),
        participant_activity: session
            .activity
            .iter()
            .map(|(sender, activity)| ParticipantActivity {
                participant_id: sender.as_str().to_owned(),
                last_message_at_unix_ms: activity.last_message_at.0,
                message_count: activity.message_count,
            })
            .collect(),
        initiator: binding.initiator.as_str().to_owned(),
        context_id: binding.context_id.clone(),
        extension_keys: binding.extension_keys.clone(),
    }
}
