//! Every rule of `ext.multi_round.v1` and its code.

use macp_kernel::Catalog;
use macp_kernel::RefusalCode::{self, Forbidden, InvalidEnvelope};
use macp_kernel::mode::ModeState;
use macp_kernel::mode::multi_round::{MODE, MultiRound};
use macp_kernel::session::Lifecycle;
use macp_kernel::testing::message::{commitment, contribute, start, start_payload};
use macp_kernel::testing::{A, B, INITIATOR, Message, OUTSIDER, Script};
use macp_wire::v1::SessionStartPayload;

fn after(messages: &[(&str, Message)]) -> Script {
    let payload = SessionStartPayload { participants: vec![A.to_owned(), B.to_owned()], ..start_payload() };
    Script::started_with(MODE, Catalog::built_in(), &payload).after(messages)
}

fn agreed() -> Script {
    after(&[(A, contribute("x")), (B, contribute("x"))])
}

fn state(script: &Script) -> &MultiRound {
    match &script.session().mode_state {
        ModeState::MultiRound(state) => state,
        _ => panic!("another mode"),
    }
}

fn raw(payload: &'static [u8]) -> Message {
    Message::new("Contribute", payload)
}

#[test]
fn starts_are_strict() {
    for payload in [
        SessionStartPayload { participants: Vec::new(), ..start_payload() },
        SessionStartPayload { mode_version: String::new(), ..start_payload() },
    ] {
        Script::new(MODE, Catalog::built_in()).refuse(INITIATOR, &start(&payload), InvalidEnvelope);
    }
}

#[test]
fn refusals() {
    let cases: Vec<(&str, Script, &str, Message, RefusalCode)> = vec![
        ("outsider", after(&[]), OUTSIDER, contribute("x"), Forbidden),
        ("an unlisted initiator", after(&[]), INITIATOR, contribute("x"), Forbidden),
        ("unknown type", after(&[]), A, Message::new("Vote", vec![]), InvalidEnvelope),
        ("empty payload", after(&[]), A, raw(b""), InvalidEnvelope),
        ("unreadable", after(&[]), A, raw(b"\xff\xff\xff"), InvalidEnvelope),
        ("agreed", agreed(), A, contribute("y"), InvalidEnvelope),
        ("agreed, said again", agreed(), A, contribute("x"), InvalidEnvelope),
        ("not the initiator", agreed(), A, commitment("x", true), Forbidden),
        ("not agreed", after(&[(A, contribute("x"))]), INITIATOR, commitment("x", true), InvalidEnvelope),
        ("agreement before payload", after(&[]), INITIATOR, commitment("x", true).garbled(), InvalidEnvelope),
        ("payload", agreed(), INITIATOR, commitment("x.rejected", true), InvalidEnvelope),
    ];
    for (index, (name, mut script, sender, message, code)) in cases.into_iter().enumerate() {
        let refusal = script.refuse(sender, &message, code);
        assert!(!refusal.message.is_empty(), "{index}: {name}");
    }
}

#[test]
fn rounds_count_changes() {
    let mut script = after(&[]);
    for (sender, value, round, converged) in
        [(A, "x", 1, false), (A, "x", 1, false), (B, "y", 2, false), (A, "z", 3, false), (B, "z", 4, true)]
    {
        script.accept(sender, &contribute(value));
        assert_eq!((state(&script).round, state(&script).converged), (round, converged));
    }
    script.accept(INITIATOR, &commitment("multi_round.converged", true));
    assert_eq!(script.lifecycle(), Lifecycle::Resolved);
    let resolution = script.session().resolution.clone().unwrap();
    assert_eq!(
        std::str::from_utf8(&resolution).unwrap(),
        r#"{"converged_value":"z","round":4,"final":{"agent://a":"z","agent://b":"z"}}"#
    );
}

#[test]
fn agreement_takes_every_participant() {
    let mut script = Script::started(MODE).after(&[(A, contribute("x")), (B, contribute("x"))]);
    script.refuse(INITIATOR, &commitment("x", true), InvalidEnvelope);
    script.accept(INITIATOR, &contribute("x"));
    script.accept(INITIATOR, &commitment("x", true));
}

#[test]
fn ways_to_write_a_value() {
    let ambiguous = b"\x0a\x0d{\"value\":\"x\"}";
    for (payload, expected) in [
        (&b"\x0a\x01x"[..], Some("x")),
        (b"{\"value\":\"x\"}", Some("x")),
        (b" {\"other\":[1],\"value\":\"\\u0078\"} ", Some("x")),
        (b"{\"value\":\"\"}", Some("")),
        // Both JSON and what a protobuf encoder writes: protobuf.
        (ambiguous, Some("{\"value\":\"x\"}")),
        // Protobuf with an unknown field.
        (b"\x0a\x01x\x10\x01", Some("x")),
        (b"\x10\x01", Some("")),
        (b"{\"value\":1}", None),
        (b"{\"value\":null}", None),
        (b"{\"value\":\"x\",\"value\":\"y\"}", None),
        (b"{\"other\":1,\"other\":2,\"value\":\"x\"}", Some("x")),
        (b"{}", None),
        (b"[\"x\"]", None),
        (b"\"x\"", None),
        (b"{\"value\":\"x\"", None),
        (b"\x0a\x05x", None),
        (b"\x0a\x01\xff", None),
    ] {
        let mut script = after(&[]);
        match expected {
            Some(value) => {
                script.accept(A, &raw(payload));
                assert_eq!(state(&script).contributions[A], value, "{payload:?}");
            }
            None => drop(script.refuse(A, &raw(payload), InvalidEnvelope)),
        }
    }
}

#[test]
fn the_policy_gives_no_authority_here() {
    let rules = r#"{"commitment":{"authority":"any_participant"}}"#;
    let mut script = Script::policed(MODE, rules).after(&[
        (A, contribute("x")),
        (B, contribute("x")),
        (INITIATOR, contribute("x")),
    ]);
    script.refuse(A, &commitment("x", true), Forbidden);
    script.accept(INITIATOR, &commitment("x", true));
}

/// Promotion changes the id and the listing; the rules stay.
#[test]
fn promotion_keeps_the_rules() {
    let (catalog, id) = Catalog::built_in().promote_mode(MODE, "acme.rounds.v1").unwrap();
    assert_eq!(id, "acme.rounds.v1");
    let mut script = Script::started_with(&id, catalog, &start_payload()).after(&[
        (A, contribute("x")),
        (B, contribute("x")),
        (INITIATOR, contribute("x")),
    ]);
    script.accept(INITIATOR, &commitment("x", true));
    assert!(crate::replay::replayed(&script.entries) == script.session);
}
