//! The JSON of the protocol's messages as schemas, from the tables that are made with the codec.
//!
//! A message has up to two schemas. What the server writes has every member that it always writes among its required
//! ones. What it reads needs only what nothing can be done without, and has `Input` behind its name where both exist.
//! Payloads have one schema: they are read by it, and what others sent is passed on.

use std::collections::{BTreeMap, BTreeSet};

use macp_wire::schema::{Enum, Field, Kind, MESSAGES, Message, Shape, message};
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, Array, KnownFormat, ObjectBuilder, OneOfBuilder, SchemaFormat, Type,
};
use utoipa::openapi::{Ref, RefOr, Schema};

/// The largest magnitude of a 64-bit integer that is written as a number (RFC-MACP-0001 §10.9).
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;

/// The component of all payloads.
const PAYLOAD: &str = "EnvelopePayload";

/// Which members a request must have: without them it has no meaning. Nothing else is required, since an absent
/// member is its default.
const REQUIRED: &[(&str, &[&str])] = &[
    ("macp.v1.InitializeRequest", &["supported_protocol_versions"]),
    ("macp.v1.SendRequest", &["envelope"]),
    ("macp.v1.Envelope", &["macp_version", "message_type", "message_id"]),
    ("macp.v1.StreamSessionRequest", &["subscribe_session_id"]),
    ("macp.v1.GetSessionRequest", &["session_id"]),
    ("macp.v1.CancelSessionRequest", &["session_id"]),
    ("macp.v1.SuspendSessionRequest", &["session_id"]),
    ("macp.v1.ResumeSessionRequest", &["session_id"]),
    ("macp.v1.RegisterExtModeRequest", &["mode_descriptor"]),
    ("macp.v1.ModeDescriptor", &["mode", "mode_version", "message_types", "terminal_message_types"]),
    ("macp.v1.UnregisterExtModeRequest", &["mode"]),
    ("macp.v1.PromoteModeRequest", &["mode"]),
    ("macp.v1.RegisterPolicyRequest", &["policy_descriptor"]),
    ("macp.v1.PolicyDescriptor", &["policy_id", "mode", "rules", "schema_version"]),
    ("macp.v1.UnregisterPolicyRequest", &["policy_id"]),
    ("macp.v1.GetPolicyRequest", &["policy_id"]),
    ("macp.v1.WhatIfReplayRequest", &["session_id", "candidate"]),
    ("macp.v1.GetDecisionReceiptRequest", &["session_id"]),
    ("macp.v1.CommitmentRef", &["session_id", "commitment_hash"]),
];

/// Members that another binding has and HTTP refuses.
const NOT_OVER_HTTP: &[(&str, &str)] = &[("macp.v1.StreamSessionRequest", "envelope")];

/// Who writes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    /// The client.
    Input,
    /// The server.
    Output,
}

use Direction::{Input, Output};

/// The schemas that the operations use.
#[derive(Default)]
pub(crate) struct Schemas {
    reached: BTreeSet<(&'static str, Direction)>,
}

impl Schemas {
    /// Notes a message and everything below it. To be called for every message before [`Schemas::reference`].
    pub(crate) fn reach(&mut self, message: &'static Message, direction: Direction) {
        if !self.reached.insert((message.name, direction)) {
            return;
        }
        for field in fields(message) {
            if let Kind::Message(below) = field.kind {
                self.reach(below, direction);
            }
        }
        if is_envelope(message) {
            for payload in payloads() {
                self.reach(payload, Input);
            }
        }
    }

    /// A reference to the schema of a message.
    pub(crate) fn reference(&self, message: &Message, direction: Direction) -> Ref {
        Ref::from_schema_name(self.name(message, direction))
    }

    fn name(&self, message: &Message, direction: Direction) -> String {
        let both = direction == Input && self.reached.contains(&(message.name, Output));
        format!("{}{}", component_name(message.name), if both { "Input" } else { "" })
    }

    /// All schemas by name.
    pub(crate) fn components(&self) -> BTreeMap<String, RefOr<Schema>> {
        let mut components = BTreeMap::new();
        for (message, direction) in &self.reached {
            let Some(message) = macp_wire::schema::message(message) else { continue };
            let name = self.name(message, *direction);
            if is_envelope(message) {
                self.envelope(message, *direction, &name, &mut components);
            } else {
                components.insert(name, self.object(message, *direction).into());
            }
            for field in fields(message) {
                if let Kind::Enum(declared) = field.kind {
                    components.insert(component_name(declared.name), enumeration(declared).into());
                }
            }
        }
        if components.contains_key("Envelope") || components.contains_key("EnvelopeInput") {
            let any =
                payloads().fold(AnyOfBuilder::new(), |any, payload| any.item(self.reference(payload, Input)));
            let doc = "The payload as an object: the message that `mode` and `message_type` name. Core types \
                       (`SessionStart`, `Commitment`, `Signal`, `Progress`, …) have one payload in every mode.";
            components.insert(PAYLOAD.to_owned(), RefOr::T(any.description(Some(doc)).build().into()));
        }
        components
    }

    fn object(&self, message: &'static Message, direction: Direction) -> Schema {
        let mut object = ObjectBuilder::new().schema_type(Type::Object).description(described(message.doc));
        for field in fields(message) {
            object = object.property(field.name, self.member(field, direction));
        }
        for name in required(message, direction) {
            object = object.required(name);
        }
        object.build().into()
    }

    /// The two forms of an envelope: its payload as an object, or as bytes.
    fn envelope(
        &self,
        message: &'static Message,
        direction: Direction,
        name: &str,
        components: &mut BTreeMap<String, RefOr<Schema>>,
    ) {
        let suffix = name.trim_start_matches("Envelope");
        let forms = [
            (format!("InlineEnvelope{suffix}"), "payload", "with its payload as a JSON object"),
            (format!("EncodedEnvelope{suffix}"), "payload_b64", "with its payload as bytes in base64"),
        ];
        let mut either = OneOfBuilder::new().description(Some(format!(
            "{} It carries exactly one of `payload` (an object) and `payload_b64` (bytes): an object where the \
             message type has a payload message that holds all of it, else bytes.",
            message.doc
        )));
        for (form, payload, how) in forms {
            let mut object = ObjectBuilder::new()
                .schema_type(Type::Object)
                .description(Some(format!("An envelope {how}.")));
            for field in message.fields {
                object = match field.name {
                    "timestamp_unix_ms" => object.property(
                        "timestamp",
                        ObjectBuilder::new()
                            .schema_type(Type::String)
                            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
                            .description(Some(
                                "The sender's clock, RFC 3339. Binding on a SessionStart only; absent or the epoch \
                                 means the time of acceptance.",
                            )),
                    ),
                    "payload" if payload == "payload" => object.property(payload, Ref::from_schema_name(PAYLOAD)),
                    "payload" => object.property(payload, bytes("Protobuf bytes of the payload message.")),
                    _ => object.property(field.name, self.member(field, direction)),
                };
            }
            for name in required(message, direction) {
                object = match name {
                    "timestamp_unix_ms" => object.required("timestamp"),
                    "payload" => object,
                    name => object.required(name),
                };
            }
            components.insert(form.clone(), Schema::from(object.required(payload).build()).into());
            either = either.item(Ref::from_schema_name(form));
        }
        components.insert(name.to_owned(), Schema::from(either.build()).into());
    }

    fn member(&self, field: &Field, direction: Direction) -> RefOr<Schema> {
        match field.shape {
            Shape::Repeated => {
                let mut array = Array::new(self.value(field.kind, "", direction));
                array.description = described(field.doc);
                RefOr::T(Schema::Array(array))
            }
            Shape::Map => {
                let values = match self.value(field.kind, "", direction) {
                    RefOr::T(schema) => AdditionalProperties::RefOr(RefOr::T(schema)),
                    reference => AdditionalProperties::RefOr(reference),
                };
                let map = ObjectBuilder::new()
                    .schema_type(Type::Object)
                    .additional_properties(Some(values))
                    .description(described(field.doc));
                RefOr::T(map.build().into())
            }
            Shape::Plain | Shape::Optional | Shape::OneOf => self.value(field.kind, field.doc, direction),
        }
    }

    fn value(&self, kind: Kind, doc: &str, direction: Direction) -> RefOr<Schema> {
        let doc_of = described(doc);
        let integer = |format: &str, minimum: f64, maximum: f64| {
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .format(Some(SchemaFormat::Custom(format.to_owned())))
                .minimum(Some(minimum))
                .maximum(Some(maximum))
        };
        let object = match kind {
            Kind::String => ObjectBuilder::new().schema_type(Type::String),
            Kind::Bytes => return RefOr::T(bytes(doc).into()),
            Kind::Boolean => ObjectBuilder::new().schema_type(Type::Boolean),
            Kind::Int32 => integer("int32", i32::MIN.into(), i32::MAX.into()),
            Kind::Uint32 => integer("uint32", 0.0, u32::MAX.into()),
            Kind::Int64 => integer("int64", -MAX_EXACT, MAX_EXACT),
            Kind::Uint64 => integer("uint64", 0.0, MAX_EXACT),
            Kind::Double => ObjectBuilder::new()
                .schema_type(Type::Number)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Double))),
            Kind::Inlined => ObjectBuilder::new().schema_type(
                [Type::Object, Type::String].into_iter().collect::<utoipa::openapi::schema::SchemaType>(),
            ),
            Kind::Enum(declared) => {
                return referring(Ref::from_schema_name(component_name(declared.name)), doc);
            }
            Kind::Message(below) => return referring(self.reference(below, direction), doc),
        };
        RefOr::T(object.description(doc_of).build().into())
    }
}

fn referring(mut reference: Ref, doc: &str) -> RefOr<Schema> {
    doc.clone_into(&mut reference.description);
    RefOr::Ref(reference)
}

fn bytes(doc: &str) -> utoipa::openapi::Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Byte)))
        .content_encoding("base64")
        .description(Some(if doc.is_empty() { "Base64.".to_owned() } else { format!("{doc} In base64.") }))
        .build()
}

fn enumeration(declared: &Enum) -> Schema {
    let mut doc = declared.doc.to_owned();
    for value in declared.values.iter().filter(|value| !value.doc.is_empty()) {
        doc += &format!("\n- `{}`: {}", value.name, value.doc);
    }
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(declared.values.iter().map(|value| value.name)))
        .description(described(doc.trim_start()))
        .build()
        .into()
}

fn described(doc: &str) -> Option<String> {
    (!doc.is_empty()).then(|| doc.to_owned())
}

fn fields(message: &'static Message) -> impl Iterator<Item = &'static Field> {
    message.fields.iter().filter(|field| !NOT_OVER_HTTP.contains(&(message.name, field.name)))
}

fn required(message: &'static Message, direction: Direction) -> Vec<&'static str> {
    match direction {
        Input => REQUIRED
            .iter()
            .find(|(name, _)| *name == message.name)
            .map_or_else(Vec::new, |(_, members)| members.to_vec()),
        Output => fields(message)
            .filter(|field| matches!(field.shape, Shape::Plain | Shape::Repeated | Shape::Map))
            .map(|field| field.name)
            .collect(),
    }
}

fn is_envelope(message: &Message) -> bool {
    message.name == "macp.v1.Envelope"
}

/// Every message that an envelope can carry.
fn payloads() -> impl Iterator<Item = &'static Message> {
    MESSAGES.iter().copied().filter(|message| message.name.ends_with("Payload"))
}

/// `macp.v1.Ack` → `Ack`, `macp.modes.multi_round.v1.ContributePayload` → `MultiRoundContributePayload`,
/// `macp.v1.SessionLifecycleEvent.EventType` → `SessionLifecycleEventType`.
fn component_name(full: &str) -> String {
    let mut name = String::new();
    let mode = full.strip_prefix("macp.modes.").and_then(|rest| rest.split('.').next()).unwrap_or("");
    for word in mode.split('_').filter(|word| !word.is_empty()) {
        name += &word[..1].to_uppercase();
        name += &word[1..];
    }
    let types = full.split('.').filter(|part| part.starts_with(|c: char| c.is_ascii_uppercase()));
    for part in types {
        let last_word = name.rfind(|c: char| c.is_ascii_uppercase()).map_or("", |at| &name[at..]);
        let rest =
            if last_word.is_empty() { part } else { part.strip_prefix(last_word).unwrap_or(part) }.to_owned();
        name += &rest;
    }
    name
}

/// The table of a message that this crate names itself.
///
/// # Panics
/// When the protocol has no message of this name.
pub(crate) fn known(name: &str) -> &'static Message {
    message(name).unwrap_or_else(|| panic!("no message {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (full, name) in [
            ("macp.v1.Ack", "Ack"),
            ("macp.v1.MACPError", "MACPError"),
            ("macp.modes.decision.v1.VotePayload", "DecisionVotePayload"),
            ("macp.modes.multi_round.v1.ContributePayload", "MultiRoundContributePayload"),
            ("macp.modes.proposal.v1.ProposalPayload", "ProposalPayload"),
            ("macp.v1.SessionLifecycleEvent.EventType", "SessionLifecycleEventType"),
            ("macp.v1.WhatIfEntryOutcome.Kind", "WhatIfEntryOutcomeKind"),
        ] {
            assert_eq!(component_name(full), name);
        }
    }

    #[test]
    fn what_is_required_exists() {
        for (name, members) in REQUIRED {
            for member in *members {
                assert!(known(name).fields.iter().any(|field| field.name == *member), "{name}.{member}");
            }
        }
        for (name, member) in NOT_OVER_HTTP {
            assert!(known(name).fields.iter().any(|field| field.name == *member), "{name}.{member}");
        }
    }

    #[test]
    fn component_names_are_distinct() {
        let names: BTreeSet<String> = MESSAGES.iter().map(|message| component_name(message.name)).collect();
        assert_eq!(names.len(), MESSAGES.len());
    }
}
