//! WebSocket over HTTP/2 (RFC 8441): not offered, so it must not be advertised. A browser that is told otherwise tries
//! it and does not fall back.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::Gateway;
use crate::wait::soon;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

#[tokio::test]
async fn extended_connect_is_not_advertised() {
    let gateway = Gateway::start().await;
    for port in gateway.ports() {
        let mut socket = TcpStream::connect(port).await.unwrap();
        socket.write_all(PREFACE).await.unwrap();
        socket.write_all(&SETTINGS).await.unwrap();
        let mut head = [0; 9];
        soon("the server's settings", socket.read_exact(&mut head)).await.unwrap();
        assert_eq!((head[3], head[4] & 1), (4, 0), "settings come first");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut settings = vec![0; length as usize];
        soon("the server's settings", socket.read_exact(&mut settings)).await.unwrap();
        let ids: Vec<u16> = settings.chunks(6).map(|one| u16::from_be_bytes([one[0], one[1]])).collect();
        assert!(!ids.is_empty() && !ids.contains(&ENABLE_CONNECT_PROTOCOL), "{ids:?}");
    }
    gateway.stop().await;
}
