//! What this machine can do without a MACP server: the same wire formats with nothing behind them.
//!
//! The bare servers answer every Send with an Ack at once and give each envelope to whoever follows at that moment. They
//! know no session, no rule and no past. The workloads `send`, `lifecycle` (but for its last check) and `fanout` run
//! against them unchanged, and so the same client measures both.

mod disk;
mod grpc;
mod http;
mod ws;

use std::time::{SystemTime, UNIX_EPOCH};

use macp_wire::v1::{Ack, Envelope, SessionState};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use crate::cli::{Ceiling, CeilingArgs, ListenArgs};
use crate::client::Failure;
use crate::report::Report;

/// Envelopes that a follower may be behind.
const BEHIND: usize = 4096;

/// Envelopes for whoever follows.
pub(crate) type Everybody = broadcast::Sender<std::sync::Arc<Envelope>>;

/// Serves until it is killed, or measures the disk.
pub(crate) async fn run(args: &CeilingArgs) -> Result<Option<Report>, Failure> {
    match &args.what {
        Ceiling::Grpc(args) => grpc::serve(listen(args).await?, broadcast::channel(BEHIND).0).await?,
        Ceiling::Http(args) => http::serve(listen(args).await?, broadcast::channel(BEHIND).0).await?,
        Ceiling::Ws(args) => ws::serve(listen(args).await?, broadcast::channel(BEHIND).0).await?,
        Ceiling::Disk(args) => return disk::run(args).map(Some),
    }
    Ok(None)
}

/// Binds, and says where.
#[allow(clippy::print_stdout, reason = "the program's own output, which a script waits for")]
async fn listen(args: &ListenArgs) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(&args.listen).await;
    let listener = listener
        .map_err(|error| Failure::new("start", format!("{} cannot be bound: {error}", args.listen)))?;
    let address = listener.local_addr().map_err(Failure::connection)?;
    println!("listening on {address}");
    Ok(listener)
}

/// The Ack of an envelope that nobody looked at.
fn ack(envelope: &Envelope) -> Ack {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let state =
        if envelope.message_type == "Commitment" { SessionState::Resolved } else { SessionState::Open };
    Ack {
        ok: true,
        message_id: envelope.message_id.clone(),
        session_id: envelope.session_id.clone(),
        accepted_at_unix_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
        session_state: state.into(),
        ..Ack::default()
    }
}

/// Gives an envelope to whoever follows; those who follow do not want what opens a session.
fn tell(everybody: &Everybody, envelope: Envelope) {
    if everybody.receiver_count() > 0 {
        // It fails when the last receiver has just left.
        let _ = everybody.send(std::sync::Arc::new(envelope));
    }
}
