//! Which fault wins when an envelope has several: the order of checks is protocol (RFC-MACP-0001 §7.3, §8).

use macp_kernel::RefusalCode::{
    Forbidden, InvalidEnvelope, InvalidSessionId, ModeNotSupported, RateLimited, SessionAlreadyExists,
    SessionNotFound, SessionNotOpen, UnknownPolicyVersion,
};
use macp_kernel::command::{Command, ControlAction, Submission};
use macp_kernel::testing::message::{commitment, decision, start, start_payload};
use macp_kernel::testing::{A, INITIATOR, Message, OUTSIDER, STARTED, Script, TTL};
use macp_kernel::{Catalog, RefusalCode, mode};
use macp_wire::v1::{Envelope, SessionStartPayload};

/// A fault of a start: its code, how it gets into the envelope or payload.
struct Fault {
    name: &'static str,
    code: RefusalCode,
    envelope: fn(&mut Envelope),
    payload: fn(&mut SessionStartPayload),
}

fn same(_: &mut Envelope) {}
fn whole(_: &mut SessionStartPayload) {}

/// In the order in which they are looked for.
const START_FAULTS: [Fault; 10] = [
    Fault {
        name: "session id",
        code: InvalidSessionId,
        envelope: |e| e.session_id = "s1".to_owned(),
        payload: whole,
    },
    Fault {
        name: "mode",
        code: ModeNotSupported,
        envelope: |e| e.mode = "macp.mode.unknown.v1".to_owned(),
        payload: whole,
    },
    Fault { name: "time to live", code: InvalidEnvelope, envelope: same, payload: |p| p.ttl_ms = 0 },
    Fault {
        name: "configuration version",
        code: InvalidEnvelope,
        envelope: same,
        payload: |p| p.configuration_version = " ".to_owned(),
    },
    Fault {
        name: "blank participant",
        code: InvalidEnvelope,
        envelope: same,
        payload: |p| p.participants.push(" ".to_owned()),
    },
    Fault {
        name: "max_suspend_ms",
        code: InvalidEnvelope,
        envelope: same,
        payload: |p| p.max_suspend_ms = -1,
    },
    Fault {
        name: "mode version",
        code: InvalidEnvelope,
        envelope: same,
        payload: |p| p.mode_version = "2.0.0".to_owned(),
    },
    // Only in a session that exists; see below.
    Fault { name: "exists", code: SessionAlreadyExists, envelope: same, payload: whole },
    Fault {
        name: "policy",
        code: UnknownPolicyVersion,
        envelope: same,
        payload: |p| p.policy_version = "policy.unknown".to_owned(),
    },
    Fault { name: "open sessions", code: RateLimited, envelope: same, payload: whole },
];

#[test]
fn pairs_of_start_faults() {
    for (i, first) in START_FAULTS.iter().enumerate() {
        for second in &START_FAULTS[i..] {
            let exists = first.name == "exists" || second.name == "exists";
            let crowded = first.name == "open sessions" || second.name == "open sessions";
            let mut script = if exists {
                Script::started(mode::decision::MODE)
            } else {
                Script::new(mode::decision::MODE, Catalog::built_in())
            };
            let mut payload = start_payload();
            (first.payload)(&mut payload);
            (second.payload)(&mut payload);
            let mut envelope = start(&payload).envelope(mode::decision::MODE, INITIATOR, "another");
            (first.envelope)(&mut envelope);
            (second.envelope)(&mut envelope);
            let command = Command::Submit(Submission { envelope, within_open_sessions: !crowded });
            let refusal = script.run(&command).unwrap_err();
            assert_eq!(refusal.code, first.code, "{} before {}: {refusal}", first.name, second.name);
        }
    }
}

#[test]
fn start_payload_table() {
    let many = |count: usize| -> Vec<String> { (0..count).map(|i| format!("agent://{i}")).collect() };
    let payload = start_payload;
    let named = |names: &[&str]| SessionStartPayload {
        participants: names.iter().map(|name| (*name).to_owned()).collect(),
        ..payload()
    };
    let cases = [
        (SessionStartPayload { ttl_ms: 1, ..payload() }, true),
        (SessionStartPayload { ttl_ms: 86_400_000, ..payload() }, true),
        (SessionStartPayload { ttl_ms: 86_400_001, ..payload() }, false),
        (SessionStartPayload { ttl_ms: -1, ..payload() }, false),
        (SessionStartPayload { ttl_ms: i64::MIN, ..payload() }, false),
        (SessionStartPayload { mode_version: String::new(), ..payload() }, false),
        (SessionStartPayload { configuration_version: String::new(), ..payload() }, false),
        (SessionStartPayload { max_suspend_ms: i64::MIN, ..payload() }, false),
        (SessionStartPayload { max_suspend_ms: i64::MAX, ..payload() }, true),
        (SessionStartPayload { participants: many(1000), ..payload() }, true),
        (SessionStartPayload { participants: many(1001), ..payload() }, false),
        (named(&["a", "b", "a"]), false),
        // Compared after trimming.
        (named(&["a", " a"]), false),
        (named(&["a", ""]), false),
        (named(&["a", "A"]), true),
        // What never leads to a refusal.
        (
            SessionStartPayload {
                intent: String::new(),
                context_id: "\u{0}odd".to_owned(),
                extensions: [("unknown".to_owned(), vec![1_u8].into())].into(),
                ..payload()
            },
            true,
        ),
    ];
    for (payload, ok) in cases {
        let mut script = Script::new(mode::decision::MODE, Catalog::built_in());
        if ok {
            script.accept(INITIATOR, &start(&payload));
        } else {
            script.refuse(INITIATOR, &start(&payload), InvalidEnvelope);
        }
    }
    let mut script = Script::new(mode::decision::MODE, Catalog::built_in());
    script.refuse(INITIATOR, &Message::new("SessionStart", Vec::new()), InvalidEnvelope);
    script.refuse(INITIATOR, &start(&start_payload()).garbled(), InvalidEnvelope);
    // The untrimmed string is what is bound and compared.
    let mut script = Script::started_with(mode::decision::MODE, Catalog::built_in(), &named(&[" a ", "b"]));
    script.refuse("a", &decision::proposal("p1"), Forbidden);
    script.accept(" a ", &decision::proposal("p1"));
}

#[test]
fn a_repeated_start_is_a_duplicate_and_another_is_refused() {
    let mut script = Script::new(mode::decision::MODE, Catalog::built_in());
    let envelope = start(&start_payload()).envelope(mode::decision::MODE, INITIATOR, "s-1");
    assert!(!script.submit(envelope.clone()).unwrap().duplicate);
    script.now += 5;
    let again = script.submit(envelope.clone()).unwrap();
    assert!(again.duplicate);
    assert_eq!(again.accepted_at.0, STARTED);
    // The id counts, not the content; but a start that is malformed in itself is refused before.
    let other = SessionStartPayload { ttl_ms: 7, ..start_payload() };
    let reply = script.submit(start(&other).envelope(mode::decision::MODE, A, "s-1"));
    assert!(reply.unwrap().duplicate);
    let malformed = SessionStartPayload { ttl_ms: 0, ..start_payload() };
    let reply = script.submit(start(&malformed).envelope(mode::decision::MODE, INITIATOR, "s-1"));
    assert_eq!(reply.unwrap_err().code, InvalidEnvelope);
    script.refuse(INITIATOR, &start(&start_payload()), SessionAlreadyExists);
    assert_eq!(script.entries.len(), 1);
}

/// Faults of a later message in the order in which they are looked for. Each has its own effect on the session or
/// on the message.
const LATER_FAULTS: [(&str, RefusalCode); 6] = [
    ("mode", InvalidEnvelope),
    ("expired", SessionNotOpen),
    ("suspended", SessionNotOpen),
    ("server's own type", InvalidEnvelope),
    ("sender", Forbidden),
    ("payload", InvalidEnvelope),
];

#[test]
fn pairs_of_later_faults() {
    for (i, (first, code)) in LATER_FAULTS.iter().enumerate() {
        for (second, _) in &LATER_FAULTS[i..] {
            let has = |name: &str| *first == name || *second == name;
            if has("expired") && has("suspended") {
                continue;
            }
            let mut script = Script::started(mode::decision::MODE);
            if has("suspended") {
                script.control(ControlAction::Suspend, INITIATOR).unwrap();
            }
            if has("expired") {
                script.now += TTL + 1;
            }
            let message_type = if has("server's own type") { "SessionCancel" } else { "Proposal" };
            let mut message = decision::proposal("p1").named(message_type);
            if has("payload") {
                message = message.garbled();
            }
            let sender = if has("sender") { OUTSIDER } else { A };
            let mode = if has("mode") { "macp.mode.task.v1" } else { mode::decision::MODE };
            let before = script.session.clone();
            let refusal = script.submit(message.envelope(mode, sender, "m")).unwrap_err();
            assert_eq!(refusal.code, *code, "{first} before {second}: {refusal}");
            let expires = *first == "expired";
            assert_eq!(script.session != before, expires, "only an expiry leaves a trace");
        }
    }
}

#[test]
fn an_accepted_id_wins_over_every_fault() {
    let mut script = Script::started(mode::decision::MODE);
    script.accept(A, &decision::proposal("p1"));
    let accepted_at = script.now;
    script.now += TTL + 1;
    let garbled = decision::proposal("p1").garbled();
    let reply = script.submit(garbled.envelope("some.other.mode", OUTSIDER, "m2")).unwrap();
    assert!(reply.duplicate);
    assert_eq!(reply.accepted_at.0, accepted_at);
    assert_eq!(script.entries.len(), 2, "not even the expiry is recorded");
}

#[test]
fn nothing_precedes_the_session() {
    let mut script = Script::new(mode::decision::MODE, Catalog::built_in());
    for message in [decision::proposal("p1"), commitment("x", true), Message::new("SessionCancel", vec![])] {
        script.refuse(A, &message, SessionNotFound);
    }
    for action in [ControlAction::Cancel, ControlAction::Suspend, ControlAction::Resume] {
        assert_eq!(script.control(action, INITIATOR).unwrap_err().code, SessionNotFound);
    }
    assert_eq!(script.tick(1).unwrap_err().code, SessionNotFound);
}

/// Only the server writes these; a client's is refused as such, whoever sends it.
#[test]
fn control_types_are_no_messages() {
    for message_type in ["SessionCancel", "SessionSuspend", "SessionResume"] {
        for sender in [INITIATOR, A, OUTSIDER] {
            let mut script = Script::started(mode::decision::MODE);
            script.refuse(sender, &Message::new(message_type, Vec::new()), InvalidEnvelope);
        }
    }
}
