//! A listening socket and its accept loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::RunError;
use crate::connection;
use crate::routes::Routes;
use crate::tls::Tls;

/// Idle time after which the kernel probes whether a peer is still there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// Pause after a failed accept, e.g. when file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket, not yet accepting.
pub(crate) struct Listener {
    socket: TcpListener,
    addr: SocketAddr,
}

impl Listener {
    /// Binds the address that `setting` names.
    pub(crate) async fn bind(addr: SocketAddr, setting: &str) -> Result<Self, RunError> {
        let cannot =
            |error: std::io::Error| RunError::start(format!("cannot listen on {setting}={addr}"), error);
        let socket = TcpListener::bind(addr).await.map_err(cannot)?;
        let addr = socket.local_addr().map_err(cannot)?;
        Ok(Self { socket, addr })
    }

    /// The address, with its real port.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Accepts until `draining`. Beyond `max_connections` new ones wait in the kernel's queue.
    pub(crate) async fn run(
        self,
        routes: Routes,
        tls: Option<Tls>,
        max_connections: usize,
        max_concurrent_streams: u32,
        draining: CancellationToken,
        connections: TaskTracker,
    ) {
        let places = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        loop {
            let accepted = tokio::select! {
                () = draining.cancelled() => return,
                accepted = self.accept(&places) => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    let (routes, tls) = (routes.clone(), tls.clone());
                    let draining = draining.clone();
                    connections.spawn(async move {
                        connection::serve(stream, tls, routes, max_concurrent_streams, draining).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, addr = %self.addr, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn accept(
        &self,
        places: &Arc<Semaphore>,
    ) -> std::io::Result<(TcpStream, Option<tokio::sync::OwnedSemaphorePermit>)> {
        // The semaphore is never closed.
        let place = Arc::clone(places).acquire_owned().await.ok();
        let (stream, _) = self.socket.accept().await?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE))?;
        Ok((stream, place))
    }
}
