//! The examples of the document: a story that is told to a real gateway, request by request, while the document is
//! made. What it answers is what the document shows.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use macp_auth::Authenticator;
use macp_engine::testing::{ManualClock, generous_limits};
use macp_engine::{Engine, Options};
use macp_store::MemoryStore;
use serde_json::{Value, json};
use tower::ServiceExt;

/// Everything happens at this moment: 2026-03-01T20:24:01Z.
const NOW: i64 = 1_772_396_641_000;

const ANN: &str = "agent://ann";
const BOB: &str = "agent://bob";
const EVE: &str = "agent://eve";
const RELEASE: &str = "0b5c7d0e-9a1f-4c55-8f43-3d1f6a1c2e01";
const TALK: &str = "0b5c7d0e-9a1f-4c55-8f43-3d1f6a1c2e03";
const LUNCH: &str = "0b5c7d0e-9a1f-4c55-8f43-3d1f6a1c2e02";

/// How long a request may take before the document cannot be made. Only a fault takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request of the story.
pub(crate) struct Step {
    /// Which operation it is an example of.
    pub(crate) verb: &'static str,
    /// The operation's path, with templates.
    pub(crate) path: &'static str,
    /// Name of the example among those of its operation; empty for a request that only prepares others.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) summary: &'static str,
    /// Who asks; empty for nobody.
    sender: &'static str,
    /// Values of the path's templates and of query parameters.
    pub(crate) parameters: &'static [(&'static str, &'static str)],
    /// The body, if the operation has one.
    pub(crate) body: Option<Value>,
    /// The media types that are asked for; empty for any.
    accept: &'static str,
    /// Events after which an endless stream is left; 0 reads it to its end.
    events: usize,
    /// A request that is made while the stream is open.
    meanwhile: Option<Value>,
    /// Members of the answer that are random, and what the document says instead.
    random: &'static [(&'static str, &'static str)],
}

/// What the gateway answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    /// The JSON, or the text of a stream.
    pub(crate) body: Value,
}

/// An example that the gateway did not answer as an example should be.
#[derive(Debug, thiserror::Error)]
#[error("the example `{name}` of {verb} {path}: {what}")]
pub struct BrokenExample {
    verb: &'static str,
    path: &'static str,
    name: &'static str,
    what: String,
}

/// Tells the story to a fresh gateway.
pub(crate) async fn play() -> Result<Vec<(Step, Answer)>, BrokenExample> {
    let router = router().await;
    let mut told = Vec::new();
    for step in story() {
        let answer = tokio::time::timeout(PATIENCE, ask(&router, &step)).await;
        let what = match answer {
            Ok(Ok(answer)) if answer.status == 200 => {
                told.push((step, answer));
                continue;
            }
            Ok(Ok(answer)) => format!("answered {}: {}", answer.status, answer.body),
            Ok(Err(fault)) => fault,
            Err(_) => "no answer in time".to_owned(),
        };
        return Err(BrokenExample { verb: step.verb, path: step.path, name: step.name, what });
    }
    Ok(told)
}

#[expect(clippy::expect_used, reason = "a memory store opens")]
async fn router() -> Router {
    let clock = Arc::new(ManualClock::at(NOW));
    let options = Options { limits: generous_limits(), ..Options::default() };
    let engine =
        Engine::open(Arc::new(MemoryStore::new()), clock, options).await.expect("a memory store opens");
    let options = macp_transport_http::Options::new(engine.options().limits.max_payload_bytes);
    macp_transport_http::router(engine, Arc::new(Authenticator::dev()), options)
}

async fn ask(router: &Router, step: &Step) -> Result<Answer, String> {
    let response = send(router, step).await?;
    let (head, body) = response.into_parts();
    let content_type =
        head.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let mut answer = Answer { status: head.status.as_u16(), content_type, body: Value::Null };
    if answer.content_type == "text/event-stream" {
        answer.body = stream(router, step, body).await?.into();
        return Ok(answer);
    }
    let bytes = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    answer.body = serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", answer.status))?;
    for (member, shown) in step.random {
        answer.body[*member] = Value::from(*shown);
    }
    Ok(answer)
}

async fn send(router: &Router, step: &Step) -> Result<Response<Body>, String> {
    let mut path = step.path.to_owned();
    let mut query = String::new();
    for (name, value) in step.parameters {
        let template = format!("{{{name}}}");
        if path.contains(&template) {
            path = path.replace(&template, value);
        } else {
            query += if query.is_empty() { "?" } else { "&" };
            query += &format!("{name}={value}");
        }
    }
    let mut request = Request::builder().method(step.verb).uri(path + &query);
    if !step.sender.is_empty() {
        request = request.header("authorization", format!("Bearer {}", step.sender));
    }
    if !step.accept.is_empty() {
        request = request.header("accept", step.accept);
    }
    let body = match &step.body {
        Some(body) => {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    let request = request.body(body).map_err(|error| error.to_string())?;
    router.clone().oneshot(request).await.map_err(|never| match never {})
}

/// The text of a stream, up to its end or to as many events as the step wants.
async fn stream(router: &Router, step: &Step, mut body: Body) -> Result<String, String> {
    let mut text = String::new();
    let mut meanwhile = step.meanwhile.as_ref();
    loop {
        if step.events > 0 && text.matches("\ndata: ").count() >= step.events {
            return Ok(text);
        }
        // The first frame says that the stream is open, so nothing that happens from here on is missed.
        if let Some(body) = meanwhile.take_if(|_| !text.is_empty()) {
            send(router, &Step { body: Some(body.clone()), ..rpc("/macp/v1/Send", ANN, Value::Null) })
                .await?;
        }
        match body.frame().await {
            None => return Ok(text),
            Some(Err(error)) => return Err(error.to_string()),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    text += &String::from_utf8_lossy(data);
                }
            }
        }
    }
}

fn step(verb: &'static str, path: &'static str, sender: &'static str) -> Step {
    Step {
        verb,
        path,
        name: "example",
        summary: "",
        sender,
        parameters: &[],
        body: None,
        accept: "",
        events: 0,
        meanwhile: None,
        random: &[],
    }
}

fn get(
    path: &'static str,
    sender: &'static str,
    parameters: &'static [(&'static str, &'static str)],
) -> Step {
    Step { parameters, ..step("GET", path, sender) }
}

fn rpc(path: &'static str, sender: &'static str, body: Value) -> Step {
    Step { body: Some(body), ..step("POST", path, sender) }
}

fn named(step: Step, name: &'static str, summary: &'static str) -> Step {
    Step { name, summary, ..step }
}

fn envelope(session: &str, message_id: &str, message_type: &str, payload: &Value) -> Value {
    json!({ "envelope": {
        "macp_version": "1.0", "mode": "macp.mode.decision.v1", "message_type": message_type,
        "message_id": message_id, "session_id": session, "payload": payload,
    }})
}

fn start(session: &str, intent: &str) -> Value {
    let payload = json!({
        "intent": intent, "participants": [ANN, BOB], "mode_version": "1.0.0", "configuration_version": "1",
        "policy_version": "policy.default", "ttl_ms": 600_000,
    });
    envelope(session, "m1", "SessionStart", &payload)
}

fn signal() -> Value {
    json!({ "envelope": {
        "macp_version": "1.0", "mode": "", "message_type": "Signal", "message_id": "s1", "session_id": "",
        "payload": { "signal_type": "build.finished", "data": "b2s=", "confidence": 1.0 },
    }})
}

fn policy() -> Value {
    json!({
        "policy_id": "policy.example.two-thirds", "mode": "macp.mode.decision.v1",
        "description": "Two thirds of the votes must approve", "schema_version": 3,
        "rules": { "voting": { "algorithm": "supermajority", "threshold": 0.67 } },
    })
}

fn mode() -> Value {
    json!({
        "mode": "ext.review.v1", "mode_version": "1.0.0", "title": "Review", "description": "Comments, then a verdict",
        "determinism_class": "structural-only", "participant_model": "declared",
        "message_types": ["SessionStart", "Comment", "Commitment"], "terminal_message_types": ["Commitment"],
    })
}

/// The requests in their order: each finds what those before it have left.
fn story() -> Vec<Step> {
    let proposal =
        json!({ "proposal_id": "p1", "option": "release on Monday", "rationale": "all tests pass" });
    let vote = json!({ "proposal_id": "p1", "vote": "APPROVE", "reason": "agreed" });
    let commitment = json!({
        "commitment_id": "c1", "action": "decision.selected", "authority_scope": "team", "reason": "no objection",
        "mode_version": "1.0.0", "policy_version": "policy.default", "configuration_version": "1",
        "outcome_positive": true,
    });
    // The bytes of the same vote, as a client without the message would send them.
    let encoded = json!({ "envelope": {
        "macp_version": "1.0", "mode": "macp.mode.decision.v1", "message_type": "Vote", "message_id": "m4",
        "session_id": RELEASE, "sender": BOB, "timestamp": "2026-03-01T20:24:01Z",
        "payload_b64": "CgJwMRIHQVBQUk9WRRoGYWdyZWVk",
    }});
    let send = |sender, body| rpc("/macp/v1/Send", sender, body);
    let of = |session: &str| json!({ "session_id": session });
    vec![
        step("GET", "/.well-known/macp.json", ""),
        rpc(
            "/macp/v1/Initialize",
            "",
            json!({ "supported_protocol_versions": ["1.0"],
                    "client_info": { "name": "example", "title": "Example", "version": "1.0.0" } }),
        ),
        rpc("/macp/v1/GetManifest", "", json!({})),
        rpc("/macp/v1/ListModes", "", json!({})),
        rpc("/macp/v1/ListRoots", "", json!({})),
        rpc("/macp/v1/GetReceiptKeys", "", json!({})),
        Step { random: &[("ticket", "mt_0SqkYuGjrdmVdTVfo6nBkQ")], ..step("POST", "/macp/ticket", ANN) },
        named(send(ANN, start(RELEASE, "release on Monday?")), "1_start", "Start a Decision session"),
        named(send(ANN, envelope(RELEASE, "m2", "Proposal", &proposal)), "2_propose", "Propose"),
        rpc("/macp/v1/GetSession", BOB, of(RELEASE)),
        rpc("/macp/v1/ListSessions", ANN, json!({ "page_size": 10 })),
        Step { events: 1, ..rpc("/macp/v1/WatchSessions", ANN, json!({})) },
        named(send(BOB, envelope(RELEASE, "m3", "Vote", &vote)), "3_vote", "Vote"),
        named(
            send(BOB, encoded),
            "4_bytes",
            "A payload as bytes; here a second vote, which is refused in band",
        ),
        named(
            send(EVE, envelope(RELEASE, "m5", "Vote", &vote)),
            "5_refused",
            "Somebody who does not take part: refused in band, with status 200",
        ),
        named(
            send(ANN, envelope(RELEASE, "m6", "Commitment", &commitment)),
            "6_commit",
            "Commit: the session is resolved",
        ),
        named(
            send(ANN, envelope(RELEASE, "m6", "Commitment", &commitment)),
            "7_again",
            "The same message again: a duplicate, and nothing happens",
        ),
        named(send(ANN, signal()), "8_signal", "An ambient signal"),
        rpc("/macp/v1/StreamSession", BOB, json!({ "subscribe_session_id": RELEASE, "after_sequence": 1 })),
        Step { events: 1, meanwhile: Some(signal()), ..rpc("/macp/v1/WatchSignals", BOB, json!({})) },
        get("/macp/v1/sessions", ANN, &[("state", "RESOLVED"), ("page_size", "10")]),
        get("/macp/v1/sessions/{session_id}", ANN, &[("session_id", RELEASE)]),
        get(
            "/macp/v1/sessions/{session_id}/envelopes",
            BOB,
            &[("session_id", RELEASE), ("after", "1"), ("limit", "2")],
        ),
        get(
            "/macp/v1/sessions/{session_id}/envelopes/{sequence}",
            BOB,
            &[("session_id", RELEASE), ("sequence", "2")],
        ),
        named(
            get("/macp/v1/sessions/{session_id}/events", BOB, &[("session_id", RELEASE), ("after", "2")]),
            "stream",
            "A stream, to the end of the session",
        ),
        named(
            Step {
                accept: "application/json",
                ..get(
                    "/macp/v1/sessions/{session_id}/events",
                    BOB,
                    &[("session_id", RELEASE), ("after", "2")],
                )
            },
            "poll",
            "What there is now, for clients that poll",
        ),
        get("/macp/v1/sessions/{session_id}/receipt", ANN, &[("session_id", RELEASE)]),
        get("/macp/v1/modes", "", &[]),
        get("/macp/v1/roots", "", &[]),
        get("/macp/v1/manifest", "", &[]),
        get("/macp/v1/policies", ANN, &[("mode", "macp.mode.decision.v1")]),
        get("/macp/v1/policies/{policy_id}", ANN, &[("policy_id", "policy.std.majority")]),
        rpc("/macp/session/start", ANN, start(TALK, "shorter paths")["envelope"].clone()),
        rpc("/macp/envelope", BOB, envelope(TALK, "m2", "Proposal", &proposal)["envelope"].clone()),
        get("/macp/session/{session_id}", ANN, &[("session_id", TALK)]),
        Step {
            parameters: &[("session_id", TALK)],
            ..rpc("/macp/session/{session_id}/cancel", ANN, json!({ "reason": "that was all" }))
        },
        get("/macp/session/{session_id}/events", ANN, &[("session_id", TALK)]),
        rpc("/macp/v1/GetDecisionReceipt", ANN, of(RELEASE)),
        rpc("/macp/v1/WhatIfReplay", ANN, json!({ "session_id": RELEASE, "candidate": policy() })),
        named(send(ANN, start(LUNCH, "where to eat?")), "", ""),
        rpc("/macp/v1/SuspendSession", ANN, json!({ "session_id": LUNCH, "reason": "phone call" })),
        rpc("/macp/v1/ResumeSession", ANN, json!({ "session_id": LUNCH, "reason": "back" })),
        rpc("/macp/v1/CancelSession", ANN, json!({ "session_id": LUNCH, "reason": "not hungry" })),
        rpc("/macp/v1/RegisterPolicy", ANN, json!({ "policy_descriptor": policy() })),
        rpc("/macp/v1/GetPolicy", ANN, json!({ "policy_id": "policy.example.two-thirds" })),
        rpc("/macp/v1/ListPolicies", ANN, json!({ "mode": "macp.mode.decision.v1" })),
        Step { events: 1, ..rpc("/macp/v1/WatchPolicies", ANN, json!({})) },
        rpc("/macp/v1/UnregisterPolicy", ANN, json!({ "policy_id": "policy.example.two-thirds" })),
        rpc("/macp/v1/RegisterExtMode", ANN, json!({ "mode_descriptor": mode() })),
        rpc("/macp/v1/ListExtModes", "", json!({})),
        Step { events: 1, ..rpc("/macp/v1/WatchModeRegistry", "", json!({})) },
        Step { events: 1, ..rpc("/macp/v1/WatchRoots", "", json!({})) },
        rpc("/macp/v1/UnregisterExtMode", ANN, json!({ "mode": "ext.review.v1" })),
        named(rpc("/macp/v1/RegisterExtMode", ANN, json!({ "mode_descriptor": mode() })), "", ""),
        rpc(
            "/macp/v1/PromoteMode",
            ANN,
            json!({ "mode": "ext.review.v1", "promoted_mode_name": "macp.mode.review.v1" }),
        ),
    ]
}
