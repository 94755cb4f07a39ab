//! Health and reflection.

use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::{Server, assert_status, soon};

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

fn status(response: &HealthCheckResponse) -> ServingStatus {
    response.status()
}

#[tokio::test]
async fn health_follows_the_drain() {
    let server = Server::start().await;
    let mut health = HealthClient::new(server.channel().await);
    for (draining, expected) in [(false, ServingStatus::Serving), (true, ServingStatus::NotServing)] {
        if draining {
            server.engine.drain();
        }
        for service in ["", "macp.v1.MACPRuntimeService"] {
            let answer = health.check(of(service)).await.unwrap().into_inner();
            assert_eq!(status(&answer), expected, "{service:?}");
        }
        assert_eq!(health.check(of("other")).await.unwrap_err().code(), Code::NotFound);
    }
}

#[tokio::test]
async fn a_health_watch_sees_the_drain_and_ends() {
    let server = Server::start().await;
    let mut health = HealthClient::new(server.channel().await);
    let mut known = health.watch(of("macp.v1.MACPRuntimeService")).await.unwrap().into_inner();
    let mut unknown = health.watch(of("other")).await.unwrap().into_inner();
    let next = soon(known.message()).await.unwrap().unwrap();
    assert_eq!(status(&next), ServingStatus::Serving);
    let next = soon(unknown.message()).await.unwrap().unwrap();
    assert_eq!(status(&next), ServingStatus::ServiceUnknown);
    server.engine.drain();
    let next = soon(known.message()).await.unwrap().unwrap();
    assert_eq!(status(&next), ServingStatus::NotServing);
    for mut watch in [known, unknown] {
        assert_status(&soon(watch.message()).await.unwrap_err(), Code::Unavailable, "UNAVAILABLE");
    }
    let mut late = health.watch(of("")).await.unwrap().into_inner();
    assert_eq!(status(&soon(late.message()).await.unwrap().unwrap()), ServingStatus::NotServing);
    assert_status(&soon(late.message()).await.unwrap_err(), Code::Unavailable, "UNAVAILABLE");
}

#[tokio::test]
async fn a_stream_of_reflection_ends_with_the_drain() {
    let server = Server::start().await;
    let mut client = ServerReflectionClient::new(server.channel().await);
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let open = tokio_stream::StreamExt::chain(tokio_stream::once(list), tokio_stream::pending());
    let mut answers = client.server_reflection_info(open).await.unwrap().into_inner();
    soon(answers.message()).await.unwrap().unwrap();
    server.engine.drain();
    assert_status(&soon(answers.message()).await.unwrap_err(), Code::Unavailable, "UNAVAILABLE");
}

async fn reflect(server: &Server, request: MessageRequest) -> MessageResponse {
    let mut client = ServerReflectionClient::new(server.channel().await);
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    soon(answers.into_inner().message()).await.unwrap().unwrap().message_response.unwrap()
}

/// What grpcurl does before version 1.8.8, and other tools still do.
#[tokio::test]
async fn reflection_answers_its_first_version_too() {
    use tonic_reflection::pb::v1alpha::ServerReflectionRequest;
    use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;

    let server = Server::start().await;
    let mut client = ServerReflectionClient::new(server.channel().await);
    let list = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { host: String::new(), message_request: list };
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = soon(answers.into_inner().message()).await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("not a list") };
    assert!(list.service.iter().any(|service| service.name == "macp.v1.MACPRuntimeService"), "{list:?}");
}

#[tokio::test]
async fn reflection_lists_the_services_and_their_messages() {
    let server = Server::start().await;
    let MessageResponse::ListServicesResponse(list) =
        reflect(&server, MessageRequest::ListServices(String::new())).await
    else {
        panic!("not a list")
    };
    let mut names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "macp.v1.MACPRuntimeService"],
    );
    for symbol in ["macp.v1.MACPRuntimeService", "macp.modes.decision.v1.VotePayload"] {
        let answer = reflect(&server, MessageRequest::FileContainingSymbol(symbol.to_owned())).await;
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{symbol}: {answer:?}");
    }
}
