//! The body cap, to the byte, declared or actual; and what becomes of bodies that nobody reads.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use macp_transport_http::Options;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{ALICE, connect, gateway, gateway_with, patience, post, propose, request_over, with};

const CAP: usize = 4000;

fn padded(length: usize) -> Vec<u8> {
    let mut body = br#"{"session_id":"nope"}"#.to_vec();
    body.resize(length, b' ');
    body
}

fn in_chunks(body: &[u8]) -> Body {
    let chunks: Vec<_> =
        body.chunks(700).map(|chunk| Ok::<_, Infallible>(Bytes::copy_from_slice(chunk))).collect();
    Body::from_stream(stream::iter(chunks))
}

#[tokio::test]
async fn the_cap_is_exact() {
    let gateway = gateway_with(|options| options.max_body_bytes = CAP).await;
    let server = gateway.serve().await;
    for (length, code) in
        [(CAP - 1, "SESSION_NOT_FOUND"), (CAP, "SESSION_NOT_FOUND"), (CAP + 1, "PAYLOAD_TOO_LARGE")]
    {
        let declared = || post("/macp/v1/GetSession", ALICE, padded(length));
        let chunked = || post("/macp/v1/GetSession", ALICE, in_chunks(&padded(length)));
        for request in [declared(), chunked()] {
            assert_eq!(gateway.ask(request).await.code(), code, "{length}");
        }
        for request in [declared(), chunked()] {
            let mut connection = connect(server).await;
            let response = request_over(&mut connection, request).await;
            assert_eq!(response.headers()["macp-error-code"], code, "{length}");
        }
    }
}

#[tokio::test]
async fn a_declared_length_over_the_cap_is_refused_at_once() {
    let gateway = gateway_with(|options| options.max_body_bytes = CAP).await;
    let mut socket = tokio::net::TcpStream::connect(gateway.serve().await).await.unwrap();
    let head = format!(
        "POST /macp/v1/Send HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer a\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{{}}",
        CAP + 1
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 32];
    patience(socket.read_exact(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn the_largest_payload_fits_and_a_larger_one_is_refused_in_band() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let limit = gateway.engine.options().limits.max_payload_bytes;
    let cap = Options::default_max_body(limit);
    for (length, code) in [(limit, "INVALID_ENVELOPE"), (limit + 1, "PAYLOAD_TOO_LARGE")] {
        let mut envelope = propose(&session, "m1");
        // Zero bytes are no payload of a Proposal, which is judged after the size.
        envelope["payload_b64"] = json!("AAAA".repeat(length / 3) + ["", "AA==", "AAA="][length % 3]);
        envelope.as_object_mut().unwrap().remove("payload");
        let body = json!({ "envelope": envelope });
        assert!(body.to_string().len() <= cap);
        assert_eq!(gateway.send(ALICE, &envelope).await["error"]["code"], code, "{length}");
    }
}

#[tokio::test]
async fn a_refused_request_with_a_small_body_keeps_its_connection() {
    let gateway = gateway().await;
    let mut connection = connect(gateway.serve().await).await;
    for _ in 0..3 {
        let response =
            request_over(&mut connection, post("/macp/v1/GetSession", "", in_chunks(&padded(30_000)))).await;
        assert_eq!(response.status(), 401);
        response.into_body().collect().await.unwrap();
        let response =
            request_over(&mut connection, post("/macp/v1/Nope", "", in_chunks(&padded(9_000)))).await;
        assert_eq!(response.status(), 404);
    }
    let response = request_over(&mut connection, post("/macp/v1/ListModes", "", "{}")).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_is_not_told_to_send_a_refused_body() {
    let gateway = gateway().await;
    let mut socket = tokio::net::TcpStream::connect(gateway.serve().await).await.unwrap();
    let head = "POST /macp/v1/Send HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
                Expect: 100-continue\r\nContent-Length: 100\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    patience(socket.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_in_time_is_an_internal_error() {
    let gateway = gateway().await;
    let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let answer = gateway.ask(post("/macp/v1/Send", ALICE, never));
    // The binding's limit is 30 s, the tests' own is shorter.
    let response = tokio::time::timeout(std::time::Duration::from_secs(15), answer).await;
    assert!(response.is_err());
    let quick =
        gateway_with(|options| options.request_timeout = Some(std::time::Duration::from_secs(5))).await;
    let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let answer = quick.ask(with(post("/macp/v1/Send", ALICE, never), "x-test", "1")).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (500, "INTERNAL_ERROR"));
}
