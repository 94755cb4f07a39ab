//! Writes the tables of `src/schema.rs`: every message, enum and call with its comments, as plain data.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::json::{INLINED, is_map_entry};

type Result<T> = std::result::Result<T, String>;

/// The text of `schema.rs`.
pub(crate) fn generate(files: &FileDescriptorSet) -> Result<String> {
    let mut code = String::new();
    let mut messages = Vec::new();
    let mut calls = String::new();
    for file in &files.file {
        let comments = Comments::of(file);
        let scope = format!(".{}", file.package());
        for (index, message) in (0..).zip(&file.message_type) {
            messages.push(static_name(&format!("{scope}.{}", message.name())));
            write_message(&scope, message, &comments, index, &mut code)?;
        }
        for (index, declared) in (0..).zip(&file.enum_type) {
            write_enum(&scope, declared, &comments, &[5, index], &mut code);
        }
        for (index, service) in (0..).zip(&file.service) {
            for (number, call) in (0..).zip(&service.method) {
                let _ = writeln!(
                    calls,
                    "Call {{ name: {:?}, doc: {:?}, request: &{}, response: &{}, streams: {} }},",
                    call.name(),
                    comments.at(&[6, index, 2, number]),
                    static_name(call.input_type()),
                    static_name(call.output_type()),
                    call.server_streaming(),
                );
            }
        }
    }
    let references: String = messages.iter().map(|name| format!("&{name},")).collect();
    let _ = writeln!(
        code,
        "/// Every message.\npub static MESSAGES: &[&Message] = &[{references}];
         /// Every call, in the order of the service definition.\npub static CALLS: &[Call] = &[{calls}];"
    );
    Ok(code)
}

fn write_message(
    scope: &str,
    message: &DescriptorProto,
    comments: &Comments,
    index: i32,
    code: &mut String,
) -> Result<()> {
    let name = format!("{scope}.{}", message.name());
    for (number, declared) in (0..).zip(&message.enum_type) {
        write_enum(&name, declared, comments, &[4, index, 4, number], code);
    }
    let mut fields = String::new();
    for (number, field) in (0..).zip(&message.field) {
        let place = format!("{name}.{}", field.name());
        let entry = message
            .nested_type
            .iter()
            .find(|nested| is_map_entry(nested) && field.type_name() == format!("{name}.{}", nested.name()));
        let shape = if entry.is_some() {
            "Map"
        } else if field.label() == Label::Repeated {
            "Repeated"
        } else if field.oneof_index.is_some() && !field.proto3_optional() {
            "OneOf"
        } else if field.proto3_optional() || field.r#type() == Type::Message {
            "Optional"
        } else {
            "Plain"
        };
        let value = entry.and_then(|entry| entry.field.get(1)).unwrap_or(field);
        let kind =
            if INLINED.contains(&place.as_str()) { "Inlined".to_owned() } else { kind(&place, value)? };
        let _ = write!(
            fields,
            "Field {{ name: {:?}, doc: {:?}, kind: Kind::{kind}, shape: Shape::{shape} }},",
            field.name(),
            comments.at(&[4, index, 2, number]),
        );
    }
    let _ = writeln!(
        code,
        "static {}: Message = Message {{ name: {:?}, doc: {:?}, fields: &[{fields}] }};",
        static_name(&name),
        name.trim_start_matches('.'),
        comments.at(&[4, index]),
    );
    Ok(())
}

fn kind(place: &str, field: &FieldDescriptorProto) -> Result<String> {
    Ok(match field.r#type() {
        Type::String => "String".to_owned(),
        Type::Bytes => "Bytes".to_owned(),
        Type::Bool => "Boolean".to_owned(),
        Type::Int32 => "Int32".to_owned(),
        Type::Uint32 => "Uint32".to_owned(),
        Type::Int64 => "Int64".to_owned(),
        Type::Uint64 => "Uint64".to_owned(),
        Type::Double => "Double".to_owned(),
        Type::Enum => format!("Enum(&{})", static_name(field.type_name())),
        Type::Message => format!("Message(&{})", static_name(field.type_name())),
        other => return Err(format!("{place}: field type {other:?} is not supported")),
    })
}

fn write_enum(
    scope: &str,
    declared: &EnumDescriptorProto,
    comments: &Comments,
    path: &[i32],
    code: &mut String,
) {
    let name = format!("{scope}.{}", declared.name());
    let mut values = String::new();
    for (number, value) in (0..).zip(&declared.value) {
        let doc = comments.at(&[path, &[2, number]].concat());
        let _ = write!(values, "Value {{ name: {:?}, doc: {doc:?} }},", value.name());
    }
    let _ = writeln!(
        code,
        "static {}: Enum = Enum {{ name: {:?}, doc: {:?}, values: &[{values}] }};",
        static_name(&name),
        name.trim_start_matches('.'),
        comments.at(path),
    );
}

/// `.macp.v1.Ack` → `MACP_V1_ACK`.
fn static_name(proto: &str) -> String {
    proto.trim_start_matches('.').replace('.', "_").to_uppercase()
}

/// The comments before declarations, by descriptor path.
struct Comments(BTreeMap<Vec<i32>, String>);

impl Comments {
    fn of(file: &prost_types::FileDescriptorProto) -> Self {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let comments = locations.filter_map(|location| {
            let text = location.leading_comments.as_deref()?;
            // One paragraph, however it is broken into lines in the file.
            let words: Vec<&str> = text.split_whitespace().collect();
            Some((location.path.clone(), words.join(" ")))
        });
        Self(comments.collect())
    }

    fn at(&self, path: &[i32]) -> &str {
        self.0.get(path).map_or("", String::as_str)
    }
}
