//! The operations that are no calls of the protocol: resources, the short paths, tickets and discovery.

use macp_kernel::RefusalCode::{self, *};
use macp_transport_http::paths;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{Ref, RefOr, Required, Schema};

use crate::operations::{Access, Operation, Success};
use crate::schemas::{Direction, Schemas, known};
use crate::{events, refusals};

/// Answered with, where an envelope goes in or comes out bare.
const ENVELOPE_TYPES: [&str; 2] = ["application/json", "application/macp-envelope+json"];
const ENVELOPE_PROTO: &str = "application/macp-envelope+proto";

const READ_SESSION: &[RefusalCode] =
    &[InvalidRequest, Unauthenticated, Forbidden, SessionNotFound, InternalError];

const READ_HISTORY: &[RefusalCode] =
    &[InvalidRequest, Unauthenticated, Forbidden, SessionNotFound, HistoryUnavailable, InternalError];

/// Every operation that is no call.
pub(crate) fn all(schemas: &Schemas) -> Vec<Operation> {
    let mut all = discovery(schemas);
    all.extend(reading(schemas));
    all.extend(short_paths(schemas));
    all
}

/// A message that the server answers with.
fn answer(schemas: &Schemas, name: &str) -> Success {
    Success::json(schemas.reference(known(&format!("macp.v1.{name}")), Direction::Output))
}

fn component(name: &str) -> Success {
    Success::json(Ref::from_schema_name(name))
}

fn get(path: &str, id: &'static str, tag: &'static str, doc: &str, success: Success) -> Operation {
    Operation {
        path: path.to_owned(),
        verb: "GET",
        id,
        tag,
        doc: doc.to_owned(),
        request: Vec::new(),
        body_required: false,
        parameters: Vec::new(),
        access: Access::Bearer,
        success: vec![success],
        headers: &[],
        codes: vec![InvalidRequest, Unauthenticated, InternalError],
        others: Vec::new(),
    }
}

/// A resource: it looks at `Accept` and at its query.
fn resource(path: &str, id: &'static str, tag: &'static str, doc: &str, success: Success) -> Operation {
    let mut operation = get(&format!("{}{path}", paths::RPC_BASE), id, tag, doc, success);
    operation.others.push(("406", refusals::not_acceptable()));
    operation
}

fn open(operation: Operation) -> Operation {
    let codes = operation.codes.into_iter().filter(|code| *code != Unauthenticated).collect();
    Operation { access: Access::Open, codes, ..operation }
}

fn discovery(schemas: &Schemas) -> Vec<Operation> {
    let manifest = schemas.reference(known("macp.v1.AgentManifest"), Direction::Output);
    let document =
        ObjectBuilder::new().schema_type(Type::Object).description(Some("An OpenAPI 3.1 document."));
    vec![
        Operation {
            codes: vec![AgentNotFound, InternalError],
            ..open(get(
                paths::WELL_KNOWN,
                "WellKnownManifest",
                "discovery",
                "Reads the server's own manifest, at its well-known place. The same document as GetManifest's.",
                Success::Document("application/macp-manifest+json", Box::new(manifest.into())),
            ))
        },
        Operation {
            codes: Vec::new(),
            ..open(get(
                paths::OPENAPI,
                "OpenApi",
                "discovery",
                "Reads this document. It is the same for every gateway of one version.",
                Success::json(Schema::from(document.build())),
            ))
        },
        Operation {
            verb: "POST",
            codes: vec![InvalidRequest, Unauthenticated, RateLimited, InternalError, Unavailable],
            ..get(
                paths::TICKET,
                "IssueTicket",
                "tickets",
                "Issues a ticket: a credential for one URL. For browsers, which cannot send a header with a WebSocket \
                 or an EventSource. It is good for one use and a short time, and for the page that asked for it.",
                component("TicketIssued"),
            )
        },
    ]
}

fn reading(schemas: &Schemas) -> Vec<Operation> {
    let mut receipt_codes = READ_SESSION.to_vec();
    receipt_codes.extend([ReceiptUnavailable, RateLimited]);
    vec![
        Operation {
            parameters: vec![
                integer(
                    "page_size",
                    "Sessions on a page; 0 leaves it to the server, which may also cap it.",
                    0,
                ),
                text("page_token", "`next_page_token` of the page before; the `Link` header has it, too."),
                text(
                    "state",
                    "Sessions in one of these states, separated by commas: `OPEN`, `SUSPENDED`, \
                               `RESOLVED`, `EXPIRED`, `CANCELLED`.",
                ),
                text("mode", "Sessions of this mode."),
                text("participant", "Sessions that this sender started or takes part in."),
            ],
            headers: &[("Link", "The next page, `rel=\"next\"`; absent on the last one.")],
            ..resource(
                "/sessions",
                "ReadSessions",
                "sessions",
                "Lists sessions in pages, as ListSessions does. Filters can be combined.",
                answer(schemas, "ListSessionsResponse"),
            )
        },
        Operation {
            path: format!("{}/sessions/{{session_id}}", paths::RPC_BASE),
            ..session(schemas, "ReadSession", "sessions")
        },
        Operation {
            parameters: vec![
                in_path("session_id", "The session."),
                after(),
                count("limit", "Envelopes on a page; 100 if absent, and never more than 1000.", 1),
            ],
            headers: &[("Link", "The next page, `rel=\"next\"`; absent on the last one."), HIGH_WATER],
            codes: READ_HISTORY.to_vec(),
            ..resource(
                "/sessions/{session_id}/envelopes",
                "ReadEnvelopes",
                "messages",
                "Reads accepted envelopes in pages. They are the same that StreamSession replays.",
                component("EnvelopesPage"),
            )
        },
        envelope(schemas),
        Operation { path: paths::EVENTS.to_owned(), ..session_events("FollowEvents", "messages") },
        Operation {
            parameters: vec![in_path("session_id", "The session.")],
            codes: receipt_codes,
            ..resource(
                "/sessions/{session_id}/receipt",
                "ReadReceipt",
                "receipts",
                "Reads the decision receipt of a resolved session, as GetDecisionReceipt does.",
                answer(schemas, "GetDecisionReceiptResponse"),
            )
        },
        open(resource(
            "/modes",
            "ReadModes",
            "modes",
            "Lists the standard modes, as ListModes does.",
            answer(schemas, "ListModesResponse"),
        )),
        Operation {
            parameters: vec![text("mode", "Policies of this mode and those for every mode.")],
            ..resource(
                "/policies",
                "ReadPolicies",
                "policies",
                "Lists policies, as ListPolicies does.",
                answer(schemas, "ListPoliciesResponse"),
            )
        },
        Operation {
            parameters: vec![in_path("policy_id", "The policy.")],
            codes: vec![InvalidRequest, Unauthenticated, UnknownPolicyVersion, InternalError],
            ..resource(
                "/policies/{policy_id}",
                "ReadPolicy",
                "policies",
                "Reads one policy, as GetPolicy does.",
                answer(schemas, "GetPolicyResponse"),
            )
        },
        open(resource(
            "/roots",
            "ReadRoots",
            "discovery",
            "Lists the resource roots of this server, as ListRoots does.",
            answer(schemas, "ListRootsResponse"),
        )),
        open(Operation {
            parameters: vec![text(
                "agent_id",
                "An agent that this server hosts; absent for the server itself.",
            )],
            codes: vec![InvalidRequest, AgentNotFound, InternalError],
            ..resource(
                "/manifest",
                "ReadManifest",
                "discovery",
                "Reads a manifest, as GetManifest does.",
                answer(schemas, "GetManifestResponse"),
            )
        }),
    ]
}

fn short_paths(schemas: &Schemas) -> Vec<Operation> {
    const TAG: &str = "short paths";
    let input = |name: &str| schemas.reference(known(&format!("macp.v1.{name}")), Direction::Input);
    let submit = |path: &str, id: &'static str, doc: &str| {
        let envelope = input("Envelope");
        let protobuf = ObjectBuilder::new().schema_type(Type::String).content_media_type(ENVELOPE_PROTO);
        let mut request: Vec<(&str, RefOr<Schema>)> =
            ENVELOPE_TYPES.iter().map(|media| (*media, envelope.clone().into())).collect();
        request
            .push((ENVELOPE_PROTO, RefOr::T(protobuf.description(Some("Protobuf bytes.")).build().into())));
        Operation {
            verb: "POST",
            request,
            body_required: true,
            codes: vec![InvalidRequest, Unauthenticated, PayloadTooLarge, InternalError],
            ..get(&format!("{}{path}", paths::RFC_BASE), id, TAG, doc, answer(schemas, "SendResponse"))
        }
    };
    let of = |path: &str, operation: Operation| Operation {
        path: format!("{}{path}", paths::RFC_BASE),
        ..operation
    };
    vec![
        submit("/envelope", "PostEnvelope", "Submits a bare envelope. The answer is that of Send."),
        submit(
            "/session/start",
            "PostSessionStart",
            "Starts a session with a bare SessionStart envelope. Other envelopes are refused in band.",
        ),
        of("/session/{session_id}", session(schemas, "ReadSessionShort", TAG)),
        of("/session/{session_id}/events", session_events("FollowEventsShort", TAG)),
        Operation {
            verb: "POST",
            request: vec![("application/json", cancel_body())],
            parameters: vec![in_path("session_id", "The session.")],
            codes: vec![
                InvalidRequest,
                Unauthenticated,
                Forbidden,
                SessionNotFound,
                PayloadTooLarge,
                InternalError,
                Unavailable,
            ],
            ..get(
                &format!("{}/session/{{session_id}}/cancel", paths::RFC_BASE),
                "CancelSessionShort",
                TAG,
                "Ends a session without an outcome, as CancelSession does. The body may be left out.",
                answer(schemas, "CancelSessionResponse"),
            )
        },
    ]
}

/// The session is named by the path, so that the body needs only a reason.
fn cancel_body() -> RefOr<Schema> {
    let reason = ObjectBuilder::new().schema_type(Type::String).description(Some("Why."));
    RefOr::T(ObjectBuilder::new().schema_type(Type::Object).property("reason", reason).build().into())
}

const HIGH_WATER: (&str, &str) = ("MACP-High-Water-Sequence", "The session's last accepted ordinal.");

fn session(schemas: &Schemas, id: &'static str, tag: &'static str) -> Operation {
    let mut operation = resource(
        "",
        id,
        tag,
        "Reads a session, as GetSession does, with a validator. Ask again with `If-None-Match` and the last `ETag`: \
         304 says that nothing has changed.",
        answer(schemas, "GetSessionResponse"),
    );
    operation.parameters = vec![
        in_path("session_id", "The session."),
        ParameterBuilder::new()
            .name("If-None-Match")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("The `ETag` of an earlier answer."))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String))),
    ];
    operation.headers = &[("ETag", "Changes with the history, the state and the deadline."), HIGH_WATER];
    operation.codes = READ_SESSION.to_vec();
    operation.others.push(("304", refusals::bare("Nothing has changed.")));
    operation
}

fn envelope(schemas: &Schemas) -> Operation {
    let json = schemas.reference(known("macp.v1.Envelope"), Direction::Output);
    let mut success: Vec<Success> =
        ENVELOPE_TYPES.iter().map(|media| Success::Document(media, Box::new(json.clone().into()))).collect();
    let protobuf = ObjectBuilder::new().schema_type(Type::String).content_media_type(ENVELOPE_PROTO);
    let protobuf = protobuf.description(Some("The bytes that were accepted."));
    success.push(Success::Document(ENVELOPE_PROTO, Box::new(RefOr::T(protobuf.build().into()))));
    let sequence = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    let mut codes = READ_HISTORY.to_vec();
    codes.retain(|code| *code != SessionNotFound);
    // One response cannot have a body and have none.
    let missing = ResponseBuilder::new().description(
        "There is no such envelope yet: no body. Or `SESSION_NOT_FOUND`, with the body of a refusal and \
         `MACP-Error-Code`: the session is not known.",
    );
    Operation {
        success,
        others: vec![("404", missing.build()), ("406", refusals::not_acceptable())],
        parameters: vec![
            in_path("session_id", "The session."),
            in_path("sequence", "The accepted ordinal: 1, 2, 3.").schema(Some(sequence)),
        ],
        codes,
        ..resource(
            "/sessions/{session_id}/envelopes/{sequence}",
            "ReadEnvelope",
            "messages",
            "Reads one accepted envelope, bare. As JSON, or as the bytes that were accepted.",
            component("Envelope"),
        )
    }
}

fn session_events(id: &'static str, tag: &'static str) -> Operation {
    let mut operation = resource(
        "",
        id,
        tag,
        "Follows a session's accepted envelopes with a plain EventSource. From any position on, to the end of the \
         session. A client that asks for JSON gets at once what there is. The credential is a bearer token, or a \
         ticket in the query.",
        Success::Events(events::SESSION_EVENTS.to_owned()),
    );
    operation.success.push(component("EventsPolled"));
    operation.headers = &[(
        "MACP-High-Water-Sequence",
        "Of a stream: the last accepted ordinal when it began. What follows is live.",
    )];
    operation.access = Access::BearerOrTicket;
    operation.parameters = vec![
        in_path("session_id", "The session."),
        after(),
        ParameterBuilder::new()
            .name("Last-Event-ID")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("The last `id` that was received, which an EventSource sends by itself. It goes before `after`."))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String))),
    ];
    operation.codes = READ_HISTORY.to_vec();
    operation.codes.extend([RateLimited, Unavailable]);
    let over =
        "The session is over and `Last-Event-ID` is its last position: there is nothing to come back for.";
    operation.others.push(("204", ResponseBuilder::new().description(over).build()));
    operation
}

fn in_path(name: &str, doc: &str) -> ParameterBuilder {
    text(name, doc).parameter_in(ParameterIn::Path).required(Required::True)
}

fn text(name: &str, doc: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(doc))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
}

fn integer(name: &str, doc: &str, minimum: i32) -> ParameterBuilder {
    let schema = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
        .minimum(Some(minimum))
        .maximum(Some(i32::MAX));
    text(name, doc).schema(Some(schema))
}

fn after() -> ParameterBuilder {
    count("after", "The position behind which to begin; absent, 0 or -1 for the start.", -1)
}

/// A number without an end that matters.
fn count(name: &str, doc: &str, minimum: i32) -> ParameterBuilder {
    let schema = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(minimum));
    text(name, doc).schema(Some(schema))
}
