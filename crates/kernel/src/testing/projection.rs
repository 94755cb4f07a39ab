//! A mode's state as the JSON that conformance fixtures compare with.

use serde_json::{Map, Value, json};

use crate::mode::{ModeState, decision};
use crate::session::Session;

/// The mode's state under the names that fixtures use; null for modes that none of them looks into.
#[must_use]
pub fn mode_state(session: &Session) -> Value {
    match &session.mode_state {
        ModeState::Decision(state) => of_decision(state),
    }
}

fn of_decision(state: &decision::Decision) -> Value {
    let proposals = object(state.proposals.values().map(|proposal| {
        let shown = json!({
            "proposal_id": proposal.proposal_id, "option": proposal.option,
            "rationale": proposal.rationale, "sender": proposal.sender,
        });
        (&proposal.proposal_id, shown)
    }));
    let votes = object(state.votes.iter().map(|(id, votes)| {
        (id, object(votes.iter().map(|(sender, choice)| (sender, json!({ "vote": choice.name() })))))
    }));
    json!({ "phase": format!("{:?}", state.phase), "proposals": proposals, "votes": votes })
}

fn object<'a>(members: impl Iterator<Item = (&'a String, Value)>) -> Value {
    Value::Object(members.map(|(name, value)| (name.clone(), value)).collect::<Map<_, _>>())
}
