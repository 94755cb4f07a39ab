//! The OpenAPI 3.1 document of the HTTP binding, made from what it describes.
//!
//! | what | from |
//! |---|---|
//! | schemas and their descriptions | `macp_wire::schema`: the tables that are made with the JSON codec, from `proto/` |
//! | the calls | the same, and `macp_engine::Method` |
//! | error responses | `macp_kernel::RefusalCode` |
//! | examples | requests to a real gateway, and what it answered |
//!
//! The document is checked in as `openapi/macp-gateway.v1.json`, and served from there by `macp-transport-http`;
//! `cargo run -p xtask -- openapi` writes it. Nothing of this crate is in the gateway.

mod events;
mod examples;
mod operations;
mod refusals;
mod resources;
mod schemas;

use std::collections::BTreeMap;

pub use examples::BrokenExample;
use macp_transport_http::types;
use operations::{BEARER, TICKET};
use schemas::Schemas;
use utoipa::openapi::path::PathItemBuilder;
use utoipa::openapi::schema::ComponentsBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    HttpMethod, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Server,
};

/// Where the document lies in the repository.
pub const FILE: &str = "openapi/macp-gateway.v1.json";

/// The command that writes it.
pub const COMMAND: &str = "cargo run -p xtask -- openapi";

const DESCRIPTION: &str = "\
Coordination of agents by the Multi-Agent Coordination Protocol, over HTTP. Sessions begin with a `SessionStart` \
envelope and end with a `Commitment`.

- `POST /macp/v1/{Method}` is the protocol's own binding: every call, with the request message as canonical JSON.
- `GET` below `/macp/v1/sessions`, `/macp/v1/policies` and so on reads the same things as resources.
- What is decided about an envelope is said in an Ack with status 200, a refusal too. Other refusals have the status \
of their code, the header `MACP-Error-Code` and an `error` object, or problem details (RFC 9457) for who asks for them. Branch on the \
code.
- The server writes every member that has no presence of its own, defaults included. Of a request, absent members are \
their defaults, and unknown ones are ignored. A member that occurs twice is refused.
- 64-bit integers are numbers. Beyond 2^53-1, which no time or position reaches, they are written as strings of \
digits, and read as both.
- Bytes are base64.";

/// The sections of the reference.
const TAGS: &[(&str, &str)] = &[
    ("messages", "Submitting envelopes, and following those that were accepted."),
    ("sessions", "Reading and controlling sessions."),
    ("receipts", "Decision receipts and the keys that they are verified with."),
    ("policies", "The registry of policies, and replay under another one."),
    ("modes", "The registry of modes."),
    (
        "short paths",
        "The example paths of RFC-MACP-0006 in its edition of July: shorter ways to the same calls.",
    ),
    ("discovery", "What this server is and offers."),
    ("tickets", "Credentials for the URLs of browsers."),
];

/// Makes the document.
///
/// # Errors
/// When an example is not answered with 200 by the gateway that it is told to.
pub async fn document() -> Result<OpenApi, BrokenExample> {
    let told = examples::play().await?;
    let mut schemas = Schemas::default();
    operations::reach(&mut schemas);

    let mut items: BTreeMap<String, PathItemBuilder> = BTreeMap::new();
    for operation in operations::all(&schemas) {
        let (path, verb) = (operation.path.clone(), verb(operation.verb));
        let item = items.remove(&path).unwrap_or_default();
        items.insert(path, item.operation(verb, operation.describe(&told)));
    }
    let paths =
        items.into_iter().fold(PathsBuilder::new(), |paths, (path, item)| paths.path(path, item.build()));

    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "The token of a sender. Where the gateway runs with development identities, the sender's name itself.",
    ));
    let ticket = ApiKeyValue::with_description("ticket", "A ticket from `POST /macp/ticket`, for one use.");
    let mut components = ComponentsBuilder::new()
        .schemas_from_iter(schemas.components())
        .schemas_from_iter(events::components(&schemas))
        .schemas_from_iter([refusals::body_schema(&schemas)])
        .schema_from::<types::TicketIssued>()
        .schema_from::<types::EnvelopesPage>()
        .schema_from::<types::SequencedEnvelope>()
        .schema_from::<types::EventsPolled>()
        .schema_from::<types::PolledEvent>()
        .schema_from::<types::SessionEnded>()
        .schema_from::<types::Problem>()
        .schema_from::<types::Available>()
        .security_scheme(TICKET, SecurityScheme::ApiKey(ApiKey::Query(ticket)))
        .security_scheme(BEARER, SecurityScheme::Http(bearer.build()));
    for (name, example) in refusals::examples() {
        components = components.example(name, example);
    }

    let info = InfoBuilder::new()
        .title("MACP gateway")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()));
    let tags = TAGS.iter().map(|(name, doc)| TagBuilder::new().name(*name).description(Some(*doc)).build());
    Ok(OpenApiBuilder::new()
        .info(info.build())
        // Resolved against the document's own address, which may be behind a prefix.
        .servers(Some([Server::new("./")]))
        .tags(Some(tags))
        .paths(paths.build())
        .components(Some(components.build()))
        .build())
}

/// The document as it is checked in.
///
/// # Errors
/// As [`document`].
///
/// # Panics
/// Never: the document is plain data.
#[expect(clippy::expect_used, reason = "plain data")]
pub async fn text() -> Result<String, BrokenExample> {
    Ok(document().await?.to_pretty_json().expect("plain data") + "\n")
}

fn verb(name: &str) -> HttpMethod {
    match name {
        "GET" => HttpMethod::Get,
        "PUT" => HttpMethod::Put,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Post,
    }
}
