//! `GET` of a resource: the order in which a request is refused, and what its handler is given.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use http::header::{CACHE_CONTROL, VARY};
use http::{HeaderValue, Method as Verb, request};
use macp_kernel::{Identity, Refusal};

use super::App;
use super::guard::guarded;
use crate::error::{Failure, Style};
use crate::query::Query;
use crate::{accept, body, cors, extract};

/// What a resource is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resource {
    /// Its name in the log.
    pub(super) name: &'static str,
    /// Who may ask.
    pub(super) access: Access,
    /// The media types that it can answer with.
    pub(super) types: &'static [&'static str],
    /// Its query parameters.
    pub(super) parameters: &'static [&'static str],
}

/// Who may ask for a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everyone; a credential is not looked at.
    Open,
    /// Who shows a bearer token.
    Bearer,
    /// The handler looks for the credential itself.
    Own,
}

/// A request for a resource that has passed everything before its handler.
pub(super) struct Asked {
    pub(super) identity: Identity,
    pub(super) head: request::Parts,
    pub(super) query: Query,
    /// The captured segments of the path, decoded, by their order.
    path: Vec<String>,
}

impl Asked {
    /// A captured segment of the path; the first one has the number 0.
    pub(super) fn segment(&self, number: usize) -> &str {
        self.path.get(number).map(String::as_str).unwrap_or_default()
    }
}

impl Resource {
    /// Serves `GET` and `HEAD`.
    pub(super) fn get<H, F>(self, handle: H) -> MethodRouter<Arc<App>>
    where
        H: FnOnce(Arc<App>, Asked) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response, Failure>> + Send + 'static,
    {
        any(move |State(app): State<Arc<App>>, request: Request| self.serve(app, request, handle))
    }

    async fn serve<H, F>(self, app: Arc<App>, request: Request, handle: H) -> Response
    where
        H: FnOnce(Arc<App>, Asked) -> F,
        F: Future<Output = Result<Response, Failure>>,
    {
        let (head, body) = request.into_parts();
        body::discard(&head.headers, body);
        if head.method == Verb::OPTIONS {
            return cors::preflight(&app.options.cors_origins, &head.headers);
        }
        let style = Style::of(&head.headers);
        let guard = Arc::clone(&app);
        let answer = async move {
            let asked = self.admit(&app, head).await?;
            handle(app, asked).await
        };
        let mut response = guarded(&guard, self.name, style, answer).await;
        let headers = response.headers_mut();
        // Answers depend on who asks and change at any time; a cache may keep them to ask whether they still hold.
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
        headers.append(VARY, HeaderValue::from_static("Accept, Authorization"));
        response
    }

    /// What is checked before a handler, in the order of precedence.
    async fn admit(self, app: &App, mut head: request::Parts) -> Result<Asked, Failure> {
        if !matches!(head.method, Verb::GET | Verb::HEAD) {
            return Err(Failure::MethodNotAllowed("GET, HEAD"));
        }
        // A client that reads problem details reads JSON.
        let acceptable = self.types.iter().any(|media| accept::admits(&head.headers, media))
            || Style::of(&head.headers) == Style::Problem;
        if !acceptable {
            return Err(Failure::NotAcceptable(self.types));
        }
        let identity = match self.access {
            Access::Open | Access::Own => Identity::Anonymous,
            Access::Bearer => {
                let identity = extract::identity(&head, app).await?;
                identity.require()?;
                identity
            }
        };
        let path = segments(&mut head).await?;
        let query = Query::parse(head.uri.query(), self.parameters)?;
        Ok(Asked { identity, head, query, path })
    }
}

/// The captured segments of a path, decoded.
pub(super) async fn segments(head: &mut request::Parts) -> Result<Vec<String>, Failure> {
    let captured = RawPathParams::from_request_parts(head, &()).await;
    let captured = captured.map_err(|_| Refusal::invalid_request("the path is not percent-encoded UTF-8"))?;
    Ok(captured.iter().map(|(_, segment)| segment.to_owned()).collect())
}
