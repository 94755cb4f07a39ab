//! Properties of random traffic over every mode, and of arbitrary bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use macp_kernel::deadline::next_deadline;
use macp_kernel::entry::Fact;
use macp_kernel::envelope::decode_payload;
use macp_kernel::mode::handoff::MODE as HANDOFF;
use macp_kernel::replay::Replay;
use macp_kernel::summary::Summary;
use macp_kernel::testing::message::start_payload;
use macp_kernel::testing::traffic::{Traffic, any_mode, catalog, of_mode};
use macp_kernel::testing::{INITIATOR, Message, Script};
use macp_kernel::{Command, record};
use macp_wire::v1::SessionStartPayload;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::replay::replayed;

/// What may be recorded although the command that brought it to light was refused.
fn is_due(fact: &Fact) -> bool {
    match fact {
        Fact::Expired { .. } | Fact::Resumed { .. } => true,
        Fact::Accepted(accepted) => accepted.synthetic,
        _ => false,
    }
}

fn check_step(traffic: &Traffic) -> Result<(), TestCaseError> {
    let mut script = traffic.begin();
    for step in &traffic.steps {
        script.now += step.advance_ms;
        let before = script.clone();
        let known = match &step.command {
            Command::Submit(submission) => {
                before.session().accepted.accepted_at(&submission.envelope.message_id).is_some()
            }
            _ => false,
        };
        let reply = script.run(&step.command);
        let new = &script.entries[before.entries.len()..];
        if new.is_empty() {
            prop_assert!(script.session == before.session, "no entry, no change");
        }
        match &reply {
            Err(_) => prop_assert!(new.iter().all(|entry| is_due(&entry.fact)), "{reply:?}: {new:?}"),
            Ok(acceptance) if acceptance.duplicate => prop_assert!(known && new.is_empty()),
            Ok(acceptance) => prop_assert_eq!(acceptance.state, script.lifecycle().wire()),
        }
        if before.lifecycle().is_terminal() {
            prop_assert!(new.is_empty(), "a terminal session accepts nothing");
        }
        prop_assert!(
            script.session().expires_at >= before.session().expires_at,
            "deadlines never move backwards"
        );
        prop_assert!(new.iter().is_sorted_by_key(|entry| entry.at));
        prop_assert!(
            new.first().is_none_or(|entry| entry.at >= before.session().last_at),
            "nor does history"
        );
    }
    let ordinals: Vec<u64> =
        script.entries.iter().filter_map(|entry| entry.delivered()).map(|(ordinal, _)| ordinal).collect();
    prop_assert_eq!(&ordinals, &(1..=ordinals.len() as u64).collect::<Vec<_>>(), "ordinals are contiguous");
    prop_assert_eq!(script.session().accepted.count(), ordinals.len(), "one message_id each");
    Ok(())
}

/// Every message of the run again: all duplicates, and nothing changes.
fn check_duplicates(script: &mut Script) -> Result<(), TestCaseError> {
    let sealed: Vec<_> =
        script.entries.iter().filter_map(|entry| entry.delivered()).map(|d| d.1.clone()).collect();
    let before = (script.session.clone(), script.entries.len());
    for sealed in sealed {
        let reply = script.submit(sealed.envelope().clone());
        prop_assert!(reply.is_ok_and(|acceptance| acceptance.duplicate));
    }
    prop_assert!(before == (script.session.clone(), script.entries.len()));
    Ok(())
}

/// `next_deadline` is the first instant at which a tick does something, and no earlier one.
fn check_deadline(script: &Script) -> Result<(), TestCaseError> {
    let Some(deadline) = next_deadline(script.session()) else {
        prop_assert!(script.lifecycle().is_terminal());
        return Ok(());
    };
    let deadline = deadline.max(script.session().last_at);
    let mut early = script.clone();
    if deadline > script.session().last_at {
        prop_assert!(early.tick(deadline.0 - 1).is_ok());
        prop_assert!(early.session == script.session, "a tick before {deadline} does nothing");
    }
    let mut due = script.clone();
    prop_assert!(due.tick(deadline.0).is_ok());
    prop_assert!(due.entries.len() > script.entries.len(), "a tick at {deadline} does something");
    Ok(())
}

/// The traffic is worth something: in every mode it reaches every end, pauses, and refusals of most kinds.
#[test]
fn traffic_reaches_every_state() {
    for entry in catalog().modes() {
        let mode = &entry.descriptor.mode;
        let strategy = of_mode(mode);
        let mut runner = TestRunner::deterministic();
        let mut ends = BTreeMap::new();
        let mut accepted = 0;
        let mut synthetic = 0;
        for _ in 0..300 {
            let script = strategy.new_tree(&mut runner).unwrap().current().play();
            *ends.entry(script.lifecycle().name()).or_insert(0) += 1;
            for entry in &script.entries {
                if let Fact::Accepted(fact) = &entry.fact {
                    accepted += 1;
                    synthetic += usize::from(fact.synthetic);
                }
            }
        }
        for end in ["OPEN", "SUSPENDED", "RESOLVED", "EXPIRED", "CANCELLED"] {
            assert!(ends.get(end).is_some_and(|count| *count >= 4), "{mode}: {ends:?}");
        }
        assert!(accepted > 200, "{mode}: {accepted} messages accepted");
        assert_eq!(synthetic > 10, mode == HANDOFF, "{mode}: {synthetic} acceptances by silence");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_step_keeps_the_rules(traffic in any_mode()) {
        check_step(&traffic)?;
    }

    #[test]
    fn replay_equals_live(traffic in any_mode(), cut in any::<prop::sample::Index>()) {
        let script = traffic.play();
        prop_assert!(replayed(&script.entries) == script.session);
        // Any way of putting entries into records gives the same.
        let cut = cut.index(script.entries.len() + 1);
        let mut replay = Replay::default();
        for part in [&script.entries[..cut], &script.entries[cut..]] {
            prop_assert!(replay.record(&record::encode([0; 16], part)).is_ok_and(|again| again == part));
        }
        prop_assert!(replay.into_session() == script.session);
    }

    /// What is written without making the messages is what the messages say.
    #[test]
    fn stored_bytes_are_those_of_their_messages(traffic in any_mode()) {
        let mut script = traffic.begin();
        for step in &traffic.steps {
            script.now += step.advance_ms;
            let before = script.entries.len();
            let _ = script.run(&step.command);
            prop_assert_eq!(Summary::bytes_of(script.session()), Summary::of(script.session()).to_bytes());
            let record = record::encode([9; 16], &script.entries[before..]);
            prop_assert_eq!(&record::decode(&record).unwrap().to_record(), &record);
        }
    }

    #[test]
    fn duplicates_change_nothing(traffic in any_mode()) {
        check_duplicates(&mut traffic.play())?;
    }

    #[test]
    fn the_next_deadline_is_exact(traffic in any_mode()) {
        check_deadline(&traffic.play())?;
    }

    #[test]
    fn arbitrary_records_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut versioned = vec![record::RECORD_VERSION];
        versioned.extend(&bytes);
        for bytes in [bytes, versioned] {
            let bytes = Bytes::from(bytes);
            let _ = record::decode(&bytes);
            let _ = Replay::default().record(&bytes);
        }
    }

    /// A real record with some bytes changed: mostly readable, mostly divergent, never a panic.
    #[test]
    fn damaged_records_do_not_panic(
        traffic in any_mode(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let script = traffic.play();
        let mut bytes = record::encode([0; 16], &script.entries).to_vec();
        for (index, byte) in damage {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let _ = Replay::default().record(&Bytes::from(bytes));
    }

    #[test]
    fn arbitrary_payloads_do_not_panic(
        mode in prop::sample::select(catalog().modes().map(|m| m.descriptor.clone()).collect::<Vec<_>>()),
        kind in any::<prop::sample::Index>(),
        payload in prop::collection::vec(any::<u8>(), 0..64),
        now in any::<i64>(),
    ) {
        let mut script = Script::started_with(&mode.mode, catalog(), &start_payload());
        let message = Message::new(&mode.message_types[kind.index(mode.message_types.len())], payload);
        let _ = decode_payload::<SessionStartPayload>(&message.envelope(&mode.mode, INITIATOR, "m"));
        let _ = script.send(INITIATOR, &message);
        script.now = now;
        let _ = script.send(INITIATOR, &message);
        let _ = script.tick(now);
        let _ = next_deadline(script.session());
    }
}
