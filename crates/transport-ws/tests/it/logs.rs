//! Credentials never reach the log, not even at its most talkative.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use macp_auth::Authenticator;
use macp_transport_ws::Options;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::client::*;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_credential_is_logged() {
    // The libraries below write to the `log` crate, which the subscriber takes over; other tests write here, too.
    let captured = Captured::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(captured.clone())
        .with_ansi(false)
        .init();

    let known = "tok-quicksilver";
    let unknown = "tok-brimstone";
    let tokens = json!([{"token": known, "sender": "agent://i"}]);
    let authenticator = Authenticator::from_tokens_json(&tokens.to_string()).unwrap();
    let server = Server::with(authenticator, Options::new(CAP)).await;
    for token in [known, unknown] {
        let header = format!("Bearer {token}");
        let protocols = format!("macp.v1.json, {}", bearer(token));
        let _ = server.upgrade("/macp/v1/ws", &[("authorization", &header)]).await;
        let _ = server.upgrade("/macp/v1/ws", &[("sec-websocket-protocol", &protocols)]).await;
        let _ = server.upgrade(&format!("/macp/v1/ws?ticket={token}"), &[]).await;
        for protocol in ["macp.v1.json", "macp.v1.proto"] {
            let (socket, _) =
                server.upgrade("/macp/v1/ws", &[("sec-websocket-protocol", protocol)]).await.unwrap();
            let mut client = Client { socket, binary: protocol == "macp.v1.proto", ids: 0 };
            client.hear().await;
            client.say(json!({"authenticate": {"token": token}})).await;
            client.hear().await;
        }
    }
    let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("socket opened"), "the log is captured: {log}");
    for secret in ["quicksilver", "brimstone", &bearer(known)["macp.bearer.".len()..], &bearer(unknown)[12..]]
    {
        assert!(!log.contains(secret), "{secret}");
    }
    // As bytes, the way in which frames are printed.
    let bytes: Vec<String> = known.bytes().map(|byte| byte.to_string()).collect();
    assert!(!log.contains(&bytes.join(", ")));
}
