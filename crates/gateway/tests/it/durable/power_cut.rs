//! The power fails at any moment: what was synced is there, what was not is there in part, and every promise holds.
//!
//! A gateway runs under traffic on the disk of `tests/disk/disk.c`. From its trace `image.rs` makes directories that the
//! disk could hold if the power had failed at some moment, a gateway starts on each, and is asked for everything that
//! clients had been told by then. Some of these gateways go on under traffic and lose their power in turn.
//! `MACP_POWER_CUTS` and `MACP_POWER_CUT_SEED` choose how often and when.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use macp_wire::v1::Envelope;
use tempfile::TempDir;

use super::disk::{Disk, store_in};
use super::image::Image;
use super::ledger::{Ledger, Moment, SENDER};
use super::random::{Random, count};
use super::traffic::Traffic;
use crate::fakes::{Grpc, Session, accepted};
use crate::process::{Gateway, run};

const CUTS: u64 = 24;
/// Cuts of one run under traffic.
const CUTS_EACH: u64 = 6;
/// Runs one after the other on what a cut has left.
const IN_A_ROW: u64 = 3;
/// Of so many directories one is verified as a whole.
const VERIFIED: u64 = 4;

/// A run under traffic: what was on the disk before, what happened to it, and what clients were told.
struct Run {
    before: Image,
    trace: Vec<u8>,
    ledger: Ledger,
}

/// The session that everyone talks in, in all runs in a row.
struct Shared {
    session: Session,
    start: Envelope,
}

impl Shared {
    fn new() -> Self {
        let session = Session::new();
        Self { start: session.start(&[SENDER]), session }
    }
}

/// Lets clients talk to a gateway on the disk until it is killed.
async fn traffic(disk: &Disk, shared: &Shared, ledger: Ledger, random: &mut Random) -> Run {
    let before = Image::of(&disk.root());
    let ledger = Arc::new(Mutex::new(ledger));
    let now = disk.now();
    let gateway = disk.gateway(&[]).await;
    if ledger.lock().unwrap().sends_first(&shared.start) {
        // It may be there from an earlier run all the same, and is a duplicate then.
        accepted(&mut Grpc::agent(gateway.grpc, SENDER), &shared.start).await;
        ledger.lock().unwrap().acked(now(), 0, &shared.start);
    }
    let traffic = Traffic::begin(gateway.ports(), &shared.session, random.next(), &ledger, &now);
    tokio::time::sleep(Duration::from_millis(50 + random.below(300))).await;
    assert!(traffic.goes_on(), "a client gave up before");
    gateway.kill().await;
    traffic.ends().await;
    let ledger = std::mem::take(&mut *ledger.lock().unwrap());
    Run { before, trace: std::fs::read(disk.trace()).unwrap(), ledger }
}

/// A moment anywhere in a run, or in its second half, where more has been promised.
fn moment(run: &Run, random: &mut Random) -> Moment {
    let length = run.trace.len() as u64;
    if random.below(2) == 0 { random.below(length) } else { length - random.below(length / 2) }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_loss_of_power_at_any_moment() {
    let (seed, mut random) = Random::from_env("MACP_POWER_CUT_SEED");
    println!("seed {seed}");
    let cuts = count("MACP_POWER_CUTS", CUTS);
    let (mut done, mut promised) = (0, 0);
    while done < cuts {
        let shared = Shared::new();
        let mut disk = Disk::new();
        let mut ledger = Ledger::default();
        for _ in 0..IN_A_ROW {
            let run = traffic(&disk, &shared, std::mem::take(&mut ledger), &mut random).await;
            for _ in 0..CUTS_EACH {
                let upto = moment(&run, &mut random);
                let mut image = run.before.clone();
                image.play(&run.trace, upto);
                let left = TempDir::new().unwrap();
                image.write(&mut random, left.path());
                println!("cut {done}, at {upto} of {}, left in {}", run.trace.len(), left.path().display());
                holds(left.path(), &run.ledger, upto, done % VERIFIED == 0).await;
                promised += run.ledger.upto(upto).promises();
                done += 1;
            }
            // The next run goes on from one of them, which nobody has repaired yet.
            let upto = moment(&run, &mut random);
            let mut image = run.before.clone();
            image.play(&run.trace, upto);
            disk = Disk::new();
            image.write(&mut random, &disk.root());
            ledger = run.ledger.upto(upto);
            if done >= cuts {
                break;
            }
        }
    }
    println!("{done} cuts, {promised} promises kept");
    assert!(promised as u64 > done, "the clients were told something");
}

/// Starts a gateway on what is left and asks it for every promise.
async fn holds(left: &Path, ledger: &Ledger, upto: Moment, verified: bool) {
    let store = store_in(left);
    let gateway = Gateway::on(&store, &[]).await;
    ledger.check(gateway.grpc, &ledger.sessions(), upto).await;
    gateway.kill().await;
    if verified {
        let verified = run(&["log", "verify", store.to_str().unwrap()], &[]).await;
        assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    }
}

/// The test above can fail: a disk that forgets what it reported as synced is found out.
#[tokio::test]
async fn a_disk_that_lies_about_its_syncs_is_found_out() {
    let (_, mut random) = Random::from_env("MACP_POWER_CUT_SEED");
    let disk = Disk::new();
    let run = Arc::new(traffic(&disk, &Shared::new(), Ledger::default(), &mut random).await);
    for _ in 0..20 {
        let mut image = run.before.clone().that_lies();
        image.play(&run.trace, Moment::MAX);
        let left = TempDir::new().unwrap();
        image.write(&mut random, left.path());
        let run = Arc::clone(&run);
        let found = tokio::spawn(async move { holds(left.path(), &run.ledger, Moment::MAX, false).await });
        if found.await.is_err() {
            return;
        }
    }
    panic!("nothing was lost");
}
