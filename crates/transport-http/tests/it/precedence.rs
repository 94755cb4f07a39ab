//! The order in which a request is refused: every row of the table, and every pair of faults.

use axum::body::Body;
use http::{Method as Verb, Request};
use macp_engine::{Method, MethodKind};

use crate::support::{ALICE, Answer, Gateway, gateway_with, post, with, without};

const CAP: usize = 1000;

/// A request before it is built, so that faults can be combined.
struct Draft {
    verb: Verb,
    path: String,
    content_type: &'static str,
    accept: &'static str,
    authorization: &'static str,
    body: Vec<u8>,
}

impl Draft {
    fn of(method: Method) -> Self {
        Self {
            verb: Verb::POST,
            path: format!("/macp/v1/{}", method.name()),
            content_type: "application/json",
            accept: "text/event-stream",
            authorization: "Bearer agent://alice",
            body: br#"{"subscribe_session_id":"nope","session_id":"nope"}"#.to_vec(),
        }
    }

    fn build(self) -> Request<Body> {
        Request::builder()
            .method(self.verb)
            .uri(self.path)
            .header("content-type", self.content_type)
            .header("accept", self.accept)
            .header("authorization", self.authorization)
            .body(self.body.into())
            .unwrap()
    }
}

struct Fault {
    name: &'static str,
    status: u16,
    code: Option<&'static str>,
    put: fn(&mut Draft),
}

/// In order of precedence; the last is the handler's own refusal of a request without any fault.
const FAULTS: &[Fault] = &[
    Fault { name: "OPTIONS", status: 204, code: None, put: |draft| draft.verb = Verb::OPTIONS },
    Fault { name: "path", status: 404, code: None, put: |draft| draft.path.push('x') },
    Fault {
        name: "verb",
        status: 405,
        code: None,
        put: |draft| {
            if draft.verb != Verb::OPTIONS {
                draft.verb = Verb::PUT;
            }
        },
    },
    Fault { name: "type", status: 415, code: None, put: |draft| draft.content_type = "text/plain" },
    Fault { name: "accept", status: 406, code: None, put: |draft| draft.accept = "application/json" },
    Fault {
        name: "credential",
        status: 401,
        code: Some("UNAUTHENTICATED"),
        put: |draft| draft.authorization = "Basic eDp5",
    },
    Fault {
        name: "size",
        status: 413,
        code: Some("PAYLOAD_TOO_LARGE"),
        put: |draft| draft.body = vec![b' '; CAP + 1],
    },
    Fault {
        name: "json",
        status: 400,
        code: Some("INVALID_REQUEST"),
        put: |draft| {
            if draft.body.len() <= CAP {
                draft.body = b"{".to_vec();
            }
        },
    },
    Fault { name: "none", status: 404, code: Some("SESSION_NOT_FOUND"), put: |_| {} },
];

fn check(fault: &Fault, answer: &Answer) {
    assert_eq!(answer.status, fault.status, "{}", fault.name);
    match fault.code {
        Some(code) => assert_eq!(answer.code(), code, "{}", fault.name),
        None => answer.is_bare(fault.status),
    }
    let allow = answer.headers.get("allow").map(|allow| allow.to_str().unwrap());
    assert_eq!(allow, (fault.status == 405).then_some("POST"));
}

async fn small() -> Gateway {
    gateway_with(|options| options.max_body_bytes = CAP).await
}

#[tokio::test]
async fn the_first_of_two_faults_is_the_answer() {
    let gateway = small().await;
    for method in [Method::StreamSession, Method::GetSession] {
        for (at, first) in FAULTS.iter().enumerate() {
            for second in &FAULTS[at..] {
                let unary = method.kind() == MethodKind::Unary;
                let first_of = if unary && first.name == "accept" { second } else { first };
                if unary && first_of.name == "accept" {
                    continue;
                }
                let mut draft = Draft::of(method);
                (first.put)(&mut draft);
                (second.put)(&mut draft);
                check(first_of, &gateway.ask(draft.build()).await);
            }
        }
    }
}

#[tokio::test]
async fn all_faults_at_once_fall_away_one_by_one() {
    let gateway = small().await;
    for at in 0..FAULTS.len() {
        let mut draft = Draft::of(Method::StreamSession);
        for fault in &FAULTS[at..] {
            (fault.put)(&mut draft);
        }
        check(&FAULTS[at], &gateway.ask(draft.build()).await);
    }
}

#[tokio::test]
async fn every_verb_but_post_is_405() {
    let gateway = small().await;
    for method in Method::ALL {
        for verb in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "PURGE"] {
            let mut draft = Draft::of(*method);
            draft.verb = verb.parse().unwrap();
            let answer = gateway.ask(draft.build()).await;
            answer.is_bare(405);
            assert_eq!(answer.headers["allow"], "POST");
        }
    }
}

#[tokio::test]
async fn only_the_exact_path_is_a_call() {
    // What would be a capture elsewhere is matched as it is written here.
    for prefix in ["/base/%7Bx%7D", "/:base/*x", "/base/{x}"] {
        let gateway = gateway_with(|options| options.prefix = prefix.to_owned()).await;
        for path in ["/macp/v1/ListModes".to_owned(), format!("{prefix}/macp/v1/ListModes")] {
            assert_eq!(gateway.ask(post(&path, "", "{}")).await.status, 200, "{path}");
            assert_eq!(gateway.ask(post(&format!("{path}?a=b"), "", "{}")).await.status, 200, "{path}");
        }
    }
    let gateway = gateway_with(|options| options.prefix = "/base/{x}".to_owned()).await;
    for path in [
        "/",
        "/macp/v1",
        "/macp/v1/",
        "/macp/v1/listmodes",
        "/macp/v1/ListModes/",
        "/macp/v1//ListModes",
        "/macp/v1/%4cistModes",
        "/macp/v1/%4CistModes",
        "/macp/v1/Nope",
        "/macp/v2/ListModes",
        "/MACP/v1/ListModes",
        "/base/other/macp/v1/ListModes",
        "/base/macp/v1/ListModes",
        "/macp/v1/{method}",
        "/.well-known/macp",
    ] {
        gateway.ask(post(path, ALICE, "{}")).await.is_bare(404);
    }
}

#[tokio::test]
async fn the_credential_is_judged_without_the_body() {
    let gateway = small().await;
    let never = Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let answer = gateway.ask(post("/macp/v1/Send", "", never)).await;
    assert_eq!(answer.code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn headers_by_rule() {
    let gateway = small().await;
    let list = |sender| post("/macp/v1/ListSessions", sender, "{}");
    let retyped = |value: &str| with(without(list(ALICE), "content-type"), "content-type", value);
    for (name, request, status) in [
        ("charset", retyped("application/json; charset=UTF-8"), 200),
        ("other charset", retyped("application/json; charset=latin1"), 415),
        ("envelope type", retyped("application/macp-envelope+json"), 415),
        ("no type", without(list(ALICE), "content-type"), 415),
        ("two types", with(list(ALICE), "content-type", "application/json"), 415),
        ("accept of a unary call", with(list(ALICE), "accept", "text/html"), 200),
        ("lower-case scheme", with(list(""), "authorization", "bearer agent://alice"), 401),
        ("two credentials", with(list(ALICE), "authorization", "Bearer agent://alice"), 401),
        ("token header", with(list(""), "x-macp-token", "agent://alice"), 401),
        ("cookie", with(list(""), "cookie", "token=agent://alice"), 401),
        ("query", post("/macp/v1/ListSessions?access_token=agent://alice", "", "{}"), 401),
    ] {
        let answer = gateway.ask(request).await;
        assert_eq!(answer.status, status, "{name}");
        assert!(!answer.headers.contains_key("set-cookie"));
    }
}
