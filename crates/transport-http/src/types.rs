//! The bodies that are this gateway's own: what has no message in the protocol.
//!
//! Field names are those of the protocol's JSON; 64-bit integers are JSON numbers.

use std::sync::Arc;

use macp_engine::Delivery;
use macp_wire::v1::SessionState;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Answer of `POST /macp/ticket`.
#[derive(Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TicketIssued {
    /// The ticket, for `?ticket=` in one URL. A credential: keep it out of logs.
    pub ticket: String,
    /// When it stops being good, in Unix milliseconds.
    pub expires_at_unix_ms: i64,
}

/// Answer of `GET /macp/v1/sessions/{session_id}/envelopes`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnvelopesPage {
    /// Accepted envelopes in order; none when nothing follows the position that was asked for.
    pub envelopes: Vec<SequencedEnvelope>,
    /// The session's last accepted ordinal when the page was made: read on with `after` until it is reached.
    pub high_water_sequence: u64,
    /// The session's state when the page was made, `SESSION_STATE_OPEN` for instance.
    #[cfg_attr(feature = "openapi", schema(schema_with = schemas::state))]
    pub state: &'static str,
}

/// An accepted envelope and its place in the session.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SequencedEnvelope {
    /// The accepted ordinal: 1, 2, 3, without gaps.
    pub sequence: u64,
    /// The envelope as canonical JSON.
    #[cfg_attr(feature = "openapi", schema(schema_with = schemas::envelope))]
    pub envelope: EnvelopeJson,
}

/// The canonical JSON of an accepted envelope, shared with everyone who reads it.
#[derive(Clone, Debug)]
pub struct EnvelopeJson(pub(crate) Arc<Delivery>);

impl Serialize for EnvelopeJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_slice(self.0.json()).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Answer of `GET /macp/v1/sessions/{session_id}/events` to a client that asks for JSON: the SDKs' polling adapters.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventsPolled {
    /// The accepted envelopes after the position that was asked for, in order.
    pub events: Vec<PolledEvent>,
}

/// An accepted envelope as the SDKs' polling adapters read it.
#[derive(Clone, Debug, Serialize)]
pub struct PolledEvent {
    /// The accepted ordinal, to be asked for with `after`.
    pub seq: u64,
    /// The payload's own `proposal_id`, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal_id: Option<String>,
    /// The members of the envelope's canonical JSON.
    #[serde(flatten)]
    pub envelope: Map<String, Value>,
}

impl PolledEvent {
    pub(crate) fn of(delivery: &Delivery) -> Self {
        // Our own canonical JSON is an object.
        let envelope: Map<String, Value> = serde_json::from_slice(delivery.json()).unwrap_or_default();
        let proposal_id = envelope.get("payload").and_then(|payload| payload.get("proposal_id")?.as_str());
        Self { seq: delivery.sequence(), proposal_id: proposal_id.map(str::to_owned), envelope }
    }
}

/// Data of the last event of `GET /macp/v1/sessions/{session_id}/events`, `event: ended`: the session is over and
/// everything was delivered.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionEnded {
    /// The session.
    pub session_id: String,
    /// How it ended: `SESSION_STATE_RESOLVED`, `SESSION_STATE_CANCELLED` or `SESSION_STATE_EXPIRED`.
    #[cfg_attr(feature = "openapi", schema(schema_with = schemas::state))]
    pub state: &'static str,
    /// Its last accepted ordinal.
    pub last_sequence: u64,
}

impl SessionEnded {
    pub(crate) fn new(session_id: &str, state: SessionState, last_sequence: u64) -> Self {
        Self { session_id: session_id.to_owned(), state: state.as_str_name(), last_sequence }
    }
}

/// A refused request as RFC 9457 has it, for clients that ask for `application/problem+json`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// Where the code is described.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong and what to do; for people.
    pub detail: String,
    /// The code of the protocol's registry.
    pub code: &'static str,
    /// The session that the request named; empty if it named none.
    pub session_id: String,
    /// Structured details, where the code has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(schema_with = schemas::details))]
    pub details: Option<Value>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Milliseconds after which it may, where a limit knows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub retry_after_ms: Option<u64>,
}

/// Body of a 406: what there is to ask for.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Available {
    /// Media types that the resource has.
    pub available: &'static [&'static str],
}

/// The JSON of one of these.
pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Structs with named fields of plain types, and JSON that we made ourselves, have no way to fail.
    serde_json::to_vec(value).unwrap_or_default()
}

/// Schemas of the members that are messages of the protocol, and of what is put together by hand.
#[cfg(feature = "openapi")]
mod schemas {
    use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Type};
    use utoipa::openapi::{Ref, RefOr, Schema};
    use utoipa::{PartialSchema, ToSchema};

    pub(super) fn state() -> Ref {
        Ref::from_schema_name("SessionState")
    }

    pub(super) fn envelope() -> Ref {
        Ref::from_schema_name("Envelope")
    }

    pub(super) fn details() -> Schema {
        let doc = "Structured details, where the code has any.";
        ObjectBuilder::new().schema_type(Type::Object).description(Some(doc)).build().into()
    }

    impl ToSchema for super::PolledEvent {}

    impl PartialSchema for super::PolledEvent {
        fn schema() -> RefOr<Schema> {
            let seq = ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(1))
                .description(Some("The accepted ordinal, to be asked for with `after`."));
            let proposal_id = ObjectBuilder::new()
                .schema_type(Type::String)
                .description(Some("The payload's own `proposal_id`, where it has one."));
            let doc = "An accepted envelope as the SDKs' polling adapters read it: the members of the envelope, and these.";
            let event = ObjectBuilder::new()
                .schema_type(Type::Object)
                .description(Some(doc))
                .property("seq", seq)
                .required("seq")
                .property("proposal_id", proposal_id)
                .additional_properties(Some(AdditionalProperties::FreeForm(true)));
            RefOr::T(event.build().into())
        }
    }
}
