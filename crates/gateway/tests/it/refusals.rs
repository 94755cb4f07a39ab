//! The same fault is refused with the same code on every transport, and changes nothing.

use macp_wire::v1::Envelope;
use serde_json::{Value, json};

use crate::fakes::{Agent, Code, Grpc, Http, Session, Ws, accepted, everywhere, next, refusal_of};
use crate::process::Gateway;

/// Who is who. A token is its sender's name.
const TOKENS: &str = r#"[
    {"token": "agent://i", "sender": "agent://i"},
    {"token": "agent://a", "sender": "agent://a"},
    {"token": "agent://busy", "sender": "agent://busy"},
    {"token": "agent://stranger", "sender": "agent://stranger"},
    {"token": "agent://guest", "sender": "agent://guest", "can_start_sessions": false},
    {"token": "agent://tasks", "sender": "agent://tasks", "allowed_modes": ["macp.mode.task.v1"]},
    {"token": "agent://capped", "sender": "agent://capped", "max_open_sessions": 0}
]"#;
const MESSAGES_PER_MINUTE: usize = 400;

/// What a caller asks for and should not.
enum Ask {
    Send(Envelope),
    Call(&'static str, Value),
    Observe(String),
}

/// One fault: its name, who asks, what for, and the code that it gets everywhere.
struct Row(&'static str, &'static str, Ask, &'static str);

/// Sessions that faults are about: one that is open, one suspended, one cancelled.
struct Sessions {
    open: Session,
    suspended: Session,
    cancelled: Session,
}

async fn gateway() -> (Gateway, Sessions) {
    let limit = MESSAGES_PER_MINUTE.to_string();
    let gateway = Gateway::with(&[
        ("MACP_AUTH_TOKENS_JSON", TOKENS),
        ("MACP_MESSAGE_LIMIT_PER_MINUTE", &limit),
        ("MACP_MAX_PAYLOAD_BYTES", "1000"),
    ])
    .await;
    let mut initiator = Grpc::agent(gateway.grpc, "agent://i");
    let sessions = Sessions { open: Session::new(), suspended: Session::new(), cancelled: Session::new() };
    for session in [&sessions.open, &sessions.suspended, &sessions.cancelled] {
        accepted(&mut initiator, &session.start(&["agent://a", "agent://busy", "agent://tasks"])).await;
    }
    for (method, session) in [("SuspendSession", &sessions.suspended), ("CancelSession", &sessions.cancelled)]
    {
        let request = json!({ "session_id": session.id, "reason": "r" });
        assert_eq!(initiator.call(method, &request).await.unwrap()["ack"]["ok"], true);
    }
    (gateway, sessions)
}

/// Everything that is wrong with messages.
fn faulty_messages(Sessions { open, suspended, cancelled }: &Sessions) -> Vec<Row> {
    let with = |change: fn(&mut Envelope)| {
        let mut envelope = open.proposal("p");
        change(&mut envelope);
        Ask::Send(envelope)
    };
    let start = |change: fn(&mut macp_wire::v1::SessionStartPayload)| {
        Ask::Send(Session::new().start_with(&["agent://a"], change))
    };
    let proposal = |session: &Session| Ask::Send(session.proposal("p"));
    let short = Session { id: "short".into() };
    let mut unknown_mode = Session::new().start(&["agent://a"]);
    unknown_mode.mode = "macp.mode.dance.v1".into();
    vec![
        Row("no credential", "", with(|_| {}), "UNAUTHENTICATED"),
        Row("unknown credential", "agent://nobody", with(|_| {}), "UNAUTHENTICATED"),
        Row("spoofed sender", "agent://a", with(|e| e.sender = "agent://i".into()), "UNAUTHENTICATED"),
        Row("no participant", "agent://stranger", with(|_| {}), "FORBIDDEN"),
        Row("may not start", "agent://guest", start(|_| {}), "FORBIDDEN"),
        Row("may not use the mode", "agent://tasks", with(|_| {}), "FORBIDDEN"),
        Row("no initiator commits", "agent://a", Ask::Send(open.commitment()), "FORBIDDEN"),
        Row("unknown message type", "agent://a", with(|e| e.message_type = "Dance".into()), "FORBIDDEN"),
        Row("unknown session", "agent://a", proposal(&Session::new()), "SESSION_NOT_FOUND"),
        Row("suspended session", "agent://a", proposal(suspended), "SESSION_NOT_OPEN"),
        Row("cancelled session", "agent://a", proposal(cancelled), "SESSION_NOT_OPEN"),
        Row(
            "wrong version",
            "agent://a",
            with(|e| e.macp_version = "9".into()),
            "UNSUPPORTED_PROTOCOL_VERSION",
        ),
        Row("unknown mode", "agent://i", Ask::Send(unknown_mode), "MODE_NOT_SUPPORTED"),
        Row("another mode", "agent://a", with(|e| e.mode = "macp.mode.task.v1".into()), "INVALID_ENVELOPE"),
        Row("no message id", "agent://a", with(|e| e.message_id.clear()), "INVALID_ENVELOPE"),
        Row("no message type", "agent://a", with(|e| e.message_type.clear()), "INVALID_ENVELOPE"),
        Row("no session id", "agent://a", with(|e| e.session_id.clear()), "INVALID_ENVELOPE"),
        Row("large payload", "agent://a", with(|e| e.payload = vec![0; 1001].into()), "PAYLOAD_TOO_LARGE"),
        Row(
            "payload of no meaning",
            "agent://a",
            with(|e| e.payload = vec![0xFF].into()),
            "INVALID_ENVELOPE",
        ),
        Row("vote on nothing", "agent://a", Ask::Send(open.vote("nothing")), "INVALID_ENVELOPE"),
        Row("bad session id", "agent://i", Ask::Send(short.start(&["agent://a"])), "INVALID_SESSION_ID"),
        Row("second start", "agent://i", Ask::Send(open.start(&["agent://a"])), "SESSION_ALREADY_EXISTS"),
        Row("no time to live", "agent://i", start(|p| p.ttl_ms = 0), "INVALID_ENVELOPE"),
        Row(
            "unknown policy",
            "agent://i",
            start(|p| p.policy_version = "x".into()),
            "UNKNOWN_POLICY_VERSION",
        ),
        Row("too many sessions", "agent://capped", start(|_| {}), "RATE_LIMITED"),
        Row("too many messages", "agent://busy", with(|_| {}), "RATE_LIMITED"),
    ]
}

/// Everything that is wrong with other requests.
fn faulty_requests(Sessions { open, cancelled, .. }: &Sessions) -> Vec<Row> {
    let of = |session: &Session| json!({ "session_id": session.id });
    let unknown = Session::new();
    let get = |session| Ask::Call("GetSession", of(session));
    let observe = |session: &Session| Ask::Observe(session.id.clone());
    let list = |request| Ask::Call("ListSessions", request);
    vec![
        Row("no credential", "", get(open), "UNAUTHENTICATED"),
        Row("unknown credential", "agent://nobody", get(open), "UNAUTHENTICATED"),
        Row("read by a stranger", "agent://stranger", get(open), "FORBIDDEN"),
        Row("read of nothing", "agent://i", get(&unknown), "SESSION_NOT_FOUND"),
        Row("observed without credential", "", observe(open), "UNAUTHENTICATED"),
        Row("observed by a stranger", "agent://stranger", observe(open), "FORBIDDEN"),
        Row("observed, of nothing", "agent://i", observe(&unknown), "SESSION_NOT_FOUND"),
        Row("cancelled by another", "agent://a", Ask::Call("CancelSession", of(open)), "FORBIDDEN"),
        Row(
            "cancelled, of nothing",
            "agent://i",
            Ask::Call("CancelSession", of(&unknown)),
            "SESSION_NOT_FOUND",
        ),
        Row(
            "suspended when over",
            "agent://i",
            Ask::Call("SuspendSession", of(cancelled)),
            "SESSION_NOT_OPEN",
        ),
        Row("negative page", "agent://i", list(json!({ "page_size": -1 })), "INVALID_REQUEST"),
        Row("bad page token", "agent://i", list(json!({ "page_token": "?" })), "INVALID_REQUEST"),
        Row(
            "unknown policy",
            "agent://i",
            Ask::Call("GetPolicy", json!({ "policy_id": "x" })),
            "UNKNOWN_POLICY_VERSION",
        ),
        Row("unknown agent", "", Ask::Call("GetManifest", json!({ "agent_id": "x" })), "AGENT_NOT_FOUND"),
        Row(
            "no shared version",
            "",
            Ask::Call("Initialize", json!({ "supported_protocol_versions": ["9"] })),
            "UNSUPPORTED_PROTOCOL_VERSION",
        ),
    ]
}

async fn code(agent: &mut dyn Agent, ask: &Ask) -> Code {
    match ask {
        Ask::Send(envelope) => refusal_of(agent, envelope).await,
        Ask::Observe(session) => agent.observe(session, 0).await.err().unwrap_or("accepted".into()),
        Ask::Call(method, request) => match agent.call(method, request).await {
            Err(code) => code,
            Ok(answer) => answer["ack"]["error"]["code"].as_str().unwrap_or("accepted").to_owned(),
        },
    }
}

/// The codes that a row gets, with where it got them.
async fn codes(gateway: &Gateway, Row(_, sender, ask, _): &Row) -> Vec<(String, Code)> {
    let mut codes = Vec::new();
    for (name, mut agent) in everywhere(gateway.ports(), sender) {
        codes.push((name, code(agent.as_mut(), ask).await));
    }
    if let Ask::Send(envelope) = ask {
        for port in gateway.ports() {
            let code = match Grpc::agent(port, sender).open().await {
                Ok(mut stream) => refusal_of(&mut stream, envelope).await,
                Err(code) => code,
            };
            codes.push((format!("StreamSession on {port}"), code));
        }
    }
    codes
}

#[tokio::test]
async fn the_same_fault_has_the_same_code_on_every_transport() {
    let (gateway, sessions) = gateway().await;
    let mut busy = Ws::agent(gateway.http, "agent://busy");
    for n in 0..MESSAGES_PER_MINUTE {
        accepted(&mut busy, &sessions.open.proposal(&n.to_string())).await;
    }
    drop(busy);

    let mut wrong = Vec::new();
    for row in faulty_messages(&sessions).into_iter().chain(faulty_requests(&sessions)) {
        let Row(fault, .., expected) = &row;
        for (place, code) in codes(&gateway, &row).await {
            if code != *expected {
                wrong.push(format!("{fault}: {code} instead of {expected} by {place}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // None of it became history: what is accepted next follows what was accepted before.
    let last = sessions.open.proposal("last");
    accepted(&mut Http::agent(gateway.http, "agent://a"), &last).await;
    let mut feed = Grpc::agent(gateway.grpc, "agent://i")
        .observe(&sessions.open.id, 1 + MESSAGES_PER_MINUTE as u64)
        .await
        .unwrap();
    assert_eq!(next(&mut feed, 1).await[0].envelope.message_id, last.message_id);
    drop(feed);
    gateway.stop().await;
}
