//! The lines of an export: stored records as JSON that people and programs read, and back to the same bytes.
//!
//! ```text
//!  {"macp_log":1,"session_id":S}                                                        first line of a session
//!  {"session_id":S,"position":1,"append_id":HEX,"at_unix_ms":T,"started":{…},"link":HEX}       an entry each
//!  {"session_id":S,"position":2,"append_id":HEX,"at_unix_ms":T,"accepted":{…}}
//!  {"session_id":S,"position":2,"at_unix_ms":T,"accepted":{…},"link":HEX}
//!  {"session_id":S,"receipt":TEXT}                                                      if one was issued
//!  {"session_id":S,"end":{"position":2,"link":HEX}}                                     last line of a session
//! ```
//!
//! Entries with one position were stored by one append: its first line has the append's id, its last line the link of
//! the hash chain. Envelopes and policies are in the protocol's canonical JSON. Where that does not give back the
//! stored bytes (a policy's rules with blanks in them) the first line has them too, as `record_b64`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use macp_kernel::record::{
    self, RecordBody, StoredControl, StoredEntry, StoredEnvelope, StoredFact, StoredStart,
};
use macp_store::embedded::Exported;
use macp_wire::json;
use macp_wire::v1::{Envelope, PolicyDescriptor};
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The version that the first line of a session names.
pub(crate) const VERSION: u32 = 1;

/// One line. Which members are there tells what it is about.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// The version of these lines; in the first line of a session alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) macp_log: Option<u32>,
    pub(crate) session_id: String,
    /// Position of the record that holds the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    append_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_unix_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Started>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<Accepted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended: Option<Control>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed: Option<Resumed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled: Option<Control>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expired: Option<Expired>,
    /// Link of the record, in its last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receipt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<End>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Started {
    sequence: u64,
    envelope: Box<RawValue>,
    mode_kind: String,
    mode_version: String,
    message_types: Vec<String>,
    policy: Option<Box<RawValue>>,
    max_suspend_ms: i64,
    semantics_rev: u32,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    sequence: u64,
    /// Whether the server wrote the envelope itself.
    synthetic: bool,
    envelope: Box<RawValue>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Control {
    by: String,
    reason: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Resumed {
    by: String,
    reason: String,
    banked_ms: i64,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Expired {
    cause: String,
}

/// Where a session's history ends.
#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct End {
    pub(crate) position: u64,
    pub(crate) link: String,
}

/// Names of the causes of an expiry, at the number that is stored.
const CAUSES: [&str; 4] = ["unknown", "deadline", "suspension_cap", "cycle_cap"];

/// The first line of a session.
pub(crate) fn first(session_id: &str) -> Line {
    Line { macp_log: Some(VERSION), session_id: session_id.to_owned(), ..Line::default() }
}

/// The line with the receipt that was issued for a session.
pub(crate) fn receipt(session_id: &str, receipt: String) -> Line {
    Line { session_id: session_id.to_owned(), receipt: Some(receipt), ..Line::default() }
}

/// The last line of a session.
pub(crate) fn end(session_id: &str, end: End) -> Line {
    Line { session_id: session_id.to_owned(), end: Some(end), ..Line::default() }
}

/// The lines of a record.
///
/// # Errors
/// Why its entries cannot be shown.
pub(crate) fn of_record(session_id: &str, exported: &Exported) -> Result<Vec<Line>, String> {
    let mut lines = shown(session_id, exported.position.to_engine(), &exported.record)?;
    if record(&lines).ok().as_ref() != Some(&exported.record)
        && let Some(first) = lines.first_mut()
    {
        first.record_b64 = Some(BASE64.encode(&exported.record));
    }
    if let Some(last) = lines.last_mut() {
        last.link = Some(hex(&exported.link));
    }
    Ok(lines)
}

fn shown(session_id: &str, position: u64, bytes: &Bytes) -> Result<Vec<Line>, String> {
    let body = record::decode(bytes).map_err(|error| error.to_string())?;
    let mut append_id = Some(hex(&body.append_id));
    body.entries
        .into_iter()
        .map(|entry| {
            let mut line = Line {
                session_id: session_id.to_owned(),
                position: Some(position),
                append_id: append_id.take(),
                at_unix_ms: Some(entry.at),
                ..Line::default()
            };
            show(&mut line, entry.fact.ok_or("an entry holds a fact that this release does not know")?)?;
            Ok(line)
        })
        .collect()
}

fn show(line: &mut Line, fact: StoredFact) -> Result<(), String> {
    let control = |stored: StoredControl| Control { by: stored.by, reason: stored.reason };
    match fact {
        StoredFact::Started(start) => {
            line.started = Some(Started {
                sequence: 1,
                envelope: envelope_json(&start.envelope)?,
                mode_kind: start.mode_kind,
                mode_version: start.mode_version,
                message_types: start.message_types,
                policy: start.policy.map(|policy| raw(json::to_string(&policy))).transpose()?,
                max_suspend_ms: start.max_suspend_ms,
                semantics_rev: start.semantics_rev,
            });
        }
        StoredFact::Accepted(accepted) => {
            line.accepted = Some(Accepted {
                sequence: accepted.ordinal,
                synthetic: accepted.synthetic,
                envelope: envelope_json(&accepted.envelope)?,
            });
        }
        StoredFact::Suspended(stored) => line.suspended = Some(control(stored)),
        StoredFact::Cancelled(stored) => line.cancelled = Some(control(stored)),
        StoredFact::Resumed(stored) => {
            line.resumed =
                Some(Resumed { by: stored.by, reason: stored.reason, banked_ms: stored.banked_ms });
        }
        StoredFact::Expired(cause) => {
            let name = usize::try_from(cause).ok().and_then(|cause| CAUSES.get(cause));
            line.expired = Some(Expired { cause: (*name.unwrap_or(&CAUSES[0])).to_owned() });
        }
    }
    Ok(())
}

fn envelope_json(bytes: &Bytes) -> Result<Box<RawValue>, String> {
    let envelope = Envelope::decode(bytes.clone()).map_err(|error| error.to_string())?;
    raw(json::to_string(&envelope))
}

fn raw(text: String) -> Result<Box<RawValue>, String> {
    RawValue::from_string(text).map_err(|error| error.to_string())
}

/// The record that these lines show.
///
/// # Errors
/// What is wrong with them: among other things, if they hold the stored bytes and do not show what is in these.
pub(crate) fn record(lines: &[Line]) -> Result<Bytes, String> {
    let Some(first) = lines.first() else { return Err("a record without entries".to_owned()) };
    if let Some(text) = &first.record_b64 {
        let bytes = BASE64.decode(text).map_err(|error| format!("record_b64: {error}"))?;
        let bytes = Bytes::from(bytes);
        let shown = shown(&first.session_id, first.position.unwrap_or_default(), &bytes)?;
        return if facts(&shown)? == facts(lines)? {
            Ok(bytes)
        } else {
            Err("record_b64 holds something else than the lines show".to_owned())
        };
    }
    let append_id = unhex(first.append_id.as_deref().ok_or("append_id is missing")?)
        .ok_or("append_id is not hexadecimal")?;
    if lines[1..].iter().any(|line| line.append_id.is_some() || line.record_b64.is_some()) {
        return Err("append_id or record_b64 in a line that is not the first of its position".to_owned());
    }
    let entries = lines.iter().map(entry).collect::<Result<_, String>>()?;
    Ok(RecordBody { append_id: append_id.into(), entries }.to_record())
}

/// What lines say of their entries, as values that compare.
fn facts(lines: &[Line]) -> Result<Vec<serde_json::Value>, String> {
    let value = |line: &Line| -> Result<serde_json::Value, serde_json::Error> {
        // By way of text: a raw value is not a value of its own.
        let mut value: serde_json::Value = serde_json::from_str(&serde_json::to_string(line)?)?;
        if let Some(members) = value.as_object_mut() {
            members.retain(|name, _| name != "record_b64" && name != "link");
        }
        Ok(value)
    };
    lines.iter().map(|line| value(line).map_err(|error| error.to_string())).collect()
}

fn entry(line: &Line) -> Result<StoredEntry, String> {
    let at = line.at_unix_ms.ok_or("at_unix_ms is missing")?;
    let control = |control: &Control| StoredControl {
        by: control.by.clone(),
        reason: control.reason.clone(),
        banked_ms: 0,
    };
    let mut facts: Vec<StoredFact> = Vec::new();
    if let Some(started) = &line.started {
        facts.push(StoredFact::Started(StoredStart {
            envelope: envelope_bytes(&started.envelope)?,
            mode_kind: started.mode_kind.clone(),
            mode_version: started.mode_version.clone(),
            message_types: started.message_types.clone(),
            policy: started
                .policy
                .as_ref()
                .map(|policy| {
                    json::from_slice::<PolicyDescriptor>(policy.get().as_bytes())
                        .map_err(|error| format!("policy: {error}"))
                })
                .transpose()?,
            max_suspend_ms: started.max_suspend_ms,
            semantics_rev: started.semantics_rev,
        }));
    }
    if let Some(accepted) = &line.accepted {
        facts.push(StoredFact::Accepted(StoredEnvelope {
            envelope: envelope_bytes(&accepted.envelope)?,
            ordinal: accepted.sequence,
            synthetic: accepted.synthetic,
        }));
    }
    facts.extend(line.suspended.iter().map(|said| StoredFact::Suspended(control(said))));
    facts.extend(line.cancelled.iter().map(|said| StoredFact::Cancelled(control(said))));
    facts.extend(line.resumed.iter().map(|said| {
        StoredFact::Resumed(StoredControl {
            by: said.by.clone(),
            reason: said.reason.clone(),
            banked_ms: said.banked_ms,
        })
    }));
    if let Some(expired) = &line.expired {
        let cause = CAUSES.iter().skip(1).position(|name| *name == expired.cause);
        let cause = cause.and_then(|at| u32::try_from(at + 1).ok()).ok_or("expired.cause is not known")?;
        facts.push(StoredFact::Expired(cause));
    }
    match (facts.pop(), facts.is_empty()) {
        (Some(fact), true) => Ok(StoredEntry { at, fact: Some(fact) }),
        _ => Err("a line with a position holds exactly one entry".to_owned()),
    }
}

fn envelope_bytes(text: &RawValue) -> Result<Bytes, String> {
    let envelope = json::from_slice::<Envelope>(text.get().as_bytes()).map_err(|error| error.to_string())?;
    Ok(Bytes::from(envelope.encode_to_vec()))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
