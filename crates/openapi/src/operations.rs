//! The operations: the protocol's calls from their table, and how any operation is described.

use macp_engine::{Method, MethodKind};
use macp_kernel::RefusalCode::{self, *};
use macp_transport_http::paths;
use macp_wire::schema::{CALLS, Call};
use serde_json::Value;
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, Response, Schema};

use crate::examples::{Answer, Step};
use crate::schemas::{Direction, Schemas};
use crate::{events, refusals, resources};

/// The requests and answers of the examples.
pub(crate) type Told = [(Step, Answer)];

/// The security scheme of credentials.
pub(crate) const BEARER: &str = "bearer";

/// The security scheme of tickets.
pub(crate) const TICKET: &str = "ticket";

/// What an operation answers when all is well, in one media type.
pub(crate) enum Success {
    /// A document of this media type and schema.
    Document(&'static str, Box<RefOr<Schema>>),
    /// A stream; the component that describes its events.
    Events(String),
}

impl Success {
    pub(crate) fn json(schema: impl Into<RefOr<Schema>>) -> Self {
        Self::Document("application/json", Box::new(schema.into()))
    }
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Open,
    Bearer,
    BearerOrTicket,
}

/// One verb of one path.
pub(crate) struct Operation {
    pub(crate) path: String,
    pub(crate) verb: &'static str,
    pub(crate) id: &'static str,
    pub(crate) tag: &'static str,
    /// The first sentence is the summary.
    pub(crate) doc: String,
    /// The media types of the body.
    pub(crate) request: Vec<(&'static str, RefOr<Schema>)>,
    pub(crate) body_required: bool,
    pub(crate) parameters: Vec<ParameterBuilder>,
    pub(crate) access: Access,
    pub(crate) success: Vec<Success>,
    /// Headers of a success, with what they say.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// What may be refused.
    pub(crate) codes: Vec<RefusalCode>,
    /// Other statuses.
    pub(crate) others: Vec<(&'static str, Response)>,
}

/// Every operation. The schemas must have been reached by [`reach`].
pub(crate) fn all(schemas: &Schemas) -> Vec<Operation> {
    let calls = Method::ALL.iter().map(|method| rpc(*method, call(*method), schemas));
    calls.chain(resources::all(schemas)).collect()
}

/// Notes all messages that the operations use.
pub(crate) fn reach(schemas: &mut Schemas) {
    for call in CALLS {
        schemas.reach(call.request, Direction::Input);
        schemas.reach(call.response, Direction::Output);
    }
    schemas.reach(crate::schemas::known("macp.v1.MACPError"), Direction::Output);
}

/// # Panics
/// When the table of the calls and the service have different names: both are generated from one file.
fn call(method: Method) -> &'static Call {
    CALLS
        .iter()
        .find(|call| call.name == method.name())
        .unwrap_or_else(|| panic!("no call {}", method.name()))
}

/// The section of the reference in which a call stands.
fn tag(method: Method) -> &'static str {
    match method {
        Method::Send | Method::StreamSession | Method::WatchSignals => "messages",
        Method::GetSession
        | Method::CancelSession
        | Method::SuspendSession
        | Method::ResumeSession
        | Method::ListSessions
        | Method::WatchSessions => "sessions",
        Method::ListModes
        | Method::ListExtModes
        | Method::WatchModeRegistry
        | Method::RegisterExtMode
        | Method::UnregisterExtMode
        | Method::PromoteMode => "modes",
        Method::RegisterPolicy
        | Method::UnregisterPolicy
        | Method::GetPolicy
        | Method::ListPolicies
        | Method::WatchPolicies
        | Method::WhatIfReplay => "policies",
        Method::GetDecisionReceipt | Method::GetReceiptKeys => "receipts",
        Method::Initialize | Method::GetManifest | Method::ListRoots | Method::WatchRoots => "discovery",
    }
}

/// What the engine may refuse beyond what any call may be refused for.
fn own_codes(method: Method) -> &'static [RefusalCode] {
    match method {
        Method::Initialize => &[UnsupportedProtocolVersion],
        // Everything about the envelope is said in the Ack.
        Method::Send => &[],
        Method::StreamSession => &[Forbidden, SessionNotFound, HistoryUnavailable],
        Method::GetSession => &[Forbidden, SessionNotFound],
        Method::CancelSession | Method::SuspendSession | Method::ResumeSession => {
            &[Forbidden, SessionNotFound, Unavailable]
        }
        Method::GetManifest => &[AgentNotFound],
        Method::RegisterPolicy | Method::UnregisterPolicy => &[Forbidden, RegistryReadOnly, Unavailable],
        Method::RegisterExtMode | Method::UnregisterExtMode | Method::PromoteMode => {
            &[Forbidden, Unavailable]
        }
        Method::GetPolicy => &[UnknownPolicyVersion],
        Method::WhatIfReplay => {
            &[InvalidPolicyDefinition, Forbidden, SessionNotFound, HistoryUnavailable, RateLimited]
        }
        Method::GetDecisionReceipt => &[Forbidden, SessionNotFound, ReceiptUnavailable, RateLimited],
        Method::ListModes
        | Method::WatchModeRegistry
        | Method::ListRoots
        | Method::WatchRoots
        | Method::ListExtModes
        | Method::WatchSignals
        | Method::ListSessions
        | Method::WatchSessions
        | Method::ListPolicies
        | Method::WatchPolicies
        | Method::GetReceiptKeys => &[],
    }
}

fn rpc(method: Method, call: &'static Call, schemas: &Schemas) -> Operation {
    let mut codes = vec![InvalidRequest, PayloadTooLarge, InternalError];
    if !method.is_open() {
        codes.push(Unauthenticated);
    }
    codes.extend(own_codes(method));
    let mut parameters = Vec::new();
    let mut others = Vec::new();
    let success = if method.kind() == MethodKind::Unary {
        Success::json(schemas.reference(call.response, Direction::Output))
    } else {
        others.push(("406", refusals::bare("`Accept` does not admit `text/event-stream`.")));
        Success::Events(events::component(call.response))
    };
    if method.kind() == MethodKind::Bidi {
        parameters.push(last_event_id());
    }
    Operation {
        path: paths::rpc("", method),
        verb: "POST",
        id: method.name(),
        tag: tag(method),
        doc: call.doc.to_owned(),
        request: vec![("application/json", schemas.reference(call.request, Direction::Input).into())],
        body_required: true,
        parameters,
        access: if method.is_open() { Access::Open } else { Access::Bearer },
        success: vec![success],
        headers: &[],
        codes,
        others,
    }
}

fn last_event_id() -> ParameterBuilder {
    ParameterBuilder::new()
        .name("Last-Event-ID")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "The last `id` that was received: the stream goes on behind it. If the body names a position as well, both \
             must be the same.",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]{1,19}$"))))
}

impl Operation {
    /// As it stands in the document, with the examples that were told of it.
    pub(crate) fn describe(self, told: &Told) -> OperationBuilder {
        let examples: Vec<&(Step, Answer)> = told
            .iter()
            .filter(|(step, _)| step.verb == self.verb && step.path == self.path && !step.name.is_empty())
            .collect();
        let (summary, rest) = self.doc.split_once(". ").unwrap_or((self.doc.trim_end_matches('.'), ""));
        let description = if rest.is_empty() { self.doc.clone() } else { rest.to_owned() };
        let mut operation = OperationBuilder::new()
            .operation_id(Some(self.id))
            .tag(self.tag)
            .summary(Some(summary))
            .description(Some(description));
        for parameter in self.parameters {
            operation = operation.parameter(with_example(parameter.build(), &examples));
        }
        if !self.request.is_empty() {
            let types: Vec<String> = self.request.iter().map(|(media, _)| format!("`{media}`")).collect();
            let refused = format!("`Content-Type` is not {}, or not in UTF-8.", types.join(" or "));
            let mut body = RequestBodyBuilder::new().required(Some(if self.body_required {
                Required::True
            } else {
                Required::False
            }));
            for (media, schema) in self.request {
                let told = examples.iter().filter(|_| media == "application/json");
                let told = told.map(|(step, _)| (step.name, example(step, step.body.clone())));
                body = body.content(
                    media,
                    ContentBuilder::new().schema(Some(schema)).examples_from_iter(told).build(),
                );
            }
            operation = operation.request_body(Some(body.build())).response("415", refusals::bare(&refused));
        }
        if self.access != Access::Open {
            operation = operation.security(SecurityRequirement::new(BEARER, [""; 0]));
        }
        if self.access == Access::BearerOrTicket {
            operation = operation.security(SecurityRequirement::new(TICKET, [""; 0]));
        }
        let mut success = ResponseBuilder::new().description("The answer.");
        for (name, doc) in self.headers {
            success = success.header(*name, refusals::header(doc, None));
        }
        for form in self.success {
            let (media, schema) = match form {
                Success::Document(media, schema) => (media, *schema),
                Success::Events(component) => ("text/event-stream", Ref::from_schema_name(component).into()),
            };
            let told = examples.iter().filter(|(_, answer)| answer.content_type == media);
            let told = told.map(|(step, answer)| (step.name, example(step, Some(answer.body.clone()))));
            success = success
                .content(media, ContentBuilder::new().schema(Some(schema)).examples_from_iter(told).build());
        }
        operation = operation.response("200", success.build());
        for (status, response) in self.others {
            operation = operation.response(status, response);
        }
        for (status, response) in refusals::responses(&self.codes) {
            operation = operation.response(status, response);
        }
        operation
    }
}

/// The parameter with the value that it has in the first example.
fn with_example(mut parameter: Parameter, examples: &[&(Step, Answer)]) -> Parameter {
    let values = examples.iter().flat_map(|(step, _)| step.parameters);
    if let Some((_, value)) = values.into_iter().find(|(name, _)| *name == parameter.name) {
        let is_number = matches!(&parameter.schema, Some(RefOr::T(Schema::Object(schema))) if schema.schema_type == Type::Integer.into());
        let value = value.parse::<i64>().ok().filter(|_| is_number).map_or(Value::from(*value), Value::from);
        if let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema {
            schema.examples = vec![value];
        }
    }
    parameter
}

fn example(step: &Step, value: Option<Value>) -> Example {
    let mut example = ExampleBuilder::new().value(value);
    if !step.summary.is_empty() {
        example = example.summary(step.summary);
    }
    example.build()
}
