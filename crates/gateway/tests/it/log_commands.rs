//! `macp-gateway log`: what verify finds, and that an export imported elsewhere is the same store of sessions.

use std::path::Path;
use std::process::Stdio;

use bytes::Bytes;
use macp_store::{Append, EmbeddedStore, Expected, LogStore};
use macp_wire::v1::PolicyDescriptor;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::fakes::{Agent, Grpc, Http, MODE, Session, accepted, next};
use crate::process::{Ended, Gateway, command, run};
use crate::wait::soon;

const ALICE: &str = "agent://alice";
/// Rules with blanks, which the canonical JSON of a policy does not keep.
const RULES: &str = r#"{ "voting": { "algorithm": "majority",  "threshold": 0.50 },   "commitment": {} }"#;

async fn log(arguments: &[&str]) -> Ended {
    run(&[&["log"], arguments].concat(), &[]).await
}

/// Import from standard input.
async fn import(text: &str, directory: &Path) -> Ended {
    let arguments = ["log", "import", "--data-dir", directory.to_str().unwrap()];
    let mut child = command(&arguments, &[]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that refuses what it reads does not read the rest.
    drop(stdin.write_all(text.as_bytes()).await);
    drop(stdin);
    let output = soon("the import ends", child.wait_with_output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

async fn exported(directory: &Path) -> String {
    let ended = log(&["export", "--all", "--data-dir", directory.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout
}

async fn verified(directory: &Path) -> Ended {
    log(&["verify", directory.to_str().unwrap()]).await
}

/// Sessions of every kind of entry, and what a client saw of them.
struct Played {
    directory: TempDir,
    resolved: Session,
    suspended: Session,
    receipt: Value,
}

/// What `GetSession` says, and every envelope.
async fn seen(agent: &mut dyn Agent, session: &Session, count: usize) -> (Value, Vec<crate::fakes::Seen>) {
    let metadata = agent.call("GetSession", &json!({ "session_id": session.id })).await.unwrap();
    let mut feed = agent.observe(&session.id, 0).await.unwrap();
    (metadata, next(&mut feed, count).await)
}

async fn played() -> Played {
    let directory = TempDir::new().unwrap();
    let gateway = Gateway::on(directory.path(), &[]).await;
    let mut alice = Http::agent(gateway.http, ALICE);
    let policy = PolicyDescriptor {
        policy_id: "policy.blanks".into(),
        mode: MODE.into(),
        description: "d".into(),
        rules: RULES.into(),
        schema_version: 1,
        ..PolicyDescriptor::default()
    };
    Grpc::agent(gateway.grpc, ALICE).register(policy).await;

    let resolved = Session::new();
    let start = resolved.start_with(&[ALICE], |payload| payload.policy_version = "policy.blanks".into());
    accepted(&mut alice, &start).await;
    for name in ["a", "b"] {
        accepted(&mut alice, &resolved.proposal(name)).await;
    }
    accepted(&mut alice, &resolved.vote("a")).await;
    accepted(&mut alice, &resolved.commitment_under("policy.blanks")).await;
    let receipt = alice.call("GetDecisionReceipt", &json!({ "session_id": resolved.id })).await.unwrap();

    let suspended = Session::new();
    accepted(&mut alice, &suspended.start(&[ALICE])).await;
    for (method, id) in [
        ("SuspendSession", &suspended.id),
        ("ResumeSession", &suspended.id),
        ("SuspendSession", &suspended.id),
    ] {
        let ack = alice.call(method, &json!({ "session_id": id, "reason": "a \"break\"" })).await.unwrap();
        assert_eq!(ack["ack"]["ok"], true, "{ack}");
    }
    let cancelled = Session::new();
    accepted(&mut alice, &cancelled.start(&[ALICE])).await;
    alice.call("CancelSession", &json!({ "session_id": cancelled.id, "reason": "off" })).await.unwrap();
    let expired = Session::new();
    accepted(&mut alice, &expired.start_with(&[ALICE], |payload| payload.ttl_ms = 1)).await;
    let wait = async {
        while alice.call("GetSession", &json!({ "session_id": expired.id })).await.unwrap()["metadata"]["state"]
            != "SESSION_STATE_EXPIRED"
        {}
    };
    soon("the expiry", wait).await;
    drop(alice);
    gateway.stop().await;
    Played { directory, resolved, suspended, receipt }
}

#[tokio::test]
async fn an_export_imported_elsewhere_is_the_same() {
    let Played { directory, resolved, suspended, receipt } = played().await;
    let ended = verified(directory.path()).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    assert!(ended.stdout.ends_with(" records: nothing is wrong\n"), "{}", ended.stdout);
    assert!(ended.stdout.starts_with("4 sessions, "), "{}", ended.stdout);

    let text = exported(directory.path()).await;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |id: &str| lines.iter().filter(|line| line["session_id"] == id).collect::<Vec<_>>();
    // An entry a line: five envelopes, between the first line and the receipt and the end.
    let shown = of(&resolved.id);
    assert_eq!(shown.len(), 8, "{text}");
    assert_eq!(shown[0]["macp_log"], 1);
    assert_eq!((&shown[1]["position"], &shown[1]["started"]["sequence"]), (&json!(1), &json!(1)));
    assert_eq!(shown[1]["started"]["policy"]["rules"]["voting"]["algorithm"], "majority");
    assert!(shown[1]["record_b64"].is_string(), "the blanks are not lost");
    assert_eq!(shown[2]["accepted"]["envelope"]["payload"]["proposal_id"], "a");
    assert!(shown[2]["record_b64"].is_null(), "the JSON is exact");
    assert_eq!(shown[6]["receipt"], receipt["receipt_json"]);
    assert_eq!((&shown[7]["end"]["position"], &shown[7]["end"]["link"]), (&json!(5), &shown[5]["link"]));
    assert!(of(&suspended.id).iter().any(|line| line["resumed"]["reason"] == "a \"break\""));
    assert!(lines.iter().any(|line| line["cancelled"]["by"] == ALICE));
    assert!(lines.iter().any(|line| line["expired"]["cause"] == "deadline"));
    // One session alone is a part of it.
    let one = log(&["export", &resolved.id, "--data-dir", directory.path().to_str().unwrap()]).await;
    assert!(one.stdout.lines().count() == 8 && text.contains(&one.stdout));

    let elsewhere = TempDir::new().unwrap();
    let ended = import(&text, elsewhere.path()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout, "4 sessions imported, 0 continued, 0 already there\n");
    let again = import(&text, elsewhere.path()).await;
    assert_eq!(again.stdout, "0 sessions imported, 0 continued, 4 already there\n");
    assert_eq!(verified(elsewhere.path()).await.code, Some(0));
    assert_eq!(exported(elsewhere.path()).await, text);

    // And for clients it is the same.
    let here = Gateway::on(directory.path(), &[]).await;
    let there = Gateway::on(elsewhere.path(), &[]).await;
    let mut agents = [here.http, there.http].map(|port| Http::agent(port, ALICE));
    for (session, count) in [(&resolved, 5), (&suspended, 1)] {
        let [one, other] = &mut agents;
        assert_eq!(seen(one, session, count).await, seen(other, session, count).await);
    }
    for agent in &mut agents {
        let served = agent.call("GetDecisionReceipt", &json!({ "session_id": resolved.id })).await.unwrap();
        assert_eq!(served, receipt);
    }
    let running = verified(directory.path()).await;
    assert_eq!(running.code, Some(1));
    assert!(running.stderr.contains("in use by another process"), "{}", running.stderr);
    drop(agents);
    here.stop().await;
    there.stop().await;
}

#[tokio::test]
async fn an_altered_export_is_refused_and_nothing_of_the_session_is_stored() {
    let Played { directory, resolved, .. } = played().await;
    let one = log(&["export", &resolved.id, "--data-dir", directory.path().to_str().unwrap()]).await.stdout;
    let lines: Vec<&str> = one.lines().collect();
    let without = |at: usize| {
        let left: Vec<_> =
            lines.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, line)| *line).collect();
        left.join("\n")
    };
    let another = Session::new().id;
    let rows = [
        (without(0), "macp_log"),
        (without(2), "position 2 is missing"),
        (without(4), "position 4 is missing"),
        // Cut off at the end.
        (lines[..7].join("\n"), "cut short"),
        (lines[..3].join("\n"), "cut short"),
        (one.replacen("\"macp_log\":1", "\"macp_log\":2", 1), "newer release"),
        (one.replacen("\"option\":\"an", "\"option\":\"no", 1), "altered"),
        (one.replacen("\"synthetic\":false", "\"synthetic\":true", 1), "altered"),
        (one.replace("APPROVE", "REJECT"), "altered"),
        // The stored bytes and what is shown of them.
        (
            one.replacen("\"configuration_version\":\"c1\"", "\"configuration_version\":\"c2\"", 1),
            "record_b64",
        ),
        (one.replace(&resolved.id, &another), "record_b64"),
        (one.replacen("\"position\"", "\"place\"", 1), "unknown field"),
        ("{}".to_owned(), "session_id"),
    ];
    for (text, why) in rows {
        assert_ne!(text, one);
        let fresh = TempDir::new().unwrap();
        let ended = import(&text, fresh.path()).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{why}: {}", ended.stderr);
        assert!(ended.stderr.contains(why), "{why}: {}", ended.stderr);
        assert_eq!(exported(fresh.path()).await, "", "{why}");
    }
}

#[tokio::test]
async fn an_interrupted_import_is_continued_and_another_history_is_left_alone() {
    let Played { directory, resolved, .. } = played().await;
    let text = exported(directory.path()).await;
    let stream = Bytes::from(resolved.id.clone());
    let records = {
        let store = EmbeddedStore::open(directory.path(), Default::default()).unwrap();
        let records = store.export(&stream, None, 99).unwrap();
        let summary = store.summary(&stream).await.unwrap().unwrap();
        // Two stores: one as an import leaves it that was killed, one in which the id stands for something else.
        let halves = [&records[..2], &records[1..2]].map(|part| {
            let dir = TempDir::new().unwrap();
            let store = EmbeddedStore::open(dir.path(), Default::default()).unwrap();
            (dir, store, part.to_vec())
        });
        let mut directories = Vec::new();
        for (dir, store, part) in halves {
            let mut tail = None;
            for exported in part {
                let append = Append {
                    stream: stream.clone(),
                    expected: Expected::tail(tail),
                    record: exported.record,
                    summary: summary.clone(),
                };
                tail = Some(store.append(append).await.unwrap());
            }
            drop(store);
            directories.push(dir);
        }
        directories
    };
    let continued = import(&text, records[0].path()).await;
    assert_eq!(
        continued.stdout, "3 sessions imported, 1 continued, 0 already there\n",
        "{}",
        continued.stderr
    );
    assert_eq!(verified(records[0].path()).await.code, Some(0));
    assert_eq!(exported(records[0].path()).await, text);

    let before = exported(records[1].path()).await;
    let refused = import(&text, records[1].path()).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("another history"), "{}", refused.stderr);
    assert!(exported(records[1].path()).await.contains(before.lines().nth(1).unwrap()), "it is as it was");
}

#[tokio::test]
async fn verify_finds_what_only_the_rules_can_tell() {
    let Played { directory, resolved, suspended, .. } = played().await;
    let store = EmbeddedStore::open(directory.path(), Default::default()).unwrap();
    let append = async |id: &str, record: Bytes, live: bool| {
        let stream = Bytes::copy_from_slice(id.as_bytes());
        let expected = Expected::tail(store.tail(&stream).await.unwrap());
        let mut summary = store.summary(&stream).await.unwrap().unwrap();
        summary.live = live;
        store.append(Append { stream, expected, record, summary }).await.unwrap();
    };
    // The store keeps what it is given; only replay sees that a vote after the end is none.
    let again = store.export(&Bytes::from(resolved.id.clone()), None, 99).unwrap()[3].record.clone();
    append(&resolved.id, again, false).await;
    // And a record of a release to come.
    append(&suspended.id, Bytes::from_static(b"\x02future"), true).await;
    drop(store);
    let ended = verified(directory.path()).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    for part in [
        &format!("session {:?}: record 6: entry 5 of the history does not follow", resolved.id),
        &format!("session {:?}: record 5: the record has format version 2", suspended.id),
        "2 findings",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
}

#[tokio::test]
async fn a_summary_that_its_records_do_not_lead_to_is_found() {
    let Played { directory, resolved, suspended, .. } = played().await;
    let elsewhere = TempDir::new().unwrap();
    {
        let from = EmbeddedStore::open(directory.path(), Default::default()).unwrap();
        let to = EmbeddedStore::open(elsewhere.path(), Default::default()).unwrap();
        for (session, other, live) in [(&resolved, &suspended, true), (&suspended, &resolved, true)] {
            let stream = Bytes::from(session.id.clone());
            let mut tail = None;
            for exported in from.export(&stream, None, 99).unwrap() {
                let mut summary = from.summary(&Bytes::from(other.id.clone())).await.unwrap().unwrap();
                summary.live = live;
                let (record, expected) = (exported.record, Expected::tail(tail));
                tail = Some(
                    to.append(Append { stream: stream.clone(), expected, record, summary }).await.unwrap(),
                );
            }
        }
    }
    let ended = verified(elsewhere.path()).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.contains("it is RESOLVED, and not listed as such"), "{}", ended.stdout);
    assert!(ended.stdout.contains("its summary is not what its records lead to"), "{}", ended.stdout);
}

#[tokio::test]
async fn a_mistyped_directory_or_session_is_refused_and_makes_nothing() {
    let directory = TempDir::new().unwrap();
    let nowhere = directory.path().join("nowhere");
    let path = nowhere.to_str().unwrap();
    for arguments in [&["verify", path][..], &["export", "s", "--data-dir", path]] {
        let ended = log(arguments).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(ended.stderr.contains(path), "{}", ended.stderr);
        assert!(!nowhere.exists());
    }
    drop(EmbeddedStore::open(directory.path().join("store"), Default::default()).unwrap());
    let store = directory.path().join("store");
    let ended = log(&["export", "no-such-session", "--data-dir", store.to_str().unwrap()]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("no-such-session"), "{}", ended.stderr);
    // The settings name the directory, too.
    let named = run(&["log", "verify"], &[("MACP_DATA_DIR", store.to_str().unwrap())]).await;
    assert_eq!((named.code, named.stdout.as_str()), (Some(0), "0 sessions, 0 records: nothing is wrong\n"));
    assert_eq!(log(&["export"]).await.code, Some(2));
    assert_eq!(log(&["verify", path, "more"]).await.code, Some(2));
}
