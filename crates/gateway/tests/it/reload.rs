//! What the operator lists in files, read again while the gateway runs: who is told, how soon, and what a bad file does.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Request;
use macp_wire::gateway::v1::server_frame::Body as Answer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code as Status;

use crate::fakes::{Agent as _, Code, Grpc, Hints, Http, Session, Ws, accepted, everywhere, whole};
use crate::process::{Gateway, run};
use crate::wait::soon;

/// Within which watches are to be told, from the moment that a file is there.
const PROMPT: Duration = Duration::from_millis(100);

/// A directory with a file of each kind, and the settings that name them.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        for directory in ["policies", "manifests"] {
            std::fs::create_dir(files.0.path().join(directory)).unwrap();
        }
        files.roots(&["file:///one"]);
        files.policy("policy.first", "policies/1.json");
        files.write("manifests/a.json", &manifest("agent://a", "plans"));
        files.tokens(&["t"]);
        files.write("gateway.toml", &settings(&["https://one.example"]));
        files
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Replaces a file as careful programs do.
    fn write(&self, name: &str, text: &str) {
        let new = self.0.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.0.path().join(name)).unwrap();
    }

    fn roots(&self, uris: &[&str]) {
        let roots: Vec<_> = uris.iter().map(|uri| json!({ "uri": uri, "name": "n" })).collect();
        self.write("roots.json", &Value::from(roots).to_string());
    }

    fn policy(&self, id: &str, file: &str) {
        self.write(file, &policy(id, &json!({})));
    }

    /// Tokens whose senders are `agent://` and the token.
    fn tokens(&self, tokens: &[&str]) {
        let entry = |token: &&str| json!({ "token": token, "sender": format!("agent://{token}"), "can_manage_mode_registry": true });
        self.write("tokens.json", &tokens.iter().map(entry).collect::<Value>().to_string());
    }

    async fn serve(&self) -> Gateway {
        Gateway::with(&[
            ("MACP_CONFIG", &self.path("gateway.toml")),
            ("MACP_ROOTS_FILE", &self.path("roots.json")),
            ("MACP_AGENT_MANIFESTS_DIR", &self.path("manifests")),
            ("MACP_POLICIES_DIR", &self.path("policies")),
            ("MACP_AUTH_TOKENS_FILE", &self.path("tokens.json")),
        ])
        .await
    }
}

fn policy(id: &str, rules: &Value) -> String {
    json!({ "policy_id": id, "mode": "*", "description": "", "schema_version": 1, "rules": rules })
        .to_string()
}

fn manifest(id: &str, description: &str) -> String {
    json!({
        "agent_id": id,
        "description": description,
        "supported_modes": ["macp.mode.decision.v1"],
        "input_content_types": ["application/json"],
        "output_content_types": ["application/json"],
    })
    .to_string()
}

fn settings(origins: &[&str]) -> String {
    format!("http_cors_origins = {}\n", json!(origins))
}

async fn roots(gateway: &Gateway) -> Vec<String> {
    let answer = Http::agent(gateway.http, "").call("ListRoots", &json!({})).await.unwrap();
    answer["roots"].as_array().unwrap().iter().map(|root| root["uri"].as_str().unwrap().to_owned()).collect()
}

async fn policies(gateway: &Gateway, token: &str) -> Vec<String> {
    let answer = Http::agent(gateway.http, token).call("ListPolicies", &json!({})).await.unwrap();
    let ids = answer["descriptors"].as_array().unwrap().iter().map(|one| one["policy_id"].as_str().unwrap());
    // Those of every server are left out.
    ids.filter(|id| !id.starts_with("policy.std.") && *id != "policy.default").map(str::to_owned).collect()
}

/// The description of an agent, or the code of the refusal.
async fn description(gateway: &Gateway, id: &str) -> Result<String, Code> {
    let answer = Grpc::agent(gateway.grpc, "").call("GetManifest", &json!({ "agent_id": id })).await?;
    Ok(answer["manifest"]["description"].as_str().unwrap().to_owned())
}

/// Whether this token is accepted.
async fn is_good(gateway: &Gateway, token: &str) -> bool {
    Http::agent(gateway.http, token).call("ListSessions", &json!({})).await.is_ok()
}

/// Changes something until all watches are told promptly, which is at once unless the machine is busy with other things;
/// they are told each time. How many changes that took.
async fn told_promptly(hints: &mut [Hints], mut change: impl AsyncFnMut(usize)) -> usize {
    let mut fastest = Duration::MAX;
    for round in 1..=20 {
        let began = Instant::now();
        change(round).await;
        join_all(hints.iter_mut().map(Hints::next)).await;
        fastest = fastest.min(began.elapsed());
        if fastest < PROMPT {
            return round;
        }
    }
    panic!("{}: told after {fastest:?} at best", hints[0].place);
}

#[tokio::test]
async fn changes_are_told_on_every_transport() {
    let files = Files::new();
    let gateway = files.serve().await;
    let mut told = Hints::everywhere(&gateway, "", "WatchRoots").await;
    let last = told_promptly(&mut told, async |round| files.roots(&[&format!("file:///{round}")])).await;
    assert_eq!(roots(&gateway).await, [format!("file:///{last}")]);

    let mut told = Hints::everywhere(&gateway, "t", "WatchPolicies").await;
    let last = told_promptly(&mut told, async |round| {
        files.policy(&format!("policy.n{round}"), &format!("policies/n{round}.json"));
    })
    .await;
    assert_eq!(policies(&gateway, "t").await.len(), 1 + last);
    std::fs::remove_file(files.path("policies/1.json")).unwrap();
    join_all(told.iter_mut().map(Hints::next)).await;
    assert!(!policies(&gateway, "t").await.contains(&"policy.first".to_owned()));

    // Modes come by calls.
    let mut told = Hints::everywhere(&gateway, "", "WatchModeRegistry").await;
    told_promptly(&mut told, async |round| {
        let descriptor = json!({
            "mode": format!("ext.n{round}.v1"),
            "mode_version": "1",
            "message_types": ["Commitment"],
            "terminal_message_types": ["Commitment"],
        });
        let request = json!({ "mode_descriptor": descriptor });
        let answer = Http::agent(gateway.http, "t").call("RegisterExtMode", &request).await.unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_advertised_is_true() {
    let files = Files::new();
    let gateway = files.serve().await;
    let request = json!({ "supported_protocol_versions": ["1.0"] });
    for (place, mut agent) in everywhere(gateway.ports(), "t") {
        let said = agent.call("Initialize", &request).await.unwrap()["capabilities"].clone();
        assert_eq!(said["roots"], json!({ "list_roots": true, "list_changed": true }), "{place}");
        assert_eq!(said["manifest"]["get_manifest"], true, "{place}");
        assert_eq!(said["policy_registry"]["register_policy"], false, "{place}");
        assert_eq!(agent.call("ListRoots", &json!({})).await.unwrap()["roots"][0]["uri"], "file:///one");
        let asked = json!({ "agent_id": "agent://a" });
        let manifest = agent.call("GetManifest", &asked).await.unwrap()["manifest"].clone();
        assert_eq!(manifest["description"], "plans", "{place}");
        let asked = json!({ "agent_id": "agent://b" });
        assert_eq!(agent.call("GetManifest", &asked).await.unwrap_err(), "AGENT_NOT_FOUND", "{place}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_bad_file_leaves_everything_as_it_was() {
    let files = Files::new();
    let gateway = files.serve().await;

    files.write("roots.json", r#"[{"uri":"file:///good"},{"uri":"/bad"}]"#);
    let line = gateway.logs("roots from before stay").await;
    assert!(
        line.contains("roots.json") && line.contains("root 2 has an empty uri or one without a scheme"),
        "{line}"
    );
    assert_eq!(roots(&gateway).await, ["file:///one"]);

    files.write("manifests/a.json", &manifest("agent://a", "changed"));
    soon("another manifest", async {
        while description(&gateway, "agent://a").await.unwrap() != "changed" {}
    })
    .await;
    files.write("manifests/b.json", r#"{"agent_id":"agent://b"}"#);
    let line = gateway.logs("manifests from before stay").await;
    assert!(line.contains("b.json") && line.contains("description is missing"), "{line}");
    assert_eq!(description(&gateway, "agent://a").await.as_deref(), Ok("changed"));

    // A good one beside a bad one, and other rules under a name that is taken.
    files.policy("policy.second", "policies/2.json");
    files.write("policies/3.json", "{");
    let line = gateway.logs("policies from before stay").await;
    assert!(line.contains("3.json") && line.contains("not a JSON object"), "{line}");
    files.write(
        "policies/1.json",
        &policy("policy.first", &json!({ "commitment": { "authority": "any_participant" } })),
    );
    std::fs::remove_file(files.path("policies/3.json")).unwrap();
    let line = gateway.logs("is already registered").await;
    assert!(line.contains("policy.first") && line.contains("changed rules need a new policy_id"), "{line}");
    // What was right from the start comes with the next good set.
    files.policy("policy.first", "policies/1.json");
    soon("the second policy", async { while policies(&gateway, "t").await.len() < 2 {} }).await;
    assert_eq!(policies(&gateway, "t").await, ["policy.first", "policy.second"]);

    files.write("tokens.json", r#"[{"token":"s3cret-new","sender":"agent://x"},{"token":"s3cret-bad"}]"#);
    let line = gateway.logs("tokens from before stay").await;
    assert!(line.contains("tokens.json"), "{line}");
    assert!(is_good(&gateway, "t").await && !is_good(&gateway, "s3cret-new").await);
    std::fs::remove_file(files.path("tokens.json")).unwrap();
    gateway.logs("cannot be read").await;
    assert!(is_good(&gateway, "t").await, "a file that is gone takes nobody's token");

    files.write("gateway.toml", "http_cors_orgins = []\n");
    let line = gateway.logs("the settings from before stay").await;
    let log = gateway.log();
    assert!(
        log.contains("gateway.toml: http_cors_orgins is no setting; did you mean http_cors_origins?"),
        "{line}"
    );
    let log = gateway.stop().await;
    assert!(!log.contains("s3cret"), "a token is in the log");
}

#[tokio::test]
async fn a_token_that_is_gone_ends_what_it_had_opened() {
    let files = Files::new();
    files.tokens(&["stays", "goes"]);
    let gateway = files.serve().await;
    let session = Session::new();
    accepted(&mut Grpc::agent(gateway.grpc, "stays"), &session.start(&["agent://goes"])).await;
    let subscribe = json!({ "subscribe_session_id": session.id });

    let mut grpc = Grpc::agent(gateway.grpc, "goes");
    let stream = grpc.open().await.unwrap();
    stream.subscribe(&session.id, 0);
    let watches = grpc.watch_everything().await;
    let mut events = Http::agent(gateway.http, "goes").events("StreamSession", &subscribe, 0).await.unwrap();
    let mut socket = Ws::agent(gateway.http, "goes").connect().await.unwrap();
    let mut by_ticket = {
        let ticket = Http::agent(gateway.http, "goes").ticket().await.unwrap();
        Ws::agent(gateway.http, &ticket).with(crate::fakes::Credential::Ticket).connect().await.unwrap()
    };
    let unused = Http::agent(gateway.http, "goes").ticket().await.unwrap();
    let mut others = Hints::everywhere(&gateway, "stays", "WatchPolicies").await;

    files.tokens(&["new", "stays"]);
    let ended = stream.end().await.expect("a status");
    assert_eq!(ended.code(), Status::Unauthenticated);
    assert_eq!(ended.metadata().get("macp-error-code").unwrap(), "UNAUTHENTICATED");
    // The first two are open to everyone.
    for watch in watches.into_iter().skip(2) {
        assert_eq!(watch.await.expect("a status").code(), Status::Unauthenticated);
    }
    assert_eq!(events.last().await["error"]["code"], "UNAUTHENTICATED");
    for socket in [&mut socket, &mut by_ticket] {
        let (code, said) = socket.closed().await;
        assert_eq!(code, Some(4401));
        assert!(matches!(said, Some(Answer::Error(error)) if error.code == "UNAUTHENTICATED"));
    }
    for (token, good) in [("goes", false), ("stays", true), ("new", true)] {
        for (place, mut agent) in everywhere(gateway.ports(), token) {
            assert_eq!(agent.call("ListSessions", &json!({})).await.is_ok(), good, "{token}: {place}");
        }
    }
    // A ticket of before opens nothing that stays.
    let late = Ws::agent(gateway.http, &unused).with(crate::fakes::Credential::Ticket).connect().await;
    if let Ok(mut late) = late {
        assert_eq!(late.closed().await.0, Some(4401));
    }
    files.policy("policy.second", "policies/2.json");
    join_all(others.iter_mut().map(Hints::next)).await;
    let log = gateway.stop().await;
    assert!(log.contains("other tokens are in place") && log.contains("count=2 new=1 gone=1"), "{log}");
}

#[tokio::test]
async fn a_hangup_reads_everything_again() {
    let files = Files::new();
    let gateway = files.serve().await;
    let allows = async |origin: &str| {
        let preflight = Request::options(format!("http://{}/macp/v1/Send", gateway.http))
            .header("origin", origin)
            .body(whole(""))
            .unwrap();
        let answer = Http::agent(gateway.http, "").open(preflight).await.unwrap();
        answer.headers().contains_key("access-control-allow-origin")
    };
    assert!(allows("https://one.example").await && !allows("https://two.example").await);
    files.write("gateway.toml", &settings(&["https://two.example"]));
    soon("another origin", async { while !allows("https://two.example").await {} }).await;
    assert!(!allows("https://one.example").await);

    let more = settings(&["https://two.example"]) + "max_payload_bytes = 4096\n";
    files.write("gateway.toml", &more);
    let line = gateway.logs("take effect at the next start").await;
    assert!(line.contains("MACP_MAX_PAYLOAD_BYTES"), "{line}");

    gateway.signal("HUP").await;
    gateway.logs("cause=SIGHUP").await;
    files.roots(&["file:///after"]);
    soon("other roots", async { while roots(&gateway).await != ["file:///after"] {} }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn bad_lists_stop_the_start() {
    let files = Files::new();
    files.write("roots.json", "[{}]");
    files.write("manifests/b.json", "[]");
    let (roots, manifests) = (files.path("roots.json"), files.path("manifests"));
    let common = [("MACP_ALLOW_INSECURE", "1"), ("MACP_MEMORY_ONLY", "1")];
    let bad = [("MACP_ROOTS_FILE", roots.as_str()), ("MACP_AGENT_MANIFESTS_DIR", &manifests)];
    for arguments in [&["config", "check"][..], &["serve"]] {
        let ended = run(arguments, &[&common[..], &bad].concat()).await;
        assert_eq!(ended.code, Some(1));
        for part in ["roots.json", "missing field `uri`", "b.json is not an agent's manifest"] {
            assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
        }
    }
}
