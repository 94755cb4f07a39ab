//! The engine in memory under a clock that the fixture moves: no transport, no credentials.
//!
//! Each fixture has an engine and a store of its own. What is asserted goes further than over a network: the mode's
//! state, and that the stored history replays to exactly the state that the engine holds.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use macp_conform::{
    Capabilities, ConformanceTarget, HistoryEntry, Observation, Profile, Submission, TargetError,
};
use macp_core::PolicyDefinition;
use macp_engine::testing::{ManualClock, generous_limits};
use macp_engine::{Clock, Engine, Event, Options};
use macp_kernel::commitment_hash::{self, Verification};
use macp_kernel::replay::Replay;
use macp_kernel::testing::projection;
use macp_kernel::{Caller, Identity, Refusal, SEMANTICS_REV};
use macp_store::{LogStore, MemoryStore};
use macp_wire::v1::{
    CommitmentPayload, Envelope, GetSessionRequest, PolicyDescriptor, RegisterPolicyRequest, SessionState,
};
use prost::Message;

/// Records read from the store at a time.
const PAGE: usize = 256;

/// The engine as a target.
pub(crate) struct InProcess {
    clock: Arc<ManualClock>,
    store: Arc<MemoryStore>,
    engine: Engine,
}

impl InProcess {
    /// A target with a first engine.
    ///
    /// # Errors
    /// When the engine does not open.
    pub(crate) async fn new() -> Result<Self, TargetError> {
        let clock = Arc::new(ManualClock::at(0));
        let store = Arc::new(MemoryStore::new());
        let engine = open(&clock, &store).await?;
        Ok(Self { clock, store, engine })
    }

    /// The release that is under test here.
    pub(crate) fn version() -> String {
        Options::default().version
    }

    async fn history(&self, reader: &Identity, session_id: &str) -> Result<Vec<HistoryEntry>, TargetError> {
        let mut subscription = self.engine.subscribe(reader, session_id, 0).await.map_err(refused)?;
        let mut history = Vec::new();
        let mut seen = 0;
        while seen < subscription.high_water() {
            match subscription.next().await.map_err(refused)? {
                Event::Envelope(delivery) => {
                    seen = delivery.sequence();
                    history.push(history_entry(delivery.envelope()));
                }
                Event::Ended { .. } => break,
            }
        }
        // The first one is the start, which fixtures do not list.
        history.remove(0);
        Ok(history)
    }
}

async fn open(clock: &Arc<ManualClock>, store: &Arc<MemoryStore>) -> Result<Engine, TargetError> {
    let options = Options { limits: generous_limits(), ..Options::default() };
    let store: Arc<dyn LogStore> = Arc::<MemoryStore>::clone(store);
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    Engine::open(store, clock, options).await.map_err(|error| TargetError(error.to_string()))
}

#[async_trait]
impl ConformanceTarget for InProcess {
    fn profile(&self) -> Profile {
        Profile::Embedded
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_clock_control(true).with_replay(true).with_commitment_hash(true)
    }

    fn describe(&self) -> String {
        format!("in-process macp-engine {}", Self::version())
    }

    fn semantics_rev(&self) -> Option<u32> {
        Some(SEMANTICS_REV)
    }

    async fn begin_fixture(&mut self, clock_start: Option<i64>) -> Result<(), TargetError> {
        self.clock = Arc::new(ManualClock::at(clock_start.unwrap_or_else(wall_clock)));
        self.store = Arc::new(MemoryStore::new());
        self.engine = open(&self.clock, &self.store).await?;
        Ok(())
    }

    async fn register_policy(&mut self, definition: PolicyDefinition) -> Result<(), TargetError> {
        let mut registrar = Caller::new("agent://registrar");
        registrar.capabilities.can_manage_mode_registry = true;
        let policy_descriptor = Some(PolicyDescriptor {
            policy_id: definition.policy_id,
            mode: definition.mode,
            description: definition.description,
            rules: definition.rules.to_string(),
            schema_version: definition.schema_version,
            registered_at_unix_ms: 0,
        });
        let request = RegisterPolicyRequest { policy_descriptor };
        let answer =
            self.engine.register_policy(&Identity::Known(registrar), request).await.map_err(refused)?;
        if answer.ok { Ok(()) } else { Err(TargetError(answer.error)) }
    }

    async fn set_clock(&mut self, now_ms: i64) -> Result<(), TargetError> {
        self.clock.advance(now_ms - self.clock.now().0);
        Ok(())
    }

    async fn submit(&mut self, envelope: macp_pb::pb::Envelope) -> Result<Submission, TargetError> {
        let sender = Identity::Known(Caller::new(envelope.sender.as_str()));
        // The runner's generated types are not ours; both are the same message.
        let envelope = Envelope::decode(envelope.encode_to_vec().as_slice())
            .map_err(|error| TargetError(error.to_string()))?;
        Ok(match self.engine.submit(&sender, envelope).await {
            Ok(acceptance) => Submission::Accepted { duplicate: acceptance.duplicate },
            Err(refusal) => Submission::Rejected { code: refusal.code.name().to_owned() },
        })
    }

    async fn observe(&mut self, session_id: &str, initiator: &str) -> Result<Observation, TargetError> {
        let reader = Identity::Known(Caller::new(initiator));
        let request = GetSessionRequest { session_id: session_id.to_owned() };
        let metadata = self.engine.get_session(&reader, request).await.map_err(refused)?.metadata;
        let state = metadata.ok_or_else(|| TargetError("GetSession without metadata".to_owned()))?.state();
        let history = self.history(&reader, session_id).await?;
        let session = self.engine.held(session_id).await.ok_or_else(not_held)?;
        Ok(Observation::new(state_name(state)?)
            .with_resolution(session.resolution.as_ref().map(|bytes| bytes.to_vec()))
            .with_mode_state(Some(projection::mode_state(&session)).filter(|state| !state.is_null()))
            .with_history(history))
    }

    async fn check_replay(&mut self, session_id: &str) -> Result<Result<(), String>, TargetError> {
        let stream = Bytes::copy_from_slice(session_id.as_bytes());
        let mut replay = Replay::default();
        let mut tail = None;
        loop {
            let page = self.store.read(&stream, tail, PAGE).await;
            let page = page.map_err(|error| TargetError(error.to_string()))?;
            let Some(last) = page.last() else { break };
            tail = Some(last.position);
            for stored in &page {
                if let Err(divergence) = replay.record(&stored.record) {
                    return Ok(Err(divergence.to_string()));
                }
            }
        }
        let held = self.engine.held(session_id).await.ok_or_else(not_held)?;
        Ok(match replay.into_session() {
            Some(replayed) if replayed == held => Ok(()),
            replayed => Err(format!("held {held:?}, replayed {replayed:?}")),
        })
    }

    fn commitment_hash(&self, payload: &macp_pb::pb::CommitmentPayload) -> Option<String> {
        let payload = CommitmentPayload::decode(payload.encode_to_vec().as_slice()).ok()?;
        Some(commitment_hash::hash(&payload))
    }

    fn verify_commitment_hash(&self, wire: &[u8], claimed: &str) -> Option<String> {
        let outcome = match commitment_hash::verify(wire, claimed) {
            Verification::Match => "match",
            Verification::Mismatch => "mismatch",
            Verification::CannotVerify => "cannot_verify",
        };
        Some(outcome.to_owned())
    }
}

/// The state under the name that fixtures use.
fn state_name(state: SessionState) -> Result<&'static str, TargetError> {
    match state {
        SessionState::Open => Ok("Open"),
        SessionState::Suspended => Ok("Suspended"),
        SessionState::Resolved => Ok("Resolved"),
        SessionState::Expired => Ok("Expired"),
        SessionState::Cancelled => Ok("Cancelled"),
        SessionState::Unspecified => Err(TargetError("the session's state is unspecified".to_owned())),
    }
}

/// An accepted envelope as the runner compares it.
fn history_entry(envelope: &Envelope) -> HistoryEntry {
    HistoryEntry::new(
        envelope.message_type.clone(),
        envelope.sender.clone(),
        envelope.message_id.clone(),
        envelope.payload.to_vec(),
    )
}

fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A refusal where the runner did not submit anything.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(refusal: Refusal) -> TargetError {
    TargetError(refusal.to_string())
}

fn not_held() -> TargetError {
    TargetError("the engine does not hold the session".to_owned())
}
