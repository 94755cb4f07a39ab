//! One table of tricky origins and one of hosts, decided in the same way by every door that a web page has: the upgrade of
//! a WebSocket, CORS before a call and on it, an event stream with a ticket, and gRPC-Web.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Incoming;
use macp_wire::v1::{ListModesRequest, ListSessionsRequest};
use prost::Message as _;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use crate::fakes::{Grpc, GrpcWeb, Http, Session, accepted, whole};
use crate::process::Gateway;

/// What the operator lists: a name, one with a port, an IPv6 address, an internationalised name, and no web scheme.
const LISTED: &str = "https://app.example, http://localhost:5173, http://[2001:db8::1]:8080, https://xn--bcher-kva.example, app-x://abc";

/// Values of `Origin`, and whether their pages may call.
const ORIGINS: [(&[u8], bool); 51] = [
    (b"https://app.example", true),
    // The same origin in another spelling. Browsers send the first one; others may send any.
    (b"https://app.example:443", true),
    (b"HTTPS://APP.EXAMPLE", true),
    (b"https://App.Example:443", true),
    (b"https://app.example:0443", true),
    (b"http://localhost:5173", true),
    (b"http://[2001:db8::1]:8080", true),
    (b"http://[2001:DB8::1]:8080", true),
    (b"https://xn--bcher-kva.example", true),
    (b"https://XN--BCHER-KVA.example", true),
    (b"app-x://abc", true),
    // Another scheme or port.
    (b"http://app.example", false),
    (b"http://app.example:443", false),
    (b"https://app.example:80", false),
    (b"https://app.example:444", false),
    (b"https://app.example:8443", false),
    (b"wss://app.example", false),
    (b"https://localhost:5173", false),
    (b"http://localhost", false),
    (b"http://localhost:51730", false),
    (b"http://127.0.0.1:5173", false),
    (b"app-x://abcd", false),
    (b"file://", false),
    // Names that begin or end like a listed one, or hold it.
    (b"https://app.example.evil.example", false),
    (b"https://evil-app.example", false),
    (b"https://evilapp.example", false),
    (b"https://sub.app.example", false),
    (b"https://app.exampl", false),
    (b"https://app.examplex", false),
    (b"https://app-example", false),
    (b"https://appxexample", false),
    // Parts that an origin does not have.
    (b"https://app.example/", false),
    (b"https://app.example/path", false),
    (b"https://app.example?q", false),
    (b"https://app.example#f", false),
    (b"https://user@app.example", false),
    (b"https://app.example@evil.example", false),
    (b"https://evil.example/https://app.example", false),
    (b"https://app.example\\.evil.example", false),
    // Another name as far as DNS and browsers are concerned.
    (b"https://app.example.", false),
    (b"https://b\xc3\xbccher.example", false),
    (b"http://[::1]:8080", false),
    (b"http://[2001:db8::1]", false),
    // No origin.
    (b"null", false),
    (b"*", false),
    (b"app.example", false),
    (b"//app.example", false),
    (b"https:app.example", false),
    (b"https://app.example https://evil.example", false),
    (b"https://app.example, https://evil.example", false),
    (b"https://app.example:", false),
];

/// Values of `Host` on a listener that only this machine reaches, and whether they are its names. Otherwise a page of
/// somebody who has his name lead to 127.0.0.1 would be of the gateway's own origin.
const HOSTS: [(&str, bool); 16] = [
    ("localhost", true),
    ("localhost:8080", true),
    ("LOCALHOST", true),
    ("127.0.0.1", true),
    ("127.1.2.3:80", true),
    ("[::1]:8080", true),
    ("gw.example", true),
    ("GW.example:443", true),
    ("evil.example", false),
    ("localhost.evil.example", false),
    ("localhost.", false),
    ("127.0.0.1.evil.example", false),
    ("127.0.0.1.nip.io:8080", false),
    ("user@localhost", false),
    ("0.0.0.0", false),
    ("gw.example.evil.example", false),
];

fn value(origin: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(origin).unwrap()
}

/// The status of an upgrade.
async fn upgrade(addr: SocketAddr, host: Option<&str>, origins: &[HeaderValue]) -> u16 {
    // The authority of the target becomes the host.
    let authority = host.map_or_else(|| addr.to_string(), str::to_owned);
    let mut request = Request::get("/macp/v1/ws")
        .header("host", authority)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "macp.v1.json")
        .header("sec-websocket-key", generate_key());
    for origin in origins {
        request = request.header("origin", origin);
    }
    let http = Http::agent(addr, "");
    http.open_as_it_is(request.body(whole("")).unwrap()).await.unwrap().status().as_u16()
}

/// Whether the page may read the answer.
fn permits(headers: &HeaderMap, origins: &[HeaderValue]) -> bool {
    let told: Vec<_> = headers.get_all("access-control-allow-origin").iter().collect();
    assert!(told.len() <= 1, "{headers:?}");
    assert!(!headers.contains_key("access-control-allow-credentials"), "nothing here goes by cookies");
    match told.first() {
        None => false,
        Some(told) => {
            assert_eq!([(*told).clone()].as_slice(), origins, "the origin as it was sent, and never `*`");
            true
        }
    }
}

fn with_origins(mut request: http::request::Builder, origins: &[HeaderValue]) -> http::request::Builder {
    for origin in origins {
        request = request.header("origin", origin);
    }
    request
}

/// The answers to everything that goes by CORS, each with its name.
async fn cors(
    addr: SocketAddr,
    token: &str,
    session: &str,
    origins: &[HeaderValue],
) -> Vec<(&'static str, Response<Incoming>)> {
    let http = Http::agent(addr, token);
    let mut answers = Vec::new();
    let preflight = |path: &str, headers: &str| {
        let request = Request::options(format!("http://{addr}{path}"))
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", headers);
        with_origins(request, origins).body(whole("")).unwrap()
    };
    let before = http.open(preflight("/macp/v1/ListModes", "authorization,content-type")).await.unwrap();
    assert_eq!(before.status(), 204);
    answers.push(("CORS preflight", before));

    let call = with_origins(http.post("ListModes"), origins).body(whole("{}")).unwrap();
    answers.push(("call", http.open(call).await.unwrap()));
    // What a page may send without asking first is refused, and the refusal is no more readable.
    let simple =
        Request::post(format!("http://{addr}/macp/v1/ListModes")).header("content-type", "text/plain");
    let simple = http.open(with_origins(simple, origins).body(whole("{}")).unwrap()).await.unwrap();
    assert_eq!(simple.status(), 415);
    answers.push(("simple request", simple));

    let path = "/macp.v1.MACPRuntimeService/ListModes";
    let before = http.open(preflight(path, "content-type,x-grpc-web")).await.unwrap();
    answers.push(("gRPC-Web preflight", before));
    let web = GrpcWeb::agent(addr, token);
    let head = with_origins(web.request("ListModes"), origins);
    answers.push(("gRPC-Web", web.open(head, &ListModesRequest {}.encode_to_vec()).await));

    // More than one Origin is no page, and gets no ticket.
    if origins.len() == 1 && origins[0].to_str().is_ok() {
        let ticket = Request::post(format!("http://{addr}/macp/ticket"))
            .header("authorization", format!("Bearer {token}"));
        let answer = http.ask(with_origins(ticket, origins).body(whole("")).unwrap()).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let ticket = answer["ticket"].as_str().unwrap_or_else(|| panic!("{origins:?}: {answer}"));
        let uri = format!("http://{addr}/macp/v1/sessions/{session}/events?ticket={ticket}");
        let events = Request::get(uri).header("accept", "text/event-stream");
        let events = http.open(with_origins(events, origins).body(whole("")).unwrap()).await.unwrap();
        assert_eq!(events.status(), 200);
        answers.push(("event stream with a ticket", events));
    }
    answers
}

#[tokio::test]
async fn every_door_decides_alike() {
    let gateway = Gateway::with(&[("MACP_HTTP_CORS_ORIGINS", LISTED)]).await;
    for addr in gateway.ports() {
        // A sender gets 64 tickets in half a minute.
        let token = format!("agent://of-{}", addr.port());
        let session = Session::new();
        accepted(&mut Grpc::agent(addr, &token), &session.start(&[&token])).await;
        let mut rows: Vec<(Vec<HeaderValue>, bool)> =
            ORIGINS.iter().map(|(origin, allowed)| (vec![value(origin)], *allowed)).collect();
        let listed = value(b"https://app.example");
        rows.push((vec![listed.clone(), value(b"https://evil.example")], false));
        rows.push((vec![value(b"https://evil.example"), listed.clone()], false));
        rows.push((vec![listed.clone(), listed], false));
        rows.push((vec![value(b"")], false));
        for (origins, allowed) in rows {
            let status = upgrade(addr, None, &origins).await;
            assert_eq!(status, if allowed { 101 } else { 403 }, "WebSocket: {origins:?}");
            for (door, answer) in cors(addr, &token, &session.id, &origins).await {
                assert_eq!(permits(answer.headers(), &origins), allowed, "{door}: {origins:?}");
            }
        }
        // A page of the gateway's own origin may, and needs no permission to read; one of another scheme or port may not.
        for (origin, status) in [
            (format!("http://{addr}"), 101),
            (format!("https://{addr}"), 403),
            (format!("http://{}", addr.ip()), 403),
            (format!("http://localhost:{}", addr.port()), 403),
        ] {
            let origins = [value(origin.as_bytes())];
            assert_eq!(upgrade(addr, None, &origins).await, status, "{origin}");
            for (door, answer) in cors(addr, &token, &session.id, &origins).await {
                assert!(!permits(answer.headers(), &origins), "{door}: {origin}");
            }
        }
        assert_eq!(upgrade(addr, None, &[]).await, 101, "a program that is no browser");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_rebound_name_is_not_this_machine() {
    let gateway = Gateway::with(&[("MACP_HTTP_PUBLIC_URL", "https://gw.example")]).await;
    for (host, own) in HOSTS {
        let status = upgrade(gateway.http, Some(host), &[]).await;
        assert_eq!(status, if own { 101 } else { 403 }, "{host}");
        // The page of the rebound name is of the same origin as its host.
        let origin = value(format!("http://{host}").as_bytes());
        let status = upgrade(gateway.http, Some(host), &[origin]).await;
        assert_eq!(status, if own { 101 } else { 403 }, "a page of {host}");
    }
    // Behind a proxy the host may be the gateway's address; the page's origin is the public one.
    for (origin, status) in [
        ("https://gw.example", 101),
        ("https://gw.example:443", 101),
        ("http://gw.example", 403),
        ("https://gw.example.evil.example", 403),
    ] {
        assert_eq!(upgrade(gateway.http, None, &[value(origin.as_bytes())]).await, status, "{origin}");
    }
    gateway.stop().await;
}

/// What a page of this host gets with a credential on every way but WebSocket, each with its name: a status, and the code
/// of a refusal.
async fn as_a_page_of(
    addr: SocketAddr,
    host: &str,
    token: &str,
    session: &str,
) -> Vec<(&'static str, u16, Option<String>)> {
    let post = |path: &str, media: &str, body: Vec<u8>| {
        Request::post(path).header("content-type", media).body(whole(body)).unwrap()
    };
    let message = ListSessionsRequest::default().encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let framed = [&[0][..], &length, &message].concat();
    let service = "/macp.v1.MACPRuntimeService/ListSessions";
    let get = |path: &str| Request::get(path).body(whole("")).unwrap();
    let mut answers = Vec::new();
    for (door, mut request) in [
        ("call", post("/macp/v1/ListSessions", "application/json", b"{}".to_vec())),
        ("resource", get("/macp/v1/policies")),
        ("event stream", get(&format!("/macp/v1/sessions/{session}/events"))),
        ("ticket", post("/macp/ticket", "application/json", Vec::new())),
        ("gRPC-Web", post(service, "application/grpc-web+proto", framed.clone())),
        ("gRPC over HTTP/1.1", post(service, "application/grpc", framed)),
    ] {
        request.headers_mut().insert("host", value(host.as_bytes()));
        request.headers_mut().insert("authorization", value(format!("Bearer {token}").as_bytes()));
        let answer = Http::agent(addr, "").open_as_it_is(request).await.unwrap();
        let code = answer.headers().get("macp-error-code").map(|code| code.to_str().unwrap().to_owned());
        answers.push((door, answer.status().as_u16(), code));
    }
    answers
}

#[tokio::test]
async fn a_rebound_name_is_nobody_here() {
    let public = ("MACP_HTTP_PUBLIC_URL", "https://gw.example");
    let gateway = Gateway::with(&[public]).await;
    let session = Session::new();
    accepted(&mut Grpc::agent(gateway.grpc, "agent://a"), &session.start(&["agent://a"])).await;
    for addr in gateway.ports() {
        for (host, own) in HOSTS {
            for (door, status, code) in as_a_page_of(addr, host, "agent://a", &session.id).await {
                assert_eq!(code.as_deref() == Some("FORBIDDEN"), !own, "{door} of {host}: {status} {code:?}");
                let is_grpc = door.starts_with("gRPC");
                assert_eq!(status, if own || is_grpc { 200 } else { 403 }, "{door} of {host}: {code:?}");
            }
        }
        // Without a credential there is nothing to take.
        let mut open = Request::get("/macp/v1/modes").body(whole("")).unwrap();
        open.headers_mut().insert("host", value(b"evil.example"));
        assert_eq!(Http::agent(addr, "").open_as_it_is(open).await.unwrap().status(), 200);
    }
    gateway.stop().await;

    // Who has tokens is not found out by the name that leads there.
    let tokens = r#"[{"token": "t", "sender": "agent://a"}]"#;
    let gateway = Gateway::with(&[("MACP_AUTH_TOKENS_JSON", tokens)]).await;
    let session = Session::new();
    accepted(&mut Grpc::agent(gateway.grpc, "t"), &session.start(&["agent://a"])).await;
    for (door, status, code) in as_a_page_of(gateway.http, "evil.example", "t", &session.id).await {
        assert_eq!((status, code), (200, None), "{door}");
    }
    gateway.stop().await;
}
