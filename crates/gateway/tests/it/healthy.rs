//! A session that goes on over all transports while something else happens to the gateway.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::fakes::{Agent, Feed, Grpc, Http, Session, Ws, accepted, next};
use crate::process::Gateway;

/// Time between two rounds.
const PACE: Duration = Duration::from_millis(10);
const INITIATOR: &str = "agent://healthy";

/// Senders and observers on every transport.
struct Healthy {
    session: Session,
    senders: [Box<dyn Agent>; 3],
    observers: Vec<Feed>,
    sequence: u64,
}

impl Healthy {
    async fn begin(gateway: &Gateway) -> Self {
        let (one, two) = (gateway.grpc, gateway.http);
        let session = Session::new();
        let mut senders: [Box<dyn Agent>; 3] = [
            Box::new(Grpc::agent(one, INITIATOR)),
            Box::new(Http::agent(two, INITIATOR)),
            Box::new(Ws::agent(one, INITIATOR)),
        ];
        accepted(senders[0].as_mut(), &session.start(&[INITIATOR])).await;
        let mut observers = Vec::new();
        for agent in &mut senders {
            observers.push(agent.observe(&session.id, 0).await.unwrap());
        }
        for observer in &mut observers {
            next(observer, 1).await;
        }
        Self { session, senders, observers, sequence: 1 }
    }

    /// Everyone says something, and everyone gets all of it, in order and without a gap.
    async fn round(&mut self) {
        let mut said = Vec::new();
        for sender in &mut self.senders {
            let proposal = self.session.proposal(&uuid::Uuid::new_v4().to_string());
            accepted(sender.as_mut(), &proposal).await;
            self.sequence += 1;
            said.push((self.sequence, proposal.message_id));
        }
        for observer in &mut self.observers {
            let seen = next(observer, said.len()).await;
            let seen: Vec<_> =
                seen.into_iter().map(|seen| (seen.sequence, seen.envelope.message_id)).collect();
            assert_eq!(seen, said);
        }
    }
}

/// Does something to a gateway beside a session that must not notice. The gateway stays well to its own end.
pub(crate) async fn beside_a_session(settings: &[(&str, &str)], what: impl AsyncFnOnce(&Gateway)) {
    let gateway = Gateway::with(settings).await;
    let mut healthy = Healthy::begin(&gateway).await;
    let done = CancellationToken::new();
    let goes_on = async {
        while !done.is_cancelled() {
            healthy.round().await;
            // The pace of a session, which leaves the machine to what happens.
            tokio::time::sleep(PACE).await;
        }
        healthy.round().await;
        // Sockets that nobody reads would hold up the end, as they may for some seconds.
        drop(healthy);
    };
    let happens = async {
        what(&gateway).await;
        done.cancel();
    };
    tokio::join!(goes_on, happens);
    gateway.stop().await;
}
