//! Whole sessions in both encodings, order among clients, and resuming.

use serde_json::{Value, json};

use crate::client::*;

async fn subscribe(client: &mut Client, session: &str, after: u64) -> Value {
    client.ask("subscribed", json!({"subscribe": {"session_id": session, "after_sequence": after}})).await
}

/// A Decision session from start to end, the initiator and two participants in these encodings.
async fn decision(protocols: [&'static str; 3]) {
    let server = Server::start().await;
    let session = new_session();
    let mut initiator = server.connect_as("agent://i", protocols[0]).await;
    let mut alice = server.connect_as("agent://a", protocols[1]).await;
    let mut bob = server.connect_as("agent://b", protocols[2]).await;

    let first = start(&session);
    initiator.send(first.clone()).await;
    assert_eq!(initiator.send(first).await["duplicate"], true);
    let snapshot = json!({"subscribe": {"session_id": session, "snapshot": true}});
    let subscribed = alice.ask("subscribed", snapshot).await;
    assert_eq!(subscribed["high_water_sequence"], 1);
    assert_eq!(subscribed["metadata"]["initiator"], "agent://i");
    assert_eq!(alice.delivered().await.0, 1);
    assert_eq!(alice.hear().await["synced"]["sequence"], 1);

    initiator.send(proposal(&session, "p")).await;
    let (sequence, proposed) = alice.delivered().await;
    assert_eq!((sequence, &proposed["payload"]["proposal_id"]), (2, &json!("p")));
    let evaluation =
        json!({"proposal_id": "p", "recommendation": "APPROVE", "confidence": 0.9, "reason": "r"});
    bob.send(envelope(&session, "Evaluation", &evaluation)).await;
    bob.send(vote(&session)).await;
    assert_eq!(initiator.send(commitment(&session)).await["session_state"], "SESSION_STATE_RESOLVED");
    for (sequence, sender) in [(3, "agent://b"), (4, "agent://b"), (5, "agent://i")] {
        let (found, envelope) = alice.delivered().await;
        assert_eq!((found, &envelope["sender"]), (sequence, &json!(sender)));
    }
    let ended = json!({"session_id": session, "state": "SESSION_STATE_RESOLVED", "last_sequence": 5});
    assert_eq!(alice.hear().await["ended"], ended);

    let late = alice.ask("ack", json!({"send": {"envelope": vote(&session)}})).await;
    assert_eq!(late["error"]["code"], "SESSION_NOT_OPEN");
    let result = bob
        .ask("result", json!({"call": {"method": "GetSession", "request": {"session_id": session}}}))
        .await;
    assert_eq!(result["response"]["metadata"]["state"], "SESSION_STATE_RESOLVED");
    alice.say_raw(tokio_tungstenite::tungstenite::Message::Close(None)).await;
    assert!(matches!(alice.hear_raw().await, Some(tokio_tungstenite::tungstenite::Message::Close(_))));
    assert_eq!(alice.hear_raw().await, None);
}

#[tokio::test]
async fn a_decision_in_json() {
    decision(["macp.v1.json"; 3]).await;
}

#[tokio::test]
async fn a_decision_in_protobuf() {
    decision(["macp.v1.proto"; 3]).await;
}

#[tokio::test]
async fn a_decision_in_both() {
    decision(["macp.v1.proto", "macp.v1.json", "macp.v1.proto"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_clients_see_one_order() {
    const EACH: u64 = 100;
    let server = Server::start().await;
    let session = new_session();
    let mut initiator = server.connect("agent://i").await;
    initiator.send(start(&session)).await;

    let mut readers = Vec::new();
    for protocol in ["macp.v1.json", "macp.v1.json", "macp.v1.proto"] {
        let mut reader = server.connect_as("agent://b", protocol).await;
        subscribe(&mut reader, &session, 0).await;
        readers.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            while seen.len() <= usize::try_from(2 * EACH).unwrap() {
                let frame = reader.hear().await;
                if frame["envelope"].is_object() {
                    seen.push((
                        frame["envelope"]["sequence"].as_u64().unwrap(),
                        frame["envelope"]["envelope"]["message_id"].as_str().unwrap().to_owned(),
                    ));
                }
            }
            seen
        }));
    }
    let mut writers = Vec::new();
    for writer in ["agent://i", "agent://a"] {
        let mut client = server.connect(writer).await;
        let session = session.clone();
        writers.push(tokio::spawn(async move {
            for n in 0..EACH {
                let envelope = proposal(&session, &format!("{writer}-{n}"));
                client.say(json!({"send": {"envelope": envelope}})).await;
            }
            for _ in 0..EACH {
                assert_eq!(client.hear().await["ack"]["ok"], true);
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let mut orders = Vec::new();
    for reader in readers {
        orders.push(reader.await.unwrap());
    }
    let sequences: Vec<u64> = orders[0].iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, (1..=2 * EACH + 1).collect::<Vec<_>>());
    assert_eq!(orders[0], orders[1]);
    assert_eq!(orders[0], orders[2]);
}

#[tokio::test]
async fn a_client_resumes_where_it_was_cut_off() {
    let server = Server::start().await;
    let session = new_session();
    let mut initiator = server.connect("agent://i").await;
    initiator.send(start(&session)).await;
    let mut seen = Vec::new();
    for round in 0..5 {
        for n in 0..10 {
            initiator.send(proposal(&session, &format!("p{round}-{n}"))).await;
        }
        let mut reader = server.connect("agent://a").await;
        subscribe(&mut reader, &session, seen.last().copied().unwrap_or(0)).await;
        // Cut in the middle of what is there.
        for _ in 0..7 {
            seen.push(reader.delivered().await.0);
        }
        drop(reader);
    }
    assert_eq!(seen, (1..=35).collect::<Vec<_>>());
}

#[tokio::test]
async fn subscriptions_of_one_socket_do_not_mix() {
    let server = Server::start().await;
    let mut initiator = server.connect("agent://i").await;
    let (one, two) = (new_session(), new_session());
    for session in [&one, &two] {
        initiator.send(start(session)).await;
        subscribe(&mut initiator, session, 1).await;
        assert_eq!(initiator.hear().await["synced"]["session_id"], *session);
    }
    let unsubscribed = initiator.ask("unsubscribed", json!({"unsubscribe": {"session_id": two}})).await;
    assert_eq!(unsubscribed["session_id"], two);
    let mut alice = server.connect("agent://a").await;
    alice.send(proposal(&two, "p")).await;
    alice.send(proposal(&one, "p")).await;
    let frame = initiator.hear().await;
    assert_eq!((&frame["envelope"]["session_id"], &frame["envelope"]["sequence"]), (&json!(one), &json!(2)));
    let pong = initiator.ask("pong", json!({"ping": {}})).await;
    assert_eq!(pong["subscriptions"], json!([{"session_id": one, "high_water_sequence": 2}]));
}
