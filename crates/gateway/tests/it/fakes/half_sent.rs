//! A request whose body is complete only when the test says so.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::http::{Body, whole};
use crate::wait::soon;

/// A request that is in flight: the gateway has its head and waits for the rest of its body.
pub(crate) enum HalfSent {
    Http1(TcpStream),
    Http2 {
        rest: UnboundedSender<Bytes>,
        missing: &'static str,
        answer: JoinHandle<hyper::Result<Response<Incoming>>>,
    },
}

impl HalfSent {
    /// A call on HTTP/1.1. That the gateway wants to go on shows that it has the head.
    pub(crate) async fn over_http1(addr: SocketAddr) -> Self {
        let mut socket = soon("a connection", TcpStream::connect(addr)).await.unwrap();
        let head = "POST /macp/v1/ListModes HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                    content-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut interim = [0; 25];
        soon("100 Continue", socket.read_exact(&mut interim)).await.unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        socket.write_all(b"{").await.unwrap();
        Self::Http1(socket)
    }

    /// A call on HTTP/2. That a later request of the connection is answered shows that the gateway has the head.
    pub(crate) async fn over_http2(
        addr: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
        [begun, missing]: [&'static str; 2],
    ) -> Self {
        let socket = soon("a connection", TcpStream::connect(addr)).await.unwrap();
        let (mut sender, connection) =
            http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);

        let (rest, mut parts) = unbounded_channel::<Bytes>();
        let parts = stream::poll_fn(move |cx| parts.poll_recv(cx)).map(|part| Ok(Frame::data(part)));
        let mut request = Request::post(format!("http://{addr}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = sender.send_request(request.body(BodyExt::boxed(StreamBody::new(parts))).unwrap());
        rest.send(begun.into()).unwrap();
        let answer = tokio::spawn(answer);

        let later = Request::get(format!("http://{addr}/.well-known/macp.json")).body(whole("")).unwrap();
        assert_eq!(soon("an answer", sender.send_request(later)).await.unwrap().status(), 200);
        Self::Http2 { rest, missing, answer }
    }

    /// Sends what is missing; the answer must be a success to its end.
    pub(crate) async fn complete(self) {
        match self {
            Self::Http1(mut socket) => {
                socket.write_all(b"}").await.unwrap();
                let mut answer = String::new();
                soon("an answer", socket.read_to_string(&mut answer)).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with('}'), "{answer}");
            }
            Self::Http2 { rest, missing, answer } => {
                rest.send(missing.into()).unwrap();
                drop(rest);
                let (head, body) = soon("an answer", answer).await.unwrap().unwrap().into_parts();
                assert_eq!(head.status, 200);
                let body = soon("the body of an answer", body.collect()).await.unwrap();
                if let Some(trailers) = body.trailers() {
                    assert_eq!(trailers["grpc-status"], "0");
                }
                assert!(body.to_bytes().len() > 1);
            }
        }
    }
}
