//! The bodies that are this gateway's own: what has no message in the protocol.
//!
//! Field names are those of the protocol's JSON; 64-bit integers are JSON numbers.

use serde::Serialize;

/// Answer of `POST /macp/ticket`.
#[derive(Clone, Serialize)]
pub struct TicketIssued {
    /// The ticket, for `?ticket=` in one URL. A credential: keep it out of logs.
    pub ticket: String,
    /// When it stops being good, in Unix milliseconds.
    pub expires_at_unix_ms: i64,
}

impl TicketIssued {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Structs with named fields of plain types have no way to fail.
    serde_json::to_vec(value).unwrap_or_default()
}
