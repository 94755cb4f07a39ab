//! Bytes that are no request: each call answers with a status, and no other session notices.

use bytes::{Buf, BufMut};
use macp_engine::Method;
use proptest::prelude::*;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::support::{
    ALICE, BOB, SESSION, Server, Stream, accepted, proposal, soon, start, submits, subscribes,
};

/// Sends and receives message bodies as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; buf.remaining()];
        buf.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// Calls with raw bodies as Alice. The outcome is the first response, the end, or the status.
async fn call(channel: &Channel, method: Method, bodies: Vec<Vec<u8>>) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let path = format!("/macp.v1.MACPRuntimeService/{}", method.name()).parse().unwrap();
    let mut request = Request::new(tokio_stream::iter(bodies));
    request.metadata_mut().insert("authorization", MetadataValue::from_static("Bearer agent://alice"));
    let mut responses = soon(grpc.streaming(request, path, Raw)).await?.into_inner();
    // A watch of nothing would wait for ever: its head is answer enough.
    if !matches!(method, Method::WatchSignals) {
        soon(responses.message()).await?;
    }
    Ok(())
}

/// An honest session beside the noise.
struct Witness {
    bob: Stream,
    sent: u32,
}

impl Witness {
    async fn new(server: &Server) -> Self {
        accepted(&mut server.client(ALICE).await, start(SESSION)).await;
        let mut bob = Stream::open(&mut server.client(BOB).await).await;
        bob.put(subscribes(SESSION, 0)).await;
        assert_eq!(bob.brief().await, "start");
        Self { bob, sent: 0 }
    }

    /// The stream that was open all the time still works.
    async fn testify(&mut self) {
        self.sent += 1;
        let id = format!("w{}", self.sent);
        self.bob.put(submits(proposal(SESSION, &id))).await;
        assert_eq!(self.bob.brief().await, id);
    }
}

#[tokio::test]
async fn bodies_that_are_no_message_are_refused() {
    let server = Server::start().await;
    let mut witness = Witness::new(&server).await;
    let channel = server.channel().await;
    let bodies: [(&str, Vec<u8>); 8] = [
        ("a cut tag", vec![0x80]),
        ("tag zero", vec![0x00, 0x00]),
        ("a cut field", vec![0x0a, 0x05, 0x01]),
        ("a length beyond everything", vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ("a varint of eleven bytes", vec![0x08; 1].into_iter().chain([0xff; 11]).collect()),
        ("a wire type that does not exist", vec![0x0f]),
        ("an end without its group", vec![0x7c]),
        ("groups without an end", vec![0x7b; 500]),
    ];
    for method in Method::ALL {
        for (name, body) in &bodies {
            let status = call(&channel, *method, vec![body.clone()]).await.unwrap_err();
            assert_eq!(status.code(), Code::Internal, "{method:?}, {name}: {status:?}");
        }
    }
    witness.testify().await;
}

#[tokio::test]
async fn text_that_is_not_utf8_is_refused() {
    let server = Server::start().await;
    let mut witness = Witness::new(&server).await;
    let channel = server.channel().await;
    // subscribe_session_id, and Envelope.session_id.
    for body in [vec![0x12, 0x01, 0xff], vec![0x0a, 0x03, 0x2a, 0x01, 0xff]] {
        let status = call(&channel, Method::StreamSession, vec![body]).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status:?}");
    }
    witness.testify().await;
}

#[test]
fn no_bytes_disturb_another_session() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (server, witness, channel) = runtime.block_on(async {
        let server = Server::start().await;
        let witness = Witness::new(&server).await;
        let channel = server.channel().await;
        (server, tokio::sync::Mutex::new(witness), channel)
    });
    let bodies = proptest::collection::vec(
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            // Plausible fields with arbitrary contents get past the decoder more often.
            (1u8..8, proptest::collection::vec(any::<u8>(), 0..100)).prop_map(|(field, content)| {
                let mut body = vec![field << 3 | 2, content.len() as u8];
                body.extend(content);
                body
            }),
        ],
        1..4,
    );
    let methods = proptest::sample::select(Method::ALL);
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(method in methods, bodies in bodies)| {
        runtime.block_on(async {
            if let Err(status) = call(&channel, method, bodies).await {
                assert_ne!(status.code(), Code::Unknown, "{method:?}: {status:?}");
                assert_ne!(status.code(), Code::Cancelled, "{method:?}: {status:?}");
            }
            witness.lock().await.testify().await;
        });
    });
    drop(server);
}
