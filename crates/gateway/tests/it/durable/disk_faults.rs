//! Every change of the disk fails once: nothing acknowledged is lost, the codes are right, and it goes on afterwards.

use std::time::Duration;

use futures_util::StreamExt;
use macp_wire::v1::Envelope;
use serde_json::{Value, json};

use super::disk::{Disk, Kind};
use super::ledger::{Ledger, Moment, SENDER};
use super::random::count;
use crate::fakes::{Agent, Code, Grpc, Http, Session, Ws};
use crate::process::{Gateway, run};
use crate::wait::soon;

/// Pause before a client tries again.
const AGAIN: Duration = Duration::from_millis(5);

/// A client that sends until it is acknowledged, as the error tells it to, and counts how often it was refused.
struct Client<'a> {
    agent: &'a mut dyn Agent,
    ledger: &'a mut Ledger,
    refused: usize,
}

impl Client<'_> {
    async fn say(&mut self, envelope: &Envelope) {
        self.ledger.sends(envelope);
        let again = async {
            loop {
                let code = match self.agent.send(envelope).await {
                    Ok(ack) if ack.ok => break,
                    Ok(ack) => ack.error.expect("a refused Ack says why").code,
                    Err(code) => code,
                };
                assert_eq!(code, "INTERNAL_ERROR", "{envelope:?}");
                self.refused += 1;
                tokio::time::sleep(AGAIN).await;
            }
        };
        soon("an Ack", again).await;
        self.ledger.acked(0, 0, envelope);
    }

    async fn call(&mut self, method: &str, request: &Value) -> Value {
        let again = async {
            loop {
                match self.agent.call(method, request).await {
                    Ok(answer) => break answer,
                    Err(code) => assert_eq!(code, "INTERNAL_ERROR", "{method}"),
                }
                self.refused += 1;
                tokio::time::sleep(AGAIN).await;
            }
        };
        soon(method, again).await
    }

    /// One session from its start to its receipt, and a policy.
    async fn script(&mut self, number: u64) {
        let session = Session::new();
        self.say(&session.start(&[SENDER])).await;
        self.say(&session.proposal("p")).await;
        self.say(&session.evaluation("p")).await;
        self.say(&session.vote("p")).await;
        self.say(&session.commitment()).await;
        let receipt = self.call("GetDecisionReceipt", &json!({ "session_id": session.id })).await;
        self.ledger.receipt(0, &session.id, receipt);
        let policy = format!("policy.fault.{number}");
        let descriptor = json!({
            "policy_id": policy, "mode": "macp.mode.decision.v1", "description": "d", "schema_version": 1,
            "rules": { "voting": { "algorithm": "majority" } },
        });
        let answer = self.call("RegisterPolicy", &json!({ "policy_descriptor": descriptor })).await;
        assert_eq!(answer["ok"], true, "{answer}");
        self.ledger.policy(0, policy);
    }
}

/// A fault at the k-th change of a script, for every k that the script reaches, once and for a while.
#[tokio::test]
async fn a_fault_at_every_change_of_a_script_loses_nothing() {
    let disk = Disk::new();
    let gateway = disk.gateway(&[]).await;
    let mut agents: [Box<dyn Agent>; 3] = [
        Box::new(Grpc::agent(gateway.grpc, SENDER)),
        Box::new(Http::agent(gateway.http, SENDER)),
        Box::new(Ws::agent(gateway.grpc, SENDER)),
    ];
    let mut ledger = Ledger::default();
    let mut number = 0;
    let stride = count("MACP_FAULT_STRIDE", 1);
    for kind in [Kind::Eio, Kind::Enospc, Kind::Short, Kind::Sync] {
        let (mut refused, mut skip) = (0, 0);
        loop {
            disk.fail(kind, skip, if number % 2 == 0 { 1 } else { 4 });
            let agent = &mut *agents[number as usize % 3];
            let mut client = Client { agent, ledger: &mut ledger, refused: 0 };
            client.script(number).await;
            refused += client.refused;
            number += 1;
            if disk.failed() == 0 {
                break;
            }
            skip += stride;
        }
        println!("{kind:?}: {skip} changes in a script, {refused} refused requests");
        assert!(skip >= 7 && refused as u64 >= skip / 2, "the script has a commit for each of its steps");
    }
    disk.fail(Kind::None, 0, 0);
    ready(&gateway).await;
    ledger.check(gateway.grpc, &ledger.sessions(), Moment::MAX).await;
    let log = gateway.log();
    drop(agents);
    gateway.kill().await;
    assert!(log.contains("a commit failed"), "{log}");
    // On an honest disk, too, everything is there.
    let gateway = Gateway::on(&disk.store(), &[]).await;
    ledger.check(gateway.grpc, &ledger.sessions(), Moment::MAX).await;
    gateway.stop().await;
    let verified = run(&["log", "verify", disk.store().to_str().unwrap()], &[]).await;
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);
}

async fn probe(gateway: &Gateway, path: &str) -> (u16, String) {
    let request = http::Request::get(format!("http://{}{path}", gateway.http)).body(crate::fakes::whole(""));
    let answer = Http::agent(gateway.http, "").ask(request.unwrap()).await.expect("an answer");
    (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
}

/// Waits until the gateway calls itself ready.
async fn ready(gateway: &Gateway) {
    let ready = async { while probe(gateway, "/readyz").await.0 != 200 {} };
    soon("readiness", ready).await;
}

#[tokio::test]
async fn a_disk_that_stays_broken_is_told_to_the_load_balancer_until_it_works_again() {
    let disk = Disk::new();
    let gateway = disk.gateway(&[]).await;
    assert_eq!(probe(&gateway, "/readyz").await, (200, "ready\n".to_owned()));
    let mut grpc = Grpc::agent(gateway.grpc, SENDER);
    let mut ledger = Ledger::default();
    let mut health = grpc.health().await;
    assert_eq!(health.next().await, Some(true));
    Client { agent: &mut grpc, ledger: &mut ledger, refused: 0 }.script(0).await;
    disk.fail(Kind::Enospc, 0, u64::from(u32::MAX));
    let session = Session::new();
    let start = session.start(&[SENDER]);
    ledger.sends(&start);
    let refused: Result<_, Code> = grpc.send(&start).await;
    assert_eq!(refused.unwrap().error.unwrap().code, "INTERNAL_ERROR");
    // Nobody else sends: the gateway finds out by itself how long it lasts.
    assert_eq!(health.next().await, Some(false));
    let (status, why) = probe(&gateway, "/readyz").await;
    assert!(status == 503 && why.contains("cannot be stored"), "{status} {why}");
    assert_eq!(probe(&gateway, "/livez").await.0, 200, "a restart would not help");
    disk.fail(Kind::None, 0, 0);
    assert_eq!(health.next().await, Some(true));
    ready(&gateway).await;
    let mut client = Client { agent: &mut grpc, ledger: &mut ledger, refused: 0 };
    client.say(&start).await;
    client.script(1).await;
    assert_eq!(client.refused, 0);
    ledger.check(gateway.grpc, &ledger.sessions(), Moment::MAX).await;
    drop((grpc, health));
    gateway.stop().await;
}
