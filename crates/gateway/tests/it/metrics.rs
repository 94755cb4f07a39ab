//! `/metrics`: its families, what traffic does to them, and on which listener they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use http::Request;
use serde_json::json;

use crate::fakes::{Agent, Grpc, Http, Session, Ws, accepted, next, whole};
use crate::process::Gateway;

const SENDER: &str = "agent://metrics-sender";

/// `GET` of a path: status and text.
async fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    let request = Request::get(format!("http://{addr}{path}")).body(whole("")).unwrap();
    let answer = Http::agent(addr, "").ask(request).await.unwrap();
    (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
}

/// The samples of a scrape, by what stands before the value.
async fn scrape(addr: SocketAddr) -> BTreeMap<String, f64> {
    let (status, text) = get(addr, "/metrics").await;
    assert_eq!(status, 200);
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

fn value(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    samples.get(name).copied().unwrap_or_else(|| panic!("no {name}"))
}

/// Each family with its type and the names of its labels. What is measured of the process is the library's affair.
fn families(text: &str) -> BTreeSet<String> {
    let kinds: BTreeMap<_, _> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let family = kinds.keys().find(|family| {
            name.strip_prefix(**family).is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
        });
        let names = labels.entry(family.unwrap_or_else(|| panic!("{line} is in no family"))).or_default();
        if line.contains('{') {
            names.extend(rest.split("\",").filter_map(|pair| Some(pair.split_once("=\"")?.0)));
        }
    }
    let family = |(name, kind): (&&str, &&str)| {
        let labels: Vec<_> = labels[*name].iter().filter(|label| **label != "le").copied().collect();
        format!("{name} {kind} {}", labels.join(",")).trim_end().to_owned()
    };
    kinds.iter().filter(|(name, _)| name.starts_with("macp_")).map(family).collect()
}

#[tokio::test]
async fn families_are_those_of_the_list() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = Gateway::on(directory.path(), &[]).await;
    let session = Session::new();
    let mut agent = Http::agent(gateway.http, SENDER);
    accepted(&mut agent, &session.start(&[SENDER])).await;
    accepted(&mut agent, &session.proposal("p1")).await;
    assert!(agent.send(&session.proposal("")).await.is_ok_and(|ack| !ack.ok));
    agent.call("CancelSession", &json!({ "session_id": session.id })).await.unwrap();
    drop(Ws::agent(gateway.http, SENDER).call("ListSessions", &json!({})).await.unwrap());
    let closed = async || get(gateway.http, "/metrics").await.1.contains("macp_websocket_closes_total{");
    while !closed().await {}

    let (_, text) = get(gateway.http, "/metrics").await;
    let golden: BTreeSet<_> = include_str!("../data/metrics.txt").lines().map(str::to_owned).collect();
    let found = families(&text);
    let shown = found.iter().cloned().collect::<Vec<_>>().join("\n");
    assert_eq!(found, golden, "tests/data/metrics.txt would be:\n{shown}\n");
    for process in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
        assert!(text.contains(&format!("\n{process} ")), "{process}");
    }
    // The operator's page tells of each.
    let page = include_str!("../../../../docs/operations.md");
    for family in &golden {
        let name = family.split(' ').next().unwrap();
        assert!(page.contains(&format!("`{name}")), "{name} is not in docs/operations.md");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn traffic_is_counted_where_it_belongs() {
    let gateway = Gateway::start().await;
    let session = Session::new();
    let mut grpc = Grpc::agent(gateway.grpc, SENDER);
    let mut http = Http::agent(gateway.http, SENDER);
    let mut ws = Ws::agent(gateway.http, SENDER);
    accepted(&mut grpc, &session.start(&[SENDER])).await;
    let mut feeds = Vec::new();
    for agent in [&mut grpc as &mut dyn Agent, &mut http, &mut ws] {
        let mut feed = agent.observe(&session.id, 0).await.unwrap();
        next(&mut feed, 1).await;
        feeds.push(feed);
    }
    let resumed = http.observe(&session.id, 1).await.unwrap();
    let proposal = session.proposal("p1");
    accepted(&mut ws, &proposal).await;
    assert!(http.send(&proposal).await.unwrap().duplicate);
    let outsider = Http::agent(gateway.http, "agent://outsider").send(&session.proposal("p2")).await.unwrap();
    assert_eq!(outsider.error.unwrap().code, "FORBIDDEN");
    let anonymous = Http::agent(gateway.http, "").call("ListSessions", &json!({})).await;
    assert!(anonymous.is_err());
    for feed in &mut feeds {
        next(feed, 1).await;
    }

    let samples = scrape(gateway.http).await;
    let of = |message_type: &str, outcome: &str| {
        format!(
            "{{macp_mode_id=\"{}\",macp_message_type=\"{message_type}\",macp_envelope_outcome=\"{outcome}\"}}",
            proposal.mode
        )
    };
    let processed = |message_type, outcome| {
        value(&samples, &format!("macp_envelope_processed_total{}", of(message_type, outcome)))
    };
    assert_eq!(processed("SessionStart", "accepted"), 1.0);
    assert_eq!(processed("Proposal", "accepted"), 1.0);
    assert_eq!(processed("Proposal", "duplicate"), 1.0);
    assert_eq!(processed("Proposal", "rejected"), 1.0);
    let took = format!("macp_envelope_process_duration_seconds_sum{}", of("Proposal", "accepted"));
    assert!((0.0..10.0).contains(&value(&samples, &took)) && value(&samples, &took) > 0.0);
    let refused = |code| {
        value(&samples, &format!("macp_refusals_total{{transport=\"http\",macp_error_code=\"{code}\"}}"))
    };
    assert_eq!((refused("FORBIDDEN"), refused("UNAUTHENTICATED")), (1.0, 1.0));
    for (transport, streams) in [("grpc", 1.0), ("http", 2.0), ("websocket", 1.0)] {
        let name = format!("macp_streams{{transport=\"{transport}\",kind=\"session\"}}");
        assert_eq!(value(&samples, &name), streams, "{transport}");
        let name = format!("macp_envelopes_delivered_total{{transport=\"{transport}\"}}");
        assert!(value(&samples, &name) >= 2.0, "{transport}");
    }
    assert_eq!(value(&samples, "macp_subscription_resumes_total{transport=\"http\"}"), 1.0);
    // One to follow on, one to send on.
    assert_eq!(value(&samples, "macp_connections{protocol=\"websocket\"}"), 2.0);
    assert!(value(&samples, "macp_connections{protocol=\"http2\"}") >= 1.0);
    let open = |samples: &BTreeMap<String, f64>| {
        value(samples, "macp_sessions{macp_session_state=\"SESSION_STATE_OPEN\"}")
    };
    assert_eq!(open(&samples), 1.0);
    assert!(value(&samples, "macp_tokio_alive_tasks") >= 1.0);
    // What is metered has no names of people and things in it.
    let (_, text) = get(gateway.http, "/metrics").await;
    for secret in [session.id.as_str(), SENDER, "outsider", proposal.message_id.as_str()] {
        assert!(!text.contains(secret), "{secret}");
    }

    drop((feeds, resumed));
    http.call("CancelSession", &json!({ "session_id": session.id })).await.unwrap();
    let samples = scrape(gateway.http).await;
    assert_eq!(open(&samples), 0.0);
    let cancelled = format!(
        "macp_session_transitions_total{{macp_mode_id=\"{}\",macp_operation_name=\"cancel\"}}",
        proposal.mode
    );
    assert_eq!(value(&samples, &cancelled), 1.0);
    drop(ws);
    gateway.stop().await;
}

#[tokio::test]
async fn hostile_names_make_no_series() {
    let gateway = Gateway::start().await;
    let mut agent = Http::agent(gateway.http, SENDER);
    let send = async |agent: &mut Http, number: usize| {
        for (mode, message_type) in [
            (format!("ext.hostile-{number}"), "Proposal".to_owned()),
            ("macp.mode.decision.v1".to_owned(), format!("Hostile{number}")),
            (format!("ext.hostile\"}} 1\n{number}"), format!("T{}", "x".repeat(10_000))),
        ] {
            let mut envelope = Session::new().proposal("p");
            (envelope.mode, envelope.message_type) = (mode, message_type);
            assert!(!agent.send(&envelope).await.unwrap().ok);
        }
    };
    send(&mut agent, 0).await;
    let before: Vec<_> = scrape(gateway.http).await.into_keys().collect();
    for number in 1..100 {
        send(&mut agent, number).await;
    }
    let samples = scrape(gateway.http).await;
    let after: Vec<_> = samples.keys().cloned().collect();
    assert_eq!(before, after);
    assert!(!after.iter().any(|name| name.to_lowercase().contains("hostile")), "{after:?}");
    let others = "macp_envelope_processed_total{macp_mode_id=\"_OTHER\",macp_message_type=\"_OTHER\",\
                  macp_envelope_outcome=\"rejected\"}";
    assert_eq!(value(&samples, others), 200.0);
    gateway.stop().await;
}

#[tokio::test]
async fn operators_have_a_listener_of_their_own() {
    for name in ["MACP_ADMIN_BIND_ADDR", "MACP_METRICS_ADDR"] {
        let gateway = Gateway::with(&[(name, "127.0.0.1:0")]).await;
        let line = gateway.logs("admin_addr=").await;
        let admin = line.split("admin_addr=").nth(1).unwrap().trim().parse().unwrap();
        for path in ["/metrics", "/livez", "/readyz", "/healthz"] {
            assert_eq!(get(admin, path).await.0, 200, "{path}");
        }
        for path in ["/", "/docs", "/openapi.json", "/.well-known/macp.json", "/macp/v1/sessions"] {
            assert_eq!(get(admin, path).await.0, 404, "{path}");
        }
        assert!(Grpc::agent(admin, SENDER).call("ListSessions", &json!({})).await.is_err());
        assert!(Http::agent(admin, SENDER).call("ListSessions", &json!({})).await.is_err());
        for listener in gateway.ports() {
            assert_eq!(get(listener, "/metrics").await.0, 404);
            assert_eq!(get(listener, "/readyz").await.0, 200);
            assert_eq!(get(listener, "/healthz").await.0, 200);
        }
        gateway.stop().await;
    }
    // Without one, they are on the others.
    let gateway = Gateway::start().await;
    for listener in gateway.ports() {
        assert_eq!(get(listener, "/metrics").await.0, 200);
    }
    gateway.stop().await;
}
