//! The binding over real sockets: a server on a free port and an independent WebSocket client.

mod client;
mod drain;
mod handshake;
mod logs;
mod session;
mod wire;
