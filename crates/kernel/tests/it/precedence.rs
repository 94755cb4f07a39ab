//! Which fault wins when an envelope has several: the order of checks is protocol (RFC-MACP-0001 §7.3, §8).

use macp_kernel::RefusalCode::{
    Forbidden, InvalidEnvelope, InvalidPolicyDefinition, InvalidSessionId, ModeNotSupported, RateLimited,
    SessionAlreadyExists, SessionNotFound, SessionNotOpen, UnknownPolicyVersion,
};
use macp_kernel::command::{Command, ControlAction, Submission};
use macp_kernel::testing::message::{commitment, contribute, decision, start, start_payload};
use macp_kernel::testing::{A, INITIATOR, Message, OUTSIDER, STARTED, Script, TTL};
use macp_kernel::{Catalog, Refusal, RefusalCode, mode};
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
const START_FAULTS: [Fault; 14] = [
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
    Fault {
        name: "unreadable payload",
        code: InvalidEnvelope,
        envelope: |e| e.payload = b"\xff"[..].into(),
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
    Fault {
        name: "policy of another mode",
        code: InvalidPolicyDefinition,
        envelope: same,
        payload: |p| p.policy_version = "policy.std.majority".to_owned(),
    },
    Fault {
        name: "the mode's own check",
        code: InvalidEnvelope,
        envelope: same,
        payload: |p| p.participants.retain(|participant| participant != INITIATOR),
    },
    Fault {
        name: "client boundary",
        code: InvalidEnvelope,
        envelope: |e| e.message_id = "implicit-accept:h1".to_owned(),
        payload: whole,
    },
    Fault { name: "open sessions", code: RateLimited, envelope: same, payload: whole },
];

/// What a start with these faults is refused with.
fn refused_start(faults: [&Fault; 2]) -> Refusal {
    const MODE: &str = mode::handoff::MODE;
    let has = |name: &str| faults.iter().any(|fault| fault.name == name);
    let mut script =
        if has("exists") { Script::started(MODE) } else { Script::new(MODE, Catalog::built_in()) };
    let mut payload = start_payload();
    for fault in faults {
        (fault.payload)(&mut payload);
    }
    let mut envelope = start(&payload).envelope(MODE, INITIATOR, "another");
    for fault in faults {
        (fault.envelope)(&mut envelope);
    }
    let command = Command::Submit(Submission {
        envelope: envelope.into(),
        within_open_sessions: !has("open sessions"),
    });
    script.run(&command).unwrap_err()
}

#[test]
fn pairs_of_start_faults() {
    for (i, first) in START_FAULTS.iter().enumerate() {
        let alone = refused_start([first, first]);
        assert_eq!(alone.code, first.code, "{}", first.name);
        for second in &START_FAULTS[i + 1..] {
            // Two faults of one field cannot be had at once.
            if (first.name, second.name) == ("policy", "policy of another mode") {
                continue;
            }
            // The texts too: many of the codes are the same.
            assert_eq!(refused_start([first, second]), alone, "{} before {}", first.name, second.name);
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
const LATER_FAULTS: [(&str, RefusalCode); 7] = [
    ("mode", InvalidEnvelope),
    ("expired", SessionNotOpen),
    ("suspended", SessionNotOpen),
    ("unregistered", ModeNotSupported),
    ("server's own type", InvalidEnvelope),
    ("sender", Forbidden),
    ("payload", InvalidEnvelope),
];

/// What a message with these faults is refused with, and whether that left a trace.
fn refused_later(faults: [&str; 2]) -> (Refusal, bool) {
    const MODE: &str = mode::multi_round::MODE;
    let has = |name: &str| faults.contains(&name);
    let mut script = Script::started(MODE);
    if has("suspended") {
        script.control(ControlAction::Suspend, INITIATOR).unwrap();
    }
    if has("expired") {
        script.now += TTL + 1;
    }
    if has("unregistered") {
        // A built-in mode cannot be removed, but this one can be given another name.
        script.catalog = script.catalog.promote_mode(MODE, "acme.rounds.v1").unwrap().0;
    }
    let message_type = if has("server's own type") { "SessionCancel" } else { "Contribute" };
    let mut message = contribute("x").named(message_type);
    if has("payload") {
        message = message.garbled();
    }
    let sender = if has("sender") { OUTSIDER } else { A };
    let mode = if has("mode") { "macp.mode.task.v1" } else { MODE };
    let before = script.session.clone();
    let refusal = script.submit(message.envelope(mode, sender, "m")).unwrap_err();
    (refusal, script.session != before)
}

#[test]
fn pairs_of_later_faults() {
    for (i, (first, code)) in LATER_FAULTS.iter().enumerate() {
        let alone = refused_later([first, first]);
        assert_eq!(alone.0.code, *code, "{first}");
        assert_eq!(alone.1, *first == "expired", "only an expiry leaves a trace");
        for (second, _) in &LATER_FAULTS[i + 1..] {
            // A suspended session does not run out of its time to live.
            if (*first, *second) != ("expired", "suspended") {
                assert_eq!(refused_later([first, second]), alone, "{first} before {second}");
            }
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
