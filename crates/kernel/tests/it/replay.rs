//! Stored history: records decode to what was encoded, replay makes the live state, and divergence is named.

use bytes::Bytes;
use macp_kernel::RefusalCode::PolicyDenied;
use macp_kernel::command::ControlAction::{Cancel, Resume, Suspend};
use macp_kernel::record::{self, RECORD_VERSION, RecordBody, RecordError, StoredEntry, StoredFact};
use macp_kernel::replay::{Divergence, Replay};
use macp_kernel::session::Session;
use macp_kernel::testing::message::{commitment, decision, handoff, proposal, quorum, task};
use macp_kernel::testing::{A, B, INITIATOR, STARTED, Script, TTL};
use macp_kernel::{Entry, SEMANTICS_REV, mode};
use prost::Message as _;

const APPEND: [u8; 16] = [7; 16];

/// Each entry in a record of its own.
fn records(entries: &[Entry]) -> Vec<Bytes> {
    entries.iter().map(|entry| record::encode(APPEND, std::slice::from_ref(entry))).collect()
}

pub(crate) fn replayed(entries: &[Entry]) -> Option<Session> {
    let mut replay = Replay::default();
    for (record, entry) in records(entries).iter().zip(entries) {
        let again = replay.record(record).unwrap();
        assert!(again == std::slice::from_ref(entry), "replay gives the entry itself");
    }
    replay.into_session()
}

fn long_history() -> Script {
    let mut script = Script::started(mode::decision::MODE);
    script.accept(A, &decision::proposal("p1"));
    script.pause(200, 900);
    script.accept(B, &decision::evaluation("p1", "REVIEW", 0.5));
    script.accept(B, &decision::objection("p1", "low"));
    script.accept(B, &decision::vote("p1", "REJECT"));
    script.pause(1_000, 1_001);
    script.accept(INITIATOR, &commitment("decision.rejected", false));
    script
}

#[test]
fn records_invert() {
    let script = long_history();
    let bytes = record::encode(APPEND, &script.entries);
    assert_eq!(bytes[0], RECORD_VERSION);
    let body = record::decode(&bytes).unwrap();
    assert_eq!(&body.append_id[..], APPEND);
    assert_eq!(body.entries.len(), script.entries.len());
    let mut replay = Replay::default();
    assert!(replay.record(&bytes).unwrap() == script.entries, "all entries in one record");
    assert!(replay.session() == script.session.as_ref());
}

#[test]
fn replay_equals_live_for_every_prefix() {
    let mut script = Script::started(mode::decision::MODE);
    let steps: [&dyn Fn(&mut Script); 5] = [
        &|s| s.accept(A, &decision::proposal("p1")),
        &|s| assert!(s.control(Suspend, INITIATOR).is_ok()),
        &|s| {
            s.now += 500;
            assert!(s.control(Resume, INITIATOR).is_ok());
        },
        &|s| s.accept(A, &decision::vote("p1", "APPROVE")),
        &|s| assert!(s.control(Cancel, INITIATOR).is_ok()),
    ];
    for step in steps {
        step(&mut script);
        assert!(replayed(&script.entries) == script.session);
    }
}

#[test]
fn a_resumed_replay_continues() {
    let script = long_history();
    for cut in 1..script.entries.len() {
        let mut replay = Replay::resume(replayed(&script.entries[..cut]));
        for record in records(&script.entries[cut..]) {
            replay.record(&record).unwrap();
        }
        assert!(replay.into_session() == script.session, "cut at {cut}");
    }
}

#[test]
fn bytes_of_other_formats() {
    let good = record::encode(APPEND, &long_history().entries);
    assert_eq!(record::decode(&Bytes::new()), Err(RecordError::Empty));
    let mut newer = good.to_vec();
    newer[0] = RECORD_VERSION + 1;
    assert_eq!(record::decode(&newer.into()), Err(RecordError::Newer(RECORD_VERSION + 1)));
    let mut older = good.to_vec();
    older[0] = 0;
    assert!(matches!(record::decode(&older.into()), Err(RecordError::Malformed(_))));
    let cut = good.slice(..good.len() - 1);
    assert!(matches!(record::decode(&cut), Err(RecordError::Malformed(_))));
}

/// Changes the stored form of one entry of [`long_history`] and tells what replay makes of it.
fn tampered(index: usize, change: impl FnOnce(&mut StoredEntry)) -> String {
    let script = long_history();
    let mut replay = Replay::default();
    for record in records(&script.entries[..index]) {
        replay.record(&record).unwrap();
    }
    let before = replay.session().cloned();
    let mut stored = record::decode(&records(&script.entries[index..])[0]).unwrap().entries.remove(0);
    change(&mut stored);
    let divergence = replay.entry(stored).unwrap_err();
    assert!(replay.session() == before.as_ref(), "a divergent entry changes nothing");
    divergence.to_string()
}

fn start_of(entry: &mut StoredEntry) -> &mut record::StoredStart {
    match &mut entry.fact {
        Some(StoredFact::Started(start)) => start,
        _ => panic!("not a start"),
    }
}

fn envelope_of(entry: &mut StoredEntry) -> &mut record::StoredEnvelope {
    match &mut entry.fact {
        Some(StoredFact::Accepted(envelope)) => envelope,
        _ => panic!("not an envelope"),
    }
}

fn rewrite(entry: &mut StoredEntry, change: impl FnOnce(&mut macp_wire::v1::Envelope)) {
    let stored = envelope_of(entry);
    let mut envelope = macp_wire::v1::Envelope::decode(stored.envelope.clone()).unwrap();
    change(&mut envelope);
    stored.envelope = envelope.encode_to_vec().into();
}

#[test]
fn divergences_are_named() {
    // 0 start, 1 proposal, 2 suspend, 3 resume, 4 evaluation, 5 objection, 6 vote, 7 suspend, 8 resume, 9 commitment
    for (index, said, expected) in [
        (0, tampered(0, |e| start_of(e).mode_kind = "séance".to_owned()), "séance"),
        (0, tampered(0, |e| start_of(e).policy = None), "policy"),
        (0, tampered(0, |e| start_of(e).envelope = Bytes::from_static(b"\xff")), "decode"),
        (0, tampered(0, |e| start_of(e).semantics_rev = 3), "never released"),
        (0, tampered(0, |e| e.fact = Some(StoredFact::Expired(1))), "begin with a start"),
        (0, tampered(0, |e| e.fact = None), "no fact"),
        (1, tampered(1, |e| envelope_of(e).ordinal = 3), "ordinal 3 follows ordinal 1"),
        (1, tampered(1, |e| envelope_of(e).ordinal = 1), "ordinal"),
        (1, tampered(1, |e| rewrite(e, |e| e.session_id.push('x'))), "another session"),
        (1, tampered(1, |e| rewrite(e, |e| e.mode.push('x'))), "another session or mode"),
        (1, tampered(1, |e| rewrite(e, |e| e.message_type = "SessionStart".to_owned())), "twice"),
        (1, tampered(1, |e| rewrite(e, |e| e.sender = "agent://outsider".to_owned())), "FORBIDDEN"),
        (1, tampered(1, |e| rewrite(e, |e| e.payload = Bytes::new())), "INVALID_ENVELOPE"),
        (4, tampered(4, |e| rewrite(e, |e| e.message_id = "m2".to_owned())), "twice"),
        (2, tampered(2, |e| e.fact = Some(StoredFact::Resumed(Default::default()))), "out of turn"),
        (3, tampered(3, |e| e.fact = Some(StoredFact::Suspended(Default::default()))), "out of turn"),
        (3, tampered(3, |e| e.fact = Some(StoredFact::Expired(99))), "does not know"),
    ] {
        assert!(said.contains(expected), "{said:?} should speak of {expected:?}");
        assert!(said.contains(&format!("entry {index} ")), "{said:?} should name entry {index}");
    }
    // An envelope in a pause.
    let script = long_history();
    let stored = record::decode(&records(&script.entries)[4]).unwrap().entries.remove(0);
    let said = tampered(3, |entry| *entry = stored.clone());
    assert!(said.contains("suspended"), "{said}");
}

#[test]
fn nothing_follows_the_end() {
    let script = long_history();
    let mut replay = Replay::resume(script.session.clone());
    for record in records(&script.entries) {
        assert!(matches!(replay.record(&record), Err(Divergence::Entry { .. })));
    }
    assert!(replay.into_session() == script.session);
}

#[test]
fn newer_rules_are_refused() {
    let mut stored = record::decode(&records(&long_history().entries)[0]).unwrap().entries.remove(0);
    start_of(&mut stored).semantics_rev = SEMANTICS_REV + 1;
    let divergence = Replay::default().entry(stored).unwrap_err();
    assert_eq!(divergence, Divergence::NewerSemantics { found: SEMANTICS_REV + 1, known: SEMANTICS_REV });
}

/// Replay looks at recorded times only: a session that lived long ago replays as it was.
#[test]
fn expiry_is_data() {
    let mut script = Script::started(mode::decision::MODE);
    script.accept(A, &decision::proposal("p1"));
    let before_expiry = script.session.clone();
    assert!(replayed(&script.entries) == before_expiry, "an unrecorded expiry is not made up");
    script.tick(STARTED + TTL + 1).unwrap();
    assert!(replayed(&script.entries) == script.session);
}

/// A policy of a newer release binds as it is and denies what cannot be judged under it, in every mode with policies.
#[test]
fn a_policy_beyond_this_release_denies_commitments() {
    let eligible = [
        (mode::decision::MODE, vec![(A, decision::proposal("p1"))]),
        (mode::proposal::MODE, vec![(A, proposal::proposal("p1")), (B, proposal::reject("p1", true))]),
        (mode::task::MODE, vec![(INITIATOR, task::request("t1", A)), (A, task::reject("t1", ""))]),
        (mode::handoff::MODE, vec![(INITIATOR, handoff::offer("h1", A)), (A, handoff::accept("h1", ""))]),
        (mode::quorum::MODE, vec![(INITIATOR, quorum::request("r1", 1)), (A, quorum::approve("r1"))]),
    ];
    for (mode, messages) in eligible {
        let mut script = Script::started(mode);
        let mut stored = record::decode(&records(&script.entries)[0]).unwrap().entries.remove(0);
        start_of(&mut stored).policy.as_mut().unwrap().schema_version = 9;
        let mut replay = Replay::default();
        replay.entry(stored).unwrap();
        script.session = replay.into_session();
        let mut script = script.after(&messages);
        let refusal = script.refuse(INITIATOR, &commitment("x", false), PolicyDenied);
        let details: serde_json::Value = serde_json::from_slice(&refusal.details).unwrap();
        assert_eq!(details["denials"][0]["code"], "unsupported_schema_version", "{mode}");
    }
}

/// The stored form of a short history, byte for byte: it must stay readable for ever.
#[test]
fn the_format_is_stable() {
    let mut script = Script::started(mode::decision::MODE);
    script.accept(A, &decision::proposal("p1"));
    script.pause(200, 300);
    let bytes = record::encode(APPEND, &script.entries);
    let golden = include_str!("../data/record-v1.hex");
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden.trim_end(), "tests/data/record-v1.hex");
    let body = record::decode(&bytes).unwrap();
    assert_eq!(RecordBody::decode(&bytes[1..]).unwrap(), body);
}
