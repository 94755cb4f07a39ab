//! Credentials as they travel.

use macp_wire::v1::{InitializeRequest, ListSessionsRequest};
use tonic::Code;

use crate::support::{SESSION, Server, assert_status, send, soon, start};

const TOKENS: &str = r#"[{"token": "t-alice", "sender": "agent://alice"}]"#;

#[tokio::test]
async fn what_is_a_credential() {
    let server = Server::with_tokens(TOKENS).await;
    for (name, value, good) in [
        ("authorization", "Bearer t-alice", true),
        ("x-macp-token", "t-alice", true),
        ("authorization", "bearer t-alice", false),
        ("authorization", "Bearer  t-alice", false),
        ("authorization", "Basic t-alice", false),
        ("authorization", "Bearer t-bob", false),
        ("x-macp-token", "t-bob", false),
        ("x-macp-agent-id", "agent://alice", false),
    ] {
        let mut client = server.client_with(name, value).await;
        let listed = client.list_sessions(ListSessionsRequest::default()).await;
        assert_eq!(listed.is_ok(), good, "{name}: {value}");
        if let Err(status) = listed {
            assert_status(&status, Code::Unauthenticated, "UNAUTHENTICATED");
        }
    }
}

#[tokio::test]
async fn a_bad_credential_is_refused_in_the_ack_of_send_and_before_a_stream() {
    let server = Server::with_tokens(TOKENS).await;
    let mut client = server.client("t-bob").await;
    let ack = send(&mut client, start(SESSION)).await;
    assert_eq!(ack.error.unwrap().code, "UNAUTHENTICATED");
    let frames = tokio_stream::pending();
    let status = soon(client.stream_session(frames)).await.unwrap_err();
    assert_status(&status, Code::Unauthenticated, "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_stale_credential_does_not_matter_to_an_open_call() {
    let server = Server::with_tokens(TOKENS).await;
    let mut client = server.client("stale").await;
    let request = InitializeRequest { supported_protocol_versions: vec!["1.0".into()], ..Default::default() };
    let answer = client.initialize(request).await.unwrap().into_inner();
    assert_eq!(answer.selected_protocol_version, "1.0");
}
