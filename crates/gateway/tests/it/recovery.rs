//! What a start finds on the disk: other releases' stores, and sessions that cannot be served while all others are.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use macp_store::{Append, EmbeddedStore, Expected, LogStore};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fakes::{Agent, Grpc, Http, Session, accepted, everywhere, next};
use crate::process::{Gateway, run};

const ALICE: &str = "agent://alice";

/// A data directory that a gateway of store format 1 and record format 1 has left behind, never to be written again.
/// `FIXTURE_DIR=crates/gateway/tests/data/data-v1 cargo test ... write_fixture -- --ignored` made it.
const VERSION_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/data-v1");
/// What was played in it.
const DECIDED: &str = "fixture-decided-00000000000001";
const SUSPENDED: &str = "fixture-suspended-000000000001";

/// A record that no release of today can read, one that is no record, and one that the rules refuse.
#[tokio::test]
async fn a_session_that_cannot_be_read_answers_with_a_code_and_all_others_serve() {
    let directory = TempDir::new().unwrap();
    let gateway = Gateway::on(directory.path(), &[]).await;
    let mut alice = Http::agent(gateway.http, ALICE);
    let sessions = [(); 4].map(|()| Session::new());
    for session in &sessions {
        accepted(&mut alice, &session.start(&[ALICE])).await;
        accepted(&mut alice, &session.proposal("p")).await;
    }
    drop(alice);
    gateway.stop().await;
    let [newer, garbage, twice, fine] = &sessions;
    let store = EmbeddedStore::open(directory.path(), Default::default()).unwrap();
    for (session, record) in
        [(newer, Some(&b"\x02of a release to come"[..])), (garbage, Some(b"\x01\xFF")), (twice, None)]
    {
        let stream = Bytes::from(session.id.clone());
        let record = match record {
            Some(record) => Bytes::from_static(record),
            None => store.export(&stream, None, 9).unwrap()[1].record.clone(),
        };
        let summary = store.summary(&stream).await.unwrap().unwrap();
        let expected = Expected::tail(store.tail(&stream).await.unwrap());
        store.append(Append { stream, expected, record, summary }).await.unwrap();
    }
    drop(store);

    let gateway = Gateway::on(directory.path(), &[]).await;
    for (what, mut agent) in everywhere(gateway.ports(), ALICE) {
        for (session, said) in [(newer, "newer release"), (garbage, "damaged"), (twice, "damaged")] {
            let read = agent.call("GetSession", &json!({ "session_id": session.id })).await;
            assert_eq!(read, Err("INTERNAL_ERROR".to_owned()), "{what}");
            let ack = agent.send(&session.vote("p")).await.unwrap();
            let error = ack.error.unwrap();
            assert_eq!(error.code, "INTERNAL_ERROR", "{what}");
            assert!(error.message.contains(said), "{what}: {}", error.message);
            let observed = agent.observe(&session.id, 0).await;
            assert_eq!(observed.err().as_deref(), Some("INTERNAL_ERROR"), "{what}");
        }
        accepted(&mut *agent, &fine.proposal(&uuid::Uuid::new_v4().to_string())).await;
    }
    let mut alice = Http::agent(gateway.http, ALICE);
    let listed = alice.call("ListSessions", &json!({})).await.unwrap();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 4, "{listed}");
    // The operator is told which session, and why.
    for (session, why) in [
        (newer, "the record has format version 2"),
        (garbage, "the record does not decode"),
        (twice, "does not follow from the entries before it"),
    ] {
        let log = gateway.log();
        assert!(log.lines().any(|line| line.contains(&session.id) && line.contains(why)), "{why}: {log}");
    }
    drop(alice);
    gateway.stop().await;
}

/// A store of a newer release is left as it is, whatever is asked.
#[tokio::test]
async fn a_store_of_a_newer_release_is_refused_and_not_touched() {
    let directory = TempDir::new().unwrap();
    copy(Path::new(VERSION_1), directory.path());
    fs::write(directory.path().join("FORMAT"), "macp-gateway store, format 99\n").unwrap();
    let path = directory.path().to_str().unwrap();
    let settings = [("MACP_ALLOW_INSECURE", "1"), ("MACP_DATA_DIR", path)];
    for arguments in [&["serve"][..], &["log", "verify"], &["log", "export", "--all"]] {
        let ended = run(arguments, &settings).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        for part in [path, "format 99", "newer release"] {
            assert!(ended.stderr.contains(part), "{arguments:?}: {}", ended.stderr);
        }
    }
}

/// Whatever later releases store, they serve what this one has stored.
#[tokio::test]
async fn a_data_directory_of_version_1_is_served() {
    let directory = TempDir::new().unwrap();
    copy(Path::new(VERSION_1), directory.path());
    let facts: Value =
        serde_json::from_slice(&fs::read(Path::new(VERSION_1).join("facts.json")).unwrap()).unwrap();
    let gateway = Gateway::on(directory.path(), &[]).await;
    let mut alice = Http::agent(gateway.http, ALICE);
    assert_eq!(told(&mut alice).await, facts);
    let decided = Session { id: DECIDED.into() };
    let suspended = Session { id: SUSPENDED.into() };
    let mut feed = alice.observe(&decided.id, 0).await.unwrap();
    let mut grpc = Grpc::agent(gateway.grpc, ALICE);
    for seen in next(&mut feed, 4).await {
        let ack = grpc.send(&seen.envelope).await.unwrap();
        assert!(ack.ok && ack.duplicate, "{ack:?}");
    }
    // A session of then goes on now; it was suspended without a limit that could have passed.
    let ack = alice
        .call("CancelSession", &json!({ "session_id": suspended.id, "reason": "at last" }))
        .await
        .unwrap();
    assert_eq!(ack["ack"]["ok"], true, "{ack}");
    drop((feed, grpc, alice));
    gateway.stop().await;
    let verified = run(&["log", "verify", directory.path().to_str().unwrap()], &[]).await;
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);
}

/// What a client is told of the fixture's sessions, the receipt and the policy; all but what depends on the day.
async fn told(alice: &mut Http) -> Value {
    let decided = alice.call("GetSession", &json!({ "session_id": DECIDED })).await.unwrap();
    let receipt = alice.call("GetDecisionReceipt", &json!({ "session_id": DECIDED })).await.unwrap();
    let policy = alice.call("GetPolicy", &json!({ "policy_id": "policy.fixture" })).await.unwrap();
    json!({ "decided": decided, "receipt": receipt, "policy": policy })
}

#[tokio::test]
#[ignore = "writes the data directory of the current formats into $FIXTURE_DIR; for new formats"]
async fn write_fixture() {
    let Some(directory) = std::env::var_os("FIXTURE_DIR") else { return };
    let directory = std::path::absolute(directory).unwrap();
    let gateway = Gateway::on(&directory, &[]).await;
    let mut alice = Http::agent(gateway.http, ALICE);
    let policy = json!({ "policy_descriptor": {
        "policy_id": "policy.fixture", "mode": "macp.mode.decision.v1", "description": "of version 1", "schema_version": 1,
        "rules": { "voting": { "algorithm": "majority", "threshold": 0.5 } },
    }});
    assert_eq!(alice.call("RegisterPolicy", &policy).await.unwrap()["ok"], true);
    let decided = Session { id: DECIDED.into() };
    let start = decided.start_with(&[ALICE], |payload| payload.policy_version = "policy.fixture".into());
    for envelope in
        [start, decided.proposal("p"), decided.vote("p"), decided.commitment_under("policy.fixture")]
    {
        accepted(&mut alice, &envelope).await;
    }
    let suspended = Session { id: SUSPENDED.into() };
    accepted(&mut alice, &suspended.start_with(&[ALICE], |payload| payload.max_suspend_ms = i64::MAX / 4))
        .await;
    let suspend = alice
        .call("SuspendSession", &json!({ "session_id": SUSPENDED, "reason": "for long" }))
        .await
        .unwrap();
    assert_eq!(suspend["ack"]["ok"], true, "{suspend}");
    let facts = serde_json::to_vec_pretty(&told(&mut alice).await).unwrap();
    drop(alice);
    gateway.stop().await;
    // Opening once more cuts the journal to its content.
    drop(EmbeddedStore::open(&directory, Default::default()).unwrap());
    fs::write(directory.join("facts.json"), facts).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
