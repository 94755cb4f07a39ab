//! The end by a signal: what is open is told so, what is in flight is answered, and nothing delays it.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use macp_wire::gateway::v1::server_frame::Body as Answer;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::fakes::{Grpc, HalfSent, Http, Session, Socket, Sse, Ws, accepted};
use crate::process::Gateway;
use crate::wait::soon;

const ALICE: &str = "agent://alice";
/// How soon a gateway with nothing but idle streams ends.
const PROMPTLY: Duration = Duration::from_secs(2);

async fn with_session() -> (Gateway, Session) {
    let gateway = Gateway::start().await;
    let session = Session::new();
    accepted(&mut Grpc::agent(gateway.grpc, ALICE), &session.start(&[ALICE])).await;
    (gateway, session)
}

/// A stream on every transport and listener, idle; each checks how it ends.
async fn idle_streams(gateway: &Gateway, session: &Session) -> Vec<JoinHandle<()>> {
    let mut ends = Vec::new();
    for port in gateway.ports() {
        let mut grpc = Grpc::agent(port, ALICE);
        let mut stream = grpc.open().await.unwrap();
        stream.subscribe(&session.id, 0);
        stream.next().await.unwrap();
        let mut watches = grpc.watch_everything().await;
        watches.push(Box::pin(stream.end()));
        for watch in watches {
            ends.push(tokio::spawn(async { is_unavailable(watch.await) }));
        }

        for http in [Http::agent(port, ALICE), Http::agent(port, ALICE).over_http2()] {
            let subscribe = json!({ "subscribe_session_id": session.id });
            let mut events = http.events("StreamSession", &subscribe, 0).await.unwrap();
            events.next().await.unwrap();
            ends.push(tokio::spawn(ends_well(events)));
            let watch = http.events("WatchSignals", &json!({}), 0).await.unwrap();
            ends.push(tokio::spawn(ends_well(watch)));
        }

        for ws in [Ws::agent(port, ALICE), Ws::agent(port, ALICE).in_protobuf()] {
            let mut socket = ws.connect().await.unwrap();
            socket.follow(&session.id).await;
            ends.push(tokio::spawn(goes_away(socket)));
        }
        let nobody = Ws::agent(port, "").connect().await.unwrap();
        ends.push(tokio::spawn(goes_away(nobody)));
    }
    ends
}

fn is_unavailable(status: Option<tonic::Status>) {
    let status = status.expect("a stream that is cut off does not end well");
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    assert_eq!(status.metadata().get("macp-error-code").unwrap(), "UNAVAILABLE");
}

async fn goes_away(mut socket: Socket) {
    let (code, last) = socket.closed().await;
    assert_eq!(code, Some(1001));
    assert!(matches!(last, Some(Answer::Draining(_))), "{last:?}");
}

/// No error event, and no fault of the body: the client resumes elsewhere.
async fn ends_well(mut events: Sse) {
    assert!(events.next().await.is_none());
}

/// Connections that have not asked for anything: silent, half an HTTP/2 preface, half a head, and one that is kept
/// alive after its answer.
async fn idle_connections(gateway: &Gateway) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    for port in gateway.ports() {
        for begun in [
            "",
            "PRI * HTTP/2.0\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "POST /macp/v1/Send HTTP/1.1\r\nhost: loc",
        ] {
            let mut connection = TcpStream::connect(port).await.unwrap();
            connection.write_all(begun.as_bytes()).await.unwrap();
            connections.push(connection);
        }
        let mut kept = TcpStream::connect(port).await.unwrap();
        let request = format!("HEAD /.well-known/macp.json HTTP/1.1\r\nhost: {port}\r\n\r\n");
        kept.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("the head of an answer", kept.read_u8()).await.unwrap());
        }
        connections.push(kept);
    }
    connections
}

async fn ends_idle_streams_by(signal: &str) {
    let (mut gateway, session) = with_session().await;
    let ends = idle_streams(&gateway, &session).await;
    let connections = idle_connections(&gateway).await;
    let since = Instant::now();
    gateway.signal(signal).await;
    let (code, took) = gateway.ends(since).await;
    assert_eq!(code, Some(0));
    assert!(took < PROMPTLY, "{took:?}");
    for end in join_all(ends).await {
        end.unwrap();
    }
    drop(connections);
}

#[tokio::test]
async fn sigterm_ends_idle_streams_of_every_transport_promptly() {
    ends_idle_streams_by("TERM").await;
}

#[tokio::test]
async fn sigint_does_likewise() {
    ends_idle_streams_by("INT").await;
}

/// Requests of which the gateway has read the head and half of the body.
async fn in_flight(gateway: &Gateway) -> Vec<HalfSent> {
    let json = [("content-type", "application/json")];
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    vec![
        HalfSent::over_http1(gateway.grpc).await,
        HalfSent::over_http2(gateway.http, "/macp/v1/ListModes", &json, ["{", "}"]).await,
        HalfSent::over_http2(
            gateway.http,
            "/macp.v1.MACPRuntimeService/ListModes",
            &grpc,
            ["\0\0", "\0\0\0"],
        )
        .await,
    ]
}

#[tokio::test]
async fn requests_in_flight_are_answered() {
    let (mut gateway, session) = with_session().await;
    let requests = in_flight(&gateway).await;
    let ends = idle_streams(&gateway, &session).await;
    gateway.signal("TERM").await;
    for end in join_all(ends).await {
        end.unwrap();
    }
    // The streams are gone, nobody new is let in, and these are still served.
    for port in gateway.ports() {
        soon("a closed port", async { while TcpStream::connect(port).await.is_ok() {} }).await;
    }
    for request in requests {
        request.complete().await;
    }
    let (code, took) = gateway.ends(Instant::now()).await;
    assert_eq!(code, Some(0));
    assert!(took < PROMPTLY, "{took:?}");
}

#[tokio::test]
async fn the_drain_is_bounded() {
    let mut gateway = Gateway::with(&[("MACP_SHUTDOWN_DRAIN_SECS", "1")]).await;
    let _requests = in_flight(&gateway).await;
    let since = Instant::now();
    gateway.signal("TERM").await;
    let (code, took) = gateway.ends(since).await;
    assert_eq!(code, Some(0));
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(1) + PROMPTLY, "{took:?}");
    assert!(gateway.log().contains("not drained in time"));
}

#[tokio::test]
async fn a_second_signal_ends_at_once_with_its_own_code() {
    for (signal, expected) in [("TERM", 143), ("INT", 130)] {
        let mut gateway = Gateway::start().await;
        let _requests = in_flight(&gateway).await;
        gateway.signal("TERM").await;
        gateway.logs("draining").await;
        let since = Instant::now();
        gateway.signal(signal).await;
        let (code, took) = gateway.ends(since).await;
        assert_eq!(code, Some(expected));
        assert!(took < PROMPTLY, "{took:?}");
    }
}
