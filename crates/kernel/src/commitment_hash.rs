//! The canonical hash of a Commitment and its verification (RFC-MACP-0013 §3 to §6).
//!
//! The hash covers exactly the nine fields of `CommitmentPayload` and the two of `CommitmentRef`. A payload with any
//! other field cannot be hashed by this label: a verifier that dropped the field would vouch for what it never saw.

use std::fmt::Write as _;

use macp_wire::v1::{CommitmentPayload, CommitmentRef};
use prost::Message as _;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// What the canonical bytes are prefixed with before they are hashed; part of the definition, never of the output.
const LABEL: &[u8] = b"macp-commitment-hash/1:";
/// What a written hash begins with.
const PREFIX: &str = "sha256:";

/// Field number of `supersedes`, the only field with fields of its own.
const SUPERSEDES: u64 = 9;
/// Highest field number of `CommitmentPayload`; every number up to it is taken.
const LAST_FIELD: u64 = 9;
/// Highest field number of `CommitmentRef`; every number up to it is taken.
const LAST_REF_FIELD: u64 = 2;

/// The outcome of a verification (RFC-MACP-0013 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The claim is the payload's hash.
    Match,
    /// The claim is another hash, or not in canonical form.
    Mismatch,
    /// The payload does not decode or has fields that the hash does not cover; nothing can be said of the claim.
    CannotVerify,
}

/// The JSON object that is hashed (RFC-MACP-0013 §3). Its `Display` form is its canonical form (RFC 8785).
///
/// That holds because member names are ASCII and put in here in order, values are strings and booleans, and
/// serde_json escapes exactly what RFC 8785 does, in the same way.
#[must_use]
pub fn projection(payload: &CommitmentPayload) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    put("action", payload.action.as_str().into());
    put("authority_scope", payload.authority_scope.as_str().into());
    put("commitment_id", payload.commitment_id.as_str().into());
    put("configuration_version", payload.configuration_version.as_str().into());
    put("mode_version", payload.mode_version.as_str().into());
    put("outcome_positive", payload.outcome_positive.into());
    put("policy_version", payload.policy_version.as_str().into());
    put("reason", payload.reason.as_str().into());
    if let Some(CommitmentRef { session_id, commitment_hash }) = &payload.supersedes {
        let mut supersedes = Map::new();
        supersedes.insert("commitment_hash".to_owned(), commitment_hash.as_str().into());
        supersedes.insert("session_id".to_owned(), session_id.as_str().into());
        put("supersedes", supersedes.into());
    }
    Value::Object(members)
}

/// The hash of a payload: `sha256:` and 64 lowercase hexadecimal digits. Never judges the payload.
#[must_use]
pub fn hash(payload: &CommitmentPayload) -> String {
    let digest = Sha256::new().chain_update(LABEL).chain_update(projection(payload).to_string()).finalize();
    let mut text = PREFIX.to_owned();
    for byte in digest {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads a payload from its wire bytes if the hash covers all of it.
///
/// `None` when the bytes do not decode, or hold a field that the label does not know.
#[must_use]
pub fn covered(wire: &[u8]) -> Option<CommitmentPayload> {
    let payload = CommitmentPayload::decode(wire).ok()?;
    covers(wire, LAST_FIELD, |supersedes| covers(supersedes, LAST_REF_FIELD, |_| true)).then_some(payload)
}

/// Verifies a claimed hash against the payload's wire bytes. Coverage is judged first.
#[must_use]
pub fn verify(wire: &[u8], claim: &str) -> Verification {
    match covered(wire) {
        None => Verification::CannotVerify,
        Some(payload) if hash(&payload) == claim => Verification::Match,
        Some(_) => Verification::Mismatch,
    }
}

/// Whether every field of a message has a number up to `last`, and every `supersedes` in it satisfies `inner`.
///
/// The message was decoded before, so its framing is sound; a fault met here all the same counts as not covered.
fn covers(mut wire: &[u8], last: u64, inner: impl Fn(&[u8]) -> bool) -> bool {
    while !wire.is_empty() {
        let Some((number, value, rest)) = field(wire) else { return false };
        if number > last || (number == SUPERSEDES && !inner(value)) {
            return false;
        }
        wire = rest;
    }
    true
}

/// The first field: its number, its value if it has a length, and what follows. Groups are nobody's field here.
fn field(wire: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (key, rest) = varint(wire)?;
    let none: &[u8] = &[];
    let (value, rest) = match key & 7 {
        0 => (none, varint(rest)?.1),
        1 => (none, rest.get(8..)?),
        2 => {
            let (length, rest) = varint(rest)?;
            rest.split_at_checked(usize::try_from(length).ok()?)?
        }
        5 => (none, rest.get(4..)?),
        _ => return None,
    };
    Some((key >> 3, value, rest))
}

fn varint(wire: &[u8]) -> Option<(u64, &[u8])> {
    let length = wire.iter().take(10).position(|byte| byte & 0x80 == 0)? + 1;
    let (bytes, rest) = wire.split_at(length);
    let value = bytes.iter().rev().fold(0_u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, rest))
}
