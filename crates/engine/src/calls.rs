//! One typed method for each protocol call: who may, and what is done.
//!
//! Every unary call has the same shape, so that transports dispatch by name. Open calls ignore the identity;
//! all others begin by requiring one.

use std::sync::Arc;
use std::time::Instant;

use macp_counters::Held;
use macp_kernel::command::{Control, ControlAction, Submission};
use macp_kernel::envelope::{Plane, core_type};
use macp_kernel::{Acceptance, Caller, Command, Identity, Refusal, RefusalCode, SessionId};
use macp_limits::Place;
use macp_wire::v1::*;
use tracing::{Instrument as _, Span};

use crate::Engine;
use crate::counters::{EnvelopeOutcome, StreamKind};
use crate::fanout::{Attachment, Subscription};
use crate::filter::SessionFilter;
use crate::lane::{Outcome, newly_accepted};
use crate::method::Method;
use crate::observe;
use crate::signals::SignalWatch;
use crate::visibility::Shown;
use crate::watch::{ModeRegistryWatch, PolicyWatch, RootsWatch, SessionWatch, Stay};
use crate::{ack, handshake, listing};

/// When to ask again for a stream beyond the limit: one of the others may have ended by then.
const STREAM_RETRY_MS: u64 = 1_000;

/// Sending.
impl Engine {
    /// `Send`
    ///
    /// # Errors
    /// `INVALID_ENVELOPE` when there is no envelope; everything else is said in the Ack.
    pub async fn send(&self, identity: &Identity, request: SendRequest) -> Result<SendResponse, Refusal> {
        let envelope =
            request.envelope.ok_or_else(|| Refusal::invalid_envelope("SendRequest.envelope is missing"))?;
        Ok(SendResponse { ack: Some(self.send_envelope(identity, envelope).await) })
    }

    /// Submits one envelope and answers as `Send` does: every decision about it is in the Ack.
    pub async fn send_envelope(&self, identity: &Identity, envelope: Envelope) -> Ack {
        let message_id = envelope.message_id.clone();
        let session_id = envelope.session_id.clone();
        let outcome = self.accept(identity, envelope).await;
        match outcome.reply {
            Ok(acceptance) => ack::accepted(message_id, session_id, &acceptance),
            Err(refusal) => {
                self.refused(Method::Send.name(), &session_id, &refusal);
                ack::refused_in(&message_id, &session_id, &refusal, outcome.state)
            }
        }
    }

    /// Submits one envelope.
    ///
    /// # Errors
    /// Whatever the checks of RFC-MACP-0001 §7.3 and §8 refuse.
    pub async fn submit(&self, identity: &Identity, envelope: Envelope) -> Result<Acceptance, Refusal> {
        self.accept(identity, envelope).await.reply
    }

    /// Submits one envelope on a stream that is about its session.
    ///
    /// Progress about a session is ambient, and elsewhere no session is looked up for it; here that session must be
    /// readable to the caller, of this mode and open.
    ///
    /// # Errors
    /// As [`Engine::submit`]; for Progress also `SESSION_NOT_FOUND`, `FORBIDDEN`, `INVALID_ENVELOPE` and
    /// `SESSION_NOT_OPEN`.
    pub async fn submit_on_stream(
        &self,
        identity: &Identity,
        envelope: Envelope,
    ) -> Result<Acceptance, Refusal> {
        if envelope.message_type == core_type::PROGRESS {
            let request = GetSessionRequest { session_id: envelope.session_id.clone() };
            let session = self.get_session(identity, request).await?.metadata.unwrap_or_default();
            if session.mode != envelope.mode {
                return Err(Refusal::invalid_envelope("mode differs from the session's mode"));
            }
            if session.state() != SessionState::Open {
                return Err(Refusal::new(
                    RefusalCode::SessionNotOpen,
                    "the session is not open for progress",
                ));
            }
        }
        self.submit(identity, envelope).await
    }

    async fn accept(&self, identity: &Identity, envelope: Envelope) -> Outcome {
        let begun = Instant::now();
        let counters = self.counters();
        let counted = counters.envelope(&envelope.mode, &envelope.message_type);
        let span = if observe::is_traced() {
            let mode = counters.mode_name(&envelope.mode, &envelope.message_type);
            observe::envelope_span(&envelope, mode)
        } else {
            Span::none()
        };
        let outcome = self.decide(identity, envelope).instrument(span.clone()).await;
        let became = EnvelopeOutcome::of(&outcome.reply);
        observe::envelope_done(&span, identity, became, &outcome.reply);
        counted.processing(became).observe_time(begun.elapsed());
        outcome
    }

    async fn decide(&self, identity: &Identity, mut envelope: Envelope) -> Outcome {
        let unseen = |refusal| Outcome { reply: Err(refusal), state: SessionState::Unspecified };
        if let Err(refusal) = self.require_not_draining() {
            return unseen(refusal);
        }
        let now = self.now();
        let (caller, plane) = match self.inner.admission.admit(identity, &mut envelope, now) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                if refusal.code == RefusalCode::RateLimited {
                    self.count_limited(&envelope.message_type);
                }
                return unseen(refusal);
            }
        };
        match plane {
            Plane::Ambient => Outcome {
                reply: self.inner.signals.publish(caller, envelope, now),
                state: SessionState::Unspecified,
            },
            Plane::Session if envelope.message_type == core_type::SESSION_START => {
                self.start(caller, envelope).await
            }
            Plane::Session => {
                let sessions = &self.inner.sessions;
                match sessions.lane(&envelope.session_id).await {
                    Ok(lane) => {
                        let submission =
                            Submission { envelope: Arc::new(envelope), within_open_sessions: true };
                        lane.command(sessions, Command::Submit(submission)).await
                    }
                    Err(refusal) => unseen(refusal),
                }
            }
        }
    }

    /// A start takes a place among the sender's open sessions first and gives it back unless it is accepted.
    async fn start(&self, caller: &Caller, envelope: Envelope) -> Outcome {
        let sessions = &self.inner.sessions;
        let id = match SessionId::parse(&envelope.session_id) {
            Ok(id) => id,
            Err(refusal) => return Outcome { reply: Err(refusal), state: SessionState::Unspecified },
        };
        let place = OpenSession::reserve(self, caller);
        let server_wide = self.inner.options.limits.open_sessions_per_sender;
        let cap = caller.capabilities.max_open_sessions.map_or(server_wide, |own| own.min(server_wide));
        let within_open_sessions = place.before < cap;
        let lane = sessions.lane_for_start(&id);
        let submission = Submission { envelope: Arc::new(envelope), within_open_sessions };
        let outcome = lane.command(sessions, Command::Submit(submission)).await;
        sessions.drop_if_vacant(lane);
        if newly_accepted(&outcome.reply) {
            place.keep();
        }
        outcome
    }

    /// Takes a place among the streams that a caller has open, on whatever transport.
    fn stream_of(&self, caller: &Caller) -> Result<Place, Refusal> {
        let at_most = self.inner.options.limits.streams_per_sender;
        self.inner.streams.take(&caller.sender, at_most).ok_or_else(|| {
            Refusal::too_many(
                format!(
                    "this sender has {at_most} subscriptions and watches open, as many as it may \
                     (MACP_MAX_STREAMS_PER_SENDER); end one first"
                ),
                STREAM_RETRY_MS,
            )
        })
    }

    /// The same for a watch, counted.
    fn stay_of(&self, caller: &Caller, kind: StreamKind) -> Result<Stay, Refusal> {
        Ok(Stay { _place: self.stream_of(caller)?, _held: self.hold(kind) })
    }

    fn count_limited(&self, message_type: &str) {
        let counters = self.counters();
        match message_type {
            core_type::SESSION_START => counters.limited_starts.inc(),
            _ => counters.limited_messages.inc(),
        }
    }

    pub(crate) fn require_not_draining(&self) -> Result<(), Refusal> {
        if self.inner.draining.is_cancelled() {
            return Err(Refusal::new(
                RefusalCode::Unavailable,
                "the server is shutting down and accepts nothing new; retry on another connection",
            ));
        }
        Ok(())
    }
}

/// Reading and watching sessions.
impl Engine {
    /// Subscribes to a session's accepted envelopes after an ordinal: the passive half of `StreamSession`.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `SESSION_NOT_FOUND`, `FORBIDDEN`, `HISTORY_UNAVAILABLE`, `INTERNAL_ERROR`.
    pub async fn subscribe(
        &self,
        identity: &Identity,
        session_id: &str,
        after_sequence: u64,
    ) -> Result<Subscription, Refusal> {
        let subscription = self.read_on(identity, session_id, after_sequence).await?;
        let counters = &self.inner.counters;
        // Behind everything means that nothing was seen.
        if after_sequence > 0 && after_sequence <= subscription.high_water() {
            counters.resumes(self.transport).inc();
        }
        Ok(subscription.counted(counters, self.transport))
    }

    /// A subscription that nobody follows: for reading a part of the history.
    pub(crate) async fn read_on(
        &self,
        identity: &Identity,
        session_id: &str,
        after_sequence: u64,
    ) -> Result<Subscription, Refusal> {
        let caller = identity.require()?;
        let sessions = &self.inner.sessions;
        let lane = sessions.lane(session_id).await?;
        let view = lane.look(sessions, caller).await?;
        let store = sessions.shared_store();
        let attachment = Attachment::new(&lane, self.stream_of(caller)?);
        Ok(Subscription::new(attachment, store, after_sequence, view.high_water, view.metadata))
    }

    fn hold(&self, kind: StreamKind) -> Held {
        self.counters().hold(self.transport, kind)
    }

    /// `GetSession`
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `SESSION_NOT_FOUND`, `FORBIDDEN`.
    pub async fn get_session(
        &self,
        identity: &Identity,
        request: GetSessionRequest,
    ) -> Result<GetSessionResponse, Refusal> {
        let caller = identity.require()?;
        let sessions = &self.inner.sessions;
        let lane = sessions.lane(&request.session_id).await?;
        let view = lane.look(sessions, caller).await?;
        Ok(GetSessionResponse { metadata: Some(view.metadata) })
    }

    /// `ListSessions`
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `INVALID_REQUEST`.
    pub async fn list_sessions(
        &self,
        identity: &Identity,
        request: ListSessionsRequest,
    ) -> Result<ListSessionsResponse, Refusal> {
        self.list_sessions_where(identity, request, &SessionFilter::default()).await
    }

    /// `ListSessions` of the sessions that a filter admits. A page may be empty although more follows.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `INVALID_REQUEST`.
    pub async fn list_sessions_where(
        &self,
        identity: &Identity,
        request: ListSessionsRequest,
        filter: &SessionFilter,
    ) -> Result<ListSessionsResponse, Refusal> {
        let shown = Shown::to(identity.require()?, self.inner.options.visibility);
        listing::page(self.inner.sessions.store(), &self.inner.options.limits, &request, &shown, filter).await
    }

    /// `WatchSessions`
    ///
    /// # Errors
    /// `UNAUTHENTICATED`.
    #[allow(clippy::unused_async, reason = "every call has one shape")]
    pub async fn watch_sessions(&self, identity: &Identity) -> Result<SessionWatch, Refusal> {
        let caller = identity.require()?;
        let shown = Shown::to(caller, self.inner.options.visibility);
        Ok(SessionWatch::new(&self.inner.sessions, shown, self.stay_of(caller, StreamKind::Sessions)?))
    }

    /// `WatchSignals`
    ///
    /// # Errors
    /// `UNAUTHENTICATED`.
    #[allow(clippy::unused_async, reason = "every call has one shape")]
    pub async fn watch_signals(&self, identity: &Identity) -> Result<SignalWatch, Refusal> {
        let caller = identity.require()?;
        Ok(self.inner.signals.watch(&self.inner.counters, self.stay_of(caller, StreamKind::Signals)?))
    }
}

/// Control calls.
impl Engine {
    /// `CancelSession`. Cancelling what has ended is a success that reports how it ended.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `SESSION_NOT_FOUND`, `FORBIDDEN`; a storage fault is said in the Ack.
    pub async fn cancel_session(
        &self,
        identity: &Identity,
        request: CancelSessionRequest,
    ) -> Result<CancelSessionResponse, Refusal> {
        let ack = self.control(identity, ControlAction::Cancel, &request.session_id, request.reason).await?;
        Ok(CancelSessionResponse { ack: Some(ack) })
    }

    /// `SuspendSession`
    ///
    /// # Errors
    /// As [`Engine::cancel_session`]; a session that is not OPEN is said in the Ack.
    pub async fn suspend_session(
        &self,
        identity: &Identity,
        request: SuspendSessionRequest,
    ) -> Result<SuspendSessionResponse, Refusal> {
        let ack = self.control(identity, ControlAction::Suspend, &request.session_id, request.reason).await?;
        Ok(SuspendSessionResponse { ack: Some(ack) })
    }

    /// `ResumeSession`
    ///
    /// # Errors
    /// As [`Engine::cancel_session`]; a session that is not SUSPENDED, or whose pause was too long, is said in
    /// the Ack.
    pub async fn resume_session(
        &self,
        identity: &Identity,
        request: ResumeSessionRequest,
    ) -> Result<ResumeSessionResponse, Refusal> {
        let ack = self.control(identity, ControlAction::Resume, &request.session_id, request.reason).await?;
        Ok(ResumeSessionResponse { ack: Some(ack) })
    }

    async fn control(
        &self,
        identity: &Identity,
        action: ControlAction,
        session_id: &str,
        reason: String,
    ) -> Result<Ack, Refusal> {
        let caller = identity.require()?;
        self.require_not_draining()?;
        let call = match action {
            ControlAction::Cancel => Method::CancelSession,
            ControlAction::Suspend => Method::SuspendSession,
            ControlAction::Resume => Method::ResumeSession,
        };
        let sessions = &self.inner.sessions;
        let lane = sessions.lane(session_id).await?;
        let control = Control { action, by: caller.sender.clone(), reason };
        let outcome = lane.command(sessions, Command::Control(control)).await;
        match outcome.reply {
            Ok(acceptance) => Ok(ack::accepted(String::new(), session_id.to_owned(), &acceptance)),
            Err(refusal) => match refusal.code {
                RefusalCode::Forbidden | RefusalCode::SessionNotFound => Err(refusal),
                _ => {
                    self.refused(call.name(), session_id, &refusal);
                    Ok(ack::refused_in("", session_id, &refusal, outcome.state))
                }
            },
        }
    }
}

/// Discovery and registries.
#[allow(clippy::unused_async, reason = "every call has one shape")]
impl Engine {
    /// `Initialize`
    ///
    /// # Errors
    /// `INVALID_REQUEST`, `UNSUPPORTED_PROTOCOL_VERSION`.
    pub async fn initialize(
        &self,
        _: &Identity,
        request: InitializeRequest,
    ) -> Result<InitializeResponse, Refusal> {
        handshake::initialize(&self.inner.options, &self.inner.registry.catalog(), &request)
    }

    /// `GetManifest`
    ///
    /// # Errors
    /// `AGENT_NOT_FOUND`.
    pub async fn get_manifest(
        &self,
        _: &Identity,
        request: GetManifestRequest,
    ) -> Result<GetManifestResponse, Refusal> {
        let own = &self.inner.options.agent_id;
        let manifest = if request.agent_id.is_empty() || request.agent_id == *own {
            handshake::manifest(&self.inner.options, &self.inner.registry.catalog())
        } else {
            self.inner.provided.manifest(&request.agent_id)?
        };
        Ok(GetManifestResponse { manifest: Some(manifest) })
    }

    /// `ListModes`: standards-track and promoted modes.
    ///
    /// # Errors
    /// None.
    pub async fn list_modes(&self, _: &Identity, _: ListModesRequest) -> Result<ListModesResponse, Refusal> {
        let catalog = self.inner.registry.catalog();
        let modes = catalog.standard_modes().map(|entry| entry.descriptor.clone()).collect();
        Ok(ListModesResponse { modes })
    }

    /// `ListExtModes`: all other modes.
    ///
    /// # Errors
    /// None.
    pub async fn list_ext_modes(
        &self,
        _: &Identity,
        _: ListExtModesRequest,
    ) -> Result<ListExtModesResponse, Refusal> {
        let catalog = self.inner.registry.catalog();
        let modes = catalog.extension_modes().map(|entry| entry.descriptor.clone()).collect();
        Ok(ListExtModesResponse { modes })
    }

    /// `WatchModeRegistry`
    ///
    /// # Errors
    /// None.
    pub async fn watch_mode_registry(&self, _: &Identity) -> Result<ModeRegistryWatch, Refusal> {
        let held = self.hold(StreamKind::Modes);
        Ok(ModeRegistryWatch::new(&self.inner.registry, Arc::clone(&self.inner.clock), held))
    }

    /// `ListRoots`
    ///
    /// # Errors
    /// None.
    pub async fn list_roots(&self, _: &Identity, _: ListRootsRequest) -> Result<ListRootsResponse, Refusal> {
        Ok(ListRootsResponse { roots: self.inner.provided.roots().list() })
    }

    /// `WatchRoots`
    ///
    /// # Errors
    /// None.
    pub async fn watch_roots(&self, _: &Identity) -> Result<RootsWatch, Refusal> {
        let held = self.hold(StreamKind::Roots);
        Ok(RootsWatch::new(self.inner.provided.root_changes(), Arc::clone(&self.inner.clock), held))
    }

    /// `GetPolicy`
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `UNKNOWN_POLICY_VERSION`.
    pub async fn get_policy(
        &self,
        identity: &Identity,
        request: GetPolicyRequest,
    ) -> Result<GetPolicyResponse, Refusal> {
        identity.require()?;
        let catalog = self.inner.registry.catalog();
        let policy = catalog.policies().find(|policy| policy.id() == request.policy_id).ok_or_else(|| {
            Refusal::new(
                RefusalCode::UnknownPolicyVersion,
                "no policy with this policy_id is registered here",
            )
        })?;
        Ok(GetPolicyResponse { policy_descriptor: Some(policy.descriptor().clone()) })
    }

    /// `ListPolicies`: those of a mode and those for every mode; an empty mode lists all.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`.
    pub async fn list_policies(
        &self,
        identity: &Identity,
        request: ListPoliciesRequest,
    ) -> Result<ListPoliciesResponse, Refusal> {
        identity.require()?;
        let catalog = self.inner.registry.catalog();
        let descriptors =
            catalog.policies_for(&request.mode).map(|policy| policy.descriptor().clone()).collect();
        Ok(ListPoliciesResponse { descriptors })
    }

    /// `WatchPolicies`
    ///
    /// # Errors
    /// `UNAUTHENTICATED`.
    pub async fn watch_policies(&self, identity: &Identity) -> Result<PolicyWatch, Refusal> {
        let caller = identity.require()?;
        let stay = self.stay_of(caller, StreamKind::Policies)?;
        Ok(PolicyWatch::new(&self.inner.registry, Arc::clone(&self.inner.clock), stay))
    }
}

/// A place among a sender's open sessions, given back unless the start is accepted.
struct OpenSession<'a> {
    engine: &'a Engine,
    caller: &'a Caller,
    before: u64,
    kept: bool,
}

impl<'a> OpenSession<'a> {
    fn reserve(engine: &'a Engine, caller: &'a Caller) -> Self {
        let before = engine.inner.sessions.open_sessions().reserve(&caller.sender);
        Self { engine, caller, before, kept: false }
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for OpenSession<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.engine.inner.sessions.open_sessions().release(&self.caller.sender);
        }
    }
}
