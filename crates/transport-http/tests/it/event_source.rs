//! `GET` of a session's events: streams as a plain `EventSource` reads them, and pages as the SDKs' adapters poll them.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use crate::resources::get;
use crate::support::{
    ALICE, BOB, Frame, Frames, Gateway, commit, gateway, gateway_with, patience, post, propose, with, without,
};

const APP: &str = "http://app.example";

/// What a browser sends from a page of this server to itself: no `Origin` with a `GET`.
fn from_own_page(request: Request<Body>) -> Request<Body> {
    with(with(request, "host", "app.example"), "accept", "text/event-stream")
}

async fn ticket(gateway: &Gateway, sender: &str) -> String {
    let request = with(post("/macp/ticket", sender, ""), "origin", APP);
    let answer = gateway.ask(with(without(request, "content-type"), "host", "app.example")).await;
    answer.json()["ticket"].as_str().unwrap().to_owned()
}

fn path(session: &str, query: &str) -> String {
    format!("/macp/v1/sessions/{session}/events{query}")
}

async fn open(gateway: &Gateway, request: Request<Body>) -> Frames<Body> {
    Frames::of_event_source(gateway.open(request).await).await
}

/// What an `EventSource` has understood of a stream: the id that it would come back with.
fn last_id(frame: &Frame) -> String {
    frame.id.clone().expect("an id")
}

fn ended(frame: &Frame, session: &str, state: &str, last_sequence: u64) {
    assert_eq!((frame.event.as_deref(), &frame.id), (Some("ended"), &None), "{frame:?}");
    let data = json!({"session_id": session, "state": state, "last_sequence": last_sequence});
    assert_eq!(frame.data.as_ref(), Some(&data));
}

#[tokio::test]
async fn a_bearer_follows_with_plain_ids() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    for base in ["/macp/v1/sessions/", "/macp/session/"] {
        let request = || get(&format!("{base}{session}/events"), BOB);
        for mut frames in [
            open(&gateway, request()).await,
            open(&gateway, with(request(), "accept", "text/event-stream")).await,
            open(&gateway, with(request(), "accept", "application/json;q=0.5, text/event-stream;q=0.5"))
                .await,
            open(&gateway, get(&format!("{base}{session}/events?after=-1"), BOB)).await,
        ] {
            frames.expect(1, "m0").await;
        }
    }
    let head = gateway.open(get(&path(&session, "?after=0"), BOB)).await;
    assert_eq!(head.headers()["macp-high-water-sequence"], "1", "where the replay ends");
    let mut live = open(&gateway, get(&path(&session, "?after=1"), BOB)).await;
    // The query is that of the first request; where the client was goes before it.
    let resumed = with(get(&path(&session, "?after=0"), BOB), "last-event-id", "1");
    let mut resumed = open(&gateway, resumed).await;
    gateway.accept(BOB, &propose(&session, "m1")).await;
    gateway.accept(ALICE, &commit(&session, "m2")).await;
    for frames in [&mut live, &mut resumed] {
        frames.expect(2, "m1").await;
        frames.expect(3, "m2").await;
        ended(&frames.next().await.unwrap(), &session, "SESSION_STATE_RESOLVED", 3);
        assert_eq!(frames.next().await, None);
    }
}

#[tokio::test]
async fn a_stream_says_how_its_session_ended() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let mut live = open(&gateway, get(&path(&session, "?after=1"), BOB)).await;
    let cancelled = gateway.call("CancelSession", ALICE, &json!({"session_id": session})).await;
    assert_eq!(cancelled.json()["ack"]["ok"], true);
    let mut last = live.next().await.unwrap();
    let mut sequence = 1;
    // The cancellation itself may be part of accepted history.
    if last.event.is_none() {
        sequence = 2;
        last = live.next().await.unwrap();
    }
    ended(&last, &session, "SESSION_STATE_CANCELLED", sequence);
    // Who comes back has everything: the answer after which an EventSource stays away.
    for after in [sequence, 100] {
        let again = with(get(&path(&session, ""), BOB), "last-event-id", &after.to_string());
        gateway.ask(again).await.is_bare(204);
    }
    let mut behind = open(&gateway, with(get(&path(&session, ""), BOB), "last-event-id", "0")).await;
    behind.expect(1, "m0").await;
}

#[tokio::test]
async fn a_ticket_opens_one_stream_and_its_pass_reopens_it() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let query = format!("?ticket={}", ticket(&gateway, BOB).await);
    let connect = || from_own_page(get(&path(&session, &query), ""));
    let mut first = open(&gateway, connect()).await;
    let before = first.next().await.unwrap();
    assert_eq!((&before.data, &before.event), (&None, &None), "an id alone is no event: {before:?}");
    let event = first.next().await.unwrap();
    assert_eq!(event.data.as_ref().unwrap()["envelope"]["message_id"], "m0");
    assert_eq!(gateway.ask(connect()).await.code(), "UNAUTHENTICATED", "the ticket is used up");

    // Cut before anything came, and cut behind the first event; also while the server has not noticed.
    let (ordinal, pass) =
        last_id(&before).split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!((ordinal.as_str(), last_id(&event)), ("0", format!("1.{pass}")));
    let reconnect = |id: &str| with(connect(), "last-event-id", id);
    let mut from_start = open(&gateway, reconnect(&last_id(&before))).await;
    assert_eq!(last_id(&from_start.next().await.unwrap()), last_id(&before));
    assert_eq!(last_id(&from_start.next().await.unwrap()), last_id(&event));
    drop((first, from_start));
    let mut behind = open(&gateway, reconnect(&last_id(&event))).await;
    assert_eq!(last_id(&behind.next().await.unwrap()), last_id(&event), "still an id alone");
    gateway.accept(BOB, &propose(&session, "m1")).await;
    let second = behind.next().await.unwrap();
    assert_eq!(
        (last_id(&second), &second.data.unwrap()["envelope"]["message_id"]),
        (format!("2.{pass}"), &json!("m1"))
    );
    gateway.accept(ALICE, &commit(&session, "m2")).await;
    assert_eq!(last_id(&behind.next().await.unwrap()), format!("3.{pass}"));
    ended(&behind.next().await.unwrap(), &session, "SESSION_STATE_RESOLVED", 3);
    assert_eq!(behind.next().await, None);
    gateway.ask(reconnect(&format!("3.{pass}"))).await.is_bare(204);

    // The pass is for this session, this page and the header alone.
    let other = gateway.start(2).await;
    let id = format!("0.{pass}");
    for (name, request) in [
        ("other session", with(from_own_page(get(&path(&other, &query), "")), "last-event-id", &id)),
        ("other page", with(with(connect(), "last-event-id", &id), "origin", "http://evil.example")),
        ("cross-site", with(with(connect(), "last-event-id", &id), "sec-fetch-site", "cross-site")),
        ("other pass", with(connect(), "last-event-id", "0.AAAA")),
        ("in the URL", from_own_page(get(&path(&session, &format!("?ticket={pass}")), ""))),
        ("without the URL", with(from_own_page(get(&path(&session, ""), "")), "last-event-id", &id)),
        ("as a bearer", with(from_own_page(get(&path(&session, ""), "")), "authorization", "Basic x")),
    ] {
        assert_eq!(gateway.ask(request).await.code(), "UNAUTHENTICATED", "{name}");
    }
}

#[tokio::test]
async fn a_ticket_is_no_more_than_its_identity() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let eve = format!("?ticket={}", ticket(&gateway, "agent://eve").await);
    assert_eq!(gateway.ask(from_own_page(get(&path(&session, &eve), ""))).await.code(), "FORBIDDEN");
    let both = format!("?ticket={}", ticket(&gateway, BOB).await);
    assert_eq!(gateway.ask(from_own_page(get(&path(&session, &both), BOB))).await.code(), "UNAUTHENTICATED");
    let twice = ticket(&gateway, BOB).await;
    let request = from_own_page(get(&path(&session, &format!("?ticket={twice}&ticket={twice}")), ""));
    let answer = gateway.ask(request).await;
    assert_eq!(answer.code(), "INVALID_REQUEST");
    assert!(!String::from_utf8_lossy(&answer.body).contains(&twice), "it is not repeated");
    let elsewhere = format!("?ticket={}", ticket(&gateway, BOB).await);
    for other in [format!("/macp/v1/sessions/{session}{elsewhere}"), format!("/macp/v1/sessions{elsewhere}")]
    {
        let answer = gateway.ask(get(&other, "")).await;
        assert_eq!(answer.code(), "UNAUTHENTICATED", "only event streams take one: {other}");
    }
    // A page of another origin that may call says which one it is.
    let gateway = gateway_with(|options| options.cors_origins = APP.parse_origins()).await;
    let session = gateway.start(1).await;
    let foreign = with(without(post("/macp/ticket", BOB, ""), "content-type"), "origin", APP);
    let ticket = gateway.ask(foreign).await.json()["ticket"].as_str().unwrap().to_owned();
    let request = with(get(&path(&session, &format!("?ticket={ticket}")), ""), "origin", APP);
    let response = gateway.open(request).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["access-control-allow-origin"]),
        (200, &APP.parse().unwrap())
    );
}

trait ParseOrigins {
    fn parse_origins(&self) -> macp_transport_http::Origins;
}

impl ParseOrigins for str {
    fn parse_origins(&self) -> macp_transport_http::Origins {
        macp_transport_http::Origins::parse(self).unwrap()
    }
}

#[tokio::test]
async fn positions_that_are_none_are_refused() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    for id in ["x", "", "-1", "+1", "1,2", "18446744073709551616", ".abc", "x.abc"] {
        let request = with(get(&path(&session, ""), BOB), "last-event-id", id);
        assert_eq!(gateway.ask(request).await.code(), "INVALID_REQUEST", "{id:?}");
    }
    let two = with(with(get(&path(&session, ""), BOB), "last-event-id", "1"), "last-event-id", "1");
    assert_eq!(gateway.ask(two).await.code(), "INVALID_REQUEST");
}

#[tokio::test]
async fn passes_share_the_bytes_of_an_event() {
    use http_body_util::BodyExt;

    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let query = format!("?after=1&ticket={}", ticket(&gateway, BOB).await);
        let mut body = gateway.open(from_own_page(get(&path(&session, &query), ""))).await.into_body();
        patience(body.frame()).await.unwrap().unwrap();
        bodies.push(body);
    }
    gateway.accept(BOB, &propose(&session, "m1")).await;
    let mut seen = Vec::new();
    for body in &mut bodies {
        let id = patience(body.frame()).await.unwrap().unwrap().into_data().unwrap();
        assert!(id.starts_with(b"id: 2.") && id.ends_with(b"\n"), "{id:?}");
        seen.push(patience(body.frame()).await.unwrap().unwrap().into_data().unwrap());
    }
    assert!(seen[0].starts_with(b"data: {\"envelope\":{") && seen[0].ends_with(b"}\n\n"));
    assert!(seen.iter().all(|bytes| bytes.as_ptr() == seen[0].as_ptr()), "encoded once");
}

#[tokio::test]
async fn a_drain_ends_the_stream_without_a_word_and_does_not_keep_the_client_away() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let mut frames = open(&gateway, get(&path(&session, "?after=1"), BOB)).await;
    gateway.engine.drain();
    assert_eq!(frames.next().await, None);
    // Anything but 200 would make an EventSource give up.
    let mut again = open(&gateway, with(get(&path(&session, ""), BOB), "last-event-id", "1")).await;
    assert_eq!(again.next().await, None);
}

#[tokio::test]
async fn json_is_a_page_as_the_sdk_adapters_read_it() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let poll = |query: &str| with(get(&path(&session, query), BOB), "accept", "application/json");
    gateway.accept(BOB, &propose(&session, "m1")).await;
    for (query, expected) in [
        ("?after=-1", vec![1, 2]),
        ("", vec![1, 2]),
        ("?after=0", vec![1, 2]),
        ("?after=1", vec![2]),
        ("?after=2", vec![]),
    ] {
        let body = gateway.ask(poll(query)).await.json();
        let events = body["events"].as_array().unwrap();
        let sequences: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert_eq!(sequences, expected, "{query}");
    }
    let body = gateway.ask(poll("?after=0")).await.json();
    let [start, proposal] = body["events"].as_array().unwrap().as_slice() else { panic!("{body}") };
    assert_eq!((&start["message_type"], start.get("proposal_id")), (&json!("SessionStart"), None));
    assert_eq!(start["payload"]["intent"], "choose");
    assert_eq!((&proposal["sender"], &proposal["proposal_id"]), (&json!(BOB), &json!("m1")));
    // Everything else is the envelope as everywhere.
    let page = gateway.ask(get(&format!("/macp/v1/sessions/{session}/envelopes?after=1"), BOB)).await.json();
    let mut bare = proposal.clone();
    bare.as_object_mut().unwrap().retain(|name, _| !["seq", "proposal_id"].contains(&name.as_str()));
    assert_eq!(bare, page["envelopes"][0]["envelope"]);
    let with_ticket = format!("?after=0&ticket={}", ticket(&gateway, BOB).await);
    let ticketed = with(
        with(get(&path(&session, &with_ticket), ""), "accept", "application/json"),
        "host",
        "app.example",
    );
    assert_eq!(gateway.ask(ticketed).await.json(), body);
    assert_eq!(Value::from(gateway.ask(poll("?after=x")).await.code()), "INVALID_REQUEST");
}
