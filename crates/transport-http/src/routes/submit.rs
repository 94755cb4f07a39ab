//! Submitting one envelope: whatever is decided about it is an Ack, with status 200.

use axum::response::Response;
use macp_engine::{Method, ack};
use macp_kernel::envelope::core_type;
use macp_kernel::{Identity, Refusal, RefusalCode};
use macp_wire::json::{self, EnvelopeFault};
use macp_wire::v1::{Ack, Envelope, SendResponse};
use serde::Deserialize;

use super::App;
use crate::error::ok_json;
use crate::limit::{self, Limit};

/// Submits an envelope, or refuses one that could not be read.
pub(super) async fn submit(
    app: &App,
    identity: &Identity,
    decoded: Result<Envelope, EnvelopeFault>,
) -> Response {
    let envelope = match decoded {
        Ok(envelope) => envelope,
        Err(fault) => {
            let refusal = Refusal::invalid_envelope(fault.message);
            app.engine.refused(Method::Send.name(), &fault.session_id, &refusal);
            return answer(ack::refused(&fault.message_id, &fault.session_id, &refusal), None);
        }
    };
    let limits = &app.engine.options().limits;
    let limit = match envelope.message_type.as_str() {
        core_type::SESSION_START => Limit::session_starts(limits),
        _ => Limit::messages(limits),
    };
    answer(app.engine.send_envelope(identity, envelope).await, Some(limit))
}

/// The response of an Ack. What it says about coming back is in the headers, too.
pub(super) fn answer(ack: Ack, limit: Option<Limit>) -> Response {
    let code = ack.error.as_ref().map(|error| error.code.as_str());
    let is_unavailable = code == Some(RefusalCode::Unavailable.name());
    let wait_ms =
        ack.error.as_ref().filter(|_| code == Some(RefusalCode::RateLimited.name())).and_then(|error| {
            serde_json::from_slice::<Wait>(&error.details).ok().map(|wait| wait.retry_after_ms)
        });
    let mut response = ok_json(json::to_vec(&SendResponse { ack: Some(ack) }));
    match limit.zip(wait_ms) {
        Some((limit, wait_ms)) => limit.announce(response.headers_mut(), wait_ms),
        None if is_unavailable => limit::unavailable(response.headers_mut()),
        None => {}
    }
    response
}

/// The details of a `RATE_LIMITED` by a window.
#[derive(Deserialize)]
struct Wait {
    retry_after_ms: u64,
}
