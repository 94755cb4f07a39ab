//! What an operator is told of single events: the audit log's events, and the spans of traces.
//!
//! Both are `tracing`'s, under targets of their own, so that they cost next to nothing while nobody listens. Who is
//! calling, and from where, is noted once in the span of a request or connection; an event is read together with the
//! spans around it. Names of fields are part of the contract with operators (docs/operations.md). Nothing here ever
//! holds a credential, a ticket or a payload.

use macp_kernel::{Acceptance, Entry, Fact, Identity, Refusal, RefusalCode, Session};
use macp_wire::v1::Envelope;

use crate::Engine;
use crate::counters::EnvelopeOutcome;

/// Target of the events of the audit log.
pub const AUDIT: &str = "audit";
/// Target of the spans of traces.
pub const SPAN: &str = "macp::span";

/// Name of the span of a request or connection, which the gateway makes; its fields say who is calling.
pub const REQUEST: &str = "request";
/// Bytes of a client's text that a span holds.
const MAX_TEXT: usize = 256;

/// A text, cut to so many bytes.
#[must_use]
pub fn short(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// The span of an envelope. `mode` is the name of a registered mode, or what stands for all others.
pub(crate) fn envelope_span(envelope: &Envelope, mode: Option<&str>) -> tracing::Span {
    let cut = |text| short(text, MAX_TEXT);
    tracing::info_span!(
        target: SPAN,
        "process",
        otel.name = mode.map_or_else(|| "process".to_owned(), |mode| format!("process {mode}")),
        otel.status_code = tracing::field::Empty,
        "macp.mode.id" = cut(&envelope.mode),
        "macp.message.type" = cut(&envelope.message_type),
        "macp.session.id" = cut(&envelope.session_id),
        "macp.message.id" = cut(&envelope.message_id),
        "macp.sender.id" = tracing::field::Empty,
        "macp.envelope.outcome" = tracing::field::Empty,
        "error.type" = tracing::field::Empty,
    )
}

/// Notes what became of an envelope, and of whom it was.
pub(crate) fn envelope_done(
    span: &tracing::Span,
    identity: &Identity,
    outcome: EnvelopeOutcome,
    reply: &Result<Acceptance, Refusal>,
) {
    if span.is_disabled() {
        return;
    }
    span.record("macp.envelope.outcome", outcome.name());
    if let Identity::Known(caller) = identity {
        span.record("macp.sender.id", caller.sender.as_str());
    }
    if let Err(refusal) = reply {
        span.record("error.type", refusal.code.name());
        if refusal.code == RefusalCode::InternalError {
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// Whether anybody listens to spans.
#[must_use]
pub fn is_traced() -> bool {
    tracing::enabled!(target: SPAN, tracing::Level::INFO)
}

/// Notes in the span of the current request or connection who is calling.
pub fn identified(identity: &Identity) {
    if let Identity::Known(caller) = identity
        && is_traced()
    {
        tracing::Span::current().record("macp.sender.id", caller.sender.as_str());
    }
}

impl Engine {
    /// Notes a refusal that this handle's transport gives: it is counted, and told to the audit log if it is about who
    /// may do what. `call` is what was asked, `session_id` empty if it was about no session. Refusals in the Acks of
    /// [`Engine::send_envelope`] and of control calls are noted already.
    pub fn refused(&self, call: &str, session_id: &str, refusal: &Refusal) {
        self.counters().refusals(self.transport, refusal.code).inc();
        let event = match refusal.code {
            RefusalCode::Unauthenticated => "authentication_failed",
            RefusalCode::Forbidden => "authorization_refused",
            RefusalCode::RateLimited => "rate_limited",
            _ => return,
        };
        let (transport, code, reason) =
            (self.transport.name(), refusal.code.name(), refusal.message.as_str());
        tracing::info!(target: AUDIT, event, transport, call, session_id, code, reason);
    }
}

/// Tells the audit log of the end of a session, by which entry. The event belongs to no request: a batch holds those of
/// several, and time belongs to none.
pub(crate) fn session_ended(session: &Session, entry: &Entry) {
    if !tracing::enabled!(target: AUDIT, tracing::Level::INFO) {
        return;
    }
    let by = match &entry.fact {
        Fact::Accepted(accepted) => accepted.sealed.envelope().sender.as_str(),
        Fact::Cancelled { by, .. } => by.as_str(),
        _ => "",
    };
    let (session_id, binding) = (session.id.as_str(), &session.binding);
    let (mode, initiator, state) =
        (binding.mode.as_str(), binding.initiator.as_str(), session.lifecycle.name());
    let lived_ms = entry.at.since(binding.started_at);
    tracing::info!(
        target: AUDIT, parent: None, event = "session_ended", session_id, mode, state, by, initiator, lived_ms
    );
}

/// Tells the audit log that the operator's list of something was read again and is in place.
pub fn list_replaced(list: &str, count: usize) {
    tracing::info!(target: AUDIT, parent: None, event = "list_replaced", list, count = count as u64);
}

/// Tells the audit log of a change that a caller made to a registry, or was refused by the registry's own rules.
pub(crate) fn registry_changed(action: &'static str, id: &str, by: &str, refused: Option<&str>) {
    let outcome = if refused.is_some() { "refused" } else { "done" };
    let reason = refused.unwrap_or_default();
    tracing::info!(target: AUDIT, event = "registry_changed", action, id, by, outcome, reason);
}
