//! Pauses, deadlines, cancellation and duplicates over a session's life (RFC-MACP-0001 §7.2, §7.5, §8.2).

use macp_kernel::RefusalCode::{Forbidden, SessionNotOpen};
use macp_kernel::command::ControlAction::{Cancel, Resume, Suspend};
use macp_kernel::deadline::next_deadline;
use macp_kernel::entry::{ExpiryCause, Fact};
use macp_kernel::session::{DEFAULT_MAX_SUSPEND_MS, Lifecycle, MAX_SUSPENSIONS};
use macp_kernel::testing::message::{commitment, decision, start, start_payload};
use macp_kernel::testing::{A, B, INITIATOR, OUTSIDER, STARTED, Script, TTL};
use macp_kernel::{Catalog, UnixMillis, mode, view};
use macp_wire::v1::{SessionStartPayload, SessionState};

const MODE: &str = mode::decision::MODE;

fn started() -> Script {
    Script::started(MODE)
}

fn capped(max_suspend_ms: i64) -> Script {
    let payload = SessionStartPayload { max_suspend_ms, ..start_payload() };
    Script::started_with(MODE, Catalog::built_in(), &payload)
}

fn cause(script: &Script) -> Option<ExpiryCause> {
    match script.entries.last().map(|entry| &entry.fact) {
        Some(Fact::Expired { cause }) => Some(*cause),
        _ => None,
    }
}

#[test]
fn the_deadline_counts_from_the_clients_clock_if_it_has_one() {
    for (timestamp, expires_at) in
        [(0, STARTED + TTL), (40, 40 + TTL), (-5, STARTED + TTL), (9_000, 9_000 + TTL)]
    {
        let mut script = Script::new(MODE, Catalog::built_in());
        let mut envelope = start(&start_payload()).envelope(MODE, INITIATOR, "m");
        envelope.timestamp_unix_ms = timestamp;
        script.submit(envelope).unwrap();
        let session = script.session();
        assert_eq!(session.expires_at.0, expires_at, "timestamp {timestamp}");
        assert_eq!(session.binding.started_at.0, STARTED);
        assert_eq!(next_deadline(session), Some(UnixMillis(expires_at + 1)));
    }
}

/// A stale timestamp makes a session that is already over; the start itself is accepted.
#[test]
fn a_start_may_be_past_its_own_deadline() {
    let mut script = Script::new(MODE, Catalog::built_in());
    script.now = 1_000_000;
    let mut envelope = start(&start_payload()).envelope(MODE, INITIATOR, "m");
    envelope.timestamp_unix_ms = 1;
    assert_eq!(script.submit(envelope).unwrap().state, SessionState::Open);
    assert_eq!(script.send(A, &decision::proposal("p1")).unwrap_err().code, SessionNotOpen);
    assert_eq!(script.lifecycle(), Lifecycle::Expired);
}

#[test]
fn a_message_at_the_deadline_is_in_time() {
    let mut script = started();
    script.now = STARTED + TTL;
    script.accept(A, &decision::proposal("p1"));
    script.now += 1;
    assert_eq!(script.send(A, &decision::proposal("p2")).unwrap_err().code, SessionNotOpen);
    assert_eq!(cause(&script), Some(ExpiryCause::Deadline));
    assert_eq!(script.entries.last().unwrap().at.0, script.now);
    // Once only.
    let entries = script.entries.len();
    script.refuse(A, &decision::proposal("p2"), SessionNotOpen);
    assert_eq!(script.entries.len(), entries);
}

#[test]
fn a_tick_does_what_is_due_and_nothing_else() {
    let mut script = started();
    assert_eq!(script.tick(STARTED + TTL).unwrap().state, SessionState::Open);
    assert_eq!(script.entries.len(), 1);
    assert_eq!(script.tick(STARTED + TTL + 1).unwrap().state, SessionState::Expired);
    assert_eq!(script.entries.len(), 2);
    assert_eq!(script.tick(STARTED + TTL + 2).unwrap().state, SessionState::Expired);
    assert_eq!(script.entries.len(), 2);
    assert_eq!(next_deadline(script.session()), None);
}

#[test]
fn a_pause_moves_the_deadline_by_its_length() {
    let expires = STARTED + TTL;
    for (pauses, moved, suspended) in [
        (vec![(200, 300)], 100, 100),
        (vec![(200, 200)], 0, 0),
        (vec![(200, 300), (300, 1_000)], 800, 800),
        // A pause may begin at the very deadline, and last beyond it.
        (vec![(expires, expires + 7)], 7, 7),
        (vec![(200, 200 + 10 * TTL)], 10 * TTL, 10 * TTL),
    ] {
        let mut script = started();
        for (from, to) in &pauses {
            script.pause(*from, *to);
        }
        let session = script.session();
        assert_eq!(session.lifecycle, Lifecycle::Open);
        assert_eq!(session.expires_at.0, expires + moved, "{pauses:?}");
        assert_eq!(session.suspended_ms, suspended, "{pauses:?}");
        assert_eq!(session.pauses.len(), pauses.len());
    }
}

#[test]
fn a_resume_records_the_time_to_live_that_was_left() {
    for (from, left) in [(200, STARTED + TTL - 200), (STARTED + TTL, 0)] {
        let mut script = started();
        script.pause(from, from + 5_000);
        let Fact::Resumed { banked_ms, by, reason } = &script.entries.last().unwrap().fact else {
            panic!("no resume");
        };
        assert_eq!((*banked_ms, by.as_str(), reason.as_str()), (left, INITIATOR, "why"));
    }
}

#[test]
fn a_suspended_session_takes_nothing_and_outlives_its_deadline() {
    let mut script = started();
    script.accept(A, &decision::proposal("p1"));
    script.control(Suspend, INITIATOR).unwrap();
    script.now = STARTED + 2 * TTL;
    script.refuse(A, &decision::proposal("p2"), SessionNotOpen);
    script.refuse(INITIATOR, &commitment("x", true), SessionNotOpen);
    assert_eq!(script.control(Suspend, INITIATOR).unwrap_err().code, SessionNotOpen);
    assert_eq!(script.tick(script.now).unwrap().state, SessionState::Suspended);
    script.control(Resume, INITIATOR).unwrap();
    script.accept(A, &decision::proposal("p2"));
    assert_eq!(script.control(Resume, INITIATOR).unwrap_err().code, SessionNotOpen);
}

#[test]
fn the_cap_on_suspended_time() {
    assert_eq!(started().session().binding.max_suspend_ms, DEFAULT_MAX_SUSPEND_MS);
    assert_eq!(capped(100).session().binding.max_suspend_ms, 100);
    // (pauses that are fine, a last one, does the session survive it)
    for (fine, last, survives) in [
        (vec![], (200, 300), true),
        (vec![], (200, 301), false),
        (vec![(200, 260)], (300, 340), true),
        (vec![(200, 260)], (300, 341), false),
        (vec![(200, 300)], (400, 400), true),
        (vec![(200, 300)], (400, 401), false),
    ] {
        let mut script = capped(100);
        for (from, to) in &fine {
            script.pause(*from, *to);
        }
        script.now = last.0;
        script.control(Suspend, INITIATOR).unwrap();
        assert_eq!(
            next_deadline(script.session()).unwrap().0,
            last.0 + 100 - script.session().suspended_ms + 1
        );
        script.now = last.1;
        let mut ticked = script.clone();
        let reply = script.control(Resume, INITIATOR);
        assert_eq!(reply.is_ok(), survives, "{fine:?} {last:?}");
        // The sweep sees what the call sees.
        let state = ticked.tick(last.1).unwrap().state;
        if survives {
            assert_eq!((script.lifecycle(), state), (Lifecycle::Open, SessionState::Suspended));
        } else {
            assert_eq!(reply.unwrap_err().code, SessionNotOpen);
            assert_eq!((script.lifecycle(), state), (Lifecycle::Expired, SessionState::Expired));
            assert_eq!(cause(&script), Some(ExpiryCause::SuspensionCap));
        }
    }
}

#[test]
fn the_cap_on_cycles() {
    let mut script = started();
    for _ in 0..MAX_SUSPENSIONS {
        script.pause(200, 200);
    }
    script.control(Suspend, INITIATOR).unwrap();
    let entries = script.entries.len();
    assert_eq!(script.control(Resume, INITIATOR).unwrap_err().code, SessionNotOpen);
    assert_eq!(script.lifecycle(), Lifecycle::Expired);
    assert_eq!(cause(&script), Some(ExpiryCause::CycleCap));
    // The resume is in history too.
    assert!(matches!(script.entries[entries].fact, Fact::Resumed { .. }));
}

#[test]
fn cancellation() {
    let mut open = started();
    assert_eq!(open.control(Cancel, INITIATOR).unwrap().state, SessionState::Cancelled);
    let mut suspended = started();
    suspended.control(Suspend, INITIATOR).unwrap();
    assert_eq!(suspended.control(Cancel, INITIATOR).unwrap().state, SessionState::Cancelled);
    let mut resolved = started();
    resolved.accept(A, &decision::proposal("p1"));
    resolved.accept(INITIATOR, &commitment("x", true));
    let mut expired = started();
    expired.tick(STARTED + TTL + 1).unwrap();
    for (mut script, state) in [
        (open, SessionState::Cancelled),
        (suspended, SessionState::Cancelled),
        (resolved, SessionState::Resolved),
        (expired, SessionState::Expired),
    ] {
        let before = (script.session.clone(), script.entries.len());
        // Again: a success that reports how the session ended.
        assert_eq!(script.control(Cancel, INITIATOR).unwrap().state, state);
        for action in [Suspend, Resume] {
            assert_eq!(script.control(action, INITIATOR).unwrap_err().code, SessionNotOpen);
        }
        script.refuse(A, &decision::proposal("p9"), SessionNotOpen);
        assert!(before == (script.session.clone(), script.entries.len()));
    }
    // An overdue session expires and is not cancelled.
    let mut overdue = started();
    overdue.now = STARTED + TTL + 1;
    assert_eq!(overdue.control(Cancel, INITIATOR).unwrap().state, SessionState::Expired);
    assert_eq!(cause(&overdue), Some(ExpiryCause::Deadline));
}

#[test]
fn who_may_control() {
    let default = r"{}";
    let any = r#"{"commitment":{"authority":"any_participant"}}"#;
    let designated =
        r#"{"commitment":{"authority":"designated_role","designated_roles":["agent://outsider"]}}"#;
    for (rules, sender, allowed) in [
        (default, INITIATOR, true),
        (default, A, false),
        (default, OUTSIDER, false),
        (any, INITIATOR, true),
        (any, A, true),
        (any, OUTSIDER, false),
        // Delegation widens the initiator's right and never takes it away.
        (designated, INITIATOR, true),
        (designated, A, false),
        (designated, OUTSIDER, true),
    ] {
        for action in [Suspend, Cancel] {
            let mut script = Script::policed(MODE, rules);
            let reply = script.control(action, sender).map_err(|refusal| refusal.code);
            assert_eq!(reply.is_ok(), allowed, "{rules} {sender} {action:?}");
            if let Err(code) = reply {
                assert_eq!(code, Forbidden);
                assert_eq!(script.entries.len(), 1);
            }
        }
    }
}

#[test]
fn who_may_commit() {
    let any = r#"{"commitment":{"authority":"any_participant"}}"#;
    let designated =
        r#"{"commitment":{"authority":"designated_role","designated_roles":["agent://outsider"]}}"#;
    for (rules, sender, allowed) in [
        (any, INITIATOR, true),
        (any, B, true),
        (any, OUTSIDER, false),
        (designated, INITIATOR, false),
        (designated, A, false),
        (designated, OUTSIDER, true),
    ] {
        let mut script = Script::policed(MODE, rules);
        script.accept(A, &decision::proposal("p1"));
        if allowed {
            script.accept(sender, &commitment("x", true));
            assert_eq!(script.lifecycle(), Lifecycle::Resolved);
        } else {
            script.refuse(sender, &commitment("x", true), Forbidden);
        }
    }
}

#[test]
fn duplicates_in_every_state() {
    let end: [fn(&mut Script); 5] = [
        |_| {},
        |script| drop(script.control(Suspend, INITIATOR)),
        |script| drop(script.control(Cancel, INITIATOR)),
        |script| drop(script.tick(STARTED + TTL + 1)),
        |script| drop(script.send(INITIATOR, &commitment("x", true))),
    ];
    let states = [
        SessionState::Open,
        SessionState::Suspended,
        SessionState::Cancelled,
        SessionState::Expired,
        SessionState::Resolved,
    ];
    for (end, state) in end.into_iter().zip(states) {
        let mut script = started();
        let envelope = decision::proposal("p1").envelope(MODE, A, "dup");
        script.now = STARTED + 7;
        script.submit(envelope.clone()).unwrap();
        end(&mut script);
        script.now += 50;
        let before = (script.session.clone(), script.entries.len());
        let reply = script.submit(envelope).unwrap();
        assert_eq!((reply.duplicate, reply.state, reply.accepted_at.0), (true, state, STARTED + 7));
        assert!(before == (script.session.clone(), script.entries.len()), "{state:?}");
    }
}

#[test]
fn a_refused_message_id_is_free() {
    let mut script = started();
    let refused = decision::vote("p1", "APPROVE").envelope(MODE, A, "m");
    assert!(script.submit(refused).is_err());
    let accepted = decision::proposal("p1").envelope(MODE, A, "m");
    assert!(!script.submit(accepted).unwrap().duplicate);
}

#[test]
fn a_clock_that_goes_backwards_is_held() {
    let mut script = started();
    script.now = 5_000;
    script.accept(A, &decision::proposal("p1"));
    script.now = 10;
    assert_eq!(script.send(A, &decision::proposal("p2")).unwrap().accepted_at.0, 5_000);
    script.control(Suspend, INITIATOR).unwrap();
    script.control(Resume, INITIATOR).unwrap();
    assert_eq!(script.session().pauses, [(UnixMillis(5_000), UnixMillis(5_000))]);
    assert_eq!(script.session().expires_at.0, STARTED + TTL);
}

#[test]
fn arithmetic_saturates() {
    let mut script = Script::new(MODE, Catalog::built_in());
    let mut envelope = start(&start_payload()).envelope(MODE, INITIATOR, "m");
    envelope.timestamp_unix_ms = i64::MAX;
    script.submit(envelope).unwrap();
    assert_eq!(script.session().expires_at.0, i64::MAX);
    script.now = i64::MAX / 2;
    script.control(Suspend, INITIATOR).unwrap();
    script.now = i64::MAX;
    assert_eq!(script.control(Resume, INITIATOR).unwrap_err().code, SessionNotOpen, "far beyond the cap");
    let mut script = capped(i64::MAX);
    script.pause(200, i64::MAX);
    script.pause(i64::MAX, i64::MAX);
    assert_eq!(script.session().expires_at.0, i64::MAX);
    script.accept(A, &decision::proposal("p1"));
}

#[test]
fn activity_counts_own_accepted_messages() {
    let mut script = started();
    script.now = 200;
    script.accept(A, &decision::proposal("p1"));
    script.now = 300;
    script.accept(A, &decision::proposal("p2"));
    script.refuse(A, &decision::proposal("p2"), macp_kernel::RefusalCode::InvalidEnvelope);
    let metadata = view::metadata(script.session());
    let activity: Vec<_> = metadata
        .participant_activity
        .iter()
        .map(|a| (a.participant_id.as_str(), a.message_count, a.last_message_at_unix_ms))
        .collect();
    assert_eq!(activity, [(A, 2, 300), (INITIATOR, 1, STARTED)], "a listed initiator's start counts");
    let unlisted = SessionStartPayload { participants: vec![A.to_owned()], ..start_payload() };
    let script = Script::started_with(MODE, Catalog::built_in(), &unlisted);
    assert!(view::metadata(script.session()).participant_activity.is_empty());
}

#[test]
fn accepted_envelopes_carry_a_time() {
    let mut script = started();
    script.now = 777;
    script.accept(A, &decision::proposal("p1"));
    let mut dated = decision::proposal("p2").envelope(MODE, A, "dated");
    dated.timestamp_unix_ms = 5;
    script.submit(dated).unwrap();
    let times: Vec<_> = script
        .entries
        .iter()
        .filter_map(|entry| entry.delivered())
        .map(|(ordinal, sealed)| (ordinal, sealed.envelope().timestamp_unix_ms))
        .collect();
    assert_eq!(times, [(1, STARTED), (2, 777), (3, 5)]);
}
