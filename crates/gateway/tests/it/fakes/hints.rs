//! Watches of registries on every transport, each as a feed of when something was told.

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use macp_wire::gateway::v1::client_frame::Body as Ask;
use macp_wire::gateway::v1::server_frame::Body as Answer;
use macp_wire::gateway::v1::{Topic, Watch};
use macp_wire::v1::WatchRootsRequest;
use serde_json::json;

use super::{Grpc, GrpcWeb, Http, Ws};
use crate::process::Gateway;
use crate::wait::soon;

/// A watch that was opened, and has told what it tells at first.
pub(crate) struct Hints {
    /// Which watch, on which transport.
    pub(crate) place: String,
    told: BoxStream<'static, ()>,
}

impl Hints {
    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        soon(&self.place, self.told.next()).await.unwrap_or_else(|| panic!("{} has ended", self.place));
    }

    /// Opens this watch on every transport.
    pub(crate) async fn everywhere(gateway: &Gateway, token: &str, method: &str) -> Vec<Self> {
        let (grpc, http) = (gateway.grpc, gateway.http);
        let mut all = Vec::new();
        let mut open =
            |transport: &str, told| all.push(Self { place: format!("{method} on {transport}"), told });

        open("gRPC", Grpc::agent(grpc, token).hints(method).await);

        // The requests of all watches are empty.
        let parts = GrpcWeb::agent(http, token).begin(method, &WatchRootsRequest {}).await.unwrap();
        let parts =
            stream::unfold(
                parts,
                |mut parts| async move { parts.message().await.unwrap().map(|_| ((), parts)) },
            );
        open("gRPC-Web", parts.boxed());

        let agent = Http::agent(http, token);
        for (transport, agent) in [("SSE", agent.clone()), ("SSE over HTTP/2", agent.over_http2())] {
            let events = agent.events(method, &json!({}), 0).await.unwrap();
            let events =
                stream::unfold(events, |mut events| async move { events.next().await.map(|_| ((), events)) });
            open(transport, events.boxed());
        }

        let topic = match method {
            "WatchModeRegistry" => Topic::ModeRegistry,
            "WatchRoots" => Topic::Roots,
            "WatchPolicies" => Topic::Policies,
            _ => panic!("{method} is no watch of a registry"),
        };
        let mut socket = Ws::agent(http, token).connect().await.unwrap();
        let answer = socket.ask(Ask::Watch(Watch { topic: topic.into() })).await;
        assert!(matches!(answer, Answer::Watching(_)), "{answer:?}");
        let events = stream::unfold(socket, |mut socket| async move {
            match socket.hear().await? {
                Answer::Event(_) => Some(((), socket)),
                other => panic!("{other:?}"),
            }
        });
        open("WebSocket", events.boxed());

        for hints in &mut all {
            hints.next().await;
        }
        all
    }
}
