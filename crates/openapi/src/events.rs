//! Streams of server-sent events as schemas: a text whose content is a list of events.
//!
//! OpenAPI 3.1 has no words for a stream of items. A string with `contentMediaType` and `contentSchema` says exactly
//! what the body is, and generated clients take it as the text that it is.

use std::collections::BTreeMap;

use macp_wire::schema::{CALLS, Message, Shape};
use utoipa::openapi::schema::{Array, ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};

use crate::schemas::{Direction, Schemas, known};

/// The component of the stream that `GET` of a session's events answers.
pub(crate) const SESSION_EVENTS: &str = "SessionEventsStream";

/// The component that describes a stream of these messages.
pub(crate) fn component(message: &Message) -> String {
    format!("{}Stream", stem(message))
}

fn stem(message: &Message) -> &'static str {
    let name = CALLS.iter().find(|call| call.response.name == message.name).map_or("", |call| call.name);
    debug_assert!(!name.is_empty());
    name
}

/// The components of all streams: the text, an event of it, and the event that ends it early.
pub(crate) fn components(schemas: &Schemas) -> BTreeMap<String, RefOr<Schema>> {
    let mut components = BTreeMap::new();
    for call in CALLS.iter().filter(|call| call.streams) {
        // Only envelopes have a position; they are in a oneof because gRPC has refusals beside them.
        let resumable = call.response.fields.iter().any(|field| field.shape == Shape::OneOf);
        let event = format!("{}Event", call.name);
        let mut object = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("An event without a name: its `data` is one line of JSON."))
            .property("data", schemas.reference(call.response, Direction::Output))
            .required("data");
        if resumable {
            let id = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]+$")).description(Some(
                "The position of the envelope in its session: 1, 2, 3, without gaps. Resume with it in `Last-Event-ID`.",
            ));
            object = object.property("id", id).required("id");
        }
        components.insert(event.clone(), schema(object.build()));
        let items =
            OneOfBuilder::new().item(Ref::from_schema_name(event)).item(Ref::from_schema_name("ErrorEvent"));
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "Server-sent events. Comments keep the connection alive. An `error` event is the last one; an end \
                 without it means that the session was resolved, or else to connect again.",
            ))
            .content_media_type("text/event-stream")
            .content_schema(Some(Array::new(Schema::from(items.build()))));
        components.insert(component(call.response), schema(text.build()));
    }
    let id = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]+([.].+)?$")).description(Some(
        "The position of the envelope, and for the holder of a ticket what it takes to come back. An EventSource sends \
         it by itself.",
    ));
    let envelope = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("An event without a name: its `data` is one line of JSON."))
        .property("id", id)
        .required("id")
        .property("data", schemas.reference(known("macp.v1.StreamSessionResponse"), Direction::Output))
        .required("data");
    components.insert("SessionEvent".to_owned(), schema(envelope.build()));
    components.insert(
        "EndedEvent".to_owned(),
        schema(last_event("ended", "SessionEnded", "The last event of a session that is over.")),
    );
    let items = ["SessionEvent", "EndedEvent", "ErrorEvent"].into_iter();
    let items = items.fold(OneOfBuilder::new(), |items, item| items.item(Ref::from_schema_name(item)));
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(
            "Server-sent events for an EventSource. A session that is over ends the stream with an `ended` event; \
             an end without it means to connect again, which an EventSource does by itself.",
        ))
        .content_media_type("text/event-stream")
        .content_schema(Some(Array::new(Schema::from(items.build()))));
    components.insert(SESSION_EVENTS.to_owned(), schema(text.build()));
    components.insert(
        "ErrorEvent".to_owned(),
        schema(last_event("error", "ErrorBody", "The event that ends a stream before its time.")),
    );
    components
}

/// An event with a name, after which nothing comes.
fn last_event(name: &str, data: &str, doc: &str) -> utoipa::openapi::Object {
    let name = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([name]));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(doc))
        .property("event", name)
        .required("event")
        .property("data", Ref::from_schema_name(data))
        .required("data")
        .build()
}
fn schema(object: utoipa::openapi::Object) -> RefOr<Schema> {
    RefOr::T(object.into())
}
