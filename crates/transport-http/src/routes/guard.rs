//! What surrounds every handler: the time that it has for its head, and what its panic looks like from outside.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use axum::response::Response;
use futures_util::FutureExt;
use macp_kernel::{Refusal, RefusalCode};

use super::App;
use crate::error::{Failure, Style};
use crate::limit::Limit;

/// Runs a handler to the head of its response. `what` names it in the log.
pub(super) async fn guarded(
    app: &App,
    what: &'static str,
    style: Style,
    answer: impl Future<Output = Result<Response, Failure>>,
) -> Response {
    // The engine keeps its own state consistent when a call is dropped or panics: nothing of it is held here.
    let answer = AssertUnwindSafe(answer).catch_unwind();
    let outcome = match app.options.request_timeout {
        Some(limit) => tokio::time::timeout(limit, answer).await,
        None => Ok(answer.await),
    };
    let failure = match outcome {
        Ok(Ok(Ok(response))) => return response,
        Ok(Ok(Err(failure))) => failure,
        Ok(Err(panic)) => panicked(what, panic.as_ref()),
        Err(_) => Failure::from(Refusal::new(
            RefusalCode::InternalError,
            "no answer in time (MACP_REQUEST_TIMEOUT_SECS); the call may have been applied, so repeat a Send with the \
             same message_id",
        )),
    };
    if let Failure::Coded { refusal, session_id, .. } = &failure {
        app.engine.refused(what, session_id, refusal);
    }
    failure.response(style, Limit::messages(&app.engine.options().limits))
}

fn panicked(what: &'static str, panic: &(dyn Any + Send)) -> Failure {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(handler = what, panic = text.unwrap_or("not a text"), "a handler panicked");
    Refusal::new(RefusalCode::InternalError, "an internal fault; the server's log has it").into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::to_bytes;
    use macp_auth::Authenticator;
    use macp_engine::testing::memory_engine;

    use super::*;
    use crate::options::Options;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_that_tells_nothing() {
        let engine = memory_engine().await;
        let authenticator = Arc::new(Authenticator::dev());
        let app = App { engine, authenticator, options: Options::new(10) };
        let answer = guarded(&app, "test", Style::Macp, async { panic!("secret") }).await;
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers()["macp-error-code"], "INTERNAL_ERROR");
        let body = to_bytes(answer.into_body(), 1000).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }
}
