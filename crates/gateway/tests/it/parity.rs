//! One session, driven and observed over every transport at once, is one history.

use futures_util::future::join_all;
use macp_wire::v1::{Ack, Envelope, SessionState};
use serde_json::json;

use crate::fakes::{
    Agent, Grpc, Http, Seen, Session, Ws, accepted, everywhere, next, refusal_of, to_the_end,
};
use crate::process::Gateway;

const INITIATOR: &str = "agent://i";
/// Participants, each on another transport or form of one; `senders` gives them their clients.
const SENDERS: [&str; 6] = ["agent://a", "agent://b", "agent://c", "agent://d", "agent://e", "agent://f"];
/// Proposals, and as many evaluations and votes, of every sender.
const ROUNDS: usize = 12;
const MESSAGES: usize = 2 + 3 * SENDERS.len() * ROUNDS;

/// A sender on each transport, and both listeners with each.
async fn senders(gateway: &Gateway) -> Vec<Box<dyn Agent>> {
    let (one, two) = (gateway.grpc, gateway.http);
    let [a, b, c, d, e, f] = SENDERS;
    vec![
        Box::new(Grpc::agent(one, a)),
        Box::new(Grpc::agent(two, b).streaming().await),
        Box::new(Http::agent(one, c)),
        Box::new(Http::agent(two, d).over_http2()),
        Box::new(Ws::agent(one, e)),
        Box::new(Ws::agent(two, f).in_protobuf()),
    ]
}

/// Sends in order, each after the last was decided; what was sent, with its Acks.
async fn talk(agent: &mut dyn Agent, envelopes: Vec<Envelope>) -> Vec<(Envelope, Ack)> {
    let mut said = Vec::new();
    for envelope in envelopes {
        let ack = accepted(agent, &envelope).await;
        said.push((envelope, ack));
    }
    said
}

/// All senders at once, each with its own proposals.
async fn all_talk(
    agents: &mut [Box<dyn Agent>],
    message: impl Fn(usize, usize) -> Vec<Envelope>,
) -> Vec<Vec<(Envelope, Ack)>> {
    let talks = agents.iter_mut().enumerate().map(|(sender, agent)| {
        talk(agent.as_mut(), (0..ROUNDS).flat_map(|round| message(sender, round)).collect())
    });
    join_all(talks).await
}

/// An observer from the start; one that goes away after `at` envelopes and resumes; one that begins then.
fn observers(
    mut agent: Box<dyn Agent>,
    session: &Session,
    at: usize,
) -> impl Future<Output = [Vec<Seen>; 3]> + use<> {
    let id = session.id.clone();
    async move {
        let early = agent.observe(&id, 0).await.unwrap();
        let others = async {
            let mut resumed = next(&mut agent.observe(&id, 0).await.unwrap(), at).await;
            let late = agent.observe(&id, 0).await.unwrap();
            let rest = agent.observe(&id, at as u64).await.unwrap();
            let (late, rest) = tokio::join!(to_the_end(late), to_the_end(rest));
            resumed.extend(rest);
            (resumed, late)
        };
        let (early, (resumed, late)) = tokio::join!(to_the_end(early), others);
        [early, resumed, late]
    }
}

#[tokio::test]
async fn one_session_is_the_same_history_on_every_transport() {
    let gateway = Gateway::start().await;
    let session = Session::new();
    let start = session.start(&SENDERS);
    accepted(&mut Ws::agent(gateway.http, INITIATOR), &start).await;

    // Their clients are asked while the senders speak, and come and go at different points.
    let watching: Vec<_> = everywhere(gateway.ports(), INITIATOR)
        .into_iter()
        .enumerate()
        .map(|(at, (name, agent))| (name, tokio::spawn(observers(agent, &session, 5 + 11 * at))))
        .collect();

    let mut agents = senders(&gateway).await;
    let proposal = |sender: usize, round: usize| format!("p-{sender}-{round}");
    let proposed = all_talk(&mut agents, |sender, round| {
        let id = proposal(sender, round);
        vec![session.proposal(&id), session.evaluation(&id)]
    })
    .await;
    let voted = all_talk(&mut agents, |sender, round| {
        vec![session.vote(&proposal((sender + 1) % SENDERS.len(), round))]
    })
    .await;
    let commitment = session.commitment();
    accepted(&mut Http::agent(gateway.grpc, INITIATOR), &commitment).await;

    let histories =
        join_all(watching.into_iter().map(|(name, task)| async { (name, task.await.unwrap()) })).await;
    let (_, [history, ..]) = &histories[0];
    for (name, [early, resumed, late]) in &histories {
        assert!(early == history, "{name}: an observer from the start sees another history");
        assert!(resumed == history, "{name}: an observer that resumed sees another history");
        assert!(late == history, "{name}: a late observer sees another history");
    }
    let said = (0..SENDERS.len()).map(|sender| [proposed[sender].clone(), voted[sender].clone()].concat());
    is_what_was_said(history, &start, said.collect(), &commitment);
    assert_eq!(history.len(), MESSAGES);

    // And again, all of it and the end of it, when it is over.
    for (name, mut agent) in everywhere(gateway.ports(), INITIATOR) {
        for after in [0, MESSAGES / 2, MESSAGES - 1] {
            let seen = to_the_end(agent.observe(&session.id, after as u64).await.unwrap()).await;
            assert!(seen == history[after..], "{name}: after {after}");
        }
    }
    drop(agents);
    gateway.stop().await;
}

/// The history holds what was sent, byte for byte: the start first, the Commitment last, each sender's in its order.
fn is_what_was_said(
    history: &[Seen],
    start: &Envelope,
    said: Vec<Vec<(Envelope, Ack)>>,
    commitment: &Envelope,
) {
    let sequences: Vec<_> = history.iter().map(|seen| seen.sequence).collect();
    assert_eq!(sequences, (1..=history.len() as u64).collect::<Vec<_>>());
    let of = |sender: &str| -> Vec<Envelope> {
        let of_sender = history.iter().map(|seen| seen.envelope.clone()).filter(|seen| seen.sender == sender);
        of_sender.collect()
    };
    let stamped = |envelope: &Envelope, sender: &str, seen: &Envelope| {
        let timestamp_unix_ms = seen.timestamp_unix_ms;
        Envelope { sender: sender.into(), timestamp_unix_ms, ..envelope.clone() }
    };
    for (sender, said) in SENDERS.into_iter().zip(said) {
        let seen = of(sender);
        assert_eq!(seen.len(), said.len(), "{sender}");
        for (seen, (envelope, _)) in seen.iter().zip(&said) {
            assert_eq!(*seen, stamped(envelope, sender, seen));
        }
    }
    let (first, last) = (&history[0].envelope, &history[history.len() - 1].envelope);
    assert_eq!(*first, stamped(start, INITIATOR, first));
    assert_eq!(*last, stamped(commitment, INITIATOR, last));
}

#[tokio::test]
async fn a_repeated_message_gets_the_same_ack_on_every_transport() {
    let gateway = Gateway::start().await;
    let session = Session::new();
    let mut agents = everywhere(gateway.ports(), INITIATOR);
    let start = session.start(&[INITIATOR]);
    let envelopes = [start, session.proposal("p1"), session.evaluation("p1"), session.vote("p1")];

    // Each is first sent on another transport, and then on all.
    let mut said = Vec::new();
    for (at, envelope) in envelopes.into_iter().enumerate() {
        let ack = accepted(agents[3 * at].1.as_mut(), &envelope).await;
        said.push((envelope, ack));
    }
    for (name, agent) in &mut agents {
        for (envelope, ack) in &said {
            let again = accepted(agent.as_mut(), envelope).await;
            assert_eq!(again, Ack { duplicate: true, ..ack.clone() }, "{name}");
        }
    }

    // What was accepted stays accepted when the session is over; what comes new does not.
    let commitment = session.commitment();
    let bound = accepted(agents[1].1.as_mut(), &commitment).await;
    assert_eq!(bound.session_state(), SessionState::Resolved);
    let late = session.proposal("late");
    for (name, agent) in &mut agents {
        let again = accepted(agent.as_mut(), &commitment).await;
        assert_eq!(again, Ack { duplicate: true, ..bound.clone() }, "{name}");
        let (envelope, ack) = &said[0];
        let again = accepted(agent.as_mut(), envelope).await;
        assert_eq!((again.duplicate, again.accepted_at_unix_ms), (true, ack.accepted_at_unix_ms), "{name}");
        assert_eq!(refusal_of(agent.as_mut(), &late).await, "SESSION_NOT_OPEN", "{name}");
    }
    drop(agents);
    gateway.stop().await;
}

#[tokio::test]
async fn reads_answer_the_same_on_every_transport() {
    let gateway = Gateway::start().await;
    let session = Session::new();
    accepted(&mut Grpc::agent(gateway.grpc, INITIATOR), &session.start(&SENDERS)).await;
    let calls = [
        ("GetSession", json!({ "session_id": session.id })),
        ("ListSessions", json!({})),
        ("ListModes", json!({})),
        ("ListExtModes", json!({})),
        ("ListRoots", json!({})),
        ("ListPolicies", json!({})),
        ("GetManifest", json!({})),
        ("Initialize", json!({ "supported_protocol_versions": ["1.0"] })),
    ];
    let mut agents = everywhere(gateway.ports(), INITIATOR);
    for (method, request) in calls {
        let mut answers = Vec::new();
        for (name, agent) in &mut agents {
            let answer =
                agent.call(method, &request).await.unwrap_or_else(|code| panic!("{name} {method}: {code}"));
            answers.push(answer);
        }
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{method}: {answers:?}");
    }
    drop(agents);
    gateway.stop().await;
}
