//! The server going away: sockets are told, answered, closed, and waited for.

use macp_auth::Authenticator;
use macp_transport_ws::Options;
use serde_json::json;

use crate::client::*;

#[tokio::test]
async fn sockets_close_and_new_ones_are_refused() {
    let server = Server::with(Authenticator::dev(), Options::new(CAP)).await;
    let session = new_session();
    let mut initiator = server.connect("agent://i").await;
    initiator.send(start(&session)).await;
    let mut reader = server.connect_as("agent://a", "macp.v1.proto").await;
    reader.ask("subscribed", json!({"subscribe": {"session_id": session, "after_sequence": 1}})).await;
    assert!(reader.hear().await["synced"].is_object());
    assert_eq!(server.sockets.len(), 2);

    server.engine.drain();
    let (status, body) = server.refused("/macp/v1/ws", &[]).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (503, &json!("UNAVAILABLE")));
    for mut client in [initiator, reader] {
        assert!(client.hear().await["draining"]["reconnect_after_ms"].as_u64().unwrap() > 0);
        assert_eq!(client.closed().await, 1001);
    }
    server.sockets.close();
    server.sockets.wait().await;
    assert!(server.sockets.is_empty());
}
