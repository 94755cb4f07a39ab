//! Decision receipts: the portable record of a binding Commitment (RFC-MACP-0013 §13, Appendix A).
//!
//! A receipt's body follows from the session's history, the issuer's name and the time of first issuance, and from
//! nothing else. Who issues it keeps the text that was served first: issuer, time and signature depend on settings
//! and on the clock, so no later computation could give the same bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use macp_wire::v1::SessionState;
use serde_json::{Map, Value, json};

use crate::commitment_hash;
use crate::refusal::{Refusal, RefusalCode};
use crate::session::Session;
use crate::time::UnixMillis;

/// The format of the receipts made here.
pub const FORMAT: &str = "macp-receipt/1";
/// The implementation whose revisions `semantics_rev` counts.
pub const IMPLEMENTATION: &str = "macp-gateway";

/// The modes whose sessions have receipts. By id, not by registry: a promoted mode has none (RFC-MACP-0013 §13).
const MODES: [&str; 5] = [
    "macp.mode.decision.v1",
    "macp.mode.proposal.v1",
    "macp.mode.task.v1",
    "macp.mode.handoff.v1",
    "macp.mode.quorum.v1",
];

/// Why a session has no receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReceipt {
    /// It is open, suspended, expired or cancelled.
    #[error("only a RESOLVED session has a receipt; this one is {}", .0.as_str_name().trim_start_matches("SESSION_STATE_"))]
    NotResolved(SessionState),
    /// Its mode is not one of the specification's own.
    #[error("sessions of mode {0:?} have no receipts; those of the standards-track modes have")]
    Mode(String),
    /// Its Commitment has fields that the commitment hash does not cover.
    #[error(
        "the Commitment has fields that the commitment hash does not cover, so no receipt can vouch for it"
    )]
    NotCovered,
}

impl From<NoReceipt> for Refusal {
    fn from(why: NoReceipt) -> Self {
        Self::new(RefusalCode::ReceiptUnavailable, why.to_string())
    }
}

/// Who issues a receipt, and when it is issued for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuance {
    /// The deployment's name; the receipt's `issuer` is `runtime:` and this.
    pub runtime_id: String,
    /// Time of first issuance; kept in whole seconds.
    pub at: UnixMillis,
}

/// A receipt without its attestations: what they sign.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt(Map<String, Value>);

/// Checks what a session's metadata tells: its mode and how it stands.
///
/// # Errors
/// [`NoReceipt::NotResolved`] or [`NoReceipt::Mode`].
pub fn check(mode: &str, state: SessionState) -> Result<(), NoReceipt> {
    if state != SessionState::Resolved {
        return Err(NoReceipt::NotResolved(state));
    }
    if !MODES.contains(&mode) {
        return Err(NoReceipt::Mode(mode.to_owned()));
    }
    Ok(())
}

impl Receipt {
    /// The receipt of a session.
    ///
    /// # Errors
    /// [`NoReceipt`]
    pub fn of(session: &Session, issuance: &Issuance) -> Result<Self, NoReceipt> {
        check(&session.binding.mode, session.lifecycle.wire())?;
        // The standards-track modes resolve to the Commitment's payload as it was sent.
        let wire = session.resolution.as_deref().unwrap_or_default();
        let commitment = commitment_hash::covered(wire).ok_or(NoReceipt::NotCovered)?;
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        // In the order of RFC 8785: names are ASCII and ascend. Values are text, except for one small number.
        put("commitment", commitment_hash::projection(&commitment));
        put("commitment_hash", commitment_hash::hash(&commitment).into());
        put("commitment_wire_b64", STANDARD.encode(wire).into());
        put("issued_at", whole_seconds(issuance.at).into());
        put("issuer", format!("runtime:{}", issuance.runtime_id).into());
        put("mode", session.binding.mode.as_str().into());
        put("receipt_format", FORMAT.into());
        put(
            "semantics_rev",
            json!({ "implementation": IMPLEMENTATION, "rev": session.binding.semantics_rev }),
        );
        put("session_id", session.id.as_str().into());
        Ok(Self(body))
    }

    /// The body in canonical form (RFC 8785): what an attestation is made over (RFC-MACP-0013 A.2).
    #[must_use]
    pub fn body(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// The whole receipt in canonical form, with these detached JWS as its attestations.
    #[must_use]
    pub fn document(&self, signatures: &[String]) -> String {
        let attestations: Vec<Value> =
            signatures.iter().map(|jws| json!({ "jws": jws, "type": "jws" })).collect();
        let mut document = Map::new();
        // Before all others in the order of names.
        document.insert("attestations".to_owned(), attestations.into());
        document.extend(self.0.clone());
        Value::Object(document).to_string()
    }
}

/// RFC 3339 in UTC without a fraction.
fn whole_seconds(at: UnixMillis) -> String {
    macp_wire::json::time_text(at.0 - at.0.rem_euclid(1000))
}
