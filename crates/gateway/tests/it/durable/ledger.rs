//! What clients were told, and whether a gateway that was started again stands by it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use macp_wire::gateway::v1::Subscribe;
use macp_wire::gateway::v1::client_frame::Body as Ask;
use macp_wire::gateway::v1::server_frame::Body as Answer;
use macp_wire::v1::Envelope;
use serde_json::{Value, json};

use super::traffic::TRANSPORTS;
use crate::fakes::{Agent, Grpc, Seen, Ws, next};

/// A moment, as the test counts time: what was told at a moment must hold for every loss after it.
pub(crate) type Moment = u64;

/// Who sends everything: the sessions' order is at stake here, not who may do what.
pub(crate) const SENDER: &str = "agent://writer";

/// Everything that clients were told.
#[derive(Default)]
pub(crate) struct Ledger {
    sessions: BTreeMap<String, Told>,
    receipts: Vec<(Moment, String, Value)>,
    policies: Vec<(Moment, String)>,
}

/// What was said of one session.
#[derive(Default)]
struct Told {
    /// Everything that was sent, whatever became of it, by message id.
    sent: BTreeMap<String, Envelope>,
    /// What was acknowledged, by sender's task, in order.
    acked: BTreeMap<usize, Vec<(Moment, String)>>,
    /// What subscribers got: which message at which sequence.
    seen: BTreeMap<u64, (Moment, String)>,
}

impl Ledger {
    pub(crate) fn sends(&mut self, envelope: &Envelope) {
        let told = self.sessions.entry(envelope.session_id.clone()).or_default();
        told.sent.insert(envelope.message_id.clone(), envelope.clone());
    }

    /// The same; false if it was sent and acknowledged before.
    pub(crate) fn sends_first(&mut self, envelope: &Envelope) -> bool {
        self.sends(envelope);
        let told = &self.sessions[&envelope.session_id];
        !told.acked.values().flatten().any(|(_, id)| *id == envelope.message_id)
    }

    pub(crate) fn acked(&mut self, at: Moment, writer: usize, envelope: &Envelope) {
        let told = self.sessions.get_mut(&envelope.session_id).expect("it was sent");
        told.acked.entry(writer).or_default().push((at, envelope.message_id.clone()));
    }

    /// A subscriber got this; whoever else got the sequence got the same.
    pub(crate) fn seen(&mut self, at: Moment, session: &str, seen: &Seen) {
        let told = self.sessions.entry(session.to_owned()).or_default();
        let id = &seen.envelope.message_id;
        let (_, first) = told.seen.entry(seen.sequence).or_insert_with(|| (at, id.clone()));
        assert_eq!(first, id, "{session} at {}", seen.sequence);
    }

    pub(crate) fn receipt(&mut self, at: Moment, session: &str, receipt: Value) {
        self.receipts.push((at, session.to_owned(), receipt));
    }

    pub(crate) fn policy(&mut self, at: Moment, id: String) {
        self.policies.push((at, id));
    }

    /// What was told by this moment; what was told later may or may not be so.
    pub(crate) fn upto(&self, upto: Moment) -> Self {
        let told = |told: &Told| Told {
            sent: told.sent.clone(),
            acked: told
                .acked
                .iter()
                .map(|(writer, acked)| {
                    let known = acked.iter().filter(|(at, _)| *at <= upto).map(|(_, id)| (0, id.clone()));
                    (*writer, known.collect())
                })
                .collect(),
            seen: told
                .seen
                .iter()
                .filter(|(_, (at, _))| *at <= upto)
                .map(|(sequence, (_, id))| (*sequence, (0, id.clone())))
                .collect(),
        };
        Self {
            sessions: self.sessions.iter().map(|(id, all)| (id.clone(), told(all))).collect(),
            receipts: self
                .receipts
                .iter()
                .filter(|(at, ..)| *at <= upto)
                .map(|(_, id, text)| (0, id.clone(), text.clone()))
                .collect(),
            policies: self
                .policies
                .iter()
                .filter(|(at, _)| *at <= upto)
                .map(|(_, id)| (0, id.clone()))
                .collect(),
        }
    }

    /// Acknowledged messages, receipts and policies.
    pub(crate) fn promises(&self) -> usize {
        let acked = |told: &Told| told.acked.values().map(Vec::len).sum::<usize>();
        self.sessions.values().map(acked).sum::<usize>() + self.receipts.len() + self.policies.len()
    }

    /// The sessions of which something was promised.
    pub(crate) fn sessions(&self) -> Vec<String> {
        let promised =
            self.sessions.iter().filter(|(_, told)| told.acked.values().any(|acked| !acked.is_empty()));
        promised.map(|(id, _)| id.clone()).collect()
    }

    /// The last sequence that a subscriber of the session got.
    pub(crate) fn last_seen(&self, session: &str, upto: Moment) -> u64 {
        let Some(told) = self.sessions.get(session) else { return 0 };
        let seen = told.seen.iter().filter(|(_, (at, _))| *at <= upto);
        seen.map(|(sequence, _)| *sequence).max().unwrap_or(0)
    }

    /// Asks a gateway for everything that was promised up to `upto` in these sessions. What was sent and not
    /// acknowledged before is allowed to be there, and to be sent again.
    pub(crate) async fn check(&self, port: SocketAddr, sessions: &[String], upto: Moment) {
        let mut grpc = Grpc::agent(port, SENDER);
        for id in sessions {
            self.check_session(port, &mut grpc, id, upto).await;
        }
        for (_, id, receipt) in
            self.receipts.iter().filter(|(at, id, _)| *at <= upto && sessions.contains(id))
        {
            let served = grpc.call("GetDecisionReceipt", &json!({ "session_id": id })).await;
            assert_eq!(served.as_ref(), Ok(receipt), "the receipt of {id}");
        }
        let listed = grpc.call("ListPolicies", &json!({})).await.unwrap();
        let listed: BTreeSet<_> = listed["descriptors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|policy| policy["policy_id"].as_str().unwrap())
            .collect();
        for (_, policy) in self.policies.iter().filter(|(at, _)| *at <= upto) {
            assert!(listed.contains(policy.as_str()), "{policy} in {listed:?}");
        }
    }

    async fn check_session(&self, port: SocketAddr, grpc: &mut Grpc, id: &str, upto: Moment) {
        let told = &self.sessions[id];
        let acked = || told.acked.values().flatten().filter(|(at, _)| *at <= upto).map(|(_, id)| id);
        if acked().next().is_none() {
            return;
        }
        let history = history(port, id).await;
        let mut place = BTreeMap::new();
        for (at, seen) in history.iter().enumerate() {
            assert_eq!(seen.sequence, at as u64 + 1, "{id}: no gap");
            let message = &seen.envelope.message_id;
            assert!(place.insert(message.as_str(), at).is_none(), "{id}: {message} once");
            let sent = told.sent.get(message).unwrap_or_else(|| panic!("{id}: nobody sent {message}"));
            assert_eq!(seen.envelope.payload, sent.payload, "{id}: {message}");
        }
        for (writer, acked) in &told.acked {
            let places: Vec<_> = acked
                .iter()
                .filter(|(at, _)| *at <= upto)
                .map(|(at, message)| {
                    let there = || {
                        panic!("{id}: {message} of writer {writer}, acknowledged at {at}, is gone at {upto}")
                    };
                    *place.get(message.as_str()).unwrap_or_else(there)
                })
                .collect();
            assert!(places.is_sorted(), "{id}: in order for writer {writer}: {places:?}");
        }
        for (sequence, (_, message)) in told.seen.iter().filter(|(_, (at, _))| *at <= upto) {
            let there =
                history.get(usize::try_from(sequence - 1).unwrap()).map(|seen| &seen.envelope.message_id);
            assert_eq!(there, Some(message), "{id}: what subscribers got at {sequence}");
        }
        // The duplicate check knows everything that is there, acknowledged or not.
        for message in place.keys() {
            let ack = grpc.send(&told.sent[*message]).await.unwrap();
            assert!(ack.ok && ack.duplicate, "{id}: {message}: {ack:?}");
        }
        self.check_resume(port, id, upto, &history).await;
    }

    /// Subscribers go on behind what they got, on every transport, without a gap.
    async fn check_resume(&self, port: SocketAddr, id: &str, upto: Moment, history: &[Seen]) {
        let after = self.last_seen(id, upto);
        let rest = &history[usize::try_from(after).unwrap()..];
        if after == 0 || rest.is_empty() {
            return;
        }
        for transport in TRANSPORTS {
            let mut feed = transport.agent(port).observe(id, after).await.unwrap();
            assert_eq!(next(&mut feed, rest.len()).await, rest, "{id} after {after}");
        }
    }
}

/// The whole history of a session, as of now.
pub(crate) async fn history(port: SocketAddr, session: &str) -> Vec<Seen> {
    let mut socket = Ws::agent(port, SENDER).connect().await.unwrap();
    let subscribe = Subscribe { session_id: session.to_owned(), after_sequence: 0, snapshot: false };
    match socket.ask(Ask::Subscribe(subscribe)).await {
        Answer::Subscribed(_) => {}
        other => panic!("{session}: {other:?}"),
    }
    let mut history = Vec::new();
    loop {
        match socket.hear().await {
            Some(Answer::Envelope(seen)) => {
                let envelope = seen.envelope.expect("an envelope");
                history.push(Seen { sequence: seen.sequence, envelope });
            }
            Some(Answer::Synced(_)) => return history,
            other => panic!("{session}: {other:?}"),
        }
    }
}
