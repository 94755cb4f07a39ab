//! Bytes that nobody should send, into everything that reads: refused with a code, and nobody else notices.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use futures_util::future::join_all;
use http::Request;
use http_body_util::BodyExt;
use macp_engine::{Method, MethodKind};
use macp_wire::gateway::v1::client_frame::Body as Ask;
use macp_wire::gateway::v1::server_frame::Body as Answer;
use macp_wire::gateway::v1::{ClientFrame, Ping, SendEnvelope, ServerFrame};
use macp_wire::v1::{SendRequest, StreamSessionRequest};
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::fakes::{Http, Session, Socket, Ws, whole};
use crate::healthy::beside_a_session;
use crate::process::Gateway;
use crate::samples::{almost_http, bytes, json_text, mutated, nasty_texts, samples};
use crate::wait::soon;

const MALLORY: &str = "agent://mallory";

/// Says something on a bare connection, ends its own half and reads what comes back to the end.
async fn answer_to(addr: SocketAddr, said: &[u8]) -> Vec<u8> {
    let mut socket = soon("a connection", TcpStream::connect(addr)).await.unwrap();
    let mut answer = Vec::new();
    // A server that hangs up in the middle is as good as one that answers.
    let _ = socket.write_all(said).await;
    let _ = socket.shutdown().await;
    let _ = soon("the end of a connection", socket.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test]
async fn garbage_on_a_port() {
    beside_a_session(&[], async |gateway: &Gateway| {
        for said in samples(60, bytes()).into_iter().chain(samples(120, almost_http())) {
            for port in gateway.ports() {
                let answer = answer_to(port, &said).await;
                let answer = String::from_utf8_lossy(&answer);
                assert!(!answer.starts_with("HTTP/1.1 5"), "{said:?}: {answer}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn who_says_nothing_or_half_of_it_is_let_go_of() {
    beside_a_session(&[], async |gateway: &Gateway| {
        let since = Instant::now();
        let silent = ["", "PRI * HTTP/2.0\r\n\r\n", "GET / HTTP/1.1\r\nhost: loc"];
        let ends = gateway.ports().into_iter().flat_map(|port| silent.map(|begun| (port, begun)));
        let ends = ends.map(async |(port, begun)| {
            let mut socket = TcpStream::connect(port).await.unwrap();
            socket.write_all(begun.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let _ = soon("the end of a silent connection", socket.read_to_end(&mut answer)).await;
            let took = since.elapsed();
            assert!(took >= Duration::from_secs(9) && took < Duration::from_secs(13), "{begun:?}: {took:?}");
        });
        join_all(ends).await;
    })
    .await;
}

/// Sends a body to a call; it must be answered, and be it by a refusal with a code.
async fn http_answers(http: &Http, method: Method, body: Vec<u8>) {
    let shown = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
    let request = http.post(method.name()).body(whole(body)).unwrap();
    let response = http.open(request).await.unwrap();
    let status = response.status().as_u16();
    let code = response.headers().get("macp-error-code").map(|code| code.to_str().unwrap().to_owned());
    let fine = match (status, code.as_deref()) {
        // Some of these calls are not offered.
        (501, Some("UNIMPLEMENTED")) => true,
        (200, None) => true,
        (400..=499, Some(code)) => !code.is_empty(),
        _ => false,
    };
    assert!(fine, "{} {shown}: {status} {code:?}", method.name());
}

#[tokio::test]
async fn bodies_of_every_call_over_http() {
    beside_a_session(&[], async |gateway: &Gateway| {
        let http = Http::agent(gateway.grpc, MALLORY);
        let http2 = Http::agent(gateway.http, MALLORY).over_http2();
        for method in Method::ALL {
            let texts = samples(16, json_text()).into_iter().chain(nasty_texts()).map(String::into_bytes);
            for (at, body) in texts.chain(samples(2, bytes())).enumerate() {
                http_answers(if at % 2 == 0 { &http } else { &http2 }, *method, body).await;
            }
        }
    })
    .await;
}

/// What a gRPC call of one message ends with; `None` for a stream that has begun, which may never end.
async fn grpc_status(http: &Http, addr: SocketAddr, method: Method, body: Vec<u8>) -> Option<(String, bool)> {
    let request = Request::post(format!("http://{addr}/macp.v1.MACPRuntimeService/{}", method.name()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {MALLORY}"));
    let response = http.open(request.body(whole(body)).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let of = |headers: &http::HeaderMap| {
        let status = headers.get("grpc-status")?.to_str().unwrap().to_owned();
        Some((status, headers.contains_key("macp-error-code")))
    };
    if let Some(status) = of(response.headers()) {
        return Some(status);
    }
    if method.kind() == MethodKind::ServerStream {
        return None;
    }
    let body = soon("the end of a call", response.into_body().collect()).await.unwrap();
    Some(of(body.trailers().expect("trailers")).expect("a status"))
}

/// A gRPC message with its head.
fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

#[tokio::test]
async fn messages_of_every_call_over_grpc() {
    beside_a_session(&[], async |gateway: &Gateway| {
        let addr = gateway.http;
        let http = Http::agent(addr, "").over_http2();
        let session = Session::new();
        let envelope = Some(session.start(&[MALLORY]));
        let send = SendRequest { envelope: envelope.clone() }.encode_to_vec();
        let frame = StreamSessionRequest { envelope, ..Default::default() }.encode_to_vec();
        for method in Method::ALL {
            let message = if *method == Method::StreamSession { &frame } else { &send };
            let mut bodies = samples(3, bytes());
            bodies.extend(samples(8, bytes()).iter().map(|message| framed(message)));
            bodies.extend(samples(16, mutated(message.clone())).iter().map(|message| framed(message)));
            bodies.extend([
                Vec::new(),
                vec![0, 0xFF, 0xFF, 0xFF, 0xFF],
                vec![1, 0, 0, 0, 1, 0x08],
                vec![0, 0, 0, 0, 9, 0x0A],
                [framed(message), framed(message)].concat(),
            ]);
            for body in bodies {
                let shown = format!("{} {:?}", method.name(), &body[..body.len().min(60)]);
                let Some((status, coded)) = grpc_status(&http, addr, *method, body).await else { continue };
                // UNKNOWN is what a handler that has failed is answered with.
                assert_ne!(status, "2", "{shown}");
                // INTERNAL and others without a code are the transport's own words on bytes that are no message.
                assert!(
                    coded || ["0", "3", "11", "12", "13"].contains(&status.as_str()),
                    "{shown}: {status}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_is_unpacked() {
    beside_a_session(&[], async |gateway: &Gateway| {
        for addr in gateway.ports() {
            // What is said to be compressed is refused by that, whatever it is.
            let http = Http::agent(addr, MALLORY);
            for (coding, status) in [("gzip", 400), ("deflate, gzip", 400), ("br", 400), ("identity", 200)] {
                let request = http.post("ListModes").header("content-encoding", coding);
                let answer = http.ask(request.body(whole("{}")).unwrap()).await.unwrap();
                assert_eq!(answer.status, status, "{coding}");
                if status == 400 {
                    assert_eq!(answer.code.as_deref(), Some("INVALID_REQUEST"), "{coding}");
                    assert!(String::from_utf8_lossy(&answer.body).contains("Content-Encoding"), "{coding}");
                }
            }
            for media in ["application/grpc", "application/grpc-web+proto"] {
                // A message with the flag of one that is compressed, with and without the name of a coding.
                for coding in [Some("gzip"), Some("identity"), None] {
                    let request =
                        Request::post(format!("http://{addr}/macp.v1.MACPRuntimeService/ListModes"))
                            .header("content-type", media)
                            .header("te", "trailers");
                    let request = match coding {
                        Some(coding) => request.header("grpc-encoding", coding),
                        None => request,
                    };
                    let body = whole([&[1, 0, 0, 0, 2][..], b"x\x9c"].concat());
                    let response =
                        Http::agent(addr, "").over_http2().open(request.body(body).unwrap()).await.unwrap();
                    let status = response.headers()["grpc-status"].to_str().unwrap().to_owned();
                    assert!(["12", "13"].contains(&status.as_str()), "{media} {coding:?}: {status}");
                }
            }
            let mut offer = Request::get("/macp/v1/ws").header("host", addr.to_string());
            for (name, value) in [
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("sec-websocket-extensions", "permessage-deflate"),
            ] {
                offer = offer.header(name, value);
            }
            let upgraded = Http::agent(addr, "").open_as_it_is(offer.body(whole("")).unwrap()).await.unwrap();
            assert_eq!(upgraded.status(), 101);
            assert!(!upgraded.headers().contains_key("sec-websocket-extensions"), "{:?}", upgraded.headers());
        }
    })
    .await;
}

/// Whether the socket still answers, whatever it has to say before; if not, the code it was closed with.
async fn alive(socket: &mut Socket) -> Result<(), Option<u16>> {
    let id = socket.say(Ask::Ping(Ping {})).await;
    loop {
        let ServerFrame { id: of, body } = socket.frame().await?;
        match body {
            Some(Answer::Pong(_)) if of == id => return Ok(()),
            Some(Answer::Error(error)) => assert_ne!(error.code, "INTERNAL_ERROR", "{error:?}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn frames_over_websocket() {
    beside_a_session(&[], async |gateway: &Gateway| {
        let envelope = Some(Session::new().start(&[MALLORY]));
        let send = ClientFrame { id: "1".into(), body: Some(Ask::Send(SendEnvelope { envelope })) };
        let texts: Vec<_> = samples(240, json_text()).into_iter().chain(nasty_texts()).collect();
        let texts = texts.into_iter().map(Message::text).collect::<Vec<_>>();
        let binary = samples(60, bytes()).into_iter().chain(samples(120, mutated(send.encode_to_vec())));
        let binary = binary.map(Message::binary).collect::<Vec<_>>();
        let json = Ws::agent(gateway.grpc, MALLORY);
        let protobuf = Ws::agent(gateway.http, MALLORY).in_protobuf();
        for (ws, messages) in [(json, texts), (protobuf, binary)] {
            // Fewer than what counts as abuse.
            for some in messages.chunks(12) {
                let mut socket = ws.connect().await.unwrap();
                for message in some {
                    socket.stream.send(message.clone()).await.unwrap();
                }
                assert_eq!(alive(&mut socket).await, Ok(()), "{some:?}");
            }
        }
    })
    .await;
}

/// The other kind of message, and too many faults, end a connection, with a code that says so.
#[tokio::test]
async fn abuse_of_a_websocket_is_closed() {
    beside_a_session(&[], async |gateway: &Gateway| {
        let json = Ws::agent(gateway.grpc, MALLORY);
        let protobuf = Ws::agent(gateway.http, MALLORY).in_protobuf();
        for (ws, message, times, code) in [
            (&json, Message::binary(vec![1]), 1, 1003),
            (&protobuf, Message::text("{}"), 1, 1003),
            (&json, Message::text("{"), 20, 1008),
            (&protobuf, Message::binary(vec![0xFF]), 20, 1008),
        ] {
            let mut socket = ws.connect().await.unwrap();
            for _ in 0..times {
                socket.stream.send(message.clone()).await.unwrap();
            }
            assert_eq!(socket.closed().await.0, Some(code), "{message:?}");
        }
    })
    .await;
}

/// A WebSocket frame as a client sends it; the mask changes nothing.
fn raw(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short frame");
    assert!(length < 126);
    [&[first, 0x80 | length, 0, 0, 0, 0][..], payload].concat()
}

#[tokio::test]
async fn fragments_over_websocket() {
    beside_a_session(&[], async |gateway: &Gateway| {
        let ws = Ws::agent(gateway.grpc, MALLORY);
        // A message in three parts with a control frame in between is a message.
        let mut socket = ws.connect().await.unwrap();
        let parts = [raw(0x01, b"{\"pi"), raw(0x89, b"x"), raw(0x00, b"ng\":"), raw(0x80, b"{}}")];
        socket.stream.get_mut().write_all(&parts.concat()).await.unwrap();
        assert!(matches!(socket.hear().await, Some(Answer::Pong(_))));

        // What is no frame, or out of order, or not text, is closed with the RFC's own codes.
        for (bytes, code) in [
            (raw(0x80, b"no beginning"), 1002),
            ([raw(0x01, b"{"), raw(0x81, b"{}")].concat(), 1002),
            (raw(0x83, b"no such opcode"), 1002),
            (raw(0xC1, b"reserved bit"), 1002),
            (raw(0x09, b"a ping in parts"), 1002),
            (vec![0x81, 0x02, b'{', b'}'], 1002),
            (raw(0x81, &[0xFF, 0xFE]), 1007),
            (vec![0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0], 1009),
        ] {
            let mut socket = ws.connect().await.unwrap();
            socket.stream.get_mut().write_all(&bytes).await.unwrap();
            assert_eq!(socket.closed().await.0, Some(code), "{bytes:?}");
        }

        // And whatever else comes after an upgrade: an end of the connection, or bytes that happen to be frames.
        for bytes in samples(60, bytes()) {
            let mut socket = ws.connect().await.unwrap();
            let tcp = socket.stream.get_mut();
            let _ = tcp.write_all(&bytes).await;
            let _ = tcp.shutdown().await;
            let mut rest = Vec::new();
            let _ = soon("the end of a connection", tcp.read_to_end(&mut rest)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn more_than_a_transport_takes() {
    beside_a_session(&[("MACP_MAX_PAYLOAD_BYTES", "1000")], async |gateway: &Gateway| {
        let large = vec![b' '; 80_000];
        for (http, port) in [
            (Http::agent(gateway.grpc, MALLORY), gateway.grpc),
            (Http::agent(gateway.http, MALLORY).over_http2(), gateway.http),
        ] {
            let answer = http.ask(http.post("Send").body(whole(large.clone())).unwrap()).await.unwrap();
            assert_eq!((answer.status, answer.code.as_deref()), (413, Some("PAYLOAD_TOO_LARGE")));
            let http2 = http.over_http2();
            for method in [Method::Send, Method::StreamSession] {
                let status = grpc_status(&http2, port, method, framed(&large)).await;
                assert_eq!(status, Some(("8".into(), true)), "{}", method.name());
            }
        }
        let mut socket = Ws::agent(gateway.http, MALLORY).connect().await.unwrap();
        socket.stream.send(Message::text(String::from_utf8(large).unwrap())).await.unwrap();
        assert_eq!(socket.closed().await.0, Some(1009));
    })
    .await;
}
