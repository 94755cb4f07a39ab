//! A compression layer in front: answers are compressed, event streams are not, and their events come at once.

use std::time::{Duration, Instant};

use serde_json::json;
use tower_http::compression::CompressionLayer;

use crate::support::{ALICE, BOB, Frames, connect, gateway, post, propose, request_over, subscribe, with};

/// What a reader notices; a layer that collects bytes for its blocks would hold an event back for seconds or for ever.
const AT_ONCE: Duration = Duration::from_millis(50);

#[tokio::test]
async fn events_are_delivered_at_once_behind_a_compression_layer() {
    let mut gateway = gateway().await;
    gateway.router = gateway.router.layer(CompressionLayer::new());
    let session = gateway.start(1).await;
    let mut connection = connect(gateway.serve().await).await;

    let list = with(post("/macp/v1/ListModes", ALICE, json!({}).to_string()), "accept-encoding", "gzip");
    let answer = request_over(&mut connection, list).await;
    assert_eq!(answer.headers()["content-encoding"], "gzip", "the layer is on");
    drop(answer);

    let mut connection = connect(gateway.serve().await).await;
    let stream = with(subscribe(&session, ALICE, -1), "accept-encoding", "gzip");
    let answer = request_over(&mut connection, stream).await;
    assert!(!answer.headers().contains_key("content-encoding"));
    let mut frames = Frames::of(answer).await;
    frames.expect(1, "m0").await;
    // Of several, because other work on the machine may delay any single one.
    let mut fastest = Duration::MAX;
    for number in 1..=5 {
        let id = format!("m{number}");
        let began = Instant::now();
        gateway.accept(BOB, &propose(&session, &id)).await;
        frames.expect(number + 1, &id).await;
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest < AT_ONCE, "{fastest:?}");
}
