//! The drain: every stream ends with UNAVAILABLE, nothing new is accepted.

use macp_wire::v1::*;
use tonic::{Code, Status, Streaming};

use crate::support::{
    ALICE, SESSION, Server, Stream, accepted, assert_status, send, soon, start, subscribes,
};

async fn ends<T>(mut stream: Streaming<T>) -> Status {
    loop {
        match soon(stream.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("ended without a status"),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn every_stream_ends_unavailable() {
    let server = Server::start().await;
    let mut alice = server.client(ALICE).await;
    accepted(&mut alice, start(SESSION)).await;
    let mut idle = Stream::open(&mut alice).await;
    let mut subscribed = Stream::open(&mut alice).await;
    subscribed.put(subscribes(SESSION, 0)).await;
    assert_eq!(subscribed.brief().await, "start");
    let modes = alice.watch_mode_registry(WatchModeRegistryRequest {}).await.unwrap().into_inner();
    let roots = alice.watch_roots(WatchRootsRequest {}).await.unwrap().into_inner();
    let signals = alice.watch_signals(WatchSignalsRequest {}).await.unwrap().into_inner();
    let sessions = alice.watch_sessions(WatchSessionsRequest {}).await.unwrap().into_inner();
    let policies = alice.watch_policies(WatchPoliciesRequest {}).await.unwrap().into_inner();

    server.engine.drain();

    assert_eq!(idle.rest().await, ["UNAVAILABLE/Unavailable"]);
    assert_eq!(subscribed.rest().await, ["UNAVAILABLE/Unavailable"]);
    for status in [
        ends(modes).await,
        ends(roots).await,
        ends(signals).await,
        ends(sessions).await,
        ends(policies).await,
    ] {
        assert_status(&status, Code::Unavailable, "UNAVAILABLE");
    }
    let mut late = Stream::open(&mut alice).await;
    assert_eq!(late.rest().await, ["UNAVAILABLE/Unavailable"]);
    let ack = send(&mut alice, crate::support::proposal(SESSION, "p")).await;
    assert_eq!(ack.error.unwrap().code, "UNAVAILABLE");
}
