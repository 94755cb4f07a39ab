//! Every rule of the Handoff mode and its code, and acceptance by silence (RFC-MACP-0010).

use std::sync::Arc;

use macp_kernel::RefusalCode::{self, Forbidden, InvalidEnvelope, SessionNotOpen};
use macp_kernel::command::ControlAction::{Cancel, Resume, Suspend};
use macp_kernel::deadline::next_deadline;
use macp_kernel::entry::Fact;
use macp_kernel::envelope::Sealed;
use macp_kernel::mode::handoff::{MODE, implicit_accept_at};
use macp_kernel::record::{self, StoredFact};
use macp_kernel::replay::Replay;
use macp_kernel::session::Lifecycle;
use macp_kernel::testing::message::handoff::{accept, context, decline, implicit_accept, offer};
use macp_kernel::testing::message::{commitment, start, start_payload};
use macp_kernel::testing::{A, B, INITIATOR, Message, OUTSIDER, STARTED, Script, TTL, projection};
use macp_kernel::{Catalog, UnixMillis, view};
use macp_wire::modes::handoff::v1::HandoffAcceptPayload;
use macp_wire::v1::{Envelope, SessionStartPayload, SessionState};
use prost::Message as _;

fn after(messages: &[(&str, Message)]) -> Script {
    Script::started(MODE).after(messages)
}

fn offered() -> Script {
    after(&[(INITIATOR, offer("h1", A))])
}

fn accepted() -> Script {
    offered().after(&[(A, accept("h1", ""))])
}

fn declined() -> Script {
    offered().after(&[(A, decline("h1", ""))])
}

/// A session whose offers are accepted after `timeout` ms of silence; the offer is made at 1000.
fn silent(timeout: i64) -> Script {
    let rules = format!(r#"{{"acceptance":{{"implicit_accept_timeout_ms":{timeout}}}}}"#);
    let mut script = Script::policed(MODE, &rules);
    script.now = 1_000;
    script.after(&[(INITIATOR, offer("h1", A))])
}

fn disposition(script: &Script, handoff_id: &str) -> String {
    let state = projection::mode_state(script.session());
    state["offers"][handoff_id]["disposition"].as_str().unwrap().to_owned()
}

/// The server's own acceptance, if it was recorded: ordinal, envelope, acceptance time.
fn synthetic(script: &Script) -> Option<(u64, Arc<Sealed>, i64)> {
    script.entries.iter().find_map(|entry| match &entry.fact {
        Fact::Accepted(accepted) if accepted.synthetic => {
            Some((accepted.ordinal, accepted.sealed.clone(), entry.at.0))
        }
        _ => None,
    })
}

#[test]
fn starts() {
    for (participants, ok) in
        [(vec![INITIATOR, A], true), (vec![INITIATOR], false), (vec![A, B], false), (vec![], false)]
    {
        let payload = SessionStartPayload {
            participants: participants.iter().map(|p| (*p).to_owned()).collect(),
            ..start_payload()
        };
        let mut script = Script::new(MODE, Catalog::built_in());
        if ok {
            script.accept(INITIATOR, &start(&payload));
        } else {
            script.refuse(INITIATOR, &start(&payload), InvalidEnvelope);
        }
    }
}

#[test]
fn refusals() {
    let empty = || after(&[]);
    let cases: Vec<(&str, Script, &str, Message, RefusalCode)> = vec![
        ("outsider", offered(), OUTSIDER, accept("h1", ""), Forbidden),
        ("unknown type", empty(), A, Message::new("Vote", vec![]), InvalidEnvelope),
        // HandoffOffer
        ("not the initiator", empty(), A, offer("h1", B), Forbidden),
        ("decodes", empty(), INITIATOR, offer("h1", A).garbled(), InvalidEnvelope),
        ("empty id", empty(), INITIATOR, offer("", A), InvalidEnvelope),
        ("empty target", empty(), INITIATOR, offer("h1", ""), InvalidEnvelope),
        ("rule 1: used id", declined(), INITIATOR, offer("h1", B), InvalidEnvelope),
        ("unknown target", empty(), INITIATOR, offer("h1", OUTSIDER), InvalidEnvelope),
        ("to itself", empty(), INITIATOR, offer("h1", INITIATOR), InvalidEnvelope),
        ("one at a time", offered(), INITIATOR, offer("h2", B), InvalidEnvelope),
        ("rule 5: accepted", accepted(), INITIATOR, offer("h2", B), InvalidEnvelope),
        ("rule 3a: declined", declined(), INITIATOR, offer("h2", A), InvalidEnvelope),
        // HandoffContext
        ("decodes", offered(), INITIATOR, context("h1").garbled(), InvalidEnvelope),
        ("unknown offer", offered(), INITIATOR, context("h2"), InvalidEnvelope),
        ("not the offerer", offered(), A, context("h1"), Forbidden),
        // HandoffAccept
        ("decodes", offered(), A, accept("h1", "").garbled(), InvalidEnvelope),
        ("no offer", empty(), A, accept("h1", ""), InvalidEnvelope),
        ("unknown offer", offered(), A, accept("h2", ""), InvalidEnvelope),
        ("not the target", offered(), B, accept("h1", ""), Forbidden),
        ("not the target, for it", offered(), B, accept("h1", A), Forbidden),
        ("for someone else", offered(), A, accept("h1", B), InvalidEnvelope),
        ("accepted", accepted(), A, accept("h1", ""), InvalidEnvelope),
        ("declined", declined(), A, accept("h1", ""), InvalidEnvelope),
        // HandoffDecline
        ("decodes", offered(), A, decline("h1", "").garbled(), InvalidEnvelope),
        ("no offer", empty(), A, decline("h1", ""), InvalidEnvelope),
        ("not the target", offered(), INITIATOR, decline("h1", ""), Forbidden),
        ("for someone else", offered(), A, decline("h1", B), InvalidEnvelope),
        ("accepted", accepted(), A, decline("h1", ""), InvalidEnvelope),
        ("declined", declined(), A, decline("h1", ""), InvalidEnvelope),
        // Client boundary
        ("implicit", offered(), A, implicit_accept("h1", A), InvalidEnvelope),
        ("an outsider's is forbidden first", offered(), OUTSIDER, implicit_accept("h1", A), Forbidden),
        // Commitment
        ("no authority", accepted(), A, commitment("x", true), Forbidden),
        ("nothing offered", empty(), INITIATOR, commitment("x", false), InvalidEnvelope),
        ("not answered", offered(), INITIATOR, commitment("x", true), InvalidEnvelope),
        ("not answered", offered(), INITIATOR, commitment("x", false), InvalidEnvelope),
    ];
    for (index, (name, mut script, sender, message, code)) in cases.into_iter().enumerate() {
        let refusal = script.refuse(sender, &message, code);
        assert!(!refusal.message.is_empty(), "{index}: {name}");
    }
}

#[test]
fn answers_and_outcomes() {
    for mut script in [accepted(), declined()] {
        // Late context is welcome, and the polarity is the committer's business.
        script.accept(INITIATOR, &context("h1"));
        script.clone().accept(INITIATOR, &commitment("x", true));
        script.accept(INITIATOR, &commitment("x", false));
        assert_eq!(script.lifecycle(), Lifecycle::Resolved);
    }
    // After a decline someone else is asked; the earlier answer already allows a commitment.
    let mut script = declined().after(&[(INITIATOR, offer("h2", B))]);
    script.clone().accept(INITIATOR, &commitment("x", false));
    script.accept(B, &accept("h2", B));
    assert_eq!(
        (disposition(&script, "h1").as_str(), disposition(&script, "h2").as_str()),
        ("Declined", "Accepted")
    );
}

#[test]
fn reserved_message_ids() {
    let reserved = |id: &str, sender: &str, message: Message, script: &mut Script| {
        let before = script.session.clone();
        let refusal = script.submit(message.envelope(MODE, sender, id)).unwrap_err();
        assert!(before == script.session);
        refusal.code
    };
    let mut script = offered();
    for message in [accept("h1", ""), decline("h1", ""), Message::new("Vote", vec![])] {
        assert_eq!(reserved("implicit-accept:h9", A, message, &mut script), InvalidEnvelope);
    }
    assert_eq!(reserved("implicit-accept:", INITIATOR, commitment("x", true), &mut script), InvalidEnvelope);
    assert_eq!(reserved("implicit-accept:h1", OUTSIDER, accept("h1", ""), &mut script), Forbidden);
    let mut unstarted = Script::new(MODE, Catalog::built_in());
    assert_eq!(
        reserved("implicit-accept:x", INITIATOR, start(&start_payload()), &mut unstarted),
        InvalidEnvelope
    );
    // Case counts, and so does the place; other modes know no such ids.
    script.submit(context("h1").envelope(MODE, INITIATOR, "Implicit-accept:h1")).unwrap();
    script.submit(context("h1").envelope(MODE, INITIATOR, "my implicit-accept:h1")).unwrap();
    let mut decision = Script::new("macp.mode.decision.v1", Catalog::built_in());
    let envelope = start(&start_payload()).envelope("macp.mode.decision.v1", INITIATOR, "implicit-accept:x");
    decision.submit(envelope).unwrap();
}

/// The table of the specification: offered at 1000 with a timeout of 100.
#[test]
fn when_silence_ends() {
    type Pauses = &'static [(i64, i64)];
    let table: [(Pauses, i64); 11] = [
        (&[], 1_100),
        (&[(1_050, 1_200)], 1_250),
        (&[(1_050, 1_200), (1_230, 1_300)], 1_320),
        (&[(1_500, 1_600)], 1_100),
        (&[(1_100, 1_300)], 1_100),
        (&[(500, 700)], 1_100),
        (&[(1_000, 1_010)], 1_110),
        (&[(1_099, 1_300)], 1_301),
        // Backwards and nested pauses do not lengthen it.
        (&[(1_050, 1_020)], 1_100),
        (&[(1_050, 1_200), (1_100, 1_150)], 1_250),
        (&[(1_050, 1_060), (1_060, 1_070)], 1_120),
    ];
    for (pauses, expected) in table {
        let pauses: Vec<_> = pauses.iter().map(|(s, e)| (UnixMillis(*s), UnixMillis(*e))).collect();
        assert_eq!(implicit_accept_at(UnixMillis(1_000), 100, &pauses).0, expected, "{pauses:?}");
    }
    assert_eq!(implicit_accept_at(UnixMillis(1_000), i64::MAX, &[]).0, i64::MAX);
}

/// The same rows with a real session, as far as its clock allows.
#[test]
fn silence_in_a_session_with_pauses() {
    type Pauses = &'static [(i64, i64)];
    let rows: [(Pauses, i64); 3] =
        [(&[], 1_100), (&[(1_050, 1_200)], 1_250), (&[(1_050, 1_200), (1_230, 1_300)], 1_320)];
    for (pauses, expected) in rows {
        let mut script = silent(100);
        for (from, to) in pauses {
            script.pause(*from, *to);
        }
        assert_eq!(next_deadline(script.session()), Some(UnixMillis(expected)));
        script.tick(expected - 1).unwrap();
        assert_eq!(synthetic(&script), None);
        // Observed late, recorded at its own time.
        assert_eq!(script.tick(expected + 777).unwrap().state, SessionState::Open);
        assert_eq!(synthetic(&script).unwrap().2, expected, "{pauses:?}");
        assert_eq!(disposition(&script, "h1"), "Accepted");
    }
}

#[test]
fn a_pause_at_or_after_the_deadline_finds_it_recorded() {
    for at in [1_100, 1_500] {
        let mut script = silent(100);
        script.pause(at, at + 200);
        assert_eq!(synthetic(&script).unwrap().2, 1_100);
        assert!(matches!(script.entries[2].fact, Fact::Accepted(_)), "before the pause");
    }
    // And so does a cancellation.
    let mut script = silent(100);
    script.now = 1_100;
    assert_eq!(script.control(Cancel, INITIATOR).unwrap().state, SessionState::Cancelled);
    assert_eq!(synthetic(&script).unwrap().2, 1_100);
}

#[test]
fn the_servers_own_envelope_is_exact() {
    let mut script = silent(1_000);
    script.now = 2_500;
    script.accept(INITIATOR, &commitment("handoff.accepted", true));
    let (ordinal, sealed, at) = synthetic(&script).unwrap();
    assert_eq!((ordinal, at), (3, 2_000), "start, offer, then this, before the commitment");
    let payload = HandoffAcceptPayload {
        handoff_id: "h1".to_owned(),
        accepted_by: A.to_owned(),
        reason: "implicit accept (timeout)".to_owned(),
        implicit: true,
    };
    let expected = Envelope {
        macp_version: "1.0".to_owned(),
        mode: MODE.to_owned(),
        message_type: "HandoffAccept".to_owned(),
        message_id: "implicit-accept:h1".to_owned(),
        session_id: script.session().id.as_str().to_owned(),
        sender: A.to_owned(),
        timestamp_unix_ms: 2_000,
        payload: payload.encode_to_vec().into(),
    };
    assert_eq!(*sealed.envelope(), expected);
    assert_eq!(script.session().last_ordinal, 4);
    assert_eq!(script.lifecycle(), Lifecycle::Resolved);
    let active: Vec<_> =
        view::metadata(script.session()).participant_activity.into_iter().map(|a| a.participant_id).collect();
    assert_eq!(active, [INITIATOR], "silence is nobody's activity");
}

#[test]
fn the_trigger_is_judged_afterwards() {
    for late in [accept("h1", ""), decline("h1", "")] {
        let mut script = silent(100);
        script.now = 1_100;
        assert_eq!(script.send(A, &late).unwrap_err().code, InvalidEnvelope);
        assert_eq!(disposition(&script, "h1"), "Accepted", "what came to light stays");
        assert_eq!(script.entries.len(), 3);
    }
    // In time is in time.
    let mut script = silent(100);
    script.now = 1_099;
    script.accept(A, &decline("h1", ""));
    assert_eq!(disposition(&script, "h1"), "Declined");
    script.tick(5_000).unwrap();
    assert_eq!(synthetic(&script), None, "a settled offer is not accepted by silence");
    // Who may not speak, or not so, brings nothing to light.
    let mut script = silent(100);
    script.now = 1_200;
    script.refuse(OUTSIDER, &accept("h1", ""), Forbidden);
    script.refuse(A, &implicit_accept("h1", A), InvalidEnvelope);
    assert_eq!(synthetic(&script), None);
    // Its id is known from then on.
    script.tick(1_200).unwrap();
    let again = accept("h1", "").envelope(MODE, A, "implicit-accept:h1");
    assert!(script.submit(again).unwrap().duplicate);
}

#[test]
fn an_expired_session_accepts_nothing_by_silence() {
    for now in [STARTED + TTL + 1, STARTED + 2 * TTL] {
        let mut script = silent(100);
        script.now = now;
        assert_eq!(script.send(INITIATOR, &context("h1")).unwrap_err().code, SessionNotOpen);
        assert_eq!((synthetic(&script), script.lifecycle()), (None, Lifecycle::Expired));
        let mut script = silent(100);
        script.tick(now).unwrap();
        assert_eq!((synthetic(&script), script.lifecycle()), (None, Lifecycle::Expired));
    }
    // A timeout that ends with the session is in time.
    let mut script = silent(STARTED + TTL - 1_000);
    script.tick(STARTED + TTL).unwrap();
    assert_eq!(synthetic(&script).unwrap().2, STARTED + TTL);
}

#[test]
fn a_suspended_session_accepts_nothing_by_silence() {
    let mut script = silent(100);
    script.now = 1_050;
    script.control(Suspend, INITIATOR).unwrap();
    script.tick(1_500).unwrap();
    script.refuse(A, &accept("h1", ""), SessionNotOpen);
    assert_eq!(synthetic(&script), None);
    script.control(Resume, INITIATOR).unwrap();
    assert_eq!(next_deadline(script.session()), Some(UnixMillis(1_550)));
    script.now = 1_520;
    script.accept(A, &decline("h1", ""));
}

#[test]
fn without_the_policy_silence_is_nothing() {
    let mut script = offered();
    script.tick(STARTED + TTL).unwrap();
    assert_eq!(disposition(&script, "h1"), "Offered");
    assert_eq!(next_deadline(script.session()), Some(UnixMillis(STARTED + TTL + 1)));
}

/// History is data: replay does not time the acceptance again, but holds it to its form.
#[test]
fn replay_of_silence() {
    let mut script = silent(100);
    script.tick(1_100).unwrap();
    let stored = record::decode(&record::encode([0; 16], &script.entries)).unwrap().entries;
    let replay = |change: fn(&mut Envelope), at: i64| {
        let mut replay = Replay::default();
        for mut entry in stored.clone() {
            if let Some(StoredFact::Accepted(accepted)) = &mut entry.fact
                && accepted.synthetic
            {
                let mut envelope = Envelope::decode(accepted.envelope.clone()).unwrap();
                change(&mut envelope);
                accepted.envelope = envelope.encode_to_vec().into();
                entry.at = at;
            }
            replay.entry(entry)?;
        }
        Ok::<_, macp_kernel::replay::Divergence>(replay.into_session())
    };
    assert!(replay(|_| {}, 1_100).unwrap() == script.session);
    assert!(replay(|_| {}, 1_001).is_ok(), "the time is not judged again");
    assert!(replay(|e| e.message_id = "implicit-accept:h2".to_owned(), 1_100).is_err());
    assert!(replay(|e| e.sender = B.to_owned(), 1_100).is_err());
    for accepted_by in ["", B] {
        let spoil: fn(&mut Envelope) = if accepted_by.is_empty() {
            |e| e.payload = implicit_accept("h1", "").payload
        } else {
            |e| e.payload = implicit_accept("h1", B).payload
        };
        assert!(replay(spoil, 1_100).is_err(), "{accepted_by:?}");
    }
}
