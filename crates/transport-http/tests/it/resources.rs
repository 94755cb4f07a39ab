//! Resources: what each answers, who may ask, paging, filters, validators, and how a request is refused.

use axum::body::Body;
use http::{Method as Verb, Request};
use macp_wire::v1::Envelope;
use prost::Message as _;
use serde_json::{Value, json};

use crate::support::{
    ALICE, Answer, BOB, Gateway, by, commit, gateway, gateway_with, propose, session_id, with,
};

pub(crate) fn get(path: &str, sender: &str) -> Request<Body> {
    let request = Request::get(path);
    let request =
        if sender.is_empty() { request } else { request.header("authorization", format!("Bearer {sender}")) };
    request.body(Body::empty()).unwrap()
}

async fn read(gateway: &Gateway, path: &str, sender: &str) -> Value {
    let answer = gateway.ask(get(path, sender)).await;
    assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
    answer.json()
}

#[tokio::test]
async fn each_answers_what_its_call_answers() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    gateway.accept(ALICE, &propose(&session, "m1")).await;
    gateway.accept(ALICE, &commit(&session, "m2")).await;
    for (path, sender, method, request) in [
        (format!("/macp/v1/sessions/{session}"), BOB, "GetSession", json!({ "session_id": session })),
        (format!("/macp/session/{session}"), BOB, "GetSession", json!({ "session_id": session })),
        ("/macp/v1/sessions".into(), ALICE, "ListSessions", json!({})),
        (
            format!("/macp/v1/sessions/{session}/receipt"),
            BOB,
            "GetDecisionReceipt",
            json!({ "session_id": session }),
        ),
        ("/macp/v1/modes".into(), "", "ListModes", json!({})),
        ("/macp/v1/policies".into(), BOB, "ListPolicies", json!({})),
        (
            "/macp/v1/policies?mode=macp.mode.decision.v1".into(),
            BOB,
            "ListPolicies",
            json!({"mode": "macp.mode.decision.v1"}),
        ),
        ("/macp/v1/policies/policy.default".into(), BOB, "GetPolicy", json!({"policy_id": "policy.default"})),
        (
            "/macp/v1/policies/policy%2Edefault".into(),
            BOB,
            "GetPolicy",
            json!({"policy_id": "policy.default"}),
        ),
        ("/macp/v1/roots".into(), "", "ListRoots", json!({})),
        ("/macp/v1/manifest".into(), "", "GetManifest", json!({})),
        (
            "/macp/v1/manifest?agent_id=macp-gateway".into(),
            "",
            "GetManifest",
            json!({"agent_id": "macp-gateway"}),
        ),
    ] {
        let answer = gateway.call(method, sender, &request).await;
        assert_eq!(answer.status, 200, "{method}");
        assert_eq!(read(&gateway, &path, sender).await, answer.json(), "{path}");
        // A credential is not looked at where none is needed.
        if sender.is_empty() {
            read(&gateway, &path, "agent://anyone").await;
        }
        let head = gateway.ask(by(get(&path, sender), Verb::HEAD)).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0), "{path}");
    }
}

/// A request with one fault, and what becomes of it.
struct Refused {
    name: &'static str,
    request: Request<Body>,
    status: u16,
    /// Empty for a status of HTTP itself.
    code: &'static str,
    session: &'static str,
}

#[tokio::test]
async fn how_requests_are_refused() {
    let gateway = gateway_with(|options| options.prefix = "/p".into()).await;
    let session = gateway.start(1).await;
    let one = |rest: &str| format!("/macp/v1/sessions/{session}{rest}");
    let own: &'static str = Box::leak(session.clone().into_boxed_str());
    let refused = |name, request, status, code, session| Refused { name, request, status, code, session };
    let anonymous =
        ["/macp/v1/sessions", "/macp/v1/policies", "/macp/v1/policies/x", "/p/macp/v1/sessions/x"];
    let mut table: Vec<_> = anonymous
        .iter()
        .map(|path| refused("anonymous", get(path, ""), 401, "UNAUTHENTICATED", ""))
        .collect();
    for rest in ["", "/envelopes", "/envelopes/1", "/events", "/receipt"] {
        table.push(refused("anonymous", get(&one(rest), ""), 401, "UNAUTHENTICATED", ""));
        table.push(refused("stranger", get(&one(rest), "agent://eve"), 403, "FORBIDDEN", own));
        let unknown = format!("/macp/v1/sessions/nope{rest}");
        table.push(refused("unknown", get(&unknown, ALICE), 404, "SESSION_NOT_FOUND", "nope"));
        table.push(refused("query", get(&one(&format!("{rest}?x=1")), ALICE), 400, "INVALID_REQUEST", ""));
        table.push(refused("slash", get(&one(&format!("{rest}/")), ALICE), 404, "", ""));
    }
    let long = format!("/macp/v1/sessions/{}", "x".repeat(5000));
    for (name, path, code, about) in [
        ("state", "/macp/v1/sessions?state=open".to_owned(), "INVALID_REQUEST", ""),
        ("second state", "/macp/v1/sessions?state=OPEN,".into(), "INVALID_REQUEST", ""),
        ("two modes", "/macp/v1/sessions?mode=a&mode=b".into(), "INVALID_REQUEST", ""),
        ("page size", "/macp/v1/sessions?page_size=x".into(), "INVALID_REQUEST", ""),
        ("negative page size", "/macp/v1/sessions?page_size=-1".into(), "INVALID_REQUEST", ""),
        ("page token", "/macp/v1/sessions?page_token=zzz".into(), "INVALID_REQUEST", ""),
        ("mistyped filter", "/macp/v1/sessions?participants=a".into(), "INVALID_REQUEST", ""),
        ("not UTF-8", "/macp/v1/sessions/%ff".into(), "INVALID_REQUEST", ""),
        ("after", one("/envelopes?after=x"), "INVALID_REQUEST", own),
        ("negative after", one("/envelopes?after=-2"), "INVALID_REQUEST", own),
        ("limit 0", one("/envelopes?limit=0"), "INVALID_REQUEST", own),
        ("limit", one("/envelopes?limit=many"), "INVALID_REQUEST", own),
        ("two limits", one("/envelopes?limit=1&limit=1"), "INVALID_REQUEST", own),
        ("no ordinal", one("/envelopes/x"), "INVALID_REQUEST", own),
        ("events after", one("/events?after=-2"), "INVALID_REQUEST", own),
    ] {
        table.push(refused(name, get(&path, ALICE), 400, code, about));
    }
    for (name, path, status, code, about) in [
        ("long id", long.as_str(), 404, "SESSION_NOT_FOUND", ""),
        ("policy", "/macp/v1/policies/nope", 404, "UNKNOWN_POLICY_VERSION", ""),
        ("agent", "/macp/v1/manifest?agent_id=nope", 404, "AGENT_NOT_FOUND", ""),
        ("receipt of an open session", &one("/receipt"), 409, "RECEIPT_UNAVAILABLE", own),
        ("ordinal to come", &one("/envelopes/2"), 404, "", ""),
        ("ordinal 0", &one("/envelopes/0"), 404, "", ""),
        ("empty id", "/macp/v1/sessions//events", 404, "SESSION_NOT_FOUND", ""),
        ("case", "/macp/v1/Sessions", 404, "", ""),
        ("deeper", &one("/receipt/x"), 404, "", ""),
    ] {
        table.push(refused(name, get(path, ALICE), status, code, about));
    }
    let basic = with(get("/macp/v1/sessions", ""), "authorization", "Basic eDp5");
    table.push(refused("basic", basic, 401, "UNAUTHENTICATED", ""));
    let two = with(get("/macp/v1/sessions", ALICE), "authorization", "Bearer x");
    table.push(refused("two credentials", two, 401, "UNAUTHENTICATED", ""));
    for Refused { name, request, status, code, session: about } in table {
        let uri = request.uri().clone();
        let answer = gateway.ask(request).await;
        if code.is_empty() {
            answer.is_bare(status);
            continue;
        }
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{name} {uri}");
        if name != "long id" {
            assert_eq!(answer.json()["error"]["session_id"], about, "{name} {uri}");
        }
    }
}

#[tokio::test]
async fn the_first_fault_is_the_answer() {
    let gateway = gateway().await;
    for (path, allow, types) in [
        ("/macp/v1/sessions", "GET, HEAD", json!(["application/json"])),
        ("/macp/v1/modes", "GET, HEAD", json!(["application/json"])),
        ("/macp/v1/sessions/nope/events", "GET, HEAD", json!(["text/event-stream", "application/json"])),
        (
            "/macp/v1/sessions/nope/envelopes/1",
            "GET, HEAD",
            json!(["application/json", "application/macp-envelope+json", "application/macp-envelope+proto"]),
        ),
    ] {
        // Everything is wrong, and then one thing less each time.
        let faulty = |accept: &str| with(get(&format!("{path}?x=1"), ""), "accept", accept);
        gateway.ask(by(faulty("text/html"), Verb::OPTIONS)).await.is_bare(204);
        for verb in [Verb::POST, Verb::PUT, Verb::DELETE, Verb::PATCH] {
            let answer = gateway.ask(by(faulty("text/html"), verb)).await;
            answer.is_bare(405);
            assert_eq!(answer.headers["allow"], allow);
        }
        let answer = gateway.ask(faulty("text/html")).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (406, json!({"available": types})), "{path}");
        assert!(!answer.headers.contains_key("macp-error-code"));
        // The query may hold the credential, so it is read first there.
        if path != "/macp/v1/modes" && !path.ends_with("/events") {
            assert_eq!(gateway.ask(faulty("*/*")).await.code(), "UNAUTHENTICATED", "{path}");
        }
        let known = with(faulty("*/*"), "authorization", &format!("Bearer {ALICE}"));
        assert_eq!(gateway.ask(known).await.code(), "INVALID_REQUEST", "{path}");
    }
}

/// Follows `Link` from page to page; the ids on each, by their number.
async fn pages(gateway: &Gateway, first: &str, sender: &str) -> Vec<Vec<u32>> {
    let mut pages = Vec::new();
    let mut path = first.to_owned();
    loop {
        let answer = gateway.ask(get(&path, sender)).await;
        assert_eq!(answer.status, 200, "{path} {:?}", answer.body);
        let body = answer.json();
        let id =
            |session: &Value| u32::from_str_radix(&session["session_id"].as_str().unwrap()[..8], 16).unwrap();
        pages.push(body["sessions"].as_array().unwrap().iter().map(id).collect());
        let token = body["next_page_token"].as_str().unwrap();
        match next_link(&answer) {
            Some(reference) => {
                assert!(reference.contains(token) && !token.is_empty(), "{reference} {token}");
                path = format!("/macp/v1/sessions{reference}");
            }
            None => {
                assert_eq!(token, "");
                return pages;
            }
        }
    }
}

fn next_link(answer: &Answer) -> Option<String> {
    let link = answer.headers.get("link")?.to_str().unwrap();
    let reference = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\"")).expect(link);
    Some(reference.to_owned())
}

#[tokio::test]
async fn listings_have_pages_and_filters() {
    let gateway = gateway().await;
    for id in 1..=5 {
        gateway.start(id).await;
    }
    let eve = "agent://eve";
    let mut foreign = crate::support::start(&session_id(6), 600_000);
    foreign["mode"] = json!("macp.mode.quorum.v1");
    foreign["payload"]["participants"] = json!([ALICE, eve]);
    gateway.accept(eve, &foreign).await;
    gateway.call("CancelSession", ALICE, &json!({"session_id": session_id(2)})).await;
    gateway.call("SuspendSession", ALICE, &json!({"session_id": session_id(3)})).await;
    for (query, sender, expected) in [
        ("", ALICE, vec![vec![1, 2, 3, 4, 5, 6]]),
        ("?page_size=4", ALICE, vec![vec![1, 2, 3, 4], vec![5, 6]]),
        ("?page_size=6", ALICE, vec![vec![1, 2, 3, 4, 5, 6]]),
        ("?page_size=2&state=OPEN", ALICE, vec![vec![1, 4], vec![5, 6]]),
        ("?state=SESSION_STATE_CANCELLED", ALICE, vec![vec![2]]),
        ("?state=CANCELLED,SUSPENDED", ALICE, vec![vec![2, 3]]),
        ("?state=CANCELLED&state=SUSPENDED", ALICE, vec![vec![2, 3]]),
        ("?state=EXPIRED", ALICE, vec![vec![]]),
        ("?mode=macp.mode.quorum.v1", ALICE, vec![vec![6]]),
        ("?mode=nope", ALICE, vec![vec![]]),
        ("?participant=agent%3A%2F%2Feve", ALICE, vec![vec![6]]),
        ("?participant=agent://bob&state=OPEN&page_size=2", ALICE, vec![vec![1, 4], vec![5]]),
        ("?participant=agent://bob&mode=macp.mode.quorum.v1", ALICE, vec![vec![]]),
        // A filter widens nothing.
        ("?participant=agent://alice", eve, vec![vec![6]]),
        ("", "agent://nobody", vec![vec![]]),
    ] {
        let found = pages(&gateway, &format!("/macp/v1/sessions{query}"), sender).await;
        assert_eq!(found, expected, "{query}");
    }
}

#[tokio::test]
async fn a_session_has_a_validator() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let path = format!("/macp/v1/sessions/{session}");
    let mut seen = Vec::new();
    for step in ["start", "proposal", "suspend", "resume", "cancel"] {
        match step {
            "proposal" => gateway.accept(BOB, &propose(&session, "m1")).await,
            "suspend" => drop(gateway.call("SuspendSession", ALICE, &json!({"session_id": session})).await),
            "resume" => {
                // A pause that takes no time at all changes nothing.
                let before = gateway.engine.now();
                while gateway.engine.now() == before {
                    tokio::task::yield_now().await;
                }
                drop(gateway.call("ResumeSession", ALICE, &json!({"session_id": session})).await);
            }
            "cancel" => drop(gateway.call("CancelSession", ALICE, &json!({"session_id": session})).await),
            _ => {}
        }
        let answer = gateway.ask(get(&path, ALICE)).await;
        let etag = answer.headers["etag"].to_str().unwrap().to_owned();
        assert!(!seen.contains(&etag), "{step}: {etag} {seen:?}");
        let head = if step == "start" { "1" } else { "2" };
        assert_eq!(answer.headers["macp-high-water-sequence"], head, "{step}");
        assert_eq!(answer.headers["cache-control"], "private, no-cache");
        for (known, status) in [
            (etag.clone(), 304),
            (format!("W/{etag}"), 304),
            (format!("\"x\", {etag}"), 304),
            ("*".into(), 304),
            ("\"x\"".into(), 200),
            (seen.last().cloned().unwrap_or("\"\"".into()), 200),
        ] {
            let again = gateway.ask(with(get(&path, ALICE), "if-none-match", &known)).await;
            assert_eq!(again.status, status, "{step}: {known} of {etag}");
            assert_eq!(again.headers["etag"], etag);
            assert_eq!(again.body.is_empty(), status == 304);
        }
        seen.push(etag);
    }
    let stranger = with(get(&path, "agent://eve"), "if-none-match", "*");
    assert_eq!(gateway.ask(stranger).await.code(), "FORBIDDEN", "a validator is no credential");
}

#[tokio::test]
async fn history_has_pages() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    for id in 1..=4 {
        gateway.accept(BOB, &propose(&session, &format!("m{id}"))).await;
    }
    let base = format!("/macp/v1/sessions/{session}/envelopes");
    for (query, expected) in [
        ("", vec![vec![1, 2, 3, 4, 5]]),
        ("?after=-1", vec![vec![1, 2, 3, 4, 5]]),
        ("?limit=2", vec![vec![1, 2], vec![3, 4], vec![5]]),
        ("?limit=5", vec![vec![1, 2, 3, 4, 5]]),
        ("?after=1&limit=3", vec![vec![2, 3, 4], vec![5]]),
        ("?after=5", vec![vec![]]),
        ("?after=9&limit=100000", vec![vec![]]),
        ("?after=9223372036854775807", vec![vec![]]),
    ] {
        let mut found: Vec<Vec<u64>> = Vec::new();
        let mut path = format!("{base}{query}");
        loop {
            let answer = gateway.ask(get(&path, BOB)).await;
            let body = answer.json();
            assert_eq!(body["high_water_sequence"], 5, "{path}");
            assert_eq!(body["state"], "SESSION_STATE_OPEN");
            let envelopes = body["envelopes"].as_array().unwrap();
            for one in envelopes {
                let id = format!("m{}", one["sequence"].as_u64().unwrap() - 1);
                assert_eq!(one["envelope"]["message_id"], id);
            }
            found.push(envelopes.iter().map(|one| one["sequence"].as_u64().unwrap()).collect());
            let Some(reference) = next_link(&answer) else { break };
            path = format!("{base}{reference}");
        }
        assert_eq!(found, expected, "{query}");
    }
}

#[tokio::test]
async fn a_page_of_history_is_bounded_by_bytes() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    for id in 1..=10 {
        let mut large = propose(&session, &format!("m{id}"));
        large["payload"]["rationale"] = json!("x".repeat((1 << 20) - 500));
        gateway.accept(BOB, &large).await;
    }
    let first = read(&gateway, &format!("/macp/v1/sessions/{session}/envelopes"), BOB).await;
    assert_eq!(first["envelopes"].as_array().unwrap().len(), 6, "the start, and what makes 4 MiB full");
}

#[tokio::test]
async fn an_envelope_comes_bare_in_each_media_type() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    gateway.accept(BOB, &propose(&session, "m1")).await;
    let path = format!("/macp/v1/sessions/{session}/envelopes/2");
    for (accept, media) in [
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/macp-envelope+json", "application/macp-envelope+json"),
        ("application/macp-envelope+proto", "application/macp-envelope+proto"),
        ("application/json;q=0.5, application/macp-envelope+proto", "application/macp-envelope+proto"),
        ("application/macp-envelope+proto;q=0.5, */*;q=0.1", "application/macp-envelope+proto"),
    ] {
        let answer = gateway.ask(with(get(&path, ALICE), "accept", accept)).await;
        assert_eq!(answer.headers["content-type"], media, "{accept}");
        let message_id = if media.ends_with("proto") {
            Envelope::decode(answer.body).unwrap().message_id
        } else {
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(body["payload"]["proposal_id"], "m1");
            body["message_id"].as_str().unwrap().to_owned()
        };
        assert_eq!(message_id, "m1", "{accept}");
    }
}

#[tokio::test]
async fn the_prefix_holds_for_resources_too() {
    let gateway = gateway_with(|options| options.prefix = "/{p}/q".into()).await;
    gateway.start(1).await;
    for prefix in ["", "/%7Bp%7D/q", "/{p}/q"] {
        let answer = gateway.ask(get(&format!("{prefix}/macp/v1/sessions"), ALICE)).await;
        // A path is matched as it was sent.
        assert_eq!(answer.status == 200, !prefix.contains("%7B"), "{prefix}");
    }
}
