//! Every call is routed, and its refusals carry their code.

use macp_engine::Method;
use macp_wire::v1::*;
use tonic::Code;

use crate::support::{
    ALICE, BOB, EVE, SESSION, Server, accepted, assert_status, code, envelope, proposal, soon, start,
};

macro_rules! every_call {
    ($($name:ident, $function:ident, $request:ty, $response:ty, $kind:ident;)*) => {
        /// Calls with an empty request and returns the status, or `None` for a success. A stream's first
        /// message counts.
        async fn empty_call(method: Method, server: &Server, bearer: Option<&str>) -> Option<tonic::Status> {
            let metadata = match bearer {
                Some(bearer) => ("authorization", format!("Bearer {bearer}")),
                None => ("x-unrelated", "x".to_owned()),
            };
            let mut client = server.client_with(metadata.0, &metadata.1).await;
            match method {
                $(Method::$name => every_call!(@call $kind client $function $request),)*
            }
        }
    };
    (@call unary $client:ident $function:ident $request:ty) => {
        soon($client.$function(<$request>::default())).await.err()
    };
    (@call server_stream $client:ident $function:ident $request:ty) => {
        // The head comes before any message; WatchSignals and WatchSessions have none to send here.
        soon($client.$function(<$request>::default())).await.err()
    };
    (@call bidi $client:ident $function:ident $request:ty) => {
        match soon($client.$function(tokio_stream::once(<$request>::default()))).await {
            Ok(responses) => soon(responses.into_inner().message()).await.err(),
            Err(status) => Some(status),
        }
    };
}

macp_wire::for_each_method!(every_call);

/// What an empty request of Alice is answered. Calls that are not listed are not offered yet, or succeed.
fn refusal_of(method: Method) -> Option<&'static str> {
    match method {
        Method::Initialize => Some("INVALID_REQUEST"),
        Method::Send | Method::StreamSession => Some("INVALID_ENVELOPE"),
        Method::GetSession | Method::CancelSession | Method::SuspendSession | Method::ResumeSession => {
            Some("SESSION_NOT_FOUND")
        }
        Method::GetPolicy => Some("UNKNOWN_POLICY_VERSION"),
        _ => None,
    }
}

#[tokio::test]
async fn every_call_is_routed() {
    let server = Server::start().await;
    for method in Method::ALL {
        let status = empty_call(*method, &server, Some(ALICE)).await;
        match (refusal_of(*method), &status) {
            (Some(expected), Some(status)) => assert_eq!(code(status), expected, "{method:?}"),
            (Some(expected), None) => panic!("{method:?} succeeded instead of {expected}"),
            // Without the trailer it would be the router that does not know the path.
            (None, Some(status)) => assert!(!code(status).is_empty(), "{method:?}: {status:?}"),
            (None, None) => {}
        }
    }
}

#[tokio::test]
async fn credentials_are_asked_for_where_the_protocol_says() {
    let server = Server::start().await;
    for method in Method::ALL {
        let status = empty_call(*method, &server, None).await;
        let refused = status.as_ref().map(code);
        match method {
            // In the Ack; here the envelope is missing, which comes first.
            Method::Send => assert_eq!(refused, Some("INVALID_ENVELOPE")),
            _ if refused == Some("UNIMPLEMENTED") => {}
            _ if method.is_open() => assert_ne!(refused, Some("UNAUTHENTICATED"), "{method:?}"),
            _ => {
                assert_status(status.as_ref().unwrap(), Code::Unauthenticated, "UNAUTHENTICATED");
            }
        }
    }
}

#[tokio::test]
async fn a_call_that_is_not_offered_says_so_with_its_code() {
    let server = Server::start().await;
    for method in Method::ALL {
        if let Some(status) = empty_call(*method, &server, Some(ALICE)).await {
            assert_eq!(
                status.code() == Code::Unimplemented,
                code(&status) == "UNIMPLEMENTED",
                "{method:?}: {status:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_path_is_unimplemented_without_a_code() {
    let server = Server::start().await;
    let mut grpc = tonic::client::Grpc::new(server.channel().await);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<SendRequest, SendResponse>::default();
    let path = "/macp.v1.MACPRuntimeService/Nope".parse().unwrap();
    let status = grpc.unary(tonic::Request::new(SendRequest::default()), path, codec).await.unwrap_err();
    assert_eq!((status.code(), code(&status)), (Code::Unimplemented, ""));
}

#[tokio::test]
async fn refusals_of_calls() {
    let server = Server::start().await;
    let mut alice = server.client(ALICE).await;
    let mut eve = server.client(EVE).await;
    accepted(&mut alice, start(SESSION)).await;

    let unknown = GetSessionRequest { session_id: "nope".into() };
    let known = GetSessionRequest { session_id: SESSION.into() };
    assert_status(&alice.get_session(unknown).await.unwrap_err(), Code::NotFound, "SESSION_NOT_FOUND");
    assert_status(&eve.get_session(known).await.unwrap_err(), Code::PermissionDenied, "FORBIDDEN");
    let cancel = CancelSessionRequest { session_id: SESSION.into(), reason: String::new() };
    assert_status(&eve.cancel_session(cancel).await.unwrap_err(), Code::PermissionDenied, "FORBIDDEN");
    let foreign = GetManifestRequest { agent_id: "agent://other".into() };
    assert_status(&alice.get_manifest(foreign).await.unwrap_err(), Code::NotFound, "AGENT_NOT_FOUND");
    let versions = InitializeRequest { supported_protocol_versions: vec!["9".into()], ..Default::default() };
    assert_status(
        &alice.initialize(versions).await.unwrap_err(),
        Code::InvalidArgument,
        "UNSUPPORTED_PROTOCOL_VERSION",
    );
    let page = ListSessionsRequest { page_size: -1, ..Default::default() };
    assert_status(&alice.list_sessions(page).await.unwrap_err(), Code::InvalidArgument, "INVALID_REQUEST");
    let policy = GetPolicyRequest { policy_id: "policy.nope".into() };
    assert_status(&alice.get_policy(policy).await.unwrap_err(), Code::NotFound, "UNKNOWN_POLICY_VERSION");
    let nothing = SendRequest { envelope: None };
    assert_status(&alice.send(nothing).await.unwrap_err(), Code::InvalidArgument, "INVALID_ENVELOPE");
}

#[tokio::test]
async fn send_decides_in_band() {
    let server = Server::start().await;
    let mut alice = server.client(ALICE).await;
    accepted(&mut alice, start(SESSION)).await;
    let refused = |mut client: crate::support::Client, envelope| async move {
        let ack = crate::support::send(&mut client, envelope).await;
        assert!(!ack.ok);
        ack.error.unwrap().code
    };
    let bob = server.client(BOB).await;
    let nobody = server.client_with("x-unrelated", "x").await;
    let eve = server.client(EVE).await;
    let mut spoofed = proposal(SESSION, "p");
    spoofed.sender = ALICE.into();
    let versioned = Envelope { macp_version: "2.0".into(), ..proposal(SESSION, "p") };
    for (client, envelope, expected) in [
        (&nobody, proposal(SESSION, "p"), "UNAUTHENTICATED"),
        (&bob, spoofed, "UNAUTHENTICATED"),
        (&eve, proposal(SESSION, "p"), "FORBIDDEN"),
        (&bob, versioned, "UNSUPPORTED_PROTOCOL_VERSION"),
        (&bob, envelope(SESSION, "Vote", "v", &()), "INVALID_ENVELOPE"),
        (&bob, proposal("unknown", "p"), "SESSION_NOT_FOUND"),
        (&bob, Envelope::default(), "UNSUPPORTED_PROTOCOL_VERSION"),
    ] {
        assert_eq!(refused(client.clone(), envelope).await, expected);
    }
}
