//! Who may see and do what: every call, for every role, on every transport.
//!
//! `docs/security.md` shows the same table to operators; a test keeps the two alike.

use macp_engine::Method;
use macp_wire::v1::Envelope;
use serde_json::{Value, json};

use crate::fakes::{Agent, Grpc, Issuer, Session, accepted, everywhere, refusal_of};
use crate::process::Gateway;

const TOKENS: &str = r#"[
    {"token": "i", "sender": "agent://i"},
    {"token": "p", "sender": "agent://p"},
    {"token": "x", "sender": "agent://x"},
    {"token": "o", "sender": "agent://o", "is_observer": true},
    {"token": "r", "sender": "agent://r", "can_manage_mode_registry": true},
    {"token": "n", "sender": "agent://n", "can_start_sessions": false, "allowed_modes": ["macp.mode.task.v1"]}
]"#;

/// Roles by their token, in the order of the table's columns; the empty one has no credential.
fn roles(expired: &str) -> [(&'static str, &str); 8] {
    [
        ("anonymous", ""),
        ("outsider", "x"),
        ("participant", "p"),
        ("initiator", "i"),
        ("observer", "o"),
        ("registrar", "r"),
        // Takes part in the session, whose mode its token does not allow.
        ("restricted", "n"),
        ("expired", expired),
    ]
}

const OPEN: [&str; 8] = ["yes"; 8];
const ANYONE: [&str; 8] = ["401", "yes", "yes", "yes", "yes", "yes", "yes", "401"];
const READERS: [&str; 8] = ["401", "403", "yes", "yes", "yes", "403", "yes", "401"];
const OWN: [&str; 8] = ["401", "none", "own", "own", "own", "none", "own", "401"];
const PARTICIPANTS: [&str; 8] = ["401", "403", "yes", "403", "403", "403", "403", "401"];
const UNRESTRICTED: [&str; 8] = ["401", "yes", "yes", "yes", "yes", "yes", "403", "401"];
const INITIATOR: [&str; 8] = ["401", "403", "403", "yes", "403", "403", "403", "401"];
const REGISTRAR: [&str; 8] = ["401", "403", "403", "403", "403", "yes", "403", "401"];

/// A call and what each role gets.
const TABLE: &[(&str, [&str; 8])] = &[
    ("Initialize", OPEN),
    ("GetManifest", OPEN),
    ("ListModes", OPEN),
    ("ListExtModes", OPEN),
    ("ListRoots", OPEN),
    ("GetReceiptKeys", OPEN),
    ("WatchModeRegistry", OPEN),
    ("WatchRoots", OPEN),
    ("GetPolicy", ANYONE),
    ("ListPolicies", ANYONE),
    ("WatchPolicies", ANYONE),
    ("WatchSignals", ANYONE),
    ("WatchSessions", ANYONE),
    ("ListSessions", OWN),
    ("GetSession", READERS),
    ("StreamSession", READERS),
    ("WhatIfReplay", READERS),
    ("GetDecisionReceipt", READERS),
    ("RegisterPolicy", REGISTRAR),
    ("UnregisterPolicy", REGISTRAR),
    ("RegisterExtMode", REGISTRAR),
    ("UnregisterExtMode", REGISTRAR),
    ("PromoteMode", REGISTRAR),
    ("Send: a Proposal", PARTICIPANTS),
    ("Send: a Signal", UNRESTRICTED),
    ("Send: SessionStart", UNRESTRICTED),
    // Last, in the order in which the session goes through them.
    ("SuspendSession", INITIATOR),
    ("ResumeSession", INITIATOR),
    ("CancelSession", INITIATOR),
];

fn request(method: &str, session: &str) -> Value {
    match method {
        "Initialize" => json!({ "supported_protocol_versions": ["1.0"] }),
        "GetPolicy" => json!({ "policy_id": "policy.default" }),
        "RegisterPolicy" => json!({ "policy_descriptor": { "policy_id": "policy.default", "rules": {} } }),
        "RegisterExtMode" => json!({ "mode_descriptor": {} }),
        "GetSession" | "WhatIfReplay" | "GetDecisionReceipt" | "SuspendSession" | "ResumeSession"
        | "CancelSession" => json!({ "session_id": session }),
        _ => json!({}),
    }
}

/// What each way to send sends, new each time.
fn envelope(what: &str, session: &str) -> Envelope {
    let session = Session { id: session.to_owned() };
    match what {
        "Send: a Proposal" => session.proposal(&uuid::Uuid::new_v4().to_string()),
        "Send: a Signal" => session.signal(),
        _ => Session::new().start(&["agent://p"]),
    }
}

/// What a role got, in the table's words. A refusal that comes after authorization counts as "yes".
async fn outcome(agent: &mut dyn Agent, method: &str, session: &str) -> String {
    let answer = match method {
        "StreamSession" => agent.observe(session, 0).await.map(|_| Value::Null),
        _ if method.starts_with("Watch") => agent.watch(method).await.map(|()| Value::Null),
        _ if method.starts_with("Send") => match refusal_of(agent, &envelope(method, session)).await.as_str()
        {
            "accepted" => Ok(Value::Null),
            code => Err(code.to_owned()),
        },
        _ => agent.call(method, &request(method, session)).await,
    };
    match answer {
        Err(code) if code == "UNAUTHENTICATED" => "401".into(),
        Err(code) if code == "FORBIDDEN" => "403".into(),
        Err(code) if ["INVALID_REQUEST", "RECEIPT_UNAVAILABLE"].contains(&code.as_str()) => "yes".into(),
        Err(code) => code,
        Ok(listed) if method == "ListSessions" => match listed["sessions"].as_array().map(Vec::len) {
            Some(0) => "none".into(),
            Some(1) => "own".into(),
            other => format!("{other:?} sessions"),
        },
        Ok(_) => "yes".into(),
    }
}

#[tokio::test]
async fn every_role_gets_the_same_on_every_transport() {
    let issuer = Issuer::new("k");
    let (jwks, expired) = (issuer.jwks(), issuer.token("agent://p", -1));
    let gateway = Gateway::with(&[
        ("MACP_AUTH_TOKENS_JSON", TOKENS),
        ("MACP_AUTH_ISSUER", Issuer::NAME),
        ("MACP_AUTH_JWKS_JSON", &jwks),
    ])
    .await;
    let session = Session::new();
    accepted(&mut Grpc::agent(gateway.grpc, "i"), &session.start(&["agent://p", "agent://n"])).await;
    let mut wrong = Vec::new();
    for (method, expected) in TABLE {
        for ((role, token), expected) in roles(&expired).into_iter().zip(expected) {
            for (place, mut agent) in everywhere(gateway.ports(), token) {
                // A socket begins with its credential, and does not with a bad one, whatever it was for.
                let refused = role == "expired" && place.starts_with("WebSocket");
                let expected = if refused { "401" } else { expected };
                let got = outcome(agent.as_mut(), method, &session.id).await;
                if got != expected {
                    wrong.push(format!("{method} as {role}: {got} instead of {expected} by {place}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    gateway.stop().await;
}

#[test]
fn every_call_has_its_row() {
    let mut calls: Vec<&str> =
        TABLE.iter().map(|(call, _)| call.split_once(':').map_or(*call, |(call, _)| call)).collect();
    calls.sort_unstable();
    calls.dedup();
    let mut all: Vec<&str> = Method::ALL.iter().map(|method| method.name()).collect();
    all.sort_unstable();
    assert_eq!(calls, all);
}

#[test]
fn the_documented_table_is_the_tested_one() {
    let row = |method: &str, cells: &[&str]| format!("| `{method}` | {} |\n", cells.join(" | "));
    let table: String = TABLE.iter().map(|(method, cells)| row(method, cells)).collect();
    let document = include_str!("../../../../docs/security.md");
    assert!(document.contains(&table), "docs/security.md should hold this table:\n{table}");
}
