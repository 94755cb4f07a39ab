//! `POST /macp/ticket`: a single-use credential for the URL of a WebSocket or an `EventSource`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Method as Verb, request};

use super::App;
use super::guard::guarded;
use crate::error::{Failure, Style, ok_json};
use crate::limit::Limit;
use crate::types::{self, TicketIssued};
use crate::{body, cors, extract, page};

/// Nothing is asked but the credential, so a body is not looked at and needs no type.
pub(super) async fn issue(State(app): State<Arc<App>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    body::discard(&head.headers, body);
    guarded(&app, "ticket", Style::of(&head.headers), answer(&app, &head)).await
}

async fn answer(app: &App, head: &request::Parts) -> Result<Response, Failure> {
    match head.method {
        Verb::OPTIONS => return Ok(cors::preflight(&app.options.cors_origins, &head.headers)),
        Verb::POST => {}
        _ => return Err(Failure::MethodNotAllowed("POST")),
    }
    let identity = extract::identity(head, app).await?;
    let page = page::of(head)?;
    let issued = app.options.tickets.issue(identity.require()?, page, app.engine.now());
    let ticket = issued.map_err(|refusal| Failure::Coded {
        refusal,
        session_id: String::new(),
        limit: Some(Limit::TICKETS),
    })?;
    let issued = TicketIssued { ticket: ticket.text, expires_at_unix_ms: ticket.expires_at.0 };
    let mut response = ok_json(types::to_json(&issued));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
