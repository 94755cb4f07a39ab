//! Message sizes at their limits.

use bytes::Bytes;
use macp_transport_grpc::MessageLimits;
use macp_wire::v1::{Envelope, GetSessionRequest, SendRequest, StreamSessionRequest};
use prost::Message;
use tonic::Code;

use crate::support::{
    ALICE, Came, SESSION, Server, Stream, accepted, assert_status, code, envelope, small_payloads, start,
    start_payload, submits, subscribes,
};

/// A request of exactly `size` encoded bytes whose envelope is refused for its version alone.
fn sized<M: Message>(size: usize, wrap: impl Fn(Envelope) -> M) -> M {
    let of = |padding: usize| {
        wrap(Envelope {
            macp_version: "0".into(),
            mode: "x".repeat(padding),
            session_id: "s".into(),
            ..Envelope::default()
        })
    };
    let overhead = of(size).encoded_len() - size;
    let request = of(size - overhead);
    assert_eq!(request.encoded_len(), size);
    request
}

#[tokio::test]
async fn a_request_at_the_limit_is_read_and_one_above_is_not() {
    let server = Server::with_limits(small_payloads()).await;
    let limit = MessageLimits::new(1024).decode;
    assert_eq!(limit, 1024 + 65_536);
    let mut client = server.client(ALICE).await;

    let send = |size| sized(size, |envelope| SendRequest { envelope: Some(envelope) });
    for size in [limit - 1, limit] {
        let ack = client.send(send(size)).await.unwrap().into_inner().ack.unwrap();
        assert_eq!(ack.error.unwrap().code, "UNSUPPORTED_PROTOCOL_VERSION");
    }
    let status = client.send(send(limit + 1)).await.unwrap_err();
    assert_status(&status, Code::ResourceExhausted, "PAYLOAD_TOO_LARGE");
    assert!(status.message().contains("MACP_MAX_PAYLOAD_BYTES"), "{status:?}");

    // The same on another service's call and on the client-streaming path.
    let get = GetSessionRequest { session_id: "x".repeat(limit) };
    assert_eq!(code(&client.get_session(get).await.unwrap_err()), "PAYLOAD_TOO_LARGE");
    let frame = |size| {
        sized(size, |envelope| StreamSessionRequest { envelope: Some(envelope), ..Default::default() })
    };
    for (size, fits) in [(limit - 1, true), (limit, true), (limit + 1, false)] {
        let mut stream = Stream::open(&mut client).await;
        stream.put(frame(size)).await;
        match stream.next().await {
            Came::Error(error) if fits => assert_eq!(error.code, "UNSUPPORTED_PROTOCOL_VERSION"),
            Came::Status(status) if !fits => {
                assert_status(&status, Code::ResourceExhausted, "PAYLOAD_TOO_LARGE");
                assert!(status.message().contains("MACP_MAX_PAYLOAD_BYTES"), "{status:?}");
            }
            other => panic!("{size}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_payload_at_its_limit_passes_and_one_above_is_refused_in_band() {
    let server = Server::with_limits(small_payloads()).await;
    let mut client = server.client(ALICE).await;
    let mut payload = start_payload();
    payload.intent = "x".repeat(1024);
    payload.intent.truncate(1024 - (payload.encoded_len() - 1024));
    assert_eq!(payload.encoded_len(), 1024);
    accepted(&mut client, envelope(SESSION, "SessionStart", "start", &payload)).await;
    payload.intent.push('x');
    let over = envelope(&crate::support::session(2), "SessionStart", "start", &payload);
    let ack = crate::support::send(&mut client, over).await;
    assert_eq!(ack.error.unwrap().code, "PAYLOAD_TOO_LARGE");
}

/// What goes out may be longer than what came in, because the sender is filled in.
#[tokio::test]
async fn an_envelope_read_at_the_limit_can_be_delivered() {
    let server = Server::with_limits(small_payloads()).await;
    let mut client = server.client(ALICE).await;
    accepted(&mut client, start(SESSION)).await;
    let limit = MessageLimits::new(1024).decode;
    let request = |padding: usize| {
        let proposal = crate::support::proposal(SESSION, "p");
        SendRequest { envelope: Some(Envelope { message_id: "x".repeat(padding), ..proposal }) }
    };
    let overhead = request(limit).encoded_len() - limit;
    let request = request(limit - overhead);
    assert_eq!(request.encoded_len(), limit);
    let envelope = request.envelope.clone().unwrap();
    assert!(client.send(request).await.unwrap().into_inner().ack.unwrap().ok);
    let mut stream = Stream::open(&mut client).await;
    stream.put(subscribes(SESSION, 1)).await;
    let Came::Envelope(delivered) = stream.next().await else { panic!("not delivered") };
    assert_eq!(delivered.message_id, envelope.message_id);
    assert!(delivered.encoded_len() > limit - 8);
}

#[tokio::test]
async fn a_megabyte_goes_through() {
    let server = Server::start().await;
    let mut client = server.client(ALICE).await;
    let mut payload = start_payload();
    payload.intent = "x".repeat((1 << 20) - 500);
    let mut stream = Stream::open(&mut client).await;
    stream.put(submits(envelope(SESSION, "SessionStart", "start", &payload))).await;
    let Came::Envelope(echo) = stream.next().await else { panic!("no echo") };
    assert_eq!(echo.payload, Bytes::from(payload.encode_to_vec()));
    let over = Envelope { payload: Bytes::from(vec![0; 2 << 20]), ..start(SESSION) };
    let status = client.send(SendRequest { envelope: Some(over) }).await.unwrap_err();
    assert_eq!((status.code(), code(&status)), (Code::ResourceExhausted, "PAYLOAD_TOO_LARGE"));
}
