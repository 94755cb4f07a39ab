//! Clients that keep their connections alive by pings of their own, as gRPC libraries do on request.
//!
//! gRPC's own servers count pings and cut a client off that sends more than they like; this one must not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use macp_transport_grpc::client::MacpRuntimeServiceClient;
use macp_wire::v1::{ListModesRequest, WatchSignalsRequest};
use tokio::net::TcpStream;
use tonic::Request;
use tonic::transport::Endpoint;
use tower::service_fn;

use crate::process::Gateway;
use crate::wait::soon;

/// A stock client pings every 10 s; this is two hundred times as often, so that a second is half an hour.
const PING_EVERY: Duration = Duration::from_millis(50);
/// Sixty pings.
const LONG: Duration = Duration::from_secs(3);

#[tokio::test]
async fn pings_cost_nobody_the_connection() {
    let gateway = Gateway::start().await;
    for port in gateway.ports() {
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let connect = service_fn(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move { TcpStream::connect(port).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_shared(format!("http://{port}"))
            .unwrap()
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
            .connect_with_connector(connect)
            .await
            .unwrap();
        let mut client = MacpRuntimeServiceClient::new(channel);
        soon("a call", client.list_modes(ListModesRequest::default())).await.unwrap();
        // Idle: no call is open.
        tokio::time::sleep(LONG).await;
        soon("a call", client.list_modes(ListModesRequest::default())).await.unwrap();
        // With a stream on which nothing comes.
        let mut watch = Request::new(WatchSignalsRequest {});
        watch.metadata_mut().insert("authorization", "Bearer agent://ann".parse().unwrap());
        let mut signals = soon("a watch", client.watch_signals(watch)).await.unwrap().into_inner();
        let quiet = tokio::time::timeout(LONG, signals.message()).await;
        assert!(quiet.is_err(), "the stream has ended: {quiet:?}");
        soon("a call", client.list_modes(ListModesRequest::default())).await.unwrap();
        assert_eq!(connections.load(Ordering::Relaxed), 1, "the connection was cut and made anew");
    }
    gateway.stop().await;
}
