//! The messages and calls as data: their members, the values of their enums, and the comments of `proto/`.
//!
//! Written by the build script from the same descriptors as the codec, so that a description of the JSON (the
//! OpenAPI document) cannot differ from it. What a kind looks like in JSON is said in [`Kind`].
#![allow(clippy::all, reason = "written by codegen/schema.rs")]

/// A message type.
#[derive(Debug)]
pub struct Message {
    /// Full protobuf name, `macp.v1.Ack`.
    pub name: &'static str,
    /// Its comment as one paragraph; empty if it has none.
    pub doc: &'static str,
    /// In the order of the file.
    pub fields: &'static [Field],
}

/// A member of a message.
#[derive(Debug)]
pub struct Field {
    /// The protobuf name, which is the JSON name as well.
    pub name: &'static str,
    /// Its comment as one paragraph; empty if it has none.
    pub doc: &'static str,
    /// The value, or each element or map value.
    pub kind: Kind,
    /// How many values there are.
    pub shape: Shape,
}

/// What a value is, and what its JSON is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A string.
    String,
    /// A string in base64.
    Bytes,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Int32,
    /// A number.
    Uint32,
    /// A number; beyond 2^53-1 a string of digits.
    Int64,
    /// A number; beyond 2^53-1 a string of digits.
    Uint64,
    /// A number; `"NaN"`, `"Infinity"` and `"-Infinity"` are strings.
    Double,
    /// JSON text that is inlined: an object if the text is one, else a string.
    Inlined,
    /// The value's name.
    Enum(&'static Enum),
    /// An object.
    Message(&'static Message),
}

/// How often a value occurs, and when its member is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Once; always written.
    Plain,
    /// Once or not at all; written when set.
    Optional,
    /// An array; always written.
    Repeated,
    /// An object with any member names; always written.
    Map,
    /// At most one of the members of this shape is there.
    OneOf,
}

/// An enum type.
#[derive(Debug)]
pub struct Enum {
    /// Full protobuf name.
    pub name: &'static str,
    /// Its comment as one paragraph; empty if it has none.
    pub doc: &'static str,
    /// In the order of the file.
    pub values: &'static [Value],
}

/// A value of an enum.
#[derive(Debug)]
pub struct Value {
    /// As in JSON.
    pub name: &'static str,
    /// Its comment as one paragraph; empty if it has none.
    pub doc: &'static str,
}

/// A call of the service.
#[derive(Debug)]
pub struct Call {
    /// As in paths.
    pub name: &'static str,
    /// Its comment as one paragraph.
    pub doc: &'static str,
    /// The request.
    pub request: &'static Message,
    /// The response, or each message of the stream.
    pub response: &'static Message,
    /// Whether it answers with a stream.
    pub streams: bool,
}

/// The message type of this full protobuf name.
#[must_use]
pub fn message(name: &str) -> Option<&'static Message> {
    MESSAGES.iter().copied().find(|message| message.name == name)
}

include!(concat!(env!("OUT_DIR"), "/schema.rs"));
