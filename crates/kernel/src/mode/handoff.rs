//! `macp.mode.handoff.v1`: offer, context, accept or decline, commit; and acceptance by silence (RFC-MACP-0010).

use std::collections::BTreeMap;

use bytes::Bytes;
use macp_wire::modes::handoff::v1::{
    HandoffAcceptPayload, HandoffContextPayload, HandoffDeclinePayload, HandoffOfferPayload,
};
use macp_wire::v1::Envelope;
use prost::Message as _;

use super::{BuiltIn, Context, Mode, Step, commitment};
use crate::envelope::{core_type, decode_payload};
use crate::policy::evaluate;
use crate::refusal::Refusal;
use crate::session::{Binding, Session};
use crate::time::UnixMillis;

/// The mode's id.
pub const MODE: &str = "macp.mode.handoff.v1";

pub(super) const BUILT_IN: BuiltIn = BuiltIn {
    mode: MODE,
    title: "Handoff Mode",
    description: "The initiator offers responsibility to a participant, who accepts or declines; a Commitment binds \
                  the outcome.",
    determinism_class: "context-frozen",
    participant_model: "delegated",
    between: &["HandoffOffer", "HandoffContext", HANDOFF_ACCEPT, "HandoffDecline"],
};

const HANDOFF_ACCEPT: &str = "HandoffAccept";

/// Prefix of the message ids that only the server's own acceptances have (RFC-MACP-0010 §5.1).
pub const IMPLICIT_ACCEPT_PREFIX: &str = "implicit-accept:";

/// Reason in the server's own acceptances.
const IMPLICIT_ACCEPT_REASON: &str = "implicit accept (timeout)";

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Unanswered; blocks every further offer.
    Offered,
    /// Accepted by its target, or by its target's silence; ends offering.
    Accepted,
    /// Declined; its target is never asked again in this session.
    Declined,
}

/// An offer of responsibility.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Who shall take over.
    pub target: String,
    /// Who offers.
    pub offered_by: String,
    /// What became of it.
    pub disposition: Disposition,
    /// Acceptance time of the offer, never the client's own timestamp.
    pub offered_at: UnixMillis,
}

/// State of a handoff session. Context is history and no state: no rule reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handoff {
    /// By handoff id; at most one is `Offered`.
    pub offers: BTreeMap<String, Offer>,
}

/// What an accepted message changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new offer.
    Offered {
        /// Its id within the session.
        handoff_id: String,
        /// The offer.
        offer: Offer,
    },
    /// Something was said about an offer.
    Context,
    /// An answer to an offer.
    Settled {
        /// The offer.
        handoff_id: String,
        /// The answer.
        disposition: Disposition,
    },
    /// The outcome is bound.
    Committed,
}

impl Mode for Handoff {
    type Change = Change;

    fn start(binding: &Binding) -> Result<Self, Refusal> {
        if binding.participants.len() < 2 || !binding.is_participant(&binding.initiator) {
            return Err(Refusal::invalid_envelope(
                "a handoff session needs two participants, one of them its initiator",
            ));
        }
        Ok(Self::default())
    }

    fn authorize(&self, binding: &Binding, sender: &str, message_type: &str) -> Result<(), Refusal> {
        match message_type {
            "HandoffOffer" => commitment::require_initiator(binding, sender, message_type),
            core_type::COMMITMENT => commitment::authorize(binding, sender),
            _ => commitment::require_participant(binding, sender),
        }
    }

    fn client_boundary(envelope: &Envelope) -> Result<(), Refusal> {
        if envelope.message_id.starts_with(IMPLICIT_ACCEPT_PREFIX) {
            return Err(Refusal::invalid_envelope(format!(
                "message_id must not begin with {IMPLICIT_ACCEPT_PREFIX:?}, which the server's own messages use"
            )));
        }
        let claims_silence = envelope.message_type == HANDOFF_ACCEPT
            && decode_payload::<HandoffAcceptPayload>(envelope).is_ok_and(|payload| payload.implicit);
        if claims_silence {
            return Err(Refusal::invalid_envelope(
                "HandoffAcceptPayload.implicit must be false; only the server accepts by timeout",
            ));
        }
        Ok(())
    }

    fn due_at(&self, session: &Session) -> Option<UnixMillis> {
        let (_, offer) = self.open_offer()?;
        silence_ends(&session.binding, offer, &session.pauses)
    }

    fn due(&self, session: &Session, now: UnixMillis) -> Option<(UnixMillis, Envelope)> {
        let (handoff_id, offer) = self.open_offer()?;
        let at = silence_ends(&session.binding, offer, &session.pauses)?;
        (now >= at).then(|| (at, implicit_accept(session, handoff_id, &offer.target, at)))
    }

    fn decide(&self, context: &Context<'_>, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        match envelope.message_type.as_str() {
            "HandoffOffer" => self.offer(context, envelope),
            "HandoffContext" => self.context(envelope),
            HANDOFF_ACCEPT => self.accept(envelope),
            "HandoffDecline" => self.decline(envelope),
            core_type::COMMITMENT => self.commit(context.binding(), envelope),
            other => Err(BUILT_IN.unknown_type(other)),
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Offered { handoff_id, offer } => {
                self.offers.insert(handoff_id.clone(), offer.clone());
            }
            Change::Settled { handoff_id, disposition } => {
                if let Some(offer) = self.offers.get_mut(handoff_id) {
                    offer.disposition = *disposition;
                }
            }
            Change::Context | Change::Committed => {}
        }
    }
}

impl Handoff {
    fn offer(&self, context: &Context<'_>, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: HandoffOfferPayload = decode_payload(envelope)?;
        let target = payload.target_participant;
        if payload.handoff_id.is_empty() {
            return Err(Refusal::invalid_envelope("HandoffOfferPayload.handoff_id is empty"));
        }
        if target.is_empty() {
            return Err(Refusal::invalid_envelope("HandoffOfferPayload.target_participant is empty"));
        }
        if self.offers.contains_key(&payload.handoff_id) {
            return Err(Refusal::invalid_envelope("this handoff_id is already used in this session"));
        }
        if !context.binding().is_participant(&target) {
            return Err(Refusal::invalid_envelope("target_participant is not a declared participant"));
        }
        if target == envelope.sender {
            return Err(Refusal::invalid_envelope("target_participant is the sender itself"));
        }
        if self.any(Disposition::Offered) {
            return Err(Refusal::invalid_envelope("an earlier offer is not answered yet"));
        }
        if self.any(Disposition::Accepted) {
            return Err(Refusal::invalid_envelope("an earlier offer was accepted; no further one is made"));
        }
        if self.offers.values().any(|o| o.disposition == Disposition::Declined && o.target == target) {
            return Err(Refusal::invalid_envelope("target_participant has declined in this session"));
        }
        let offer = Offer {
            target,
            offered_by: envelope.sender.clone(),
            disposition: Disposition::Offered,
            offered_at: context.at,
        };
        Ok(Step::to(Change::Offered { handoff_id: payload.handoff_id, offer }))
    }

    /// Allowed whatever became of the offer: late context is documentation (RFC-MACP-0010 §2.1).
    fn context(&self, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: HandoffContextPayload = decode_payload(envelope)?;
        if self.require(&payload.handoff_id)?.offered_by != envelope.sender {
            return Err(Refusal::forbidden("only who made the offer may add context to it"));
        }
        Ok(Step::to(Change::Context))
    }

    /// An explicit acceptance, or the server's own as it stands in history: that one is not timed again, and it is
    /// held to its exact form.
    fn accept(&self, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: HandoffAcceptPayload = decode_payload(envelope)?;
        let offer = self.require_as_target(&payload.handoff_id, &envelope.sender)?;
        if payload.implicit {
            let message_id = envelope.message_id.strip_prefix(IMPLICIT_ACCEPT_PREFIX);
            if payload.accepted_by != offer.target || message_id != Some(payload.handoff_id.as_str()) {
                return Err(Refusal::invalid_envelope("this is not an acceptance as the server writes it"));
            }
        } else {
            require_own("accepted_by", &payload.accepted_by, &envelope.sender)?;
        }
        settle(offer, payload.handoff_id, Disposition::Accepted)
    }

    fn decline(&self, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: HandoffDeclinePayload = decode_payload(envelope)?;
        let offer = self.require_as_target(&payload.handoff_id, &envelope.sender)?;
        require_own("declined_by", &payload.declined_by, &envelope.sender)?;
        settle(offer, payload.handoff_id, Disposition::Declined)
    }

    fn commit(&self, binding: &Binding, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload = commitment::check(binding, envelope)?;
        if !self.any(Disposition::Accepted) && !self.any(Disposition::Declined) {
            return Err(Refusal::invalid_envelope("no offer was accepted or declined yet"));
        }
        evaluate::handoff(binding, payload.outcome_positive)?;
        Ok(Step { change: Change::Committed, resolution: Some(envelope.payload.clone()) })
    }

    fn any(&self, disposition: Disposition) -> bool {
        self.offers.values().any(|offer| offer.disposition == disposition)
    }

    /// The one unanswered offer.
    fn open_offer(&self) -> Option<(&String, &Offer)> {
        self.offers.iter().find(|(_, offer)| offer.disposition == Disposition::Offered)
    }

    fn require(&self, handoff_id: &str) -> Result<&Offer, Refusal> {
        self.offers
            .get(handoff_id)
            .ok_or_else(|| Refusal::invalid_envelope(format!("no handoff {handoff_id:?} was offered here")))
    }

    fn require_as_target(&self, handoff_id: &str, sender: &str) -> Result<&Offer, Refusal> {
        let offer = self.require(handoff_id)?;
        if offer.target != sender {
            return Err(Refusal::forbidden("only the target of an offer may answer it"));
        }
        Ok(offer)
    }
}

fn require_own(field: &str, value: &str, sender: &str) -> Result<(), Refusal> {
    if value.is_empty() || value == sender {
        return Ok(());
    }
    Err(Refusal::invalid_envelope(format!("{field} must be empty or the sender")))
}

fn settle(offer: &Offer, handoff_id: String, disposition: Disposition) -> Result<Step<Change>, Refusal> {
    if offer.disposition != Disposition::Offered {
        return Err(Refusal::invalid_envelope("this offer is answered already"));
    }
    Ok(Step::to(Change::Settled { handoff_id, disposition }))
}

/// When silence on the offer becomes acceptance; `None` under a policy without a timeout.
fn silence_ends(binding: &Binding, offer: &Offer, pauses: &[(UnixMillis, UnixMillis)]) -> Option<UnixMillis> {
    let timeout = binding.policy.rules().handoff.implicit_accept_timeout_ms;
    let timeout = i64::try_from(timeout).unwrap_or(i64::MAX);
    (timeout > 0).then(|| implicit_accept_at(offer.offered_at, timeout, pauses))
}

/// The instant at which an offer has been open for `timeout_ms` of unsuspended time (RFC-MACP-0010 §5.1).
///
/// Counts along the session's own timeline: a pause that begins at or after that instant does not move it, nor does
/// one from before the offer, nor one that would lie backwards or within another.
#[must_use]
pub fn implicit_accept_at(
    offered_at: UnixMillis,
    timeout_ms: i64,
    pauses: &[(UnixMillis, UnixMillis)],
) -> UnixMillis {
    let mut running_since = offered_at;
    let mut left = timeout_ms;
    for &(start, end) in pauses.iter().filter(|(start, _)| *start >= offered_at) {
        let ran = start.since(running_since).max(0);
        if ran >= left {
            break;
        }
        left -= ran;
        running_since = end.max(start).max(running_since);
    }
    running_since.plus(left)
}

/// The server's own acceptance; every field is fixed (RFC-MACP-0010 §5.1).
fn implicit_accept(session: &Session, handoff_id: &str, target: &str, at: UnixMillis) -> Envelope {
    let payload = HandoffAcceptPayload {
        handoff_id: handoff_id.to_owned(),
        accepted_by: target.to_owned(),
        reason: IMPLICIT_ACCEPT_REASON.to_owned(),
        implicit: true,
    };
    Envelope {
        macp_version: crate::PROTOCOL_VERSION.to_owned(),
        mode: session.binding.mode.clone(),
        message_type: HANDOFF_ACCEPT.to_owned(),
        message_id: format!("{IMPLICIT_ACCEPT_PREFIX}{handoff_id}"),
        session_id: session.id.as_str().to_owned(),
        sender: target.to_owned(),
        timestamp_unix_ms: at.0,
        payload: Bytes::from(payload.encode_to_vec()),
    }
}
