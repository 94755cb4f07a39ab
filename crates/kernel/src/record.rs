//! Stored bytes of one append unit: a format version and one or more entries. Stable across releases.
//!
//! ```text
//! Record := version:u8 (1)  RecordBody (protobuf)
//! ```
//!
//! A record holds what cannot be derived: envelopes as their own protobuf bytes, acceptance times, and at the
//! start the values that registries and settings supplied. Mode state is never stored; [`crate::replay`] derives
//! it with the rules themselves. Integrity (checksums, chaining) is the store's business.

use bytes::{BufMut, Bytes, BytesMut};
use macp_wire::v1::PolicyDescriptor;
use prost::Message;

use crate::encode::{Fields, Part, length};
use crate::entry::{Accepted, Entry, ExpiryCause, Fact};
use crate::time::UnixMillis;

/// The format this release writes, and the newest it reads.
pub const RECORD_VERSION: u8 = 1;

/// Why bytes are not a record of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Nothing there.
    #[error("the record is empty")]
    Empty,
    /// Written by a newer release.
    #[error("the record has format version {0}; this release reads versions up to {RECORD_VERSION}")]
    Newer(u8),
    /// Not the format its version byte claims.
    #[error("the record does not decode: {0}")]
    Malformed(String),
}

/// One append unit as stored.
#[derive(Clone, PartialEq, Message)]
pub struct RecordBody {
    /// Random id of the append, to recognise it after an unknown outcome; 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub append_id: Bytes,
    /// The entries, in order.
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<StoredEntry>,
}

/// One entry as stored.
#[derive(Clone, PartialEq, Message)]
pub struct StoredEntry {
    /// Acceptance time, Unix milliseconds.
    #[prost(sint64, tag = "1")]
    pub at: i64,
    /// The fact.
    #[prost(oneof = "StoredFact", tags = "2, 3, 4, 5, 6, 7")]
    pub fact: Option<StoredFact>,
}

/// A fact as stored.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum StoredFact {
    /// See [`Fact::Started`].
    #[prost(message, tag = "2")]
    Started(StoredStart),
    /// See [`Fact::Accepted`].
    #[prost(message, tag = "3")]
    Accepted(StoredEnvelope),
    /// See [`Fact::Suspended`].
    #[prost(message, tag = "4")]
    Suspended(StoredControl),
    /// See [`Fact::Resumed`].
    #[prost(message, tag = "5")]
    Resumed(StoredControl),
    /// See [`Fact::Cancelled`].
    #[prost(message, tag = "6")]
    Cancelled(StoredControl),
    /// See [`Fact::Expired`]: 1 deadline, 2 suspension cap, 3 cycle cap.
    #[prost(uint32, tag = "7")]
    Expired(u32),
}

/// A start with the values that its envelope does not hold.
#[derive(Clone, PartialEq, Message)]
pub struct StoredStart {
    /// The accepted envelope.
    #[prost(bytes = "bytes", tag = "1")]
    pub envelope: Bytes,
    /// Which rules the mode id stood for, by name.
    #[prost(string, tag = "2")]
    pub mode_kind: String,
    /// Bound mode version.
    #[prost(string, tag = "3")]
    pub mode_version: String,
    /// Message types of a registered extension mode.
    #[prost(string, repeated, tag = "4")]
    pub message_types: Vec<String>,
    /// The resolved policy.
    #[prost(message, optional, tag = "5")]
    pub policy: Option<PolicyDescriptor>,
    /// Resolved cap on suspended time.
    #[prost(int64, tag = "6")]
    pub max_suspend_ms: i64,
    /// Revision of the rules.
    #[prost(uint32, tag = "7")]
    pub semantics_rev: u32,
}

/// An accepted envelope.
#[derive(Clone, PartialEq, Message)]
pub struct StoredEnvelope {
    /// The accepted envelope.
    #[prost(bytes = "bytes", tag = "1")]
    pub envelope: Bytes,
    /// Its ordinal.
    #[prost(uint64, tag = "2")]
    pub ordinal: u64,
    /// Whether the server wrote it.
    #[prost(bool, tag = "3")]
    pub synthetic: bool,
}

/// A control call.
#[derive(Clone, PartialEq, Message)]
pub struct StoredControl {
    /// The authenticated sender.
    #[prost(string, tag = "1")]
    pub by: String,
    /// The caller's words.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// Time-to-live left at the suspension; only for a resume.
    #[prost(int64, tag = "3")]
    pub banked_ms: i64,
}

/// Encodes entries as one record.
#[must_use]
pub fn encode(append_id: [u8; 16], entries: &[Entry]) -> Bytes {
    // Nearly all records hold accepted envelopes only, and these need no message to be made of them first.
    if entries.iter().all(|entry| matches!(entry.fact, Fact::Accepted(_))) {
        let part = AcceptedOnly { append_id, entries };
        let mut out = Vec::with_capacity(1 + length(&part));
        out.push(RECORD_VERSION);
        part.fields(&mut out);
        return out.into();
    }
    let body = RecordBody {
        append_id: Bytes::copy_from_slice(&append_id),
        entries: entries.iter().map(store).collect(),
    };
    body.to_record()
}

/// The [`RecordBody`] of accepted envelopes.
struct AcceptedOnly<'a> {
    append_id: [u8; 16],
    entries: &'a [Entry],
}

impl Part for AcceptedOnly<'_> {
    fn fields(&self, out: &mut impl Fields) {
        out.bytes(1, &self.append_id);
        for entry in self.entries {
            if let Fact::Accepted(accepted) = &entry.fact {
                out.message(2, &AcceptedEntry(entry.at, accepted));
            }
        }
    }
}

/// The [`StoredEntry`] of an accepted envelope.
struct AcceptedEntry<'a>(UnixMillis, &'a Accepted);

impl Part for AcceptedEntry<'_> {
    fn fields(&self, out: &mut impl Fields) {
        let Self(at, accepted) = self;
        if at.0 != 0 {
            out.sint64(1, at.0);
        }
        out.message(3, *accepted);
    }
}

/// A [`StoredEnvelope`].
impl Part for Accepted {
    fn fields(&self, out: &mut impl Fields) {
        out.bytes(1, self.sealed.bytes());
        out.number(2, self.ordinal);
        out.number(3, self.synthetic.into());
    }
}

impl RecordBody {
    /// The record with this body, in the format that this release writes.
    #[must_use]
    pub fn to_record(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(1 + self.encoded_len());
        out.put_u8(RECORD_VERSION);
        self.encode_raw(&mut out);
        out.freeze()
    }
}

/// Reads a record; envelopes share its buffer.
///
/// # Errors
/// [`RecordError`] for bytes of another format or a newer version.
pub fn decode(record: &Bytes) -> Result<RecordBody, RecordError> {
    match record.first() {
        None => Err(RecordError::Empty),
        Some(&version) if version > RECORD_VERSION => Err(RecordError::Newer(version)),
        Some(&RECORD_VERSION) => {
            RecordBody::decode(record.slice(1..)).map_err(|error| RecordError::Malformed(error.to_string()))
        }
        Some(version) => Err(RecordError::Malformed(format!("version {version} was never written"))),
    }
}

fn store(entry: &Entry) -> StoredEntry {
    let control = |by: &str, reason: &str, banked_ms| StoredControl {
        by: by.to_owned(),
        reason: reason.to_owned(),
        banked_ms,
    };
    let fact = match &entry.fact {
        Fact::Started(started) => StoredFact::Started(StoredStart {
            envelope: started.sealed.bytes().clone(),
            mode_kind: started.binding.mode_kind.name().to_owned(),
            mode_version: started.binding.mode_version.clone(),
            message_types: started.binding.message_types.iter().cloned().collect(),
            policy: Some(started.binding.policy.descriptor().clone()),
            max_suspend_ms: started.binding.max_suspend_ms,
            semantics_rev: started.binding.semantics_rev,
        }),
        Fact::Accepted(accepted) => StoredFact::Accepted(StoredEnvelope {
            envelope: accepted.sealed.bytes().clone(),
            ordinal: accepted.ordinal,
            synthetic: accepted.synthetic,
        }),
        Fact::Suspended { by, reason } => StoredFact::Suspended(control(by, reason, 0)),
        Fact::Resumed { by, reason, banked_ms } => StoredFact::Resumed(control(by, reason, *banked_ms)),
        Fact::Cancelled { by, reason } => StoredFact::Cancelled(control(by, reason, 0)),
        Fact::Expired { cause } => StoredFact::Expired(match cause {
            ExpiryCause::Deadline => 1,
            ExpiryCause::SuspensionCap => 2,
            ExpiryCause::CycleCap => 3,
        }),
    };
    StoredEntry { at: entry.at.0, fact: Some(fact) }
}
