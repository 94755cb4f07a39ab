//! Clients on all three transports that talk until their gateway goes away, and remember what they were told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use serde_json::json;
use tokio::task::JoinHandle;

use super::ledger::{Ledger, Moment, SENDER};
use crate::fakes::{Agent, Grpc, Http, Session, Ws};

/// Tells the present moment.
pub(crate) type Now = Arc<dyn Fn() -> Moment + Send + Sync>;

/// One of the transports.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Grpc,
    Http,
    Ws,
}

/// All of them.
pub(crate) const TRANSPORTS: [Transport; 3] = [Transport::Grpc, Transport::Http, Transport::Ws];

impl Transport {
    pub(crate) fn agent(self, port: SocketAddr) -> Box<dyn Agent> {
        match self {
            Self::Grpc => Box::new(Grpc::agent(port, SENDER)),
            Self::Http => Box::new(Http::agent(port, SENDER)),
            Self::Ws => Box::new(Ws::agent(port, SENDER)),
        }
    }
}

/// Clients at work. A client whose connection breaks has nothing more to say, so its task ends then, be it in a panic.
pub(crate) struct Traffic {
    tasks: Vec<JoinHandle<()>>,
}

/// What every client has.
#[derive(Clone)]
struct Client {
    ledger: Arc<Mutex<Ledger>>,
    now: Now,
    port: SocketAddr,
    transport: Transport,
    number: usize,
}

impl Traffic {
    /// On each transport one client with sessions of its own, one that talks in the shared session and one that
    /// follows it; and one that registers policies.
    pub(crate) fn begin(
        ports: [SocketAddr; 2],
        shared: &Session,
        round: u64,
        ledger: &Arc<Mutex<Ledger>>,
        now: &Now,
    ) -> Self {
        let mut tasks = Vec::new();
        for (number, transport) in TRANSPORTS.into_iter().enumerate() {
            let client = |port, number| Client {
                ledger: Arc::clone(ledger),
                now: Arc::clone(now),
                port,
                transport,
                number,
            };
            tasks.push(tokio::spawn(client(ports[0], number).sessions()));
            tasks.push(tokio::spawn(client(ports[1], 3 + number).talk(shared.clone())));
            tasks.push(tokio::spawn(client(ports[0], 6 + number).follow(shared.clone())));
            if number == 0 {
                tasks.push(tokio::spawn(client(ports[1], 9).policies(round)));
            }
        }
        Self { tasks }
    }

    /// Whether everyone is still at work: nobody may stop before the gateway does.
    pub(crate) fn goes_on(&self) -> bool {
        self.tasks.iter().all(|task| !task.is_finished())
    }

    /// Waits until everyone has noticed that the gateway is gone.
    pub(crate) async fn ends(self) {
        for task in self.tasks {
            // By a panic about the connection, as a rule.
            drop(task.await);
        }
    }
}

impl Client {
    /// Sends an envelope that must be accepted. False when the gateway went away meanwhile.
    async fn say(&self, agent: &mut dyn Agent, envelope: &macp_wire::v1::Envelope) {
        self.ledger.lock().unwrap().sends(envelope);
        let ack = agent.send(envelope).await.expect("an answer");
        let at = (self.now)();
        assert!(ack.ok, "{ack:?}");
        self.ledger.lock().unwrap().acked(at, self.number, envelope);
    }

    /// One session after the other; every second one comes to an end and to a receipt.
    async fn sessions(self) {
        let mut agent = self.transport.agent(self.port);
        for count in 0.. {
            let session = Session::new();
            self.say(&mut *agent, &session.start(&[SENDER])).await;
            self.say(&mut *agent, &session.proposal("p")).await;
            self.say(&mut *agent, &session.evaluation("p")).await;
            if count % 2 == 0 {
                continue;
            }
            self.say(&mut *agent, &session.vote("p")).await;
            self.say(&mut *agent, &session.commitment()).await;
            let request = json!({ "session_id": session.id });
            let receipt = agent.call("GetDecisionReceipt", &request).await.expect("a receipt");
            let at = (self.now)();
            self.ledger.lock().unwrap().receipt(at, &session.id, receipt);
        }
    }

    /// Proposals in the session that everyone talks in, of any size.
    async fn talk(self, session: Session) {
        let mut agent = self.transport.agent(self.port);
        for count in 0_usize.. {
            let mut id = uuid::Uuid::new_v4().to_string();
            id.extend(std::iter::repeat_n('x', count % 7 * 400));
            self.say(&mut *agent, &session.proposal(&id)).await;
        }
    }

    /// Follows that session from where its subscribers were, and finds no gap.
    async fn follow(self, session: Session) {
        let mut last = self.ledger.lock().unwrap().last_seen(&session.id, Moment::MAX);
        let mut feed = self.transport.agent(self.port).observe(&session.id, last).await.unwrap();
        while let Some(seen) = feed.next().await {
            let at = (self.now)();
            assert_eq!(seen.sequence, last + 1);
            last = seen.sequence;
            self.ledger.lock().unwrap().seen(at, &session.id, &seen);
        }
    }

    async fn policies(self, round: u64) {
        let mut agent = self.transport.agent(self.port);
        for count in 0.. {
            let id = format!("policy.test.{round}.{count}");
            let descriptor = json!({
                "policy_id": id, "mode": "macp.mode.decision.v1", "description": "d", "schema_version": 1,
                "rules": { "voting": { "algorithm": "majority" } },
            });
            let request = json!({ "policy_descriptor": descriptor });
            let answer = agent.call("RegisterPolicy", &request).await.expect("an answer");
            let at = (self.now)();
            assert_eq!(answer["ok"], true, "{answer}");
            self.ledger.lock().unwrap().policy(at, id);
            // Few of them: every change goes to every decision.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}
