//! The event stream of `GET`, for a plain `EventSource`: it says how soon to come back, carries what it takes to come
//! back, and says when there is nothing to come back for.

use std::sync::Arc;

use bytes::Bytes;
use macp_auth::Tickets;
use macp_engine::{Delivery, Engine, Event, Form, Subscription};

use crate::sse::{Source, Step, data_event, envelope_event, error_event};
use crate::types::{self, SessionEnded};

/// Milliseconds after which an `EventSource` reconnects. Soon, because a lost stream is a page that stands still; not at
/// once, because all of them come at the same time when a server restarts.
const RETRY_MS: u64 = 2000;

/// A pass that a stream holds; released when the stream is gone.
pub(crate) struct Pass {
    engine: Engine,
    tickets: Arc<Tickets>,
    text: String,
}

impl Pass {
    /// Takes over a pass that is held for this stream.
    pub(crate) fn held(engine: &Engine, tickets: &Arc<Tickets>, text: String) -> Self {
        Self { engine: engine.clone(), tickets: Arc::clone(tickets), text }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.tickets.release(&self.text, self.engine.now());
    }
}

/// A subscription on its way to an `EventSource`.
pub(crate) struct Watching {
    subscription: Subscription,
    pass: Option<Pass>,
    /// The rest of an event whose beginning was given out.
    rest: Option<Bytes>,
}

impl Watching {
    pub(crate) fn new(subscription: Subscription, pass: Option<Pass>) -> Self {
        Self { subscription, pass, rest: None }
    }

    /// What the stream begins with. The id alone is no event, but an `EventSource` that is cut before the first one
    /// sends it when it comes back.
    pub(crate) fn opening(&self) -> Bytes {
        let mut opening = format!("retry: {RETRY_MS}\n: opened\n\n");
        if self.pass.is_some() {
            opening.push_str(&self.id(self.subscription.after_sequence()));
            opening.push('\n');
        }
        opening.into()
    }

    /// The line that a client sends back.
    fn id(&self, sequence: u64) -> String {
        match &self.pass {
            Some(pass) => format!("id: {sequence}.{}\n", pass.text),
            None => format!("id: {sequence}\n"),
        }
    }

    /// The event of an envelope. With a pass, its id is this stream's own; the rest of it is shared with all others.
    fn event(&mut self, delivery: &Delivery) -> Bytes {
        let shared = delivery.form(Form::Sse, envelope_event);
        if self.pass.is_none() {
            return shared.clone();
        }
        let id_line = shared.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.rest = Some(shared.slice(id_line..));
        self.id(delivery.sequence()).into()
    }
}

impl Source for Watching {
    async fn next(&mut self) -> Step {
        if let Some(rest) = self.rest.take() {
            return Step::Event(rest);
        }
        let session_id = self.subscription.session_id().clone();
        match self.subscription.next().await {
            Ok(Event::Envelope(delivery)) => Step::Event(self.event(&delivery)),
            Ok(Event::Ended { state, last_sequence }) => {
                let ended = SessionEnded::new(session_id.as_str(), state, last_sequence);
                Step::Last(data_event(b"event: ended\ndata: ", |event| {
                    event.extend_from_slice(&types::to_json(&ended));
                }))
            }
            Err(refusal) => Step::Last(error_event(&refusal, session_id.as_str())),
        }
    }
}
