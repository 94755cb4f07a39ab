//! Writes the canonical JSON codec and the deterministic protobuf writer of every message, from descriptors.
//!
//! The generated code only names each field with its kind; the rules live in `src/json/`. It covers what
//! the protos use (RFC-MACP-0001 §10 allows more) and fails the build on anything else.

use std::fmt::Write as _;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// Messages whose JSON is written by hand because one member decides how to read another.
const HAND_WRITTEN: [&str; 3] = [".macp.v1.Envelope", ".macp.gateway.v1.Call", ".macp.gateway.v1.CallResult"];

/// String fields with JSON text that is inlined as an object.
pub(crate) const INLINED: [&str; 1] = [".macp.v1.PolicyDescriptor.rules"];

type Result<T> = std::result::Result<T, String>;

/// The text of `json.rs`, to be included in `src/json/generated.rs`.
pub(crate) fn generate(files: &FileDescriptorSet) -> Result<String> {
    let mut code = String::new();
    let mut payloads = Vec::new();
    for file in &files.file {
        let scope = Scope::of_package(file.package());
        for message in &file.message_type {
            scope.message(message, &mut code)?;
            payloads.extend(scope.payload(message));
        }
    }
    payload_table(&payloads, &mut code);
    Ok(code)
}

/// Where a declaration stands: its protobuf name and its Rust path, both without the last part.
struct Scope {
    proto: String,
    rust: String,
}

impl Scope {
    fn of_package(package: &str) -> Self {
        let modules = package.trim_start_matches("macp.").replace('.', "::");
        Self { proto: format!(".{package}"), rust: format!("crate::{modules}") }
    }

    fn inside(&self, message: &str) -> Self {
        Self {
            proto: format!("{}.{message}", self.proto),
            rust: format!("{}::{}", self.rust, snake(message)),
        }
    }

    fn message(&self, message: &DescriptorProto, code: &mut String) -> Result<()> {
        if !message.nested_type.iter().all(is_map_entry) {
            return Err(format!("{}.{}: nested messages are not supported", self.proto, message.name()));
        }
        let fields = message.field.iter().map(|field| Field::new(self, message, field));
        let mut fields = fields.collect::<Result<Vec<_>>>()?;
        fields.sort_by_key(|field| field.number);
        let (proto, rust) = (format!("{}.{}", self.proto, message.name()), self.type_path(message.name()));
        let mut bodies = [String::new(), String::new(), String::new()];
        for field in &fields {
            bodies[0] += &field.json_write();
            bodies[1] += &field.json_read();
            bodies[2] += &field.proto_write();
        }
        let [write, read, put] = bodies;
        let unused = if fields.is_empty() { "_" } else { "" };
        if !HAND_WRITTEN.contains(&proto.as_str()) {
            let value = if fields.is_empty() { "Self {}" } else { "message" };
            let start = if fields.is_empty() { "" } else { "let mut message = Self::default();" };
            let member = if fields.is_empty() {
                "reader.skip()".to_owned()
            } else {
                format!("match name {{ {read} _ => reader.skip()?, }} Ok(())")
            };
            let _ = write!(
                code,
                "impl Codec for {rust} {{
                    fn write(&self, out: &mut Vec<u8>) {{ write::open(out); {write} write::close(out); }}
                    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {{
                        {start} reader.members(&mut |reader, {unused}name| {{ {member} }})?; Ok({value})
                    }}
                }}\n"
            );
        }
        let _ = writeln!(
            code,
            "impl Deterministic for {rust} {{ fn put(&self, {unused}out: &mut Vec<u8>) {{ {put} }} }}"
        );
        Ok(())
    }

    fn type_path(&self, name: &str) -> String {
        format!("{}::{}", self.rust, camel(name))
    }

    /// The message as an envelope payload, if it is one.
    fn payload(&self, message: &DescriptorProto) -> Option<Payload> {
        let kind = message.name().strip_suffix("Payload")?;
        let mode = match self.proto.strip_prefix(".macp.modes.") {
            Some(rest) => rest.strip_suffix(".v1")?,
            None if self.proto == ".macp.v1" => "",
            None => return None,
        };
        let name = format!("{}.{}", self.proto.trim_start_matches('.'), message.name());
        let path = self.type_path(message.name());
        Some(Payload { mode: mode.to_owned(), kind: kind.to_owned(), name, path })
    }
}

/// One row of the payload table.
struct Payload {
    /// The part of the package that names the mode; empty for Core payloads.
    mode: String,
    /// The envelope's message type.
    kind: String,
    /// Full protobuf name.
    name: String,
    /// Rust path.
    path: String,
}

/// One field, as the three generated functions need it.
struct Field {
    name: String,
    number: i32,
    kind: Kind,
    shape: Shape,
    inlined: bool,
}

enum Shape {
    Plain,
    /// A message field or an `optional` scalar: `Option` in Rust.
    Optional,
    Repeated,
    /// A map with string keys; the kind is that of the values.
    Map,
    /// Rust path of the oneof's enum, name of its field, and this member's variant.
    OneOf {
        path: String,
        field: String,
        variant: String,
    },
}

enum Kind {
    Scalar(&'static str),
    Enum(String),
    Message,
}

impl Field {
    fn new(scope: &Scope, parent: &DescriptorProto, field: &FieldDescriptorProto) -> Result<Self> {
        let place = format!("{}.{}.{}", scope.proto, parent.name(), field.name());
        let entry = parent.nested_type.iter().find(|nested| {
            is_map_entry(nested)
                && field.type_name().ends_with(&format!(".{}.{}", parent.name(), nested.name()))
        });
        let kind = match entry {
            Some(entry) => {
                let [key, value] = entry.field.as_slice() else {
                    return Err(format!("{place}: odd map entry"));
                };
                if key.r#type() != Type::String {
                    return Err(format!("{place}: only string keys are supported"));
                }
                Kind::of(value)
            }
            None => Kind::of(field),
        }
        .ok_or_else(|| format!("{place}: field type {:?} is not supported", field.r#type()))?;
        let shape = if entry.is_some() {
            Shape::Map
        } else if field.label() == Label::Repeated {
            Shape::Repeated
        } else if field.proto3_optional() {
            Shape::Optional
        } else if let Some(index) = field.oneof_index {
            let oneof = parent.oneof_decl[usize::try_from(index).map_err(|e| e.to_string())?].name();
            let path = format!("{}::{}", scope.inside(parent.name()).rust, camel(oneof));
            Shape::OneOf { path, field: oneof.to_owned(), variant: camel(field.name()) }
        } else if matches!(kind, Kind::Message) {
            Shape::Optional
        } else {
            Shape::Plain
        };
        if matches!(shape, Shape::Repeated | Shape::Map) && !kind.may_repeat() {
            return Err(format!(
                "{place}: repeated numbers and enums are not supported (packing, unknown names)"
            ));
        }
        let inlined = INLINED.contains(&place.as_str());
        Ok(Self { name: field.name().to_owned(), number: field.number(), kind, shape, inlined })
    }

    fn json_write(&self) -> String {
        let name = &self.name;
        let key = format!("write::key(out, \"{name}\");");
        let plain = |value: &str| match &self.kind {
            _ if self.inlined => format!("rules::write(out, {value});"),
            Kind::Scalar(kind) => format!("write::{kind}(out, {value});"),
            Kind::Enum(path) => {
                format!(
                    "write::enumeration(out, {value}, |v| Some({path}::try_from(v).ok()?.as_str_name()));"
                )
            }
            Kind::Message => format!("Codec::write({value}, out);"),
        };
        match &self.shape {
            Shape::Plain => format!("{key} {}", plain(&format!("&self.{name}"))),
            Shape::Optional => format!("if let Some(value) = &self.{name} {{ {key} {} }}", plain("value")),
            Shape::Repeated => {
                format!("{key} write::array(out, &self.{name}, |out, value| {{ {} }});", plain("value"))
            }
            Shape::Map => {
                format!("{key} write::map(out, &self.{name}, |out, value| {{ {} }});", plain("value"))
            }
            Shape::OneOf { path, field, variant } => {
                format!(
                    "if let Some({path}::{variant}(value)) = &self.{field} {{ {key} {} }}",
                    plain("value")
                )
            }
        }
    }

    fn json_read(&self) -> String {
        let name = &self.name;
        let value = match &self.kind {
            _ if self.inlined => "rules::read(reader)?".to_owned(),
            Kind::Scalar(kind) => format!("read::{kind}(reader)?"),
            Kind::Enum(path) => {
                format!("read::enumeration(reader, |name| {path}::from_str_name(name).map(i32::from))?")
            }
            Kind::Message => "Codec::read(reader)?".to_owned(),
        };
        let set = match &self.shape {
            Shape::Plain => format!("message.{name} = {value}"),
            Shape::Optional => format!("message.{name} = Some({value})"),
            Shape::Repeated => {
                format!("reader.array(&mut |reader| {{ message.{name}.push({value}); Ok(()) }})?")
            }
            Shape::Map => format!(
                "reader.object(&mut |reader, name| {{
                    let value = {value}; message.{name}.insert(name.to_owned(), value); Ok(())
                }})?"
            ),
            Shape::OneOf { path, field, variant } => format!(
                "{{ read::only_one(message.{field}.is_none())?; message.{field} = Some({path}::{variant}({value})); }}"
            ),
        };
        format!("\"{name}\" => {set},")
    }

    fn proto_write(&self) -> String {
        let (name, number) = (&self.name, self.number);
        let put = |number: i32, value: &str| match &self.kind {
            Kind::Scalar(kind) => format!("put::{kind}(out, {number}, {value});"),
            Kind::Enum(_) => format!("put::int32(out, {number}, {value});"),
            Kind::Message => format!("put::message(out, {number}, {value});"),
        };
        match &self.shape {
            Shape::Plain => {
                format!("if put::is_set(&self.{name}) {{ {} }}", put(number, &format!("&self.{name}")))
            }
            Shape::Optional => format!("if let Some(value) = &self.{name} {{ {} }}", put(number, "value")),
            Shape::Repeated => format!("for value in &self.{name} {{ {} }}", put(number, "value")),
            Shape::Map => format!(
                "for (key, value) in &self.{name} {{ put::entry(out, {number}, key, |out| {{ {} }}); }}",
                put(2, "value")
            ),
            Shape::OneOf { path, field, variant } => {
                format!(
                    "if let Some({path}::{variant}(value)) = &self.{field} {{ {} }}",
                    put(number, "value")
                )
            }
        }
    }
}

impl Kind {
    fn of(field: &FieldDescriptorProto) -> Option<Self> {
        Some(match field.r#type() {
            Type::String => Self::Scalar("string"),
            Type::Bytes => Self::Scalar("bytes"),
            Type::Bool => Self::Scalar("boolean"),
            Type::Int32 => Self::Scalar("int32"),
            Type::Uint32 => Self::Scalar("uint32"),
            Type::Int64 => Self::Scalar("int64"),
            Type::Uint64 => Self::Scalar("uint64"),
            Type::Double => Self::Scalar("double"),
            Type::Enum => Self::Enum(type_path(field.type_name())),
            Type::Message => Self::Message,
            _ => return None,
        })
    }

    fn may_repeat(&self) -> bool {
        matches!(self, Self::Message | Self::Scalar("string" | "bytes"))
    }
}

/// The lookup of §10.12: an exhaustive match, so that no crafted name can reach another message.
fn payload_table(payloads: &[Payload], code: &mut String) {
    let rows = |core: bool| -> String {
        let rows = payloads.iter().filter(|payload| payload.mode.is_empty() == core);
        let rows = rows.map(|Payload { mode, kind, name, path }| {
            let pattern = if core { format!("\"{kind}\"") } else { format!("(\"{mode}\", \"{kind}\")") };
            format!("{pattern} => Schema::of::<{path}>(\"{name}\"),\n")
        });
        rows.collect()
    };
    let _ = write!(
        code,
        "pub(super) fn core(message_type: &str) -> Option<Schema> {{
            Some(match message_type {{ {} _ => return None }})
        }}
        pub(super) fn of_mode(mode: &str, message_type: &str) -> Option<Schema> {{
            Some(match (mode, message_type) {{ {} _ => return None }})
        }}",
        rows(true),
        rows(false),
    );
}

pub(crate) fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry)
}

/// Rust path of a fully qualified protobuf type: lower-case parts are packages, others are types.
fn type_path(proto: &str) -> String {
    let (outer, name) = proto.rsplit_once('.').unwrap_or(("", proto));
    let modules: Vec<String> = outer.trim_start_matches(".macp.").split('.').map(snake).collect();
    format!("crate::{}::{}", modules.join("::"), camel(name))
}

/// `MACPError` → `MacpError`, `mode_registry` → `ModeRegistry`: the names the message compiler gives.
fn camel(name: &str) -> String {
    let name = name.replace("MACP", "Macp");
    name.split('_').map(|part| part[..1].to_uppercase() + &part[1..]).collect()
}

/// `ClientFrame` → `client_frame`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}
