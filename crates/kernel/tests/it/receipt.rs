//! Receipts: their exact text, and the sessions that have none.

use macp_kernel::command::ControlAction::{Cancel, Suspend};
use macp_kernel::receipt::{Issuance, NoReceipt, Receipt};
use macp_kernel::testing::message::{commitment, commitment_payload, decision};
use macp_kernel::testing::{A, INITIATOR, Message, Script, TTL};
use macp_kernel::{RefusalCode, UnixMillis, mode};
use macp_wire::v1::{CommitmentPayload, CommitmentRef, SessionState};
use prost::Message as _;

use crate::replay::replayed;

fn issuance() -> Issuance {
    Issuance { runtime_id: "test \"one\"".into(), at: UnixMillis(1_800_000_000_999) }
}

fn resolved(payload: impl Into<bytes::Bytes>) -> Script {
    let mut script = Script::started(mode::decision::MODE);
    script.accept(A, &decision::proposal("p1"));
    script.accept(INITIATOR, &Message::new("Commitment", payload));
    script
}

fn chained() -> CommitmentPayload {
    let commitment_hash = format!("sha256:{}", "0f".repeat(32));
    let supersedes = CommitmentRef { session_id: "before".into(), commitment_hash };
    CommitmentPayload {
        reason: "caf\u{e9}\n\u{1f702}".into(),
        supersedes: Some(supersedes),
        ..commitment_payload("decision.selected", true)
    }
}

/// Served text is permanent: this text was compared with an independent implementation's.
#[test]
fn text_is_stable() {
    let script = resolved(chained().encode_to_vec());
    let receipt = Receipt::of(script.session(), &issuance()).unwrap();
    let body = include_str!("../data/receipt-v1.json").trim_end();
    assert_eq!(receipt.body(), body);
    let rest = body.strip_prefix('{').unwrap();
    assert_eq!(receipt.document(&[]), format!("{{\"attestations\":[],{rest}"));
    assert_eq!(
        receipt.document(&["h..s".into()]),
        format!("{{\"attestations\":[{{\"jws\":\"h..s\",\"type\":\"jws\"}}],{rest}")
    );
}

#[test]
fn stored_history_gives_the_same_receipt() {
    let script = resolved(chained().encode_to_vec());
    let again = replayed(&script.entries).unwrap();
    assert_eq!(Receipt::of(&again, &issuance()), Receipt::of(script.session(), &issuance()));
}

/// The payload is kept as it was sent, not as this release would encode it.
#[test]
fn the_wire_form_is_verbatim() {
    let payload = commitment_payload("decision.selected", true);
    let again = CommitmentPayload { reason: "first".into(), ..CommitmentPayload::default() };
    let wire = [again.encode_to_vec(), payload.encode_to_vec()].concat();
    let verbatim = Receipt::of(resolved(wire).session(), &issuance()).unwrap().body();
    let plain = Receipt::of(resolved(payload.encode_to_vec()).session(), &issuance()).unwrap().body();
    assert_ne!(verbatim, plain);
    let hash =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["commitment_hash"].clone();
    assert_eq!(hash(&verbatim), hash(&plain));
}

#[test]
fn sessions_without_a_receipt() {
    let unresolved = |change: &dyn Fn(&mut Script)| {
        let mut script = Script::started(mode::decision::MODE);
        change(&mut script);
        Receipt::of(script.session(), &issuance()).unwrap_err()
    };
    for (change, state) in [
        (&(|_: &mut Script| {}) as &dyn Fn(&mut Script), SessionState::Open),
        (&|s: &mut Script| assert!(s.control(Suspend, INITIATOR).is_ok()), SessionState::Suspended),
        (&|s: &mut Script| assert!(s.control(Cancel, INITIATOR).is_ok()), SessionState::Cancelled),
        (&|s: &mut Script| assert!(s.tick(s.now + TTL + 1).is_ok()), SessionState::Expired),
    ] {
        assert_eq!(unresolved(change), NoReceipt::NotResolved(state));
    }

    let mut unknown_field = commitment_payload("decision.selected", true).encode_to_vec();
    unknown_field.extend([0x50, 0x01]);
    let why = Receipt::of(resolved(unknown_field).session(), &issuance()).unwrap_err();
    assert_eq!(why, NoReceipt::NotCovered);

    let mut foreign = resolved(commitment("decision.selected", true).payload).session.unwrap();
    let mut binding = (*foreign.binding).clone();
    binding.mode = "ext.multi_round.v1".into();
    foreign.binding = binding.into();
    let why = Receipt::of(&foreign, &issuance()).unwrap_err();
    assert_eq!(why, NoReceipt::Mode("ext.multi_round.v1".into()));

    let refusal = macp_kernel::Refusal::from(NoReceipt::NotResolved(SessionState::Open));
    assert_eq!(refusal.code, RefusalCode::ReceiptUnavailable);
    assert_eq!(refusal.message, "only a RESOLVED session has a receipt; this one is OPEN");
}
