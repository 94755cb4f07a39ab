//! Event streams as HTTP/1.1 has them on the wire, on connections that were used before and are used again.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fakes::{Grpc, Session, accepted};
use crate::process::Gateway;
use crate::wait::soon;

const ALICE: &str = "agent://alice";
/// What ends a chunked body.
const END: &str = "\r\n0\r\n\r\n";
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

struct Client(TcpStream);

impl Client {
    async fn says(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// What comes up to and with this text.
    async fn hears(&mut self, text: &str) -> String {
        let mut heard = String::new();
        let listening = async {
            while !heard.ends_with(text) {
                heard.push(char::from(self.0.read_u8().await.unwrap()));
            }
        };
        soon(text, listening).await;
        heard
    }

    async fn follows(&mut self, session: &Session, header: &str) {
        let body = json!({ "subscribe_session_id": session.id }).to_string();
        let length = body.len();
        self.says(&format!(
            "POST /macp/v1/StreamSession HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ALICE}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n{header}\r\n{body}"
        ))
        .await;
        let head = self.hears("\r\n\r\n").await.to_lowercase();
        // Behind the body of the answer before.
        assert!(
            head.contains("http/1.1 200 ") && head.contains("\r\ntransfer-encoding: chunked\r\n"),
            "{head}"
        );
        self.hears("id: 1\n").await;
    }
}

async fn resolve(agent: &mut Grpc, session: &Session) {
    for envelope in [session.proposal("p"), session.vote("p"), session.commitment()] {
        accepted(agent, &envelope).await;
    }
}

/// Whoever has asked before the stream, or asks behind or within it, is answered, in order and once.
#[tokio::test]
async fn a_connection_goes_on_behind_a_stream() {
    let gateway = Gateway::start().await;
    for port in gateway.ports() {
        let mut agent = Grpc::agent(port, ALICE);
        let mut client = Client(TcpStream::connect(port).await.unwrap());
        client.says(HEALTH).await;
        client.hears("\r\n\r\n").await;
        for within in [false, true] {
            let session = Session::new();
            accepted(&mut agent, &session.start(&[ALICE])).await;
            client.follows(&session, "").await;
            if within {
                client.says(HEALTH).await;
            }
            resolve(&mut agent, &session).await;
            let rest = client.hears(END).await;
            assert!(rest.contains("Commitment") && !rest.contains("HTTP/1.1"), "{rest}");
            if !within {
                client.says(HEALTH).await;
            }
            let head = client.hears("\r\n\r\n").await;
            assert!(head.contains("HTTP/1.1 200 "), "{head}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_asks_for_it_is_left_behind_the_stream() {
    let gateway = Gateway::start().await;
    for port in gateway.ports() {
        let (mut agent, session) = (Grpc::agent(port, ALICE), Session::new());
        accepted(&mut agent, &session.start(&[ALICE])).await;
        let mut client = Client(TcpStream::connect(port).await.unwrap());
        client.follows(&session, "connection: close\r\n").await;
        resolve(&mut agent, &session).await;
        let mut rest = String::new();
        soon("the end", client.0.read_to_string(&mut rest)).await.unwrap();
        assert!(rest.ends_with(END), "{rest}");
    }
    gateway.stop().await;
}
