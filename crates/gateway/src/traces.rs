//! Traces by OpenTelemetry: spans of requests and envelopes, with the caller's context, sent to a collector as OTLP.
//!
//! Off unless an address is configured, and then spans are not even made. Nothing waits for a collector: ended spans
//! go into a bounded queue, from which a thread sends them; what does not fit is dropped.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::HeaderMap;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use macp_engine::{Method, observe};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

use crate::outgoing::{self, Client, reasons};

/// Time for one export, connecting included.
const EXPORT: Duration = Duration::from_secs(10);
/// How long a shutdown waits, after the drain, for the spans that are not sent yet: little enough to fit with the drain of
/// the example settings into the ten seconds that containers are given.
const FLUSH: Duration = Duration::from_secs(1);
/// Largest answer of a collector.
const MAX_ANSWER: usize = 1 << 20;
/// The standard's variables for the address; the first one wins.
const STANDARD: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// And for the protocol.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];

/// The way of spans to a collector.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts what is configured, if anything is: `configured` is the address of `MACP_OTLP_ENDPOINT`, everything else
    /// the standard's variables. Must be called within the runtime that is to carry the requests.
    ///
    /// # Errors
    /// What is wrong, for the log: a server that serves is worth more than its traces.
    pub(crate) fn start(configured: Option<&str>) -> Result<Option<Self>, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let standard = STANDARD.into_iter().find_map(|name| Some((name, variable(name)?)));
        let Some((name, address)) =
            configured.map(|address| ("MACP_OTLP_ENDPOINT", address.to_owned())).or(standard)
        else {
            return Ok(None);
        };
        for name in PROTOCOLS {
            if let Some(protocol) = variable(name).filter(|protocol| protocol != "http/protobuf") {
                return Err(format!(
                    "{name}={protocol} is not offered; unset it or set http/protobuf (mostly on port 4318)"
                ));
            }
        }
        let uri: Uri = address.parse().map_err(|_| format!("{name}={address:?} is not a URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(format!("{name}={address:?} must begin with http:// or https://"));
        }
        let client = outgoing::client(&uri, name).map_err(|error| error.to_string())?;
        let client = Exporter { client, runtime: Handle::current() };
        let mut exporter = SpanExporter::builder().with_http().with_http_client(client);
        if configured.is_some() {
            exporter = exporter.with_endpoint(format!("{}/v1/traces", address.trim_end_matches('/')));
        }
        let exporter = exporter.build().map_err(|error| format!("{name}={address:?}: {error}"))?;
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource());
        Ok(Some(Self(provider.build())))
    }

    /// Takes the spans of traces, and nothing else.
    pub(crate) fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("macp-gateway"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|of| of.target() == observe::SPAN))
            .boxed()
    }

    /// Sends what is not sent yet, for a while.
    pub(crate) async fn finish(self) {
        // Blocks, and what it waits for needs the runtime.
        let flushed = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH)).await;
        match flushed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans could not be sent"),
            Err(error) => tracing::warn!(%error, "the last spans could not be sent"),
        }
    }
}

/// Who sends: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, or the gateway by its own name.
fn resource() -> Resource {
    let named = std::env::var("OTEL_SERVICE_NAME").is_ok()
        || std::env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|all| all.contains("service.name="));
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    if named { resource.build() } else { resource.with_service_name("macp-gateway").build() }
}

/// Carries exports. They come from a thread of their own, which has no runtime.
#[derive(Debug)]
struct Exporter {
    client: Client<Full<Bytes>>,
    /// Every use of its client, and of its clock, is within it.
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Exporter {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let response = client.request(request.map(Full::new)).await.map_err(|error| reasons(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| error.to_string())?;
            Ok::<_, String>(Response::from_parts(head, body.to_bytes()))
        };
        let answered = self.runtime.spawn(async { tokio::time::timeout(EXPORT, exchange).await }).await?;
        let answered = answered.map_err(|_| format!("no answer within {EXPORT:?}"))?;
        Ok(answered.inspect_err(|why| tracing::warn!(why, "spans could not be sent (OTLP)"))?)
    }
}

/// The span of a request, as the child of what its `traceparent` names. Its name is that of a call, or the HTTP method
/// alone: nothing of a path that a client has made up, and nothing of a query.
pub(crate) fn request_span<B>(request: &Request<B>, peer: IpAddr) -> Span {
    let path = request.uri().path();
    let method = path.rsplit('/').next().and_then(Method::from_name);
    let is_grpc = path.starts_with("/macp.v1.");
    let verb = request.method().as_str();
    let name = match (method, is_grpc) {
        (Some(method), true) => format!("macp.v1.MACPRuntimeService/{}", method.name()),
        (Some(method), false) => format!("{verb} {}", method.name()),
        (None, _) if path.ends_with(macp_transport_ws::PATH) => "WebSocket".to_owned(),
        (None, _) => verb.to_owned(),
    };
    let span = tracing::info_span!(
        target: observe::SPAN,
        "request",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        "rpc.system" = is_grpc.then_some("grpc"),
        "rpc.method" = method.map(Method::name),
        "http.request.method" = verb,
        "http.response.status_code" = tracing::field::Empty,
        "client.address" = peer.to_canonical().to_string(),
        "macp.sender.id" = tracing::field::Empty,
    );
    let context = context(request.headers());
    // Refused only by a span that nobody makes a trace of.
    drop(span.set_parent(context));
    span
}

/// Notes the status of a response.
pub(crate) fn answered(span: &Span, status: http::StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// What `traceparent` and `tracestate` say.
fn context(headers: &HeaderMap) -> opentelemetry::Context {
    TraceContextPropagator::new()
        .extract_with_context(&opentelemetry::Context::new(), &HeaderExtractor(headers))
}
