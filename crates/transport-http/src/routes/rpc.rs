//! `POST {prefix}/macp/v1/{Method}`: the order in which a call is refused, and the unary calls themselves.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use bytes::Bytes;
use http::{HeaderMap, Method as Verb, StatusCode};
use macp_engine::{Engine, Method, MethodKind};
use macp_kernel::{Identity, Refusal, RefusalCode};
use macp_wire::json::{self, Json};

use super::guard::guarded;
use super::submit::submit;
use super::{App, streams};
use crate::body::{self, BodyFault};
use crate::error::{Addressed, Failure, Style, ok_json};
use crate::{accept, cors, extract};

/// A call that has passed everything before its handler.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) identity: Identity,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    /// The body as the call's request message.
    pub(super) fn decode<R: Json>(&self) -> Result<R, Failure> {
        json::from_slice(&self.body).map_err(|error| {
            Failure::invalid_request(format!("the body is not a {}Request: {error}", self.method.name()))
        })
    }
}

macro_rules! handler {
    (unary Send $function:ident $request:ty) => {
        route(Method::Send, send)
    };
    (unary $name:ident $function:ident $request:ty) => {
        route(Method::$name, |app, call| {
            unary(app, call, |engine: Engine, identity: Identity, request: $request| async move {
                engine.$function(&identity, request).await
            })
        })
    };
    (server_stream $name:ident $function:ident $request:ty) => {
        route(Method::$name, |app, call| {
            streams::watch::<$request, _, _>(app, call, |engine: Engine, identity: Identity| async move {
                engine.$function(&identity).await
            })
        })
    };
    (bidi $name:ident $function:ident $request:ty) => {
        route(Method::$name, streams::subscribe)
    };
}

macro_rules! handlers {
    ($($name:ident, $function:ident, $request:ty, $response:ty, $kind:ident;)*) => {
        /// The handler of every call.
        pub(super) fn handlers() -> Vec<(Method, MethodRouter<Arc<App>>)> {
            vec![$((Method::$name, handler!($kind $name $function $request))),*]
        }
    };
}

macp_wire::for_each_method!(handlers);

fn route<H, F>(method: Method, handle: H) -> MethodRouter<Arc<App>>
where
    H: FnOnce(Arc<App>, Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response, Failure>> + Send + 'static,
{
    any(move |State(app): State<Arc<App>>, request: Request| serve(app, method, request, handle))
}

/// One request from its head to the head of its response.
async fn serve<H, F>(app: Arc<App>, method: Method, request: Request, handle: H) -> Response
where
    H: FnOnce(Arc<App>, Call) -> F,
    F: Future<Output = Result<Response, Failure>>,
{
    let style = Style::of(request.headers());
    let guard = Arc::clone(&app);
    let answer = async move {
        let call = match admit(&app, method, request).await? {
            Admitted::Call(call) => call,
            Admitted::Preflight(response) => return Ok(response),
        };
        handle(app, call).await
    };
    guarded(&guard, method.name(), style, answer).await
}

enum Admitted {
    Call(Call),
    Preflight(Response),
}

/// What is checked before a handler, in the order of precedence: the first fault is the answer.
async fn admit(app: &App, method: Method, request: Request) -> Result<Admitted, Failure> {
    let (head, body) = request.into_parts();
    let identity = match admit_head(app, method, &head).await {
        Ok(identity) => identity,
        Err(refused) => {
            body::discard(&head.headers, body);
            return refused;
        }
    };
    let body = read_body(app, &head.headers, body).await?;
    Ok(Admitted::Call(Call { method, identity, headers: head.headers, body }))
}

/// The whole body, up to the cap. A compressed one would be larger than it says, and is not taken.
pub(super) async fn read_body(app: &App, headers: &HeaderMap, body: Body) -> Result<Bytes, Failure> {
    if !extract::is_as_it_is(headers) {
        body::discard(headers, body);
        return Err(Failure::invalid_request("Content-Encoding is not supported: send the body as it is"));
    }
    let cap = app.options.max_body_bytes;
    body::read(headers, body, cap, app.options.body_timeout).await.map_err(|fault| match fault {
        BodyFault::TooLarge => Failure::from(Refusal::new(
            RefusalCode::PayloadTooLarge,
            format!("the body is larger than {cap} bytes (MACP_HTTP_MAX_BODY_BYTES)"),
        )),
        BodyFault::Broken => Failure::invalid_request("the body could not be read to its end"),
        BodyFault::Slow => Failure::invalid_request(format!(
            "the body did not come within {} s (MACP_BODY_TIMEOUT_SECS)",
            app.options.body_timeout.as_secs()
        )),
    })
}

/// The part of [`admit`] that needs no body; the error is the whole answer.
async fn admit_head(
    app: &App,
    method: Method,
    head: &http::request::Parts,
) -> Result<Identity, Result<Admitted, Failure>> {
    if head.method == Verb::OPTIONS {
        return Err(Ok(Admitted::Preflight(cors::preflight(&app.options.cors_origins, &head.headers))));
    }
    if head.method != Verb::POST {
        return Err(Err(Failure::MethodNotAllowed("POST")));
    }
    if !extract::is_json(&head.headers) {
        return Err(Err(Failure::UnsupportedMediaType("application/json")));
    }
    if method.kind() != MethodKind::Unary && !accept::admits(&head.headers, "text/event-stream") {
        return Err(Err(Failure::Bare(StatusCode::NOT_ACCEPTABLE)));
    }
    if method.is_open() {
        return Ok(Identity::Anonymous);
    }
    let known = async {
        let identity = extract::identity(head, app).await?;
        identity.require()?;
        Ok(identity)
    };
    known.await.map_err(|refusal: Refusal| Err(refusal.into()))
}

/// Any unary call but `Send`.
async fn unary<R, A, F>(
    app: Arc<App>,
    call: Call,
    run: impl FnOnce(Engine, Identity, R) -> F,
) -> Result<Response, Failure>
where
    R: Json + Addressed,
    A: Json,
    F: Future<Output = Result<A, Refusal>>,
{
    let request: R = call.decode()?;
    let session_id = request.session_id().to_owned();
    match run(app.engine.clone(), call.identity, request).await {
        Ok(answer) => Ok(ok_json(json::to_vec(&answer))),
        Err(refusal) => Err(Failure::in_session(refusal, session_id)),
    }
}

/// `Send`: only a body without an envelope is refused.
async fn send(app: Arc<App>, call: Call) -> Result<Response, Failure> {
    let decoded = json::decode_send(&call.body)
        .map_err(|error| Failure::invalid_request(format!("the body is not a SendRequest: {error}")))?;
    Ok(submit(&app, &call.identity, decoded).await)
}
