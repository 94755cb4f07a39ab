//! Which requests become sockets, and how the others are refused.

use std::sync::Arc;

use http::StatusCode;
use macp_auth::{Authenticator, Origins, OwnHosts, Page};
use macp_kernel::{Caller, UnixMillis};
use macp_transport_ws::Options;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::*;

async fn with_tokens(options: Options) -> Server {
    let tokens = json!([{"token": "tok-i", "sender": "agent://i"}]);
    Server::with(Authenticator::from_tokens_json(&tokens.to_string()).unwrap(), options).await
}

const PATH: &str = "/macp/v1/ws";

#[tokio::test]
async fn subprotocols_and_credentials() {
    let server = with_tokens(Options::new(CAP)).await;
    let good = bearer("tok-i");
    let bad = bearer("tok-unknown");
    for (headers, echoed, sender) in [
        (vec![], None, ""),
        (vec![("sec-websocket-protocol", "macp.v1.json".to_owned())], Some("macp.v1.json"), ""),
        (
            vec![("sec-websocket-protocol", "x, macp.v1.proto, macp.v1.json".into())],
            Some("macp.v1.proto"),
            "",
        ),
        (vec![("authorization", "Bearer tok-i".into())], None, "agent://i"),
        (
            vec![("sec-websocket-protocol", format!("{good}, macp.v1.json"))],
            Some("macp.v1.json"),
            "agent://i",
        ),
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (socket, response) = server.upgrade(PATH, &headers).await.unwrap();
        let protocol = response.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap());
        assert_eq!(protocol, echoed, "{headers:?}");
        let mut client = Client { socket, binary: echoed == Some("macp.v1.proto"), ids: 0 };
        assert_eq!(client.hear().await["welcome"]["sender"], sender, "{headers:?}");
    }
    for (headers, status, code) in [
        (vec![("sec-websocket-protocol", "macp.v9".to_owned())], 400, "INVALID_REQUEST"),
        (vec![("sec-websocket-protocol", format!("macp.v1.json, {bad}"))], 401, "UNAUTHENTICATED"),
        (vec![("sec-websocket-protocol", "macp.v1.json, macp.bearer.!".into())], 401, "UNAUTHENTICATED"),
        (vec![("authorization", "Bearer tok-unknown".into())], 401, "UNAUTHENTICATED"),
        (vec![("authorization", "Bearer a.b.c".into())], 401, "UNAUTHENTICATED"),
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (found, body) = server.refused(PATH, &headers).await;
        assert_eq!((found.as_u16(), &body["error"]["code"]), (status, &json!(code)), "{headers:?}");
        assert!(!body.to_string().contains("tok-"), "{body}");
    }
    let (status, _) = server.refused("/macp/v1/ws?ticket=abc", &[]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn origins_and_hosts() {
    let mut options = Options::new(CAP);
    options.own_hosts = Some(OwnHosts::and(["gw.example".to_owned()]));
    options.cors_origins = Origins::parse("https://app.example").unwrap();
    let server = Server::with(Authenticator::dev(), options).await;
    let own = format!("http://{}", server.addr);
    for headers in [
        &[("origin", own.as_str())][..],
        &[("origin", "https://app.example")],
        &[("host", "localhost:1")],
        &[("host", "gw.example")],
        &[("host", "gw.example"), ("origin", "http://gw.example")],
    ] {
        assert!(server.upgrade(PATH, headers).await.is_ok(), "{headers:?}");
    }
    for headers in [
        &[("origin", "https://elsewhere.example")][..],
        &[("origin", "null")],
        &[("origin", own.replace("http:", "https:").as_str())],
        &[("host", "rebound.example")],
        &[("host", "rebound.example"), ("origin", "http://rebound.example")],
    ] {
        // A credential does not help.
        let mut headers = headers.to_vec();
        headers.push(("authorization", "Bearer agent://i"));
        let (status, body) = server.refused(PATH, &headers).await;
        assert_eq!((status.as_u16(), &body["error"]["code"]), (403, &json!("FORBIDDEN")), "{headers:?}");
    }
}

#[tokio::test]
async fn requests_that_are_no_upgrades() {
    let server = Server::start().await;
    for (headers, status) in [
        (&[("upgrade", "h2c")][..], 426),
        (&[("connection", "keep-alive")], 426),
        (&[("sec-websocket-version", "8")], 426),
    ] {
        assert_eq!(server.refused(PATH, headers).await.0.as_u16(), status, "{headers:?}");
    }
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream
        .write_all(b"POST /macp/v1/ws HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[tokio::test]
async fn the_endpoint_is_served_behind_the_prefix_too() {
    let mut options = Options::new(CAP);
    options.prefix = "/gateway".into();
    let server = Server::with(Authenticator::dev(), options).await;
    assert!(server.upgrade("/gateway/macp/v1/ws", &[]).await.is_ok());
    assert!(server.upgrade(PATH, &[]).await.is_ok());
    assert_eq!(server.refused("/other/macp/v1/ws", &[]).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_ticket_is_redeemed_once_and_with_its_origin() {
    let app = "https://app.example";
    let mut options = Options::new(CAP);
    options.cors_origins = Origins::parse("https://app.example,https://other.example").unwrap();
    let tickets = Arc::clone(&options.tickets);
    let server = Server::with(Authenticator::dev(), options).await;
    let issue = |origin, at| {
        let page = Page { origin, own: None };
        let ticket = tickets.issue(&Caller::new("agent://i"), page, at).unwrap();
        format!("/macp/v1/ws?ticket={}", ticket.text)
    };
    let now = server.engine.now();
    for (bound, headers) in [(Some(app), &[("origin", app)][..]), (None, &[])] {
        let path = issue(bound, now);
        let (socket, _) = server.upgrade(&path, headers).await.unwrap();
        let mut client = Client { socket, binary: false, ids: 0 };
        assert_eq!(client.hear().await["welcome"]["sender"], "agent://i");
        client.ask("result", json!({"call": {"method": "ListSessions", "request": {}}})).await;
        assert_eq!(server.refused(&path, headers).await.0, StatusCode::UNAUTHORIZED, "once");
    }
    let expired = issue(Some(app), UnixMillis(now.0 - 30_000));
    for (path, headers) in [
        (issue(Some(app), now), &[][..]),
        (issue(Some(app), now), &[("origin", "https://other.example")]),
        (issue(None, now), &[("origin", app)]),
        (expired, &[("origin", app)]),
        ("/macp/v1/ws?ticket=".into(), &[]),
        ("/macp/v1/ws?ticket=unknown".into(), &[]),
    ] {
        let (status, body) = server.refused(&path, headers).await;
        assert_eq!(
            (status.as_u16(), &body["error"]["code"]),
            (401, &json!("UNAUTHENTICATED")),
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn there_is_a_limit_on_sockets() {
    let mut options = Options::new(CAP);
    options.max_connections = 2;
    let server = Server::with(Authenticator::dev(), options).await;
    let first = server.connect("agent://i").await;
    let _second = server.connect("agent://i").await;
    let (status, body) = server.refused(PATH, &[]).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (503, &json!("UNAVAILABLE")));
    drop(first);
    while server.sockets.len() == 2 {
        tokio::task::yield_now().await;
    }
    server.connect("agent://i").await;
}
