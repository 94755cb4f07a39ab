//! `GET` of a session's events: a stream that a plain `EventSource` can use, or a page for the SDKs' polling adapters.

use std::sync::Arc;

use axum::response::Response;
use axum::routing::MethodRouter;
use http::header::{AUTHORIZATION, CACHE_CONTROL};
use http::{HeaderValue, StatusCode};
use macp_auth::Page;
use macp_engine::observe;
use macp_kernel::{Identity, Refusal, RefusalCode};
use macp_wire::v1::SessionState;

use super::App;
use super::resource::{Access, Asked, Resource};
use super::resources::HIGH_WATER;
use crate::error::{Failure, bare, ok_json};
use crate::event_source::{Pass, Watching};
use crate::types::{self, EventsPolled, PolledEvent};
use crate::{accept, extract, page, sse};

const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";
/// Envelopes that a poll may answer; the engine has the last word.
const POLL_LIMIT: usize = 1000;

/// The resource, wherever it is mounted.
pub(super) fn of_one_session() -> MethodRouter<Arc<App>> {
    let resource = Resource {
        name: "events",
        access: Access::Own,
        types: &[EVENTS, JSON],
        parameters: &["after", "ticket"],
    };
    resource.get(|app, asked| async move {
        let headers = &asked.head.headers;
        // A stream unless JSON is more welcome.
        let polls = accept::weight(headers, JSON) > accept::weight(headers, EVENTS);
        if polls { poll(app, asked).await } else { follow(app, asked).await }
    })
}

/// What was accepted after a position, at once.
async fn poll(app: Arc<App>, asked: Asked) -> Result<Response, Failure> {
    let id = asked.segment(0);
    let refuse = |refusal: Refusal| Failure::in_session(refusal, id);
    let position = Position { after: asked.query.after().map_err(refuse)?, pass: None };
    let (identity, _) = identify(&app, &asked, &position).await?;
    let page = app.engine.envelopes(&identity, id, position.after, Some(POLL_LIMIT)).await.map_err(refuse)?;
    let events = page.deliveries.iter().map(|delivery| PolledEvent::of(delivery)).collect();
    Ok(ok_json(types::to_json(&EventsPolled { events })))
}

/// Replay, then live.
async fn follow(app: Arc<App>, asked: Asked) -> Result<Response, Failure> {
    let id = asked.segment(0);
    let refuse = |refusal: Refusal| Failure::in_session(refusal, id);
    let position = position(&asked).map_err(refuse)?;
    let resumes = position.is_some();
    let position = match position {
        Some(position) => position,
        None => Position { after: asked.query.after().map_err(refuse)?, pass: None },
    };
    let (identity, pass) = identify(&app, &asked, &position).await?;
    let subscription = app.engine.subscribe(&identity, id, position.after).await.map_err(refuse)?;
    let is_over = !matches!(subscription.metadata().state(), SessionState::Open | SessionState::Suspended);
    if resumes && is_over && position.after >= subscription.high_water() {
        // The one answer after which an EventSource does not come back.
        let mut response = bare(StatusCode::NO_CONTENT);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return Ok(response);
    }
    // Where the replay ends and what is live begins: an event stream has no other place to say it.
    let high_water = HeaderValue::from(subscription.high_water());
    let watching = Watching::new(subscription, pass);
    let opening = watching.opening();
    let mut response =
        sse::response_opened_by(&app.engine, &identity, app.options.sse_keepalive, opening, watching);
    response.headers_mut().insert(HIGH_WATER, high_water);
    Ok(response)
}

/// Where a client goes on, and what entitles it to, when it has been here before.
struct Position {
    after: u64,
    pass: Option<String>,
}

/// Reads `Last-Event-ID`: an ordinal, and behind a dot the pass of a stream that was opened with a ticket. It goes
/// before the query, which is still that of the first request when an `EventSource` reconnects.
fn position(asked: &Asked) -> Result<Option<Position>, Refusal> {
    let Some(id) = extract::last_event_id(&asked.head.headers)? else { return Ok(None) };
    let (ordinal, pass) = match id.split_once('.') {
        Some((ordinal, pass)) => (ordinal, Some(pass.to_owned())),
        None => (id, None),
    };
    Ok(Some(Position { after: extract::position(ordinal)?, pass }))
}

/// Who asks: a bearer, or the holder of a ticket, to whom the stream then gives a pass; or the holder of that pass.
async fn identify(
    app: &Arc<App>,
    asked: &Asked,
    position: &Position,
) -> Result<(Identity, Option<Pass>), Failure> {
    let ticket = asked.query.one("ticket")?;
    if asked.head.headers.contains_key(AUTHORIZATION) {
        if ticket.is_some() {
            // Which of them counts must not depend on who reads first, a proxy or this server.
            return Err(Refusal::new(RefusalCode::Unauthenticated, "send one credential").into());
        }
        let identity = extract::identity(&asked.head, app).await?;
        identity.require()?;
        return Ok((identity, None));
    }
    let certificate = extract::certificate(&asked.head, app)?;
    if ticket.is_none() && certificate.is_some() {
        let identity = extract::identity(&asked.head, app).await?;
        identity.require()?;
        return Ok((identity, None));
    }
    let Some(ticket) = ticket else {
        return Err(Refusal::new(
            RefusalCode::Unauthenticated,
            "this needs a credential: send `Authorization: Bearer <token>`, or `?ticket=` with a ticket from POST \
             /macp/ticket",
        )
        .into());
    };
    let now = app.engine.now();
    let beside = |shown: Identity| match certificate {
        Some(certificate) => certificate.beside(shown, now),
        None => shown,
    };
    let page = page::of(&asked.head)?;
    let session_id = asked.segment(0);
    if let Some(pass) = &position.pass
        && let Some((identity, pass)) = resume(app, pass, page, session_id)
    {
        let identity = beside(identity);
        identity.require()?;
        return Ok((identity, pass));
    }
    let identity = beside(app.options.tickets.redeem(ticket, page, now));
    observe::identified(&identity);
    let caller = identity.require()?;
    let pass = app.options.tickets.pass(caller, page, session_id)?;
    let pass = Pass::held(&app.engine, &app.options.tickets, pass);
    Ok((identity, Some(pass)))
}

fn resume(app: &App, pass: &str, page: Page<'_>, session_id: &str) -> Option<(Identity, Option<Pass>)> {
    let tickets = &app.options.tickets;
    let caller = tickets.resume(pass, page, session_id, app.engine.now())?;
    Some((Identity::Known(caller), Some(Pass::held(&app.engine, tickets, pass.to_owned()))))
}
