//! `grpc.health.v1`: SERVING while the engine is ready, NOT_SERVING while its store takes nothing or once it drains.

use std::pin::Pin;

use futures_util::stream;
use macp_engine::Engine;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health as HealthRpc;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::status;

/// The health service. It asks the engine itself, so no task has to keep a status up to date.
pub(crate) struct Health {
    engine: Engine,
}

impl Health {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    fn status_of(&self, service: &str) -> Option<ServingStatus> {
        // The empty name is the server as a whole (gRPC health checking protocol).
        if !service.is_empty() && service != crate::SERVICE {
            return None;
        }
        Some(status_of(&self.engine))
    }
}

fn status_of(engine: &Engine) -> ServingStatus {
    if engine.is_ready() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

#[tonic::async_trait]
impl HealthRpc for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = self
            .status_of(&request.get_ref().service)
            .ok_or_else(|| Status::not_found("no service of this name has a health status here"))?;
        Ok(Response::new(answer(status)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// The current status at once, then each change. The end follows the NOT_SERVING of a drain: a watch that stayed
    /// open would hold up the shutdown it reports. An unknown service is SERVICE_UNKNOWN, not an error.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let status = self.status_of(&request.get_ref().service);
        let state = Watch { engine: self.engine.clone(), known: status.is_some(), next: Next::First(status) };
        Ok(Response::new(Box::pin(stream::unfold(state, Watch::step))))
    }
}

struct Watch {
    engine: Engine,
    known: bool,
    next: Next,
}

enum Next {
    First(Option<ServingStatus>),
    Change(ServingStatus),
    End,
    Nothing,
}

impl Watch {
    async fn step(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        let item = match self.next {
            Next::First(status) => {
                let status = status.unwrap_or(ServingStatus::ServiceUnknown);
                self.next = self.after(status);
                Ok(answer(status))
            }
            Next::Change(before) if self.known => {
                self.engine.readiness_changed(before == ServingStatus::Serving).await;
                let status = status_of(&self.engine);
                self.next = self.after(status);
                Ok(answer(status))
            }
            Next::Change(_) => {
                self.engine.draining().cancelled().await;
                self.next = Next::Nothing;
                Err(status::draining())
            }
            Next::End => {
                self.next = Next::Nothing;
                Err(status::draining())
            }
            Next::Nothing => return None,
        };
        Some((item, self))
    }

    fn after(&self, status: ServingStatus) -> Next {
        if self.engine.draining().is_cancelled() && status == ServingStatus::NotServing {
            Next::End
        } else {
            Next::Change(status)
        }
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
