//! Passive subscribe: replay, then live, the same for everyone.

use crate::support::{
    ALICE, BOB, EVE, SESSION, Server, Stream, accepted, commitment, proposal, session, start, submits,
    subscribes,
};

#[tokio::test]
async fn a_late_subscriber_replays_from_where_it_asks() {
    let server = Server::start().await;
    let mut client = server.client(ALICE).await;
    accepted(&mut client, start(SESSION)).await;
    let all: Vec<String> = (1..=5).map(|number| format!("p{number}")).collect();
    for id in &all {
        accepted(&mut client, proposal(SESSION, id)).await;
    }
    for after in 0..=7u64 {
        let mut stream = Stream::open(&mut client).await;
        stream.put(subscribes(SESSION, after)).await;
        stream.half_close();
        let mut expected: Vec<String> =
            std::iter::once("start".to_owned()).chain(all.clone()).skip(after as usize).collect();
        expected.push("end".to_owned());
        assert_eq!(stream.rest().await, expected, "after {after}");
    }
}

#[tokio::test]
async fn two_subscribers_see_one_order() {
    let server = Server::start().await;
    let mut alice = server.client(ALICE).await;
    let mut bob = server.client(BOB).await;
    accepted(&mut alice, start(SESSION)).await;
    let mut first = Stream::open(&mut alice).await;
    let mut second = Stream::open(&mut bob).await;
    first.put(subscribes(SESSION, 0)).await;
    second.put(subscribes(SESSION, 1)).await;
    assert_eq!(first.brief().await, "start");

    // Three senders at once: the order is the session's, not theirs.
    let mut senders = Vec::new();
    for sender in 0..3 {
        let mut client = server.client(if sender == 0 { ALICE } else { BOB }).await;
        senders.push(tokio::spawn(async move {
            for number in 0..100 {
                accepted(&mut client, proposal(SESSION, &format!("{sender}-{number}"))).await;
            }
        }));
    }
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        one.push(first.brief().await);
        two.push(second.brief().await);
    }
    for sender in senders {
        sender.await.unwrap();
    }
    assert_eq!(one, two);
    let mut replay = Stream::open(&mut alice).await;
    replay.put(subscribes(SESSION, 1)).await;
    replay.half_close();
    one.push("end".to_owned());
    assert_eq!(replay.rest().await, one);
}

#[tokio::test]
async fn an_unknown_session_ends_the_stream() {
    let server = Server::start().await;
    let mut stream = Stream::open(&mut server.client(ALICE).await).await;
    stream.put(subscribes("nope", 0)).await;
    assert_eq!(stream.rest().await, ["SESSION_NOT_FOUND/NotFound"]);
}

#[tokio::test]
async fn who_may_not_read_is_told_inline_and_stays_unbound() {
    let server = Server::start().await;
    let mut alice = server.client(ALICE).await;
    accepted(&mut alice, start(SESSION)).await;
    let mut eve = Stream::open(&mut server.client(EVE).await).await;
    eve.put(subscribes(SESSION, 0)).await;
    let error = eve.error().await;
    assert_eq!(
        (error.code.as_str(), error.session_id.as_str(), error.message_id.as_str(), error.details.len()),
        ("FORBIDDEN", "", "", 0)
    );
    // Unbound: a session of its own is not another one.
    let own = session(7);
    eve.put(submits(start(&own))).await;
    assert_eq!(eve.brief().await, "start");
}

#[tokio::test]
async fn a_subscriber_may_send() {
    let server = Server::start().await;
    let mut alice = server.client(ALICE).await;
    accepted(&mut alice, start(SESSION)).await;
    let mut bob = Stream::open(&mut server.client(BOB).await).await;
    bob.put(subscribes(SESSION, 0)).await;
    bob.put(submits(proposal(SESSION, "p1"))).await;
    assert_eq!((bob.brief().await, bob.brief().await), ("start".into(), "p1".into()));
}

#[tokio::test]
async fn a_resolved_session_replays_and_keeps_its_stream() {
    let server = Server::start().await;
    let mut alice = server.client(ALICE).await;
    for envelope in [start(SESSION), proposal(SESSION, "p1"), commitment(SESSION, "c1")] {
        accepted(&mut alice, envelope).await;
    }
    let mut stream = Stream::open(&mut alice).await;
    stream.put(subscribes(SESSION, 1)).await;
    assert_eq!((stream.brief().await, stream.brief().await), ("p1".into(), "c1".into()));
    // Still there: it answers another frame.
    stream.put(subscribes(SESSION, 2)).await;
    assert_eq!(stream.brief().await, "c1");
    stream.half_close();
    assert_eq!(stream.rest().await, ["end"]);
}
