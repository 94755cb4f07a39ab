//! A listening socket and its accept loop.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::task::TaskTracker;

use crate::cli::RunError;
use crate::connection::{self, Admitted, Serving};
use crate::gate::House;
use crate::peers::Peer;
use crate::presence::Presence;

/// Idle time after which the kernel probes whether a peer is still there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// Connections that the kernel completes before they are accepted, if `net.core.somaxconn` allows it. When everybody
/// comes back at once they shall wait here: what finds no place is dropped, and tried again after a second.
const BACKLOG: u32 = 4096;
/// Pause after a failed accept, e.g. when file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Elsewhere it means that another process may take the port over.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

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
        let socket = listen(addr).map_err(cannot)?;
        let addr = socket.local_addr().map_err(cannot)?;
        Ok(Self { socket, addr })
    }

    /// The address, with its real port.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Accepts until the drain begins. What the limits do not let in is told why, as far as that is cheap.
    pub(crate) async fn run(self, serving: Arc<Serving>, max_connections: usize, connections: TaskTracker) {
        let house = House::of(max_connections);
        loop {
            let accepted = tokio::select! {
                () = serving.draining.cancelled() => return,
                accepted = self.accept(serving.deadlines.stall) => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, addr = %self.addr, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let presence = Presence::new();
            let entered = match serving.gate.enter(address) {
                Ok(held) => house.enter(&presence).await.map(|place| (held, place)),
                Err(refusal) => Err(refusal),
            };
            match entered {
                Ok((held, place)) => {
                    let admitted = Admitted { stream, address, held, presence };
                    let serving = Arc::clone(&serving);
                    connections.spawn(async move {
                        connection::serve(admitted, serving).await;
                        drop(place);
                    });
                }
                Err(refusal) => {
                    serving.routes.connections.refused();
                    tracing::debug!(peer = %Peer::from(address), why = %refusal.message, "a connection is refused");
                    if let Some(place) = serving.gate.refuse() {
                        let tls = serving.tls.clone();
                        connections.spawn(async move {
                            connection::refuse(stream, tls, refusal).await;
                            drop(place);
                        });
                    }
                }
            }
        }
    }

    async fn accept(&self, stall: Duration) -> std::io::Result<(TcpStream, IpAddr)> {
        let (stream, peer) = self.socket.accept().await?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE))?;
        // What is closed while its client takes nothing would keep what it is owed in the kernel for a quarter of an hour.
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(stall))?;
        Ok((stream, peer.ip()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hundreds_may_come_at_once() {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), "MACP_BIND_ADDR").await.unwrap();
        let mut waiting = Vec::new();
        for number in 0..400 {
            // Nobody accepts. One that finds no place in the kernel's queue would hang until it is tried again.
            let connecting = TcpStream::connect(listener.addr());
            let connected = tokio::time::timeout(Duration::from_millis(900), connecting).await;
            waiting.push(connected.unwrap_or_else(|_| panic!("connection {number} waits")).unwrap());
        }
    }
}
