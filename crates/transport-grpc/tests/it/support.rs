//! A server to talk to, clients with credentials, and words for streams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use macp_auth::Authenticator;
use macp_engine::testing::{generous_limits, memory_engine};
use macp_engine::{Engine, Limits, SystemClock};
use macp_store::{LogStore, MemoryStore};
use macp_transport_grpc::client::MacpRuntimeServiceClient;
use macp_transport_grpc::{Options, router};
use macp_wire::modes::decision::v1::{ProposalPayload, VotePayload};
use macp_wire::v1::stream_session_response::Response as Frame;
use macp_wire::v1::{
    Ack, CommitmentPayload, Envelope, MacpError, SendRequest, SessionStartPayload, StreamSessionRequest,
    StreamSessionResponse,
};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server as Tonic};
use tonic::{Code, Request, Status, Streaming};

pub(crate) const MODE: &str = "macp.mode.decision.v1";
pub(crate) const ALICE: &str = "agent://alice";
pub(crate) const BOB: &str = "agent://bob";
pub(crate) const EVE: &str = "agent://eve";
/// A session id of the accepted form; tests that need more use [`session`].
pub(crate) const SESSION: &str = "11111111-1111-4111-8111-111111111111";

/// How long a test waits for what must come. Only a bound on failure: nothing is timed by it.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what).await.expect("it has to come")
}

pub(crate) fn session(number: u32) -> String {
    format!("{number:08x}-1111-4111-8111-111111111111")
}

/// A server of its own, gone when dropped.
pub(crate) struct Server {
    pub(crate) engine: Engine,
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::serve(memory_engine().await, Authenticator::dev()).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        Self::with_store(Arc::new(MemoryStore::new()), limits).await
    }

    pub(crate) async fn with_store(store: Arc<dyn LogStore>, limits: Limits) -> Self {
        let options = macp_engine::Options { limits, ..macp_engine::Options::default() };
        let engine = Engine::open(store, Arc::new(SystemClock), options).await.unwrap();
        Self::serve(engine, Authenticator::dev()).await
    }

    pub(crate) async fn with_tokens(tokens: &str) -> Self {
        Self::serve(memory_engine().await, Authenticator::from_tokens_json(tokens).unwrap()).await
    }

    async fn serve(engine: Engine, authenticator: Authenticator) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = Options { reflection: true, ..Options::default() };
        let router = router(engine.clone(), Arc::new(authenticator), options);
        let task = tokio::spawn(async move {
            Tonic::builder()
                .add_routes(router.into())
                .serve_with_incoming(TcpIncoming::from(listener))
                .await
                .unwrap();
        });
        Self { engine, address, task }
    }

    /// A connection of its own.
    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    /// A client whose calls carry this bearer.
    pub(crate) async fn client(&self, bearer: &str) -> Client {
        let credential = Credential { name: "authorization", value: format!("Bearer {bearer}") };
        MacpRuntimeServiceClient::with_interceptor(self.channel().await, credential)
    }

    /// A client whose calls carry this metadata.
    pub(crate) async fn client_with(&self, name: &'static str, value: &str) -> Client {
        let credential = Credential { name, value: value.to_owned() };
        MacpRuntimeServiceClient::with_interceptor(self.channel().await, credential)
    }

    pub(crate) async fn anonymous(&self) -> MacpRuntimeServiceClient<Channel> {
        MacpRuntimeServiceClient::new(self.channel().await)
    }
}

pub(crate) type Client = MacpRuntimeServiceClient<InterceptedService<Channel, Credential>>;

#[derive(Clone)]
pub(crate) struct Credential {
    name: &'static str,
    value: String,
}

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value: MetadataValue<_> = self.value.parse().unwrap();
        request.metadata_mut().insert(self.name, value);
        Ok(request)
    }
}

pub(crate) async fn send(client: &mut Client, envelope: Envelope) -> Ack {
    client.send(SendRequest { envelope: Some(envelope) }).await.unwrap().into_inner().ack.unwrap()
}

pub(crate) async fn accepted(client: &mut Client, envelope: Envelope) -> Ack {
    let ack = send(client, envelope).await;
    assert!(ack.ok, "{:?}", ack.error);
    ack
}

/// The MACP code of a status.
pub(crate) fn code(status: &Status) -> &str {
    status.metadata().get("macp-error-code").map_or("", |code| code.to_str().unwrap())
}

// Envelopes of a decision session of Alice and Bob.

pub(crate) fn envelope(
    session_id: &str,
    message_type: &str,
    message_id: &str,
    payload: &impl Message,
) -> Envelope {
    Envelope {
        macp_version: "1.0".into(),
        mode: MODE.into(),
        message_type: message_type.into(),
        message_id: message_id.into(),
        session_id: session_id.into(),
        payload: payload.encode_to_vec().into(),
        ..Envelope::default()
    }
}

pub(crate) fn start_payload() -> SessionStartPayload {
    SessionStartPayload {
        intent: "choose".into(),
        participants: vec![ALICE.into(), BOB.into()],
        mode_version: "1.0.0".into(),
        configuration_version: "config.default".into(),
        policy_version: "policy.default".into(),
        ttl_ms: 600_000,
        ..SessionStartPayload::default()
    }
}

pub(crate) fn start(session_id: &str) -> Envelope {
    envelope(session_id, "SessionStart", "start", &start_payload())
}

pub(crate) fn proposal(session_id: &str, id: &str) -> Envelope {
    let payload = ProposalPayload { proposal_id: id.into(), option: "tea".into(), ..Default::default() };
    envelope(session_id, "Proposal", id, &payload)
}

pub(crate) fn vote(session_id: &str, message_id: &str, proposal_id: &str) -> Envelope {
    let payload =
        VotePayload { proposal_id: proposal_id.into(), vote: "APPROVE".into(), ..Default::default() };
    envelope(session_id, "Vote", message_id, &payload)
}

pub(crate) fn commitment(session_id: &str, message_id: &str) -> Envelope {
    let payload = CommitmentPayload {
        commitment_id: "c".into(),
        action: "decision.selected".into(),
        authority_scope: "team".into(),
        reason: "agreed".into(),
        mode_version: "1.0.0".into(),
        policy_version: "policy.default".into(),
        configuration_version: "config.default".into(),
        outcome_positive: true,
        ..CommitmentPayload::default()
    };
    envelope(session_id, "Commitment", message_id, &payload)
}

// Streams.

pub(crate) fn submits(envelope: Envelope) -> StreamSessionRequest {
    StreamSessionRequest { envelope: Some(envelope), ..StreamSessionRequest::default() }
}

pub(crate) fn subscribes(session_id: &str, after_sequence: u64) -> StreamSessionRequest {
    StreamSessionRequest { subscribe_session_id: session_id.into(), after_sequence, envelope: None }
}

/// What a stream brings.
#[derive(Debug)]
pub(crate) enum Came {
    Envelope(Envelope),
    Error(MacpError),
    Status(Status),
    End,
}

impl Came {
    /// In a few words: the message id, `!CODE`, `CODE/status` or `end`.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Envelope(envelope) => envelope.message_id.clone(),
            Self::Error(error) => format!("!{}", error.code),
            Self::Status(status) => format!("{}/{:?}", code(status), status.code()),
            Self::End => "end".to_owned(),
        }
    }
}

/// The client's side of one `StreamSession`.
pub(crate) struct Stream {
    frames: Option<mpsc::Sender<StreamSessionRequest>>,
    responses: Streaming<StreamSessionResponse>,
}

impl Stream {
    /// Opens a stream. Returns only because the head is answered before any frame is sent.
    pub(crate) async fn open(client: &mut Client) -> Self {
        let (frames, outgoing) = mpsc::channel(64);
        let responses =
            soon(client.stream_session(ReceiverStream::new(outgoing))).await.unwrap().into_inner();
        Self { frames: Some(frames), responses }
    }

    pub(crate) async fn put(&mut self, frame: StreamSessionRequest) {
        self.frames.as_ref().unwrap().send(frame).await.unwrap();
    }

    pub(crate) fn half_close(&mut self) {
        self.frames = None;
    }

    pub(crate) async fn next(&mut self) -> Came {
        match soon(self.responses.message()).await {
            Ok(Some(StreamSessionResponse { response: Some(Frame::Envelope(envelope)) })) => {
                Came::Envelope(envelope)
            }
            Ok(Some(StreamSessionResponse { response: Some(Frame::Error(error)) })) => Came::Error(error),
            Ok(Some(empty)) => panic!("an empty frame: {empty:?}"),
            Ok(None) => Came::End,
            Err(status) => Came::Status(status),
        }
    }

    pub(crate) async fn brief(&mut self) -> String {
        self.next().await.brief()
    }

    pub(crate) async fn error(&mut self) -> MacpError {
        match self.next().await {
            Came::Error(error) => error,
            other => panic!("not an inline error: {other:?}"),
        }
    }

    /// Everything up to the end of the stream, in brief.
    pub(crate) async fn rest(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let came = self.next().await;
            all.push(came.brief());
            if matches!(came, Came::Status(_) | Came::End) {
                return all;
            }
        }
    }
}

pub(crate) fn small_payloads() -> Limits {
    Limits { max_payload_bytes: 1024, ..generous_limits() }
}

pub(crate) fn assert_status(status: &Status, grpc: Code, macp: &str) {
    assert_eq!((status.code(), code(status)), (grpc, macp), "{status:?}");
}
