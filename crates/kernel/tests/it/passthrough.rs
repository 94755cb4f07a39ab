//! Sessions of registered extension modes (RFC-MACP-0002 §12).

use macp_kernel::RefusalCode::{Forbidden, InvalidEnvelope, InvalidPolicyDefinition, ModeNotSupported};
use macp_kernel::mode::ModeKind;
use macp_kernel::session::Lifecycle;
use macp_kernel::testing::message::{
    commit, commitment, commitment_payload, extension_mode, start, start_payload,
};
use macp_kernel::testing::{A, B, INITIATOR, Message, OUTSIDER, Script};
use macp_kernel::{Catalog, mode};
use macp_wire::v1::{CommitmentPayload, SessionStartPayload};

use crate::replay::replayed;

const MODE: &str = "acme.notes.v1";

fn catalog() -> Catalog {
    Catalog::built_in().with_mode(extension_mode(MODE), ModeKind::Passthrough).unwrap()
}

fn started(payload: &SessionStartPayload) -> Script {
    Script::started_with(MODE, catalog(), payload)
}

fn note() -> Message {
    Message::new("Note", "any bytes at all \u{0}")
}

#[test]
fn starts_are_not_strict() {
    let bare = SessionStartPayload { ttl_ms: 1, ..SessionStartPayload::default() };
    let participants = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    for (payload, ok) in [
        (bare.clone(), true),
        (SessionStartPayload { participants: participants(&["a", "a", " "]), ..bare.clone() }, true),
        (SessionStartPayload { max_suspend_ms: -1, ..bare.clone() }, true),
        (SessionStartPayload { mode_version: "1.0.0".to_owned(), ..bare.clone() }, true),
        (SessionStartPayload { mode_version: "1.0.1".to_owned(), ..bare.clone() }, false),
        (SessionStartPayload { mode_version: " ".to_owned(), ..bare.clone() }, false),
        (SessionStartPayload { ttl_ms: 0, ..bare.clone() }, false),
        (SessionStartPayload { ttl_ms: 86_400_001, ..bare.clone() }, false),
    ] {
        let mut script = Script::new(MODE, catalog());
        if ok {
            script.accept(INITIATOR, &start(&payload));
        } else {
            script.refuse(INITIATOR, &start(&payload), InvalidEnvelope);
        }
    }
    Script::new(MODE, catalog()).refuse(INITIATOR, &Message::new("SessionStart", vec![]), InvalidEnvelope);
    // The policy is resolved and mode-checked all the same.
    let majority = SessionStartPayload { policy_version: "policy.std.majority".to_owned(), ..bare };
    Script::new(MODE, catalog()).refuse(INITIATOR, &start(&majority), InvalidPolicyDefinition);
}

/// An empty version binds the descriptor's and is recorded: replay needs no registry.
#[test]
fn an_empty_mode_version_binds_the_registered_one() {
    let payload = SessionStartPayload { mode_version: String::new(), ..start_payload() };
    let mut script = started(&payload);
    assert_eq!(script.session().binding.mode_version, "1.0.0");
    let unversioned = CommitmentPayload { mode_version: String::new(), ..commitment_payload("x", true) };
    script.refuse(INITIATOR, &commit(&unversioned), InvalidEnvelope);
    script.accept(A, &note());
    script.accept(INITIATOR, &commitment("x", true));
    assert!(replayed(&script.entries) == script.session);
}

#[test]
fn who_may_say_what() {
    let mut script = started(&start_payload());
    for sender in [INITIATOR, A, B] {
        script.accept(sender, &note());
    }
    script.refuse(OUTSIDER, &note(), Forbidden);
    script.refuse(OUTSIDER, &Message::new("Unlisted", vec![]), Forbidden);
    for message_type in ["Unlisted", "note", "Vote", ""] {
        script.refuse(A, &Message::new(message_type, vec![]), InvalidEnvelope);
    }
    script.refuse(A, &commitment("x", true), Forbidden);
    script.refuse(OUTSIDER, &commitment("x", true).garbled(), Forbidden);
}

#[test]
fn without_participants_everyone_may_speak() {
    let mut script = started(&SessionStartPayload { participants: Vec::new(), ..start_payload() });
    script.accept(OUTSIDER, &note());
    script.refuse(OUTSIDER, &Message::new("Unlisted", vec![]), InvalidEnvelope);
    script.refuse(OUTSIDER, &commitment("x", true), Forbidden);
    script.accept(INITIATOR, &commitment("x", true));
}

#[test]
fn the_outcome_needs_no_more_than_a_good_commitment() {
    for outcome_positive in [false, true] {
        let mut script = started(&start_payload());
        script.refuse(INITIATOR, &commitment("x", true).garbled(), InvalidEnvelope);
        script.refuse(INITIATOR, &commitment("x.approved", false), InvalidEnvelope);
        script.accept(INITIATOR, &commitment("acme.done", outcome_positive));
        assert_eq!(script.lifecycle(), Lifecycle::Resolved);
        let resolution = script.session().resolution.clone().unwrap();
        assert_eq!(&resolution[..], br#"{"action":"acme.done","commitment_id":"c1"}"#);
    }
}

/// The server's own types stay its own, even when a descriptor lists them; a listed `SessionStart` is no message.
#[test]
fn core_types_in_a_descriptor() {
    let mut descriptor = extension_mode(MODE);
    descriptor.message_types.extend(["SessionCancel".to_owned(), "SessionResume".to_owned()]);
    let catalog = Catalog::built_in().with_mode(descriptor, ModeKind::Passthrough).unwrap();
    let mut script = Script::started_with(MODE, catalog, &start_payload());
    for message_type in ["SessionCancel", "SessionResume"] {
        script.refuse(INITIATOR, &Message::new(message_type, vec![]), InvalidEnvelope);
    }
}

#[test]
fn a_mode_that_is_gone_ends_its_sessions_conversation() {
    let mut script = started(&start_payload());
    script.accept(A, &note());
    script.catalog = script.catalog.without_mode(MODE).unwrap();
    script.refuse(A, &note(), ModeNotSupported);
    script.refuse(OUTSIDER, &note(), ModeNotSupported);
    // History is still whole, and time still passes.
    assert!(replayed(&script.entries) == script.session);
    let reply = script.submit(note().envelope(MODE, A, "m2")).unwrap();
    assert!(reply.duplicate);
    script.tick(1_000_000).unwrap();
    assert_eq!(script.lifecycle(), Lifecycle::Expired);
}

#[test]
fn a_promoted_mode_starts_strictly() {
    let (catalog, id) = catalog().promote_mode(MODE, "").unwrap();
    assert_eq!(id, MODE);
    let bare = SessionStartPayload { ttl_ms: 1, ..SessionStartPayload::default() };
    Script::new(MODE, catalog.clone()).refuse(INITIATOR, &start(&bare), InvalidEnvelope);
    let empty = SessionStartPayload { participants: Vec::new(), ..start_payload() };
    Script::new(MODE, catalog.clone()).refuse(INITIATOR, &start(&empty), InvalidEnvelope);
    let mut script = Script::started_with(MODE, catalog, &start_payload());
    script.accept(A, &note());
}

/// What a session bound is its own: a mode registered anew under the same id changes nothing for it.
#[test]
fn sessions_keep_the_message_types_they_started_with() {
    let mut script = started(&start_payload());
    let mut other = extension_mode(MODE);
    other.message_types = vec!["Other".to_owned(), "Commitment".to_owned()];
    script.catalog = Catalog::built_in().with_mode(other, ModeKind::Passthrough).unwrap();
    script.accept(A, &note());
    script.refuse(A, &Message::new("Other", vec![]), InvalidEnvelope);
}

#[test]
fn built_in_descriptors() {
    let table = [
        (
            "macp.mode.decision.v1",
            "Decision Mode",
            "semantic-deterministic",
            "declared",
            "Proposal Evaluation Objection Vote",
        ),
        (
            "macp.mode.proposal.v1",
            "Proposal Mode",
            "semantic-deterministic",
            "peer",
            "Proposal CounterProposal Accept Reject Withdraw",
        ),
        (
            "macp.mode.task.v1",
            "Task Mode",
            "structural-only",
            "orchestrated",
            "TaskRequest TaskAccept TaskReject TaskUpdate TaskComplete TaskFail",
        ),
        (
            "macp.mode.handoff.v1",
            "Handoff Mode",
            "context-frozen",
            "delegated",
            "HandoffOffer HandoffContext HandoffAccept HandoffDecline",
        ),
        (
            "macp.mode.quorum.v1",
            "Quorum Mode",
            "semantic-deterministic",
            "quorum",
            "ApprovalRequest Approve Reject Abstain",
        ),
        ("ext.multi_round.v1", "Multi-Round Mode", "semantic-deterministic", "peer", "Contribute"),
    ];
    let entries = mode::built_in();
    assert_eq!(entries.len(), table.len());
    for (entry, (id, title, class, model, between)) in entries.iter().zip(table) {
        let descriptor = &entry.descriptor;
        assert_eq!(
            (descriptor.mode.as_str(), descriptor.title.as_str(), descriptor.mode_version.as_str()),
            (id, title, "1.0.0")
        );
        assert_eq!(
            (descriptor.determinism_class.as_str(), descriptor.participant_model.as_str()),
            (class, model)
        );
        assert_eq!(descriptor.message_types.join(" "), format!("SessionStart {between} Commitment"));
        assert_eq!(descriptor.terminal_message_types, ["Commitment"]);
        assert_eq!(entry.standards_track, id != "ext.multi_round.v1");
        assert!(entry.strict && entry.built_in);
    }
    for kind in ModeKind::ALL {
        assert_eq!(ModeKind::from_name(kind.name()), Some(*kind));
    }
}
