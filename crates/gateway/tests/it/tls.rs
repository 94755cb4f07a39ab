//! TLS on both listeners: every transport, what is refused, and certificates that change while connections live.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use macp_wire::gateway::v1::Ping;
use macp_wire::gateway::v1::client_frame::Body as Ask;
use macp_wire::gateway::v1::server_frame::Body as Answer;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fakes::{
    Agent, Authority, Certified, Credential, Dialer, Files, Grpc, Http, Session, Ws, accepted, everywhere,
    next, whole,
};
use crate::process::{Gateway, Settings};
use crate::wait::soon;

const ALICE: &str = "agent://alice";
const BOTH: &[&str] = &["h2", "http/1.1"];
const ONE: &[&str] = &["http/1.1"];
const NONE: &[&str] = &[];

/// A gateway with a certificate in a directory of its own.
struct Secure {
    gateway: Gateway,
    authority: Authority,
    first: Certified,
    files: Files,
    directory: TempDir,
    /// Where the authority of clients is.
    clients: Option<TempDir>,
}

impl Secure {
    async fn start(settings: Settings<'_>) -> Self {
        let directory = TempDir::new().unwrap();
        let authority = Authority::new("test authority");
        let (files, first) = (Files::within(directory.path()), authority.server());
        files.write(&first);
        let gateway = Gateway::with(&[&files.settings(), settings].concat()).await;
        Self { gateway, authority, first, files, directory, clients: None }
    }

    fn dialer(&self, alpn: &[&str]) -> Dialer {
        self.authority.connector(alpn, None)
    }

    /// Ports in the clear, by TLS with these protocols to both listeners.
    async fn forwarded(&self, alpn: &[&str]) -> [SocketAddr; 2] {
        let dialer = self.dialer(alpn);
        let [one, two] = self.gateway.ports();
        [dialer.forward(one).await, dialer.forward(two).await]
    }

    /// The certificate that a new connection sees.
    async fn served(&self) -> CertificateDer<'static> {
        let stream = self.dialer(BOTH).dial(self.gateway.http).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    }
}

fn der(certified: &Certified) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(certified.cert.as_bytes()).unwrap()
}

/// Starts a session, sends, reads and observes.
async fn works(name: &str, agent: &mut dyn Agent) {
    let session = Session::new();
    accepted(agent, &session.start(&[ALICE])).await;
    // One more than is read: some of the clients read ahead.
    for proposal in ["p1", "p2"] {
        accepted(agent, &session.proposal(proposal)).await;
    }
    let found = agent.call("GetSession", &json!({ "session_id": session.id })).await;
    assert!(found.is_ok(), "{name}: {found:?}");
    let mut feed = agent.observe(&session.id, 0).await.unwrap();
    assert_eq!(next(&mut feed, 2).await.len(), 2, "{name}");
    agent.watch("WatchSessions").await.unwrap();
}

#[tokio::test]
async fn every_transport_works_over_tls_on_every_listener() {
    let secure = Secure::start(&[]).await;
    // Clients that negotiate nothing may speak anything, as in the clear.
    for (name, mut agent) in everywhere(secure.forwarded(NONE).await, ALICE) {
        works(&name, agent.as_mut()).await;
    }
    // Browsers and gRPC clients negotiate.
    for port in secure.forwarded(&["h2"]).await {
        works("gRPC by h2", &mut Grpc::agent(port, ALICE)).await;
        works("HTTP by h2", &mut Http::agent(port, ALICE).over_http2()).await;
    }
    for port in secure.forwarded(ONE).await {
        works("HTTP by http/1.1", &mut Http::agent(port, ALICE)).await;
        works("WebSocket by http/1.1", &mut Ws::agent(port, ALICE)).await;
    }
    secure.gateway.stop().await;
}

#[tokio::test]
async fn the_manifest_says_https_and_wss() {
    let secure = Secure::start(&[]).await;
    let [_, port] = secure.forwarded(ONE).await;
    let manifest = Http::agent(port, ALICE).call("GetManifest", &json!({})).await.unwrap();
    let endpoints = manifest["manifest"]["transport_endpoints"].as_array().unwrap();
    let uris: Vec<_> = endpoints.iter().map(|endpoint| endpoint["uri"].as_str().unwrap()).collect();
    let (grpc, http) = (secure.gateway.grpc, secure.gateway.http);
    let expected = [format!("https://{grpc}"), format!("https://{http}"), format!("wss://{http}/macp/v1/ws")];
    assert_eq!(uris, expected);
    secure.gateway.stop().await;
}

#[tokio::test]
async fn protocols_are_negotiated_and_kept() {
    let secure = Secure::start(&[]).await;
    let port = secure.gateway.http;
    for (offered, negotiated) in
        [(BOTH, Some("h2")), (&["http/1.1", "h2"], Some("h2")), (ONE, Some("http/1.1")), (NONE, None)]
    {
        let stream = secure.dialer(offered).dial(port).await.unwrap();
        let found = stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        assert_eq!(found.as_deref(), negotiated, "{offered:?}");
    }
    let error = secure.dialer(&["spdy/3"]).dial(port).await.unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");

    // What was negotiated is spoken, or nothing.
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for (offered, said) in [(ONE, preface), (&["h2"], "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")] {
        let mut stream = secure.dialer(offered).dial(port).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = soon("the end of a connection", stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"", "{offered:?}");
    }
    secure.gateway.stop().await;
}

/// Says something on a bare connection and reads what comes back to the end; how long that took.
async fn says(addr: SocketAddr, said: &[u8]) -> (Vec<u8>, Duration) {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    let since = Instant::now();
    let _ = socket.write_all(said).await;
    let mut answer = Vec::new();
    let _ = soon("the end of a connection", socket.read_to_end(&mut answer)).await;
    (answer, since.elapsed())
}

/// A hello of TLS 1.1, which knows no other version.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    // No session, two of the ciphers of that time, no compression.
    body.extend([0, 0, 4, 0x00, 0x2f, 0xc0, 0x13, 1, 0]);
    let mut handshake = vec![1, 0, 0, u8::try_from(body.len()).unwrap()];
    handshake.extend(body);
    let mut record = vec![22, 3, 1, 0, u8::try_from(handshake.len()).unwrap()];
    record.extend(handshake);
    record
}

#[tokio::test]
async fn what_is_not_tls_1_2_or_newer_is_refused_at_once() {
    let secure = Secure::start(&[]).await;
    for port in secure.gateway.ports() {
        let (answer, took) = says(port, &hello_of_tls_1_1()).await;
        // A fatal alert and nothing else: protocol_version or handshake_failure.
        assert!(matches!(answer[..], [21, 3, _, 0, 2, 2, 70 | 40]), "{answer:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        for said in ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "SSH-2.0-x\r\n"]
        {
            let (answer, took) = says(port, said.as_bytes()).await;
            assert!(!answer.starts_with(b"HTTP"), "{said:?}: {answer:?}");
            assert!(took < Duration::from_secs(5), "{said:?}: {took:?}");
        }
    }
    let port = secure.forwarded(ONE).await[0];
    works("after all that", &mut Http::agent(port, ALICE)).await;
    secure.gateway.stop().await;
}

#[tokio::test]
async fn half_a_handshake_is_let_go_of() {
    let secure = Secure::start(&[]).await;
    let hello = hello_of_tls_1_1();
    let port = secure.gateway.http;
    let halves = [&[][..], &hello[..1], &hello[..20]].map(|half| says(port, half));
    let shaken = async {
        // The handshake is done, and then there is silence.
        let since = Instant::now();
        let mut stream = secure.dialer(BOTH).dial(port).await.unwrap();
        let _ = soon("the end of a connection", stream.read_to_end(&mut Vec::new())).await;
        since.elapsed()
    };
    let (halves, shaken) = tokio::join!(join_all(halves), shaken);
    for took in halves.into_iter().map(|(_, took)| took).chain([shaken]) {
        assert!(took >= Duration::from_secs(9) && took < Duration::from_secs(13), "{took:?}");
    }
    secure.gateway.stop().await;
}

#[tokio::test]
async fn certificates_change_and_connections_stay() {
    let secure = Secure::start(&[]).await;
    let Secure { gateway, authority, first, files, directory, .. } = &secure;
    let port = secure.forwarded(ONE).await[1];
    let mut socket = Ws::agent(port, ALICE).connect().await.unwrap();
    assert_eq!(secure.served().await, der(first));

    // Written in place.
    let second = authority.server();
    files.write(&second);
    gateway.logs("were read again").await;
    assert_eq!(secure.served().await, der(&second));

    // The key of another certificate, garbage, and nothing: what is served stays.
    std::fs::write(&files.key, authority.server().key).unwrap();
    let line = gateway.logs("is not the key of the certificate").await;
    assert!(line.contains("MACP_TLS_KEY_PATH") && line.contains("tls.key"), "{line}");
    std::fs::write(&files.cert, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    gateway.logs("cannot be used: invalid peer certificate").await;
    std::fs::write(&files.key, "nothing").unwrap();
    gateway.logs("holds no private key").await;
    std::fs::remove_file(&files.cert).unwrap();
    gateway.logs("cannot be read").await;
    gateway.signal("HUP").await;
    gateway.logs("cause=SIGHUP").await;
    assert_eq!(secure.served().await, der(&second));

    // Links, as Kubernetes swaps them.
    let third = authority.server();
    let version = directory.path().join("..1");
    std::fs::create_dir(&version).unwrap();
    Files::within(&version).write(&third);
    for (link, file) in [(&files.cert, "tls.crt"), (&files.key, "tls.key")] {
        let _ = std::fs::remove_file(link);
        symlink(format!("..1/{file}"), link).unwrap();
    }
    serves(&secure, &third).await;

    // The socket has seen nothing of it all.
    assert!(matches!(socket.ask(Ask::Ping(Ping {})).await, Answer::Pong(_)));
    let keys = [first, &second, &third].map(|certified| certified.key.lines().nth(1).unwrap().to_owned());
    let log = secure.gateway.stop().await;
    assert!(!keys.iter().any(|key| log.contains(key)), "a key is in the log");
}

/// Waits until new connections see this certificate.
async fn serves(secure: &Secure, certified: &Certified) {
    let wanted = der(certified);
    let seen = async { while secure.served().await != wanted {} };
    soon("the certificate is served", seen).await;
}

const BOB: &str = "agent://bob";

/// A gateway that takes certificates of an authority of its own.
async fn with_clients(mode: &str, settings: Settings<'_>) -> (Secure, Authority) {
    let clients = Authority::new("clients");
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("clients.pem");
    std::fs::write(&file, clients.pem()).unwrap();
    let ca = [("MACP_TLS_CLIENT_CA_PATH", file.to_str().unwrap()), ("MACP_TLS_CLIENT_AUTH", mode)];
    let secure = Secure::start(&[&ca, settings].concat()).await;
    (Secure { clients: Some(directory), ..secure }, clients)
}

impl Secure {
    /// Ports in the clear, by TLS with this certificate to both listeners.
    async fn as_client(&self, certified: &Certified) -> [SocketAddr; 2] {
        let dialer = self.authority.connector(NONE, Some(certified));
        let [one, two] = self.gateway.ports();
        [dialer.forward(one).await, dialer.forward(two).await]
    }
}

#[tokio::test]
async fn a_certificate_is_its_senders_credential_on_every_transport() {
    let (secure, clients) = with_clients("required", &[]).await;
    let alice = clients.client("whatever", &[ALICE]);
    for (name, mut agent) in everywhere(secure.as_client(&alice).await, "") {
        let session = Session::new();
        accepted(agent.as_mut(), &session.start(&[BOB])).await;
        let found = agent.call("GetSession", &json!({ "session_id": session.id })).await.unwrap();
        assert_eq!(found["metadata"]["initiator"], ALICE, "{name}: {found}");
        works(&name, agent.as_mut()).await;
    }
    // It speaks for nobody else, whatever is shown beside it.
    for (name, mut agent) in everywhere(secure.as_client(&alice).await, BOB) {
        let code = agent.call("ListSessions", &json!({})).await.unwrap_err();
        assert_eq!(code, "UNAUTHENTICATED", "{name}");
    }
    let port = secure.as_client(&alice).await[0];
    for (token, fine) in [(ALICE, false), (BOB, false)] {
        let framed = Ws::agent(port, token).with(Credential::Frame).connect().await;
        assert_eq!(framed.is_ok(), fine, "no bearer is configured: {token}");
    }
    secure.gateway.stop().await;
}

#[tokio::test]
async fn beside_a_certificate_a_token_is_of_the_same_sender() {
    let tokens = json!([{ "token": "ta", "sender": ALICE }, { "token": "tb", "sender": BOB }]).to_string();
    let (secure, clients) = with_clients("optional", &[("MACP_AUTH_TOKENS_JSON", &tokens)]).await;
    let alice = secure.as_client(&clients.client("whatever", &[ALICE])).await;
    for (certified, token, refused) in
        [(true, "ta", false), (true, "tb", true), (true, "no", true), (false, "tb", false), (false, "", true)]
    {
        let ports = if certified { alice } else { secure.forwarded(NONE).await };
        for (name, mut agent) in everywhere(ports, token) {
            let answer = agent.call("ListSessions", &json!({})).await;
            let code = answer.as_ref().err().map(String::as_str);
            assert_eq!(code, refused.then_some("UNAUTHENTICATED"), "{name}: {certified} {token:?}");
        }
        if certified {
            let framed = Ws::agent(ports[0], token).with(Credential::Frame).connect().await;
            assert_eq!(framed.err().as_deref(), refused.then_some("UNAUTHENTICATED"), "{token:?}");
        }
    }
    // A ticket is as good as its token, and no better.
    let of_bob = Http::agent(secure.forwarded(NONE).await[0], "tb").ticket().await.unwrap();
    let mut thief = Ws::agent(alice[0], &of_bob).with(Credential::Ticket);
    assert_eq!(thief.call("ListSessions", &json!({})).await.unwrap_err(), "UNAUTHENTICATED");
    secure.gateway.stop().await;
}

#[tokio::test]
async fn without_a_good_certificate_nobody_gets_in_where_one_is_required() {
    let (secure, clients) = with_clients("required", &[]).await;
    let stranger = Authority::new("clients").client("whatever", &[ALICE]);
    let nameless = clients.client("two words", &[]);
    for port in secure.gateway.ports() {
        for client in [None, Some(&stranger)] {
            // With TLS 1.3 the client is done before the server has looked.
            if let Ok(mut stream) = secure.authority.connector(ONE, client).dial(port).await {
                let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
                let mut answer = Vec::new();
                let _ = soon("the end of a connection", stream.read_to_end(&mut answer)).await;
                assert_eq!(answer, b"");
            }
        }
    }
    let mut agent = Http::agent(secure.as_client(&nameless).await[0], "");
    assert_eq!(agent.call("ListSessions", &json!({})).await.unwrap_err(), "UNAUTHENTICATED");
    secure.gateway.stop().await;
}

#[tokio::test]
async fn authorities_of_clients_are_replaced_and_connections_stay() {
    let (secure, old) = with_clients("required", &[]).await;
    let new = Authority::new("clients");
    let [before, after] = [&old, &new].map(|authority| authority.client("whatever", &[ALICE]));
    let port = secure.as_client(&before).await[0];
    let mut socket = Ws::agent(port, "").connect().await.unwrap();
    let file = secure.clients.as_ref().unwrap().path().join("clients.pem");
    std::fs::write(&file, new.pem()).unwrap();
    secure.gateway.logs("were read again").await;
    works("the new authority", &mut Http::agent(secure.as_client(&after).await[0], "")).await;
    assert!(matches!(socket.ask(Ask::Ping(Ping {})).await, Answer::Pong(_)));
    let agent = Http::agent(port, "");
    let request = agent.post("ListSessions").body(whole("{}")).unwrap();
    assert!(agent.ask(request).await.is_err(), "the old authority is no longer trusted");
    std::fs::write(&file, "nothing").unwrap();
    let line = secure.gateway.logs("MACP_TLS_CLIENT_CA_PATH").await;
    assert!(line.contains("holds no certificate"), "{line}");
    works("the one before", &mut Http::agent(secure.as_client(&after).await[0], "")).await;
    secure.gateway.stop().await;
}

#[tokio::test]
async fn a_page_of_another_origin_does_not_act_with_its_visitors_certificate() {
    let settings = [("MACP_HTTP_CORS_ORIGINS", "https://app.example")];
    let (secure, clients) = with_clients("required", &settings).await;
    let port = secure.as_client(&clients.client("whatever", &[ALICE])).await[0];
    let session = Session::new();
    let agent = Http::agent(port, "");
    accepted(&mut agent.clone(), &session.start(&[BOB])).await;
    for (header, value, status) in [
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("origin", "https://app.example", 200),
    ] {
        // The kind of request that browsers send without asking first.
        let uri = format!("http://{port}/macp/session/{}/cancel", session.id);
        let request = http::Request::post(uri).header("host", port.to_string()).header(header, value);
        let answer = agent.ask(request.body(whole("")).unwrap()).await.unwrap();
        assert_eq!(answer.status, status, "{header}: {value}: {answer:?}");
    }
    secure.gateway.stop().await;
}
