//! Frames and their answers: sends, calls, refusals, and the limits on work.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::harness::*;

#[tokio::test(start_paused = true)]
async fn every_send_has_an_ack() {
    let engine = engine().await;
    let session = new_session();
    let mut client = connect(&engine, "agent://a").await;
    let first = start(&session);
    let ack = client.send(first.clone()).await;
    assert_eq!((&ack["session_id"], &ack["message_id"]), (&json!(session), &first["message_id"]));
    assert_eq!(ack["session_state"], "SESSION_STATE_OPEN");
    assert_eq!(client.send(first).await["duplicate"], true);

    let mut spoofed = proposal(&session, "p");
    spoofed["sender"] = json!("agent://b");
    let mut faulty = proposal(&session, "p");
    faulty["payload"] = json!(5);
    for (body, code, session_id) in [
        (json!({"envelope": proposal(&new_session(), "p")}), "SESSION_NOT_FOUND", None),
        (json!({"envelope": spoofed}), "UNAUTHENTICATED", Some(session.as_str())),
        (json!({"envelope": faulty}), "INVALID_ENVELOPE", Some(session.as_str())),
        (json!({"envelope": {}}), "INVALID_ENVELOPE", Some("")),
        (json!({}), "INVALID_ENVELOPE", Some("")),
    ] {
        let ack = client.ask("ack", json!({"send": body})).await;
        assert_eq!((&ack["ok"], &ack["error"]["code"]), (&json!(false), &json!(code)), "{ack}");
        if let Some(session_id) = session_id {
            assert_eq!(ack["session_id"], session_id, "{ack}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sends_of_a_session_keep_their_order() {
    let engine = engine().await;
    let session = new_session();
    let mut client = connect(&engine, "agent://a").await;
    // All at once, the start included: each proposal depends on the start, each evaluation on its proposal.
    let mut ids = vec![client.say(json!({"send": {"envelope": start(&session)}}))];
    for n in 0..50 {
        let id = format!("p{n}");
        ids.push(client.say(json!({"send": {"envelope": proposal(&session, &id)}})));
    }
    for id in ids {
        let frame = client.hear().await;
        assert_eq!((&frame["id"], &frame["ack"]["ok"]), (&json!(id), &json!(true)), "{frame}");
    }
    client.ask("subscribed", json!({"subscribe": {"session_id": session, "after_sequence": 1}})).await;
    for n in 0..50 {
        let frame = client.hear().await;
        assert_eq!(frame["envelope"]["envelope"]["payload"]["proposal_id"], format!("p{n}"), "{frame}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_answer_with_a_result_or_an_error() {
    let engine = engine().await;
    let session = session(&engine, 1).await;
    let mut client = connect(&engine, "agent://a").await;
    let call = |method: &str, request| json!({"call": {"method": method, "request": request}});
    let result = client.ask("result", call("GetSession", json!({"session_id": session}))).await;
    assert_eq!(result["method"], "GetSession");
    assert_eq!(result["response"]["metadata"]["session_id"], session);
    // A missing request is the default one.
    client.ask("result", json!({"call": {"method": "ListSessions"}})).await;
    let sent = client.ask("result", call("Send", json!({"envelope": proposal(&session, "p9")}))).await;
    assert_eq!(sent["response"]["ack"]["ok"], true);
    let cancel = json!({"session_id": session, "reason": "enough"});
    let cancelled = client.ask("result", call("CancelSession", cancel)).await;
    assert_eq!(cancelled["response"]["ack"]["session_state"], "SESSION_STATE_CANCELLED");
    for (method, request, code) in [
        ("GetSession", json!({"session_id": new_session()}), "SESSION_NOT_FOUND"),
        ("GetDecisionReceipt", json!({"session_id": session}), "RECEIPT_UNAVAILABLE"),
        ("Send", json!({}), "INVALID_ENVELOPE"),
        ("Nope", json!({}), "INVALID_REQUEST"),
        ("StreamSession", json!({}), "INVALID_REQUEST"),
    ] {
        assert_eq!(client.ask("error", call(method, request)).await["code"], code, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn frames_that_cannot_be_meant_are_refused() {
    let engine = engine().await;
    let session = session(&engine, 1).await;
    let mut client = connect(&engine, "agent://a").await;
    client.ask("subscribed", json!({"subscribe": {"session_id": session}})).await;
    client.ask("watching", json!({"watch": {"topic": "SIGNALS"}})).await;
    for body in [
        json!({}),
        json!({"ping": {}, "unwatch": {"topic": "ROOTS"}}),
        json!({"subscribe": {"session_id": session}}),
        json!({"watch": {"topic": "SIGNALS"}}),
        json!({"watch": {"topic": "WEATHER"}}),
    ] {
        assert_eq!(client.ask("error", body.clone()).await["code"], "INVALID_REQUEST", "{body}");
    }
    // What is not there can be ended: its end may have crossed the request.
    client.ask("unsubscribed", json!({"unsubscribe": {"session_id": new_session()}})).await;
    assert_eq!(client.ask("unwatched", json!({"unwatch": {"topic": "ROOTS"}})).await["topic"], "ROOTS");
}

#[tokio::test(start_paused = true)]
async fn a_client_with_too_many_frames_in_work_is_not_read() {
    let engine = engine().await;
    let mut client = open(&engine, With { sender: Some("agent://a"), room: 1, ..With::default() });
    let ids: Vec<_> = (0..1000).map(|_| client.say(json!({"ping": {}}))).collect();
    let waiting = |client: &Client| client.tx.max_capacity() - client.tx.capacity();
    let mut before = usize::MAX;
    while waiting(&client) < before {
        before = waiting(&client);
        tokio::task::yield_now().await;
    }
    // The welcome is in the room that there is; one more frame may be on its way.
    assert_eq!(1000 - waiting(&client), 256);
    // Nothing is dropped.
    assert!(client.hear().await["welcome"].is_object());
    for id in ids {
        assert_eq!(client.hear().await["id"], id);
    }
}

#[tokio::test(start_paused = true)]
async fn binary_connections_speak_protobuf() {
    use macp_wire::gateway::v1::client_frame::Body as Ask;
    use macp_wire::gateway::v1::server_frame::Body as Answer;
    use macp_wire::gateway::v1::{Call, ClientFrame, ServerFrame};
    use prost::Message as _;

    let engine = engine().await;
    let with = With { sender: Some("agent://a"), encoding: crate::frame::Encoding::Proto, ..With::default() };
    let mut client = open(&engine, with);
    let mut next = async || match client.hear_any().await {
        Some(Message::Binary(bytes)) => ServerFrame::decode(&bytes[..]).unwrap(),
        other => panic!("{other:?}"),
    };
    assert!(matches!(next().await.body, Some(Answer::Welcome(_))));
    let call = |request: &'static [u8]| {
        let call = Call { method: "ListModes".into(), request: request.into() };
        Message::binary(ClientFrame { id: "1".into(), body: Some(Ask::Call(call)) }.encode_to_vec())
    };
    client.say_raw(call(b""));
    client.say_raw(call(b"\xff"));
    let mut next = async || match client.hear_any().await {
        Some(Message::Binary(bytes)) => ServerFrame::decode(&bytes[..]).unwrap(),
        other => panic!("{other:?}"),
    };
    let Some(Answer::Result(result)) = next().await.body else { panic!("no result") };
    let modes = macp_wire::v1::ListModesResponse::decode(result.response).unwrap();
    assert!(modes.modes.iter().any(|mode| mode.mode == MODE));
    let refused = next().await;
    assert_eq!(refused.id, "1");
    assert!(matches!(refused.body, Some(Answer::Error(error)) if error.code == "INVALID_REQUEST"));
}
