//! SIGKILL at any moment: the gateway has told nobody anything that is not so after the next start.
//!
//! `MACP_KILL_ROUNDS` and `MACP_KILL_SEED` choose how often and when.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::ledger::{Ledger, Moment, SENDER};
use super::random::{Random, count};
use super::traffic::{Now, Traffic};
use crate::fakes::{Grpc, Session, accepted};
use crate::process::{Gateway, run};

const ROUNDS: u64 = 10;
/// Sessions of earlier rounds that a round looks at again.
const OLD: u64 = 5;

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let (seed, mut random) = Random::from_env("MACP_KILL_SEED");
    let rounds = count("MACP_KILL_ROUNDS", ROUNDS);
    let directory = TempDir::new().unwrap();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let now: Now = Arc::new(|| 0);
    let shared = Session::new();
    let mut gateway = Gateway::on(directory.path(), &[]).await;
    let start = shared.start(&[SENDER]);
    ledger.lock().unwrap().sends(&start);
    accepted(&mut Grpc::agent(gateway.grpc, SENDER), &start).await;
    ledger.lock().unwrap().acked(0, 0, &start);
    for round in 0..rounds {
        let before = ledger.lock().unwrap().sessions();
        let promises = ledger.lock().unwrap().promises();
        let traffic = Traffic::begin(gateway.ports(), &shared, round, &ledger, &now);
        // The seed decides when; every other time right at the beginning.
        let longest = if round % 2 == 0 { 40_000 } else { 400_000 };
        tokio::time::sleep(Duration::from_micros(random.below(longest))).await;
        assert!(traffic.goes_on(), "seed {seed}, round {round}: a client gave up before");
        gateway.kill().await;
        traffic.ends().await;
        gateway = Gateway::on(directory.path(), &[]).await;
        // Nobody else has it now; it is put back for the next round.
        let told = std::mem::take(&mut *ledger.lock().unwrap());
        println!("seed {seed}, round {round}: {} new promises", told.promises() - promises);
        let mut sessions = told.sessions();
        if round + 1 < rounds {
            let mut old: Vec<String> = before.into_iter().filter(|id| *id != shared.id).collect();
            for _ in 0..OLD.min(old.len() as u64) {
                old.swap_remove(usize::try_from(random.below(old.len() as u64)).unwrap());
            }
            sessions.retain(|id| !old.contains(id));
        }
        told.check(gateway.grpc, &sessions, Moment::MAX).await;
        *ledger.lock().unwrap() = told;
    }
    assert!(ledger.lock().unwrap().promises() as u64 > rounds, "the clients were told something");
    gateway.stop().await;
    let verified = run(&["log", "verify", directory.path().to_str().unwrap()], &[]).await;
    assert_eq!(verified.code, Some(0), "seed {seed}: {}", verified.stdout);
}
