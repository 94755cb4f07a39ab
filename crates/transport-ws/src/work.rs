//! Client frames that are being worked on, all at the same time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use macp_auth::{Authenticator, ClientCertificate, Credentials};
use macp_engine::{Engine, Method, ack};
use macp_kernel::{Identity, Refusal, RefusalCode};
use macp_wire::gateway::v1::server_frame::Body;
use macp_wire::gateway::v1::{Call, Subscribed, Topic, Watching};

use crate::call::{self, CallFault};
use crate::frame::{Encoding, Malformed};
use crate::order::{Send as SendFrame, SendOrder};
use crate::outbox::{CALL_COST, Out};
use crate::source::Source;
use crate::streams::{Generation, Key};

/// What became of a client frame.
pub(crate) enum Done {
    Answered(Out),
    Malformed(Malformed),
    /// A credential was looked at; the connection takes the identity over.
    Authenticated {
        id: String,
        identity: Identity,
    },
    /// The engine was asked to open a stream; `Ok` comes with the frame that says so.
    Opened {
        id: String,
        key: Key,
        generation: Generation,
        opened: Result<(Source, Out), Refusal>,
    },
}

pub(crate) struct Work {
    engine: Engine,
    authenticator: Arc<Authenticator>,
    /// What the connection has shown in its TLS handshake.
    certificate: Option<ClientCertificate>,
    encoding: Encoding,
    /// Longest frame that the socket can take.
    max_out: usize,
    identity: Arc<Identity>,
    order: SendOrder,
    running: FuturesUnordered<BoxFuture<'static, Step>>,
    finished: VecDeque<Step>,
}

/// A finished piece of work, with what it frees.
struct Step {
    done: Done,
    /// The session whose next `send`s may begin.
    sent_in: Option<String>,
}

impl From<Done> for Step {
    fn from(done: Done) -> Self {
        Self { done, sent_in: None }
    }
}

impl Work {
    pub(crate) fn new(
        engine: Engine,
        authenticator: Arc<Authenticator>,
        certificate: Option<ClientCertificate>,
        encoding: Encoding,
        max_out: usize,
        identity: Identity,
    ) -> Self {
        Self {
            engine,
            authenticator,
            certificate,
            encoding,
            max_out,
            identity: Arc::new(identity),
            order: SendOrder::default(),
            running: FuturesUnordered::new(),
            finished: VecDeque::new(),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Makes what begins from now on the work of this identity.
    pub(crate) fn set_identity(&mut self, identity: Identity) {
        self.identity = Arc::new(identity);
    }

    pub(crate) fn authenticate(&mut self, id: String, token: String) {
        let (authenticator, certificate) = (Arc::clone(&self.authenticator), self.certificate.clone());
        self.start(async move {
            let certificate = certificate.as_ref();
            let credentials = Credentials { bearer: Some(&token), token: None, certificate };
            let identity = authenticator.authenticate(&credentials).await;
            Done::Authenticated { id, identity }.into()
        });
    }

    pub(crate) fn send(&mut self, send: SendFrame) {
        if let Some(send) = self.order.admit(send) {
            self.start_send(send);
        }
    }

    fn start_send(&mut self, (id, envelope): SendFrame) {
        let (engine, identity, encoding) = (self.engine.clone(), Arc::clone(&self.identity), self.encoding);
        self.start(async move {
            let session_id = envelope.session_id.clone();
            let ack = engine.send_envelope(&identity, envelope).await;
            let frame = encoding.encode(&id, Body::Ack(ack));
            Step { done: Done::Answered(Out::answer(frame, 1)), sent_in: Some(session_id) }
        });
    }

    pub(crate) fn call(&mut self, id: String, call: Call) {
        let (engine, identity, encoding) = (self.engine.clone(), Arc::clone(&self.identity), self.encoding);
        let max_out = self.max_out;
        self.start(async move {
            let method = Method::from_name(&call.method);
            let refuse = |refusal: &Refusal| {
                engine.refused(method.map_or("call", Method::name), "", refusal);
                refusal_frame(encoding, &id, refusal)
            };
            let frame = match call::run(&engine, &identity, encoding, &id, call).await {
                Ok(frame) if frame.len() <= max_out => frame,
                Ok(frame) => refuse(&too_large(frame.len())),
                Err(CallFault::Refused(refusal)) => refuse(&refusal),
                Err(CallFault::Malformed(reason)) => {
                    return Done::Malformed(Malformed { id, reason, cost: CALL_COST }).into();
                }
            };
            Done::Answered(Out::answer(frame, CALL_COST)).into()
        });
    }

    pub(crate) fn subscribe(
        &mut self,
        id: String,
        session_id: String,
        generation: Generation,
        after_sequence: u64,
        snapshot: bool,
    ) {
        let (engine, identity, encoding) = (self.engine.clone(), Arc::clone(&self.identity), self.encoding);
        self.start(async move {
            let opened = engine.subscribe(&identity, &session_id, after_sequence).await.map(|subscription| {
                let subscribed = Subscribed {
                    session_id: session_id.clone(),
                    after_sequence: subscription.after_sequence(),
                    high_water_sequence: subscription.high_water(),
                    metadata: snapshot.then(|| subscription.metadata().clone()),
                };
                let frame = encoding.encode(&id, Body::Subscribed(subscribed));
                (Source::Session(Box::new(subscription)), Out::answer(frame, 1))
            });
            Done::Opened { id, key: Key::Session(session_id), generation, opened }.into()
        });
    }

    pub(crate) fn watch(&mut self, id: String, topic: Topic, generation: Generation) {
        let (engine, identity, encoding) = (self.engine.clone(), Arc::clone(&self.identity), self.encoding);
        self.start(async move {
            let opened = Source::watch(&engine, &identity, topic).await.map(|source| {
                let frame = encoding.encode(&id, Body::Watching(Watching { topic: topic.into() }));
                (source, Out::answer(frame, 1))
            });
            Done::Opened { id, key: Key::Topic(topic), generation, opened }.into()
        });
    }

    /// The next client frame that is done with.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        let step = match self.finished.pop_front() {
            Some(step) => step,
            None => match self.running.poll_next_unpin(cx) {
                Poll::Ready(Some(step)) => step,
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            },
        };
        if let Some(session_id) = step.sent_in {
            for send in self.order.answered(&session_id) {
                self.start_send(send);
            }
        }
        Poll::Ready(step.done)
    }

    /// Gives back the room of an empty queue. For idle connections: it comes with the heartbeat.
    pub(crate) fn rest(&mut self) {
        if self.finished.is_empty() {
            self.finished = VecDeque::new();
        }
    }

    /// Works off what was taken in, for nobody to hear: a client that goes away has sent what it has sent.
    pub(crate) async fn finish(mut self) {
        while !(self.finished.is_empty() && self.running.is_empty()) {
            drop(std::future::poll_fn(|cx| self.poll(cx)).await);
        }
    }

    /// Begins a piece of work. It is polled at once, so that work begins in the order of its frames.
    fn start(&mut self, work: impl Future<Output = Step> + Send + 'static) {
        let mut work = work.boxed();
        match (&mut work).now_or_never() {
            Some(step) => {
                // By itself the queue begins with room for four, where nearly always one is enough.
                if self.finished.capacity() == 0 {
                    self.finished.reserve_exact(1);
                }
                self.finished.push_back(step);
            }
            None => self.running.push(work),
        }
    }
}

/// An `error` frame that answers the frame `id`.
pub(crate) fn refusal_frame(encoding: Encoding, id: &str, refusal: &Refusal) -> Bytes {
    encoding.encode(id, Body::Error(ack::error(refusal, "", "")))
}

fn too_large(length: usize) -> Refusal {
    Refusal::new(
        RefusalCode::PayloadTooLarge,
        format!(
            "the response has {length} bytes, more than this connection can carry; ask for less at a time"
        ),
    )
}
