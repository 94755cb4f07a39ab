//! A mode's state as the JSON that conformance fixtures compare with.

use serde_json::{Map, Value, json};

use crate::mode::{ModeState, decision, handoff, proposal};
use crate::session::Session;

/// The mode's state under the names that fixtures use; null for modes that none of them looks into.
#[must_use]
pub fn mode_state(session: &Session) -> Value {
    match &session.mode_state {
        ModeState::Decision(state) => of_decision(state),
        ModeState::Proposal(state) => of_proposal(state, session),
        ModeState::Handoff(state) => of_handoff(state),
        ModeState::Task(_) | ModeState::Quorum(_) | ModeState::MultiRound(_) | ModeState::Passthrough(_) => {
            Value::Null
        }
    }
}

fn of_decision(state: &decision::Decision) -> Value {
    let proposals = object(state.proposals.values().map(|proposal| {
        let shown = json!({
            "proposal_id": &*proposal.proposal_id, "option": proposal.option,
            "rationale": proposal.rationale, "sender": proposal.sender,
        });
        (&*proposal.proposal_id, shown)
    }));
    let votes = object(state.votes.iter().map(|(id, votes)| {
        let of_proposal =
            object(votes.iter().map(|(by, choice)| (by.as_str(), json!({ "vote": choice.name() }))));
        (&**id, of_proposal)
    }));
    let objections: Vec<Value> = state.objections.iter().map(of_objection).collect();
    json!({
        "phase": format!("{:?}", state.phase), "proposals": proposals, "objections": objections, "votes": votes,
    })
}

fn of_objection(objection: &decision::Objection) -> Value {
    let severity = match objection.severity {
        decision::Severity::Low => "low",
        decision::Severity::Medium => "medium",
        decision::Severity::High => "high",
        decision::Severity::Critical => "critical",
    };
    json!({ "proposal_id": &*objection.proposal_id, "severity": severity, "sender": objection.sender.as_str() })
}

fn of_proposal(state: &proposal::Negotiation, session: &Session) -> Value {
    let proposals = object(state.proposals.values().map(|proposal| {
        let shown = json!({
            "proposal_id": proposal.proposal_id, "proposer": proposal.proposer,
            "supersedes_proposal_id": proposal.supersedes,
            "disposition": format!("{:?}", proposal.disposition),
        });
        (proposal.proposal_id.as_str(), shown)
    }));
    let phase = format!("{:?}", state.phase(&session.binding));
    json!({ "phase": phase, "proposals": proposals, "accepts": state.accepts })
}

fn of_handoff(state: &handoff::Handoff) -> Value {
    let offers = object(state.offers.iter().map(|(id, offer)| {
        let shown = json!({
            "target_participant": offer.target, "offered_by": offer.offered_by,
            "disposition": format!("{:?}", offer.disposition), "offered_at_ms": offer.offered_at.0,
        });
        (id.as_str(), shown)
    }));
    json!({ "offers": offers })
}

fn object<'a>(members: impl Iterator<Item = (&'a str, Value)>) -> Value {
    Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}
