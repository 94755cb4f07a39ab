//! The gRPC client: unary calls, watches, and `StreamSession` in both directions.

use std::net::SocketAddr;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use macp_transport_grpc::client::MacpRuntimeServiceClient;
use macp_wire::v1::stream_session_response::Response;
use macp_wire::v1::{Ack, Envelope, SendRequest, StreamSessionRequest, StreamSessionResponse};
use macp_wire::{json, v1};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{Agent, Code, Feed, Seen};
use crate::wait::soon;

/// A caller on gRPC.
pub(crate) struct Grpc {
    client: MacpRuntimeServiceClient<Channel>,
    channel: Channel,
    header: &'static str,
    token: String,
}

/// The code of a status: the trailer, without which it is the transport's own.
pub(crate) fn code(status: &Status) -> Code {
    match status.metadata().get("macp-error-code") {
        Some(code) => code.to_str().unwrap().to_owned(),
        None => format!("gRPC {:?}: {}", status.code(), status.message()),
    }
}

macro_rules! call {
    (unary $client:ident, $function:ident, $request:expr) => {
        match soon(stringify!($function), $client.client.$function($request)).await {
            Ok(response) => Ok(json::to_vec(&response.into_inner())),
            Err(status) => Err(code(&status)),
        }
    };
    ($stream:ident $client:ident, $function:ident, $request:expr) => {{
        let _ = $request;
        panic!(concat!(stringify!($function), " is a stream"))
    }};
}

macro_rules! dispatch {
    ($($name:ident, $function:ident, $request:ty, $response:ty, $kind:ident;)*) => {
        async fn dispatch(grpc: &mut Grpc, method: &str, request: &[u8]) -> Result<Vec<u8>, Code> {
            match method {
                $(stringify!($name) => {
                    let request: $request = json::from_slice(request).expect("a request message");
                    let request = grpc.request(request);
                    call!($kind grpc, $function, request)
                })*
                _ => panic!("no call is named {method}"),
            }
        }
    };
}
macp_wire::for_each_method!(dispatch);

impl Grpc {
    /// A caller with this token; an empty one is none.
    pub(crate) fn agent(addr: SocketAddr, token: &str) -> Self {
        let channel = Endpoint::from_shared(format!("http://{addr}")).unwrap().connect_lazy();
        let client = MacpRuntimeServiceClient::new(channel.clone());
        Self { client, channel, header: "authorization", token: format!("Bearer {token}") }
    }

    /// Shows the token in the other header that is a credential on gRPC.
    pub(crate) fn with_x_macp_token(self) -> Self {
        let token = self.token.trim_start_matches("Bearer ").to_owned();
        Self { header: "x-macp-token", token, ..self }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if self.token != "Bearer " {
            request.metadata_mut().insert(self.header, self.token.parse().unwrap());
        }
        request
    }

    /// Registers a policy whose rules are this very text: JSON on its way would lose its blanks.
    pub(crate) async fn register(&mut self, policy_descriptor: v1::PolicyDescriptor) {
        let request = v1::RegisterPolicyRequest { policy_descriptor: Some(policy_descriptor) };
        let request = self.request(request);
        let response =
            soon("RegisterPolicy", self.client.register_policy(request)).await.unwrap().into_inner();
        assert!(response.ok, "{}", response.error);
    }

    /// Watches the health of the server: each time whether it is SERVING.
    pub(crate) async fn health(&self) -> stream::BoxStream<'static, bool> {
        let mut client = HealthClient::new(self.channel.clone());
        let response = soon("Watch", client.watch(HealthCheckRequest::default())).await.unwrap();
        let watch = stream::unfold(response.into_inner(), |mut watch| async move {
            let status = soon("a change of the health", watch.message()).await.ok()??.status();
            Some((status == ServingStatus::Serving, watch))
        });
        watch.boxed()
    }

    /// Opens the watch of a registry: an item for each time that it tells something.
    pub(crate) async fn hints(&self, method: &str) -> stream::BoxStream<'static, ()> {
        let mut client = self.client.clone();
        macro_rules! open {
            ($function:ident, $request:ident) => {{
                let watch = soon(method, client.$function(self.request(v1::$request {}))).await.unwrap();
                watch
                    .into_inner()
                    .map(|told| {
                        told.unwrap();
                    })
                    .boxed()
            }};
        }
        match method {
            "WatchModeRegistry" => open!(watch_mode_registry, WatchModeRegistryRequest),
            "WatchRoots" => open!(watch_roots, WatchRootsRequest),
            "WatchPolicies" => open!(watch_policies, WatchPoliciesRequest),
            _ => panic!("{method} is no watch of a registry"),
        }
    }

    /// Opens a `StreamSession`.
    pub(crate) async fn open(&self) -> Result<GrpcStream, Code> {
        let (frames, mut queue) = unbounded_channel();
        let frames_in = stream::poll_fn(move |cx| queue.poll_recv(cx));
        let request = self.request(frames_in);
        let mut client = self.client.clone();
        let responses = soon("StreamSession", client.stream_session(request)).await;
        let responses = responses.map_err(|status| code(&status))?.into_inner();
        Ok(GrpcStream { frames, responses })
    }

    /// A caller that sends everything on one `StreamSession`.
    pub(crate) async fn streaming(self) -> GrpcStream {
        self.open().await.unwrap()
    }

    /// Opens all five watches and reads the first message of those that begin with one. Whatever ends them is in
    /// the result.
    pub(crate) async fn watch_everything(&mut self) -> Vec<Watch> {
        let mut watches = Vec::new();
        macro_rules! watch {
            ($function:ident, $request:ident, $first:literal) => {
                let request = self.request(v1::$request {});
                let response = soon(stringify!($function), self.client.$function(request)).await.unwrap();
                let mut events = response.into_inner();
                if $first {
                    soon("the first event", events.next()).await.unwrap().unwrap();
                }
                watches.push(Box::pin(async move { read_to_end(&mut events).await }) as Watch);
            };
        }
        watch!(watch_mode_registry, WatchModeRegistryRequest, true);
        watch!(watch_roots, WatchRootsRequest, true);
        watch!(watch_policies, WatchPoliciesRequest, true);
        watch!(watch_signals, WatchSignalsRequest, false);
        watch!(watch_sessions, WatchSessionsRequest, false);
        watches
    }
}

/// A watch that was opened: waits for its end, which is this status or none.
pub(crate) type Watch = std::pin::Pin<Box<dyn Future<Output = Option<Status>> + Send>>;

/// Reads to the end of a stream; the status it ends with unless that is OK.
async fn read_to_end<T>(events: &mut Streaming<T>) -> Option<Status> {
    loop {
        match soon("the end of a gRPC stream", events.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(status) => return Some(status),
        }
    }
}

#[async_trait]
impl Agent for Grpc {
    async fn send(&mut self, envelope: &Envelope) -> Result<Ack, Code> {
        let request = self.request(SendRequest { envelope: Some(envelope.clone()) });
        match soon("Send", self.client.send(request)).await {
            Ok(response) => Ok(response.into_inner().ack.expect("an Ack")),
            Err(status) => Err(code(&status)),
        }
    }

    async fn call(&mut self, method: &str, request: &Value) -> Result<Value, Code> {
        let response = dispatch(self, method, request.to_string().as_bytes()).await?;
        Ok(serde_json::from_slice(&response).unwrap())
    }

    async fn watch(&mut self, method: &str) -> Result<(), Code> {
        macro_rules! open {
            ($function:ident, $request:ident) => {{
                let request = self.request(v1::$request {});
                soon(method, self.client.$function(request)).await.map(drop).map_err(|status| code(&status))
            }};
        }
        match method {
            "WatchModeRegistry" => open!(watch_mode_registry, WatchModeRegistryRequest),
            "WatchRoots" => open!(watch_roots, WatchRootsRequest),
            "WatchPolicies" => open!(watch_policies, WatchPoliciesRequest),
            "WatchSignals" => open!(watch_signals, WatchSignalsRequest),
            "WatchSessions" => open!(watch_sessions, WatchSessionsRequest),
            _ => panic!("{method} is no watch"),
        }
    }

    async fn observe(&mut self, session: &str, after: u64) -> Result<Feed, Code> {
        let mut stream = self.open().await?;
        stream.subscribe(session, after);
        // The answer to a subscribe is the first envelope or a refusal: nothing else tells them apart.
        let first = stream.next().await?;
        let feed = stream::unfold(Some((stream, Some(first), after)), |place| async move {
            let (mut stream, first, last) = place?;
            let envelope = match first {
                Some(envelope) => envelope,
                None => stream.next().await.expect("an envelope"),
            };
            // A client of gRPC counts by itself, and nothing follows a Commitment.
            let sequence = last + 1;
            let goes_on = envelope.message_type != "Commitment";
            Some((Seen { sequence, envelope }, goes_on.then_some((stream, None, sequence))))
        });
        Ok(feed.boxed())
    }
}

/// One `StreamSession`, which is also a caller that sends on it.
pub(crate) struct GrpcStream {
    frames: UnboundedSender<StreamSessionRequest>,
    responses: Streaming<StreamSessionResponse>,
}

impl GrpcStream {
    pub(crate) fn subscribe(&self, session: &str, after_sequence: u64) {
        let subscribe_session_id = session.to_owned();
        let frame = StreamSessionRequest { subscribe_session_id, after_sequence, ..Default::default() };
        self.frames.send(frame).unwrap();
    }

    /// The next envelope, or the code of the refusal in its place, inline or at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Envelope, Code> {
        match soon("a frame of StreamSession", self.responses.message()).await {
            Ok(Some(StreamSessionResponse { response: Some(Response::Envelope(envelope)) })) => Ok(envelope),
            Ok(Some(StreamSessionResponse { response: Some(Response::Error(error)) })) => Err(error.code),
            Ok(other) => panic!("wanted a frame, got {other:?}"),
            Err(status) => Err(code(&status)),
        }
    }
}

impl GrpcStream {
    /// Reads to the end without ending its own half; the status it ends with unless that is OK.
    pub(crate) async fn end(self) -> Option<Status> {
        let Self { frames, mut responses } = self;
        let status = read_to_end(&mut responses).await;
        drop(frames);
        status
    }
}

#[async_trait]
impl Agent for GrpcStream {
    /// There are no Acks here: the echo is as good, but tells no more than that the envelope was accepted.
    async fn send(&mut self, envelope: &Envelope) -> Result<Ack, Code> {
        self.frames
            .send(StreamSessionRequest { envelope: Some(envelope.clone()), ..Default::default() })
            .unwrap();
        while self.next().await?.message_id != envelope.message_id {}
        Ok(Ack { ok: true, message_id: envelope.message_id.clone(), ..Ack::default() })
    }

    async fn call(&mut self, method: &str, _: &Value) -> Result<Value, Code> {
        panic!("{method} on a StreamSession")
    }

    async fn watch(&mut self, method: &str) -> Result<(), Code> {
        panic!("{method} on a StreamSession")
    }

    async fn observe(&mut self, _: &str, _: u64) -> Result<Feed, Code> {
        panic!("a second subscription of a StreamSession")
    }
}
