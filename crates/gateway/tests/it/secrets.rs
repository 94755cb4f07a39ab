//! No credential that a client ever showed is in the log, however much is logged, nor in the audit log, spans or metrics.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;

use crate::fakes::{Agent, Credential, Grpc, Http, Issuer, Session, Ws, next, whole};
use crate::process::Gateway;

/// Known to the gateway; none is a part of another.
const KNOWN: [&str; 3] = ["known-8d41f5a9e7c2", "known-b7720e4d1c96", "known-5c0e9fb86a13"];
const UNKNOWN: [&str; 3] = ["wrong-f3a9d27b41e8", "wrong-0d6c58be92f7", "wrong-91e4b7a05dc3"];

/// Takes spans, and keeps the bytes.
struct Collector {
    url: String,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Vec<u8>>>::default();
        let keep = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let keep = Arc::clone(&keep);
                let take = service_fn(move |request: http::Request<Incoming>| {
                    let keep = Arc::clone(&keep);
                    async move {
                        let body = request.into_body().collect().await?.to_bytes();
                        keep.lock().extend_from_slice(&body);
                        Ok::<_, hyper::Error>(http::Response::new(whole("")))
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), take));
            }
        });
        Self { url, received }
    }

    /// Names and values are text in protobuf as well.
    fn received(&self) -> String {
        String::from_utf8_lossy(&self.received.lock()).into_owned()
    }
}

/// Everything that a caller does, on every listener and with every way of showing its token.
async fn use_everywhere(gateway: &Gateway, tokens: [&str; 3], session: &Session) {
    let [one, two, three] = tokens;
    for port in gateway.ports() {
        let mut agents: Vec<Box<dyn Agent>> = vec![
            Box::new(Grpc::agent(port, one)),
            Box::new(Http::agent(port, two)),
            Box::new(Http::agent(port, three).over_http2()),
        ];
        for (credential, token) in
            [(Credential::Header, one), (Credential::Subprotocol, two), (Credential::Frame, three)]
        {
            agents.push(Box::new(Ws::agent(port, token).with(credential)));
            agents.push(Box::new(Ws::agent(port, token).with(credential).in_protobuf()));
        }
        for agent in &mut agents {
            // Accepted or not: that is not the question here.
            let _ = agent.send(&session.proposal(&uuid::Uuid::new_v4().to_string())).await;
            let _ = agent.call("GetSession", &json!({ "session_id": session.id })).await;
            if let Ok(mut feed) = agent.observe(&session.id, 0).await {
                next(&mut feed, 1).await;
            }
        }
        if let Ok(mut stream) = Grpc::agent(port, two).open().await {
            stream.send(&session.proposal(&uuid::Uuid::new_v4().to_string())).await.unwrap();
        }
        let _ = Grpc::agent(port, three).with_x_macp_token().send(&session.start(&[])).await;
    }
}

/// Redeems a ticket on each listener and in each way, and tries it a second time; the tickets, and what came of them.
async fn use_tickets(gateway: &Gateway, token: &str, session: &Session) -> Vec<String> {
    let mut tickets = Vec::new();
    let [one, two] = gateway.ports();
    for (issuer, redeemer) in [(one, two), (two, one)] {
        let ticket = Http::agent(issuer, token).ticket().await.unwrap();
        for good in [true, false] {
            let mut agent = Ws::agent(redeemer, &ticket).with(Credential::Ticket);
            assert_eq!(agent.call("ListSessions", &json!({})).await.is_ok(), good, "{good}");
        }
        tickets.push(ticket);
        for agent in [Http::agent(redeemer, ""), Http::agent(redeemer, "").over_http2()] {
            let ticket = Http::agent(issuer, token).ticket().await.unwrap();
            let id = agent.event_source(&session.id, &ticket).await.unwrap();
            let (_, pass) = id.split_once('.').unwrap();
            assert!(agent.event_source(&session.id, &ticket).await.is_err(), "used up");
            tickets.extend([ticket, pass.to_owned()]);
        }
    }
    tickets
}

#[tokio::test]
async fn no_credential_is_logged() {
    let entries =
        KNOWN.map(|token| json!({ "token": token, "sender": format!("agent://of-{}", &token[6..8]) }));
    let issuer = Issuer::new("k");
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit");
    let collector = Collector::start().await;
    let gateway = Gateway::with(&[
        ("RUST_LOG", "trace"),
        ("MACP_AUDIT_LOG", audit.to_str().unwrap()),
        ("MACP_OTLP_ENDPOINT", &collector.url),
        ("MACP_AUTH_TOKENS_JSON", &json!(entries).to_string()),
        ("MACP_AUTH_ISSUER", Issuer::NAME),
        ("MACP_AUTH_JWKS_JSON", &issuer.jwks()),
    ])
    .await;
    let session = Session::new();
    let participants = KNOWN.map(|token| format!("agent://of-{}", &token[6..8]));
    let start = session.start(&participants.each_ref().map(String::as_str));
    assert!(Grpc::agent(gateway.grpc, KNOWN[0]).send(&start).await.unwrap().ok);
    use_everywhere(&gateway, KNOWN, &session).await;
    use_everywhere(&gateway, UNKNOWN, &session).await;
    let jwts = participants.each_ref().map(|sender| issuer.token(sender, 300));
    let bad = participants.each_ref().map(|sender| Issuer::new("k").token(sender, -1));
    for jwts in [&jwts, &bad] {
        use_everywhere(&gateway, jwts.each_ref().map(String::as_str), &session).await;
    }

    let tickets = use_tickets(&gateway, KNOWN[0], &session).await;

    let scrape = http::Request::get(format!("http://{}/metrics", gateway.http)).body(whole("")).unwrap();
    let metrics = Http::agent(gateway.http, "").ask(scrape).await.unwrap().body;
    let log = gateway.stop().await;
    assert!(log.contains(" TRACE ") && log.contains("h2::"), "all of it is logged");
    let audit = std::fs::read_to_string(&audit).unwrap();
    assert!(audit.contains("authentication_failed"), "{audit}");
    let spans = collector.received();
    assert!(spans.contains("process macp.mode.decision.v1") && spans.contains("WebSocket"));
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    assert!(metrics.contains("macp_refusals_total"));
    let said = [log, audit, spans, metrics].concat();
    let mut leaks = Vec::new();
    // The signature is what makes a JWT a secret.
    let jwts = jwts.iter().chain(&bad).map(|jwt| jwt.rsplit('.').next().unwrap());
    for token in KNOWN.into_iter().chain(UNKNOWN).chain(tickets.iter().map(String::as_str)).chain(jwts) {
        for secret in [token.to_owned(), URL_SAFE_NO_PAD.encode(token), STANDARD.encode(token)] {
            leaks.extend(said.lines().filter(|line| line.contains(&secret)).map(str::to_owned));
        }
    }
    assert!(leaks.is_empty(), "{} lines, such as {}", leaks.len(), leaks[0]);
}
