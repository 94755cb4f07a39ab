//! The gRPC binding of MACP (RFC-MACP-0006 §3): protobuf messages to engine calls and back, and nothing else.
//!
//! No rule of the protocol is decided here. What this crate owns is the framing of the binding: which metadata
//! is a credential, how a refusal becomes a status, how `StreamSession` frames are read and answered.
//!
//! | to find | open |
//! |---|---|
//! | the 27 calls | `service.rs` |
//! | plain gRPC past the listener's routes | `native.rs` |
//! | the rules of `StreamSession` | `stream.rs` |
//! | the five watches | `watch.rs` |
//! | responses that are encoded once for all receivers | `frame.rs` |
//! | what a call keeps in memory | `codec.rs` |
//! | codes, trailers | `status.rs` |
//! | credentials | `metadata.rs` |
//! | message size limits, and what exceeds them | `limits.rs` |
//! | messages that do not come to their end | `pace.rs` |
//! | browsers: gRPC-Web and its CORS | `web.rs` |

mod codec;
mod drain;
mod frame;
mod health;
mod limits;
mod metadata;
mod native;
mod pace;
mod service;
mod status;
mod stream;
mod watch;
mod web;

/// The generated client of `macp.v1.MACPRuntimeService`.
#[cfg(feature = "client")]
#[allow(missing_docs, unused_qualifications, clippy::all, reason = "generated from proto/")]
pub mod client {
    include!(concat!(env!("OUT_DIR"), "/client/macp.v1.rs"));
    pub use macp_runtime_service_client::MacpRuntimeServiceClient;
}

#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, reason = "generated from proto/")]
mod stubs {
    include!(concat!(env!("OUT_DIR"), "/server/macp.v1.rs"));
}

use std::sync::Arc;
use std::time::Duration;

use axum::middleware::{from_fn_with_state, map_request};
use macp_auth::Authenticator;
use macp_engine::Engine;
use macp_engine::counters::Transport;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder as Reflection;

pub use crate::limits::MessageLimits;
pub use crate::native::{Body, Call, Native};
pub use crate::web::{AllowedOrigins, refused, unknown_service};

use crate::health::Health;
use crate::pace::paced;
use crate::service::Service;
use crate::stubs::macp_runtime_service_server::{MacpRuntimeServiceServer, SERVICE_NAME};

/// Settings of the binding.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether `grpc.reflection.v1` is served. It tells everyone the whole interface, so it is off by default.
    pub reflection: bool,
    /// Whose pages may call by gRPC-Web from another origin.
    pub origins: AllowedOrigins,
    /// How long a message that was begun may take to arrive (`MACP_BODY_TIMEOUT_SECS`).
    pub message_timeout: Duration,
}

/// The default of [`Options::message_timeout`].
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(20);

impl Default for Options {
    fn default() -> Self {
        Self { reflection: false, origins: AllowedOrigins::default(), message_timeout: MESSAGE_TIMEOUT }
    }
}

/// Everything of the binding as one router, gRPC-Web included. It has no fallback, so that it can be merged with
/// others; see [`unknown_service`].
pub fn router(engine: Engine, authenticator: Arc<Authenticator>, options: Options) -> axum::Router {
    let engine = engine.via(Transport::Grpc);
    let limits = MessageLimits::new(engine.options().limits.max_payload_bytes);
    let origins = options.origins.clone();
    let within = options.message_timeout;
    let services = routes(&engine, authenticator).into_axum_router().reset_fallback();
    let services = if options.reflection { services.merge(reflection(engine)) } else { services };
    let services = services.layer(map_request(move |request: axum::extract::Request| async move {
        paced(request, within).map(axum::body::Body::new)
    }));
    web::serve(services, origins, limits)
}

/// The protocol's service alone, for gRPC requests that need no routing: an addition to [`router()`], which answers them as
/// well.
pub fn native(engine: Engine, authenticator: Arc<Authenticator>, message_timeout: Duration) -> Native {
    let engine = engine.via(Transport::Grpc);
    let limits = MessageLimits::new(engine.options().limits.max_payload_bytes);
    Native::new(protocol(engine, authenticator, limits), limits, message_timeout)
}

fn protocol(
    engine: Engine,
    authenticator: Arc<Authenticator>,
    limits: MessageLimits,
) -> MacpRuntimeServiceServer<Service> {
    MacpRuntimeServiceServer::new(Service::new(engine, authenticator, limits))
        .max_decoding_message_size(limits.decode)
        .max_encoding_message_size(limits.encode)
}

/// The protocol's service and `grpc.health.v1`. Their paths are the services' names.
fn routes(engine: &Engine, authenticator: Arc<Authenticator>) -> Routes {
    let limits = MessageLimits::new(engine.options().limits.max_payload_bytes);
    let health = HealthServer::new(Health::new(engine.clone()))
        .max_decoding_message_size(limits.decode)
        .max_encoding_message_size(limits.encode);
    Routes::new(protocol(engine.clone(), authenticator, limits)).add_service(health)
}

/// `grpc.reflection.v1` and the version before it.
fn reflection(engine: Engine) -> axum::Router {
    let limits = MessageLimits::new(engine.options().limits.max_payload_bytes);
    let descriptors = || {
        Reflection::configure()
            .register_encoded_file_descriptor_set(macp_wire::descriptor::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Tools of some age ask for the first version only.
    match descriptors().build_v1().and_then(|v1| Ok((v1, descriptors().build_v1alpha()?))) {
        Ok((v1, v1alpha)) => {
            let v1 = v1.max_decoding_message_size(limits.decode).max_encoding_message_size(limits.encode);
            let v1alpha =
                v1alpha.max_decoding_message_size(limits.decode).max_encoding_message_size(limits.encode);
            let services = Routes::new(v1).add_service(v1alpha).into_axum_router().reset_fallback();
            services.layer(from_fn_with_state(engine, drain::end_with_it))
        }
        // The descriptors are compiled in, and a test reads them through reflection; should they ever be bad,
        // the protocol itself is still served.
        Err(error) => {
            tracing::error!(%error, "reflection is not served: the compiled descriptors are not readable");
            axum::Router::new()
        }
    }
}

/// The full name of the protocol's service, as in paths and health checks.
pub const SERVICE: &str = SERVICE_NAME;
