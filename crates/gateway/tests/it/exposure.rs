//! Who may see and do what: every unary call and the session stream, for every role, on every transport.
//!
//! `docs/security.md` shows the same table to operators; a test keeps the two alike.

use serde_json::{Value, json};

use crate::fakes::{Agent, Grpc, Session, accepted, everywhere};
use crate::process::Gateway;

const TOKENS: &str = r#"[
    {"token": "i", "sender": "agent://i"},
    {"token": "p", "sender": "agent://p"},
    {"token": "x", "sender": "agent://x"},
    {"token": "o", "sender": "agent://o", "is_observer": true},
    {"token": "r", "sender": "agent://r", "can_manage_mode_registry": true}
]"#;

/// Roles by their token, in the order of the table's columns; the empty one has no credential.
const ROLES: [(&str, &str); 6] = [
    ("anonymous", ""),
    ("outsider", "x"),
    ("participant", "p"),
    ("initiator", "i"),
    ("observer", "o"),
    ("registrar", "r"),
];

const OPEN: [&str; 6] = ["yes"; 6];
const ANYONE: [&str; 6] = ["401", "yes", "yes", "yes", "yes", "yes"];
const READERS: [&str; 6] = ["401", "403", "yes", "yes", "yes", "403"];
const OWN: [&str; 6] = ["401", "none", "own", "own", "own", "none"];
const INITIATOR: [&str; 6] = ["401", "403", "403", "yes", "403", "403"];
const REGISTRAR: [&str; 6] = ["401", "403", "403", "403", "403", "yes"];

/// A call and what each role gets.
const TABLE: &[(&str, [&str; 6])] = &[
    ("Initialize", OPEN),
    ("GetManifest", OPEN),
    ("ListModes", OPEN),
    ("ListExtModes", OPEN),
    ("ListRoots", OPEN),
    ("GetReceiptKeys", OPEN),
    ("GetPolicy", ANYONE),
    ("ListPolicies", ANYONE),
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

/// What a role got, in the table's words. A refusal that comes after authorization counts as "yes".
async fn outcome(agent: &mut dyn Agent, method: &str, session: &str) -> String {
    let answer = if method == "StreamSession" {
        agent.observe(session, 0).await.map(|_| Value::Null)
    } else {
        agent.call(method, &request(method, session)).await
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
    let gateway = Gateway::with(&[("MACP_AUTH_TOKENS_JSON", TOKENS)]).await;
    let session = Session::new();
    accepted(&mut Grpc::agent(gateway.grpc, "i"), &session.start(&["agent://p"])).await;
    let mut wrong = Vec::new();
    for (method, expected) in TABLE {
        for ((role, token), expected) in ROLES.iter().zip(expected) {
            for (place, mut agent) in everywhere(gateway.ports(), token) {
                let got = outcome(agent.as_mut(), method, &session.id).await;
                if got != *expected {
                    wrong.push(format!("{method} as {role}: {got} instead of {expected} by {place}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    gateway.stop().await;
}

#[test]
fn the_documented_table_is_the_tested_one() {
    let row = |method: &str, cells: &[&str]| format!("| `{method}` | {} |\n", cells.join(" | "));
    let table: String = TABLE.iter().map(|(method, cells)| row(method, cells)).collect();
    let document = include_str!("../../../../docs/security.md");
    assert!(document.contains(&table), "docs/security.md should hold this table:\n{table}");
}
