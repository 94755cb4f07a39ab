//! Which sessions a listing is asked for, beyond which it may show.

use macp_kernel::Refusal;
use macp_wire::v1::{SessionMetadata, SessionState};

/// A choice among the sessions that the caller may be shown. Empty: all of them. Every part that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Sessions in one of these states; empty for any state.
    pub states: Vec<SessionState>,
    /// Sessions of this mode.
    pub mode: Option<String>,
    /// Sessions that this identity started or takes part in.
    pub participant: Option<String>,
}

impl SessionFilter {
    /// A state by its name in the protocol, `SESSION_STATE_OPEN`, or without what all the names begin with, `OPEN`.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for anything else, with the names that there are.
    pub fn state(name: &str) -> Result<SessionState, Refusal> {
        const PREFIX: &str = "SESSION_STATE_";
        let full = if name.starts_with(PREFIX) { name.to_owned() } else { format!("{PREFIX}{name}") };
        SessionState::from_str_name(&full).filter(|state| *state != SessionState::Unspecified).ok_or_else(
            || Refusal::invalid_request("state is one of OPEN, SUSPENDED, RESOLVED, EXPIRED and CANCELLED"),
        )
    }

    pub(crate) fn admits(&self, session: &SessionMetadata) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        (self.states.is_empty() || self.states.contains(&session.state()))
            && is(&self.mode, &session.mode)
            && self
                .participant
                .as_ref()
                .is_none_or(|wanted| session.initiator == *wanted || session.participants.contains(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_two_names() {
        for (name, state) in [
            ("OPEN", SessionState::Open),
            ("SESSION_STATE_OPEN", SessionState::Open),
            ("SUSPENDED", SessionState::Suspended),
            ("RESOLVED", SessionState::Resolved),
            ("EXPIRED", SessionState::Expired),
            ("CANCELLED", SessionState::Cancelled),
        ] {
            assert_eq!(SessionFilter::state(name), Ok(state));
        }
        for name in ["", "open", "UNSPECIFIED", "SESSION_STATE_UNSPECIFIED", "SESSION_STATE_", "NOPE"] {
            assert!(SessionFilter::state(name).is_err(), "{name}");
        }
    }

    #[test]
    fn all_parts_must_hold() {
        let session = SessionMetadata {
            state: SessionState::Open.into(),
            mode: "m".into(),
            initiator: "i".into(),
            participants: vec!["a".into(), "b".into()],
            ..SessionMetadata::default()
        };
        let some = |text: &str| Some(text.to_owned());
        for (states, mode, participant, admitted) in [
            (vec![], None, None, true),
            (vec![SessionState::Open], some("m"), some("a"), true),
            (vec![SessionState::Resolved, SessionState::Open], None, some("i"), true),
            (vec![SessionState::Resolved], None, None, false),
            (vec![], some("n"), None, false),
            (vec![], some(""), None, false),
            (vec![], None, some("c"), false),
            (vec![SessionState::Open], some("m"), some("c"), false),
        ] {
            let filter = SessionFilter { states, mode, participant };
            assert_eq!(filter.admits(&session), admitted, "{filter:?}");
        }
    }
}
