//! A decision from start to commitment, over `Send` and over `StreamSession`.

use macp_wire::v1::{GetSessionRequest, SessionState};

use crate::support::{
    ALICE, BOB, SESSION, Server, Stream, accepted, commitment, proposal, send, start, submits, subscribes,
    vote,
};

#[tokio::test]
async fn over_send() {
    let server = Server::start().await;
    let mut alice = server.client(ALICE).await;
    let mut bob = server.client(BOB).await;
    let ack = accepted(&mut alice, start(SESSION)).await;
    assert_eq!((ack.session_state(), ack.message_id.as_str()), (SessionState::Open, "start"));
    accepted(&mut bob, proposal(SESSION, "p1")).await;
    accepted(&mut alice, vote(SESSION, "v1", "p1")).await;
    accepted(&mut bob, vote(SESSION, "v2", "p1")).await;
    let ack = accepted(&mut alice, commitment(SESSION, "c1")).await;
    assert_eq!(ack.session_state(), SessionState::Resolved);

    let again = accepted(&mut bob, vote(SESSION, "v2", "p1")).await;
    assert!(again.duplicate);
    let late = send(&mut bob, vote(SESSION, "v3", "p1")).await;
    assert_eq!(late.error.unwrap().code, "SESSION_NOT_OPEN");

    let request = GetSessionRequest { session_id: SESSION.into() };
    let metadata = bob.get_session(request).await.unwrap().into_inner().metadata.unwrap();
    assert_eq!(metadata.state(), SessionState::Resolved);
}

#[tokio::test]
async fn over_stream_session() {
    let server = Server::start().await;
    let mut alice = Stream::open(&mut server.client(ALICE).await).await;
    let mut bob = Stream::open(&mut server.client(BOB).await).await;

    alice.put(submits(start(SESSION))).await;
    assert_eq!(alice.brief().await, "start");
    bob.put(submits(proposal(SESSION, "p1"))).await;
    assert_eq!(bob.brief().await, "p1", "attached at the head: the start was before");
    assert_eq!(alice.brief().await, "p1");
    alice.put(submits(vote(SESSION, "v1", "p1"))).await;
    assert_eq!((alice.brief().await, bob.brief().await), ("v1".into(), "v1".into()));
    alice.put(submits(commitment(SESSION, "c1"))).await;
    assert_eq!((alice.brief().await, bob.brief().await), ("c1".into(), "c1".into()));

    // The end of the session is not the end of the stream.
    bob.put(submits(vote(SESSION, "v2", "p1"))).await;
    let error = bob.error().await;
    assert_eq!((error.code.as_str(), error.message_id.as_str()), ("SESSION_NOT_OPEN", "v2"));
    bob.put(subscribes(SESSION, 3)).await;
    assert_eq!(bob.brief().await, "c1");
    alice.half_close();
    bob.half_close();
    assert_eq!((alice.rest().await, bob.rest().await), (vec!["end".to_owned()], vec!["end".to_owned()]));
}

#[tokio::test]
async fn the_sender_is_the_credentials() {
    let server = Server::start().await;
    let mut alice = Stream::open(&mut server.client(ALICE).await).await;
    alice.put(submits(start(SESSION))).await;
    let crate::support::Came::Envelope(echo) = alice.next().await else { panic!("no echo") };
    assert_eq!(echo.sender, ALICE);
    assert!(echo.timestamp_unix_ms > 0, "stamped at acceptance");
    assert_eq!(echo.payload, start(SESSION).payload);
}
