//! Protobuf messages as JSON Schemas, by the canonical JSON mapping (`crates/wire/src/json/`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto};
use serde_json::{Map, Value, json};

/// The file that defines the frames; it imports the rest.
const FRAMES: &str = "macp/gateway/v1/websocket.proto";

/// Fields whose JSON is not that of their type.
fn special(place: &str) -> Option<(&'static str, Value)> {
    Some(match place {
        "macp.v1.Envelope.timestamp_unix_ms" => {
            ("timestamp", json!({"type": "string", "format": "date-time"}))
        }
        "macp.gateway.v1.Call.request" => ("request", json!({"type": "object"})),
        "macp.gateway.v1.CallResult.response" => ("response", json!({"type": "object"})),
        "macp.v1.PolicyDescriptor.rules" => ("rules", json!({"type": "object"})),
        _ => return None,
    })
}

/// All definitions by their full names, with their comments.
pub(crate) struct Schemas {
    messages: BTreeMap<String, Definition<DescriptorProto>>,
    enums: BTreeMap<String, Definition<EnumDescriptorProto>>,
}

struct Definition<T> {
    descriptor: T,
    comment: String,
    /// Comments of fields or values, by index.
    members: BTreeMap<usize, String>,
}

/// One body of a frame.
pub(crate) struct Body {
    /// Name in the frame.
    pub(crate) name: String,
    /// Full name of its message.
    pub(crate) message: String,
    /// What is said about it.
    pub(crate) comment: String,
}

impl Schemas {
    /// Reads the definitions below `proto/`.
    pub(crate) fn read(proto: &Path) -> Result<Self, String> {
        let files = protox::compile([FRAMES], [proto]).map_err(|error| error.to_string())?;
        let mut schemas = Self { messages: BTreeMap::new(), enums: BTreeMap::new() };
        files.file.iter().for_each(|file| schemas.file(file));
        Ok(schemas)
    }

    fn file(&mut self, file: &FileDescriptorProto) {
        let comments: BTreeMap<&[i32], String> = file
            .source_code_info
            .iter()
            .flat_map(|info| &info.location)
            .map(|location| (&location.path[..], text(location.leading_comments())))
            .filter(|(_, comment)| !comment.is_empty())
            .collect();
        // Paths are field numbers and indices: messages are field 4 of a file and enums 5, enums are field 4 of a
        // message, and fields and values are field 2 of theirs.
        let of = |path: &[i32]| comments.get(path).cloned().unwrap_or_default();
        let index = |index: usize| i32::try_from(index).unwrap_or_default();
        let members = |path: &[i32], count: usize| {
            let comments = (0..count).map(|inner| (inner, of(&[path, &[2, index(inner)]].concat())));
            comments.filter(|(_, comment)| !comment.is_empty()).collect()
        };
        let mut enums: Vec<(String, Vec<i32>, &EnumDescriptorProto)> = Vec::new();
        for (at, message) in file.message_type.iter().enumerate() {
            let (name, path) = (format!("{}.{}", file.package(), message.name()), [4, index(at)]);
            for (inner, enumeration) in message.enum_type.iter().enumerate() {
                let path = [&path[..], &[4, index(inner)]].concat();
                enums.push((format!("{name}.{}", enumeration.name()), path, enumeration));
            }
            let members = members(&path, message.field.len());
            let definition = Definition { descriptor: message.clone(), comment: of(&path), members };
            self.messages.insert(name, definition);
        }
        for (at, enumeration) in file.enum_type.iter().enumerate() {
            enums.push((
                format!("{}.{}", file.package(), enumeration.name()),
                vec![5, index(at)],
                enumeration,
            ));
        }
        for (name, path, enumeration) in enums {
            let members = members(&path, enumeration.value.len());
            let definition = Definition { descriptor: enumeration.clone(), comment: of(&path), members };
            self.enums.insert(name, definition);
        }
    }

    fn message(&self, name: &str) -> Result<&Definition<DescriptorProto>, String> {
        self.messages.get(name).ok_or_else(|| format!("no message is named {name}"))
    }

    /// The bodies of a frame message: all its fields but the id.
    pub(crate) fn bodies(&self, frame: &str) -> Result<Vec<Body>, String> {
        let frame = self.message(frame)?;
        let body = |(at, field): (usize, &FieldDescriptorProto)| {
            let message = full(field);
            let own = frame.members.get(&at).cloned();
            let comment = match own {
                Some(comment) => comment,
                None => self.message(&message)?.comment.clone(),
            };
            Ok(Body { name: field.name().to_owned(), message, comment })
        };
        let fields = frame.descriptor.field.iter().enumerate();
        fields.filter(|(_, field)| field.oneof_index.is_some()).map(body).collect()
    }

    /// The schemas of these messages and of everything that they contain, by their short names.
    pub(crate) fn closure(&self, roots: &[String]) -> Result<Map<String, Value>, String> {
        let mut open: Vec<String> = roots.to_vec();
        let mut seen = BTreeSet::new();
        let mut schemas = Map::new();
        while let Some(name) = open.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let schema = match self.enums.get(&name) {
                Some(definition) => enumeration(definition),
                None => self.object(&name, self.message(&name)?, &mut open)?,
            };
            schemas.insert(short(&name).to_owned(), schema);
        }
        Ok(schemas)
    }

    fn object(
        &self,
        name: &str,
        message: &Definition<DescriptorProto>,
        open: &mut Vec<String>,
    ) -> Result<Value, String> {
        let mut properties = Map::new();
        for (at, field) in message.descriptor.field.iter().enumerate() {
            let place = format!("{name}.{}", field.name());
            let (json_name, mut schema) = match special(&place) {
                Some((json_name, schema)) => (json_name, schema),
                None => (field.name(), self.field(message, field, open)?),
            };
            let comment = message.members.get(&at);
            if let (Some(comment), Some(schema)) = (comment, schema.as_object_mut()) {
                // Beside a reference other members count for nothing in this version of JSON Schema.
                match schema.remove("$ref") {
                    Some(reference) => schema.insert("allOf".into(), json!([{ "$ref": reference }])),
                    None => None,
                };
                schema.insert("description".into(), json!(comment));
            }
            properties.insert(json_name.to_owned(), schema);
        }
        let mut schema = json!({"type": "object", "properties": properties});
        if name == "macp.v1.Envelope" {
            payload_forms(&mut schema);
        }
        if !message.comment.is_empty() {
            schema["description"] = json!(message.comment);
        }
        Ok(schema)
    }

    fn field(
        &self,
        message: &Definition<DescriptorProto>,
        field: &FieldDescriptorProto,
        open: &mut Vec<String>,
    ) -> Result<Value, String> {
        let entry = message.descriptor.nested_type.iter().find(|nested| {
            nested.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry)
                && field.type_name().ends_with(&format!(".{}", nested.name()))
        });
        if let Some(entry) = entry {
            let value = entry.field.get(1).ok_or_else(|| format!("{}: odd map", entry.name()))?;
            return Ok(json!({"type": "object", "additionalProperties": self.value(value, open)?}));
        }
        let value = self.value(field, open)?;
        Ok(if field.label() == Label::Repeated { json!({"type": "array", "items": value}) } else { value })
    }

    fn value(&self, field: &FieldDescriptorProto, open: &mut Vec<String>) -> Result<Value, String> {
        Ok(match field.r#type() {
            Type::String => json!({"type": "string"}),
            Type::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Type::Bool => json!({"type": "boolean"}),
            Type::Int32 => json!({"type": "integer", "format": "int32"}),
            Type::Uint32 => json!({"type": "integer", "format": "int32", "minimum": 0}),
            Type::Int64 => json!({"type": "integer", "format": "int64"}),
            Type::Uint64 => json!({"type": "integer", "format": "int64", "minimum": 0}),
            Type::Double => json!({"type": "number", "format": "double"}),
            Type::Message | Type::Enum => {
                let name = full(field);
                let reference = format!("#/components/schemas/{}", short(&name));
                open.push(name);
                json!({ "$ref": reference })
            }
            other => return Err(format!("{}: {other:?} has no schema here", field.name())),
        })
    }
}

/// A payload is an object where its message type has a schema, and its bytes otherwise.
fn payload_forms(envelope: &mut Value) {
    let properties = &mut envelope["properties"];
    let inline = "The payload as the object of its message type; instead of `payload_b64`.";
    let bytes = "The payload's protobuf bytes, where its message type has no schema.";
    properties["payload"] = json!({"type": "object", "description": inline});
    properties["payload_b64"] = json!({"type": "string", "contentEncoding": "base64", "description": bytes});
    envelope["oneOf"] = json!([{"required": ["payload"]}, {"required": ["payload_b64"]}]);
}

fn enumeration(definition: &Definition<EnumDescriptorProto>) -> Value {
    let values = &definition.descriptor.value;
    let names: Vec<&str> = values.iter().map(prost_types::EnumValueDescriptorProto::name).collect();
    let mut description = definition.comment.clone();
    for (at, comment) in &definition.members {
        if !description.is_empty() {
            description.push('\n');
        }
        description.push_str(&format!("{}: {comment}", names[*at]));
    }
    let mut schema = json!({"type": "string", "enum": names});
    if !description.is_empty() {
        schema["description"] = json!(description);
    }
    schema
}

/// The full name of a field's type, without the leading dot.
fn full(field: &FieldDescriptorProto) -> String {
    field.type_name().trim_start_matches('.').to_owned()
}

/// The last part of a name. Nothing that frames contain has the same one.
pub(crate) fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// A comment as one text.
fn text(comment: &str) -> String {
    comment.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}
