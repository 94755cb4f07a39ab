//! Error responses: one for each status that an operation answers with, and an example for each code behind it.

use std::collections::BTreeMap;

use macp_engine::ack;
use macp_kernel::{Refusal, RefusalCode};
use macp_wire::json;
use serde_json::{Value, json};
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Header, Ref, RefOr, Response, Schema};

use crate::schemas::{Direction, Schemas, known};

/// The component of every error body.
const ERROR_BODY: &str = "ErrorBody";

/// The header that repeats the code.
const CODE_HEADER: &str = "MACP-Error-Code";

/// The responses for these codes, by status.
pub(crate) fn responses(codes: &[RefusalCode]) -> Vec<(String, Response)> {
    let mut by_status: BTreeMap<u16, Vec<RefusalCode>> = BTreeMap::new();
    for code in codes {
        let of_status = by_status.entry(code.http_status()).or_default();
        if !of_status.contains(code) {
            of_status.push(*code);
        }
    }
    by_status.into_iter().map(|(status, codes)| (status.to_string(), response(status, &codes))).collect()
}

fn response(status: u16, codes: &[RefusalCode]) -> Response {
    let lines: Vec<String> = codes.iter().map(|code| format!("`{code}`: {}", code.meaning())).collect();
    let examples = codes
        .iter()
        .map(|code| (code.name(), RefOr::<Example>::Ref(Ref::new(format!("#/components/examples/{code}")))));
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(ERROR_BODY)))
        .examples_from_iter(examples)
        .build();
    let code_header = header("The code of the body.", codes.first().map(|code| code.name()));
    let mut response = ResponseBuilder::new()
        .description(lines.join("\n\n"))
        .header(CODE_HEADER, code_header)
        .content("application/json", content)
        .content(
            "application/problem+json",
            ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build(),
        );
    if status == 401 {
        response =
            response.header("WWW-Authenticate", header("The scheme of the credential.", Some("Bearer")));
    }
    if codes.iter().any(|code| matches!(code, RefusalCode::RateLimited | RefusalCode::Unavailable)) {
        response = response.header("Retry-After", header("Seconds after which to try again.", Some("12")));
    }
    response.build()
}

pub(crate) fn header(doc: &str, example: Option<&str>) -> Header {
    HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .description(Some(doc))
        .example(example.map(Value::from))
        .build()
}

/// The 406 of a resource, with the media types that it has.
pub(crate) fn not_acceptable() -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Available")));
    ResponseBuilder::new()
        .description("`Accept` admits none of the media types that there are.")
        .content("application/json", content.build())
        .build()
}

/// A status of HTTP itself.
pub(crate) fn bare(description: &str) -> Response {
    ResponseBuilder::new().description(format!("{description} No body.")).build()
}

/// The schema of the error body.
pub(crate) fn body_schema(schemas: &Schemas) -> (String, RefOr<Schema>) {
    let error = schemas.reference(known("macp.v1.MACPError"), Direction::Output);
    let body = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(
            "Why a request was refused. Branch on `error.code`; `error.message` is for people.",
        ))
        .property("error", error)
        .required("error");
    (ERROR_BODY.to_owned(), RefOr::T(body.build().into()))
}

/// An example of the error body for every code.
pub(crate) fn examples() -> impl Iterator<Item = (String, RefOr<Example>)> {
    RefusalCode::ALL.iter().map(|code| {
        let refusal = match code {
            RefusalCode::HistoryUnavailable => Refusal::history_compacted(41),
            code => Refusal::new(*code, code.meaning()),
        };
        let error = json::to_vec(&ack::error(&refusal, "", ""));
        let error: Value = serde_json::from_slice(&error).unwrap_or_default();
        let example = ExampleBuilder::new().summary(code.meaning()).value(Some(json!({ "error": error })));
        (code.name().to_owned(), RefOr::T(example.build()))
    })
}
