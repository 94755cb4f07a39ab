//! The open sockets, to be waited for at shutdown: an HTTP server does not wait for what it has upgraded.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use macp_counters::Counter;
use tokio_util::task::TaskTracker;

/// Something that whoever serves the connection wants to be kept for as long as the socket lives, such as a place among
/// those that its peer may have: an extension of the upgrade request.
#[derive(Clone)]
pub struct KeptAlong {
    _kept: Arc<dyn Any + Send + Sync>,
}

impl KeptAlong {
    /// Keeps this.
    #[must_use]
    pub fn new(kept: Arc<dyn Any + Send + Sync>) -> Self {
        Self { _kept: kept }
    }
}

impl fmt::Debug for KeptAlong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptAlong")
    }
}

/// Close codes that are counted by themselves: those that this server gives, and those that clients usually do.
const CODES: &[u16] = &[1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 4401, 4403, 4408];

/// A handle to the open sockets of one or more routers.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    tasks: TaskTracker,
    counted: Arc<Counted>,
}

/// What was counted of sockets.
#[derive(Debug)]
struct Counted {
    opened: Counter,
    /// By code, and one more for all others.
    closed_by_server: Vec<Counter>,
    closed_by_client: Vec<Counter>,
}

impl Default for Counted {
    fn default() -> Self {
        let codes = || (0..=CODES.len()).map(|_| Counter::default()).collect();
        Self { opened: Counter::default(), closed_by_server: codes(), closed_by_client: codes() }
    }
}

/// How often sockets were closed with one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closes {
    /// The code; 1005 for a close frame without one, 1006 for none at all, `None` for every code that is not counted by
    /// itself.
    pub code: Option<u16>,
    /// How often this server gave it.
    pub by_server: u64,
    /// How often clients did.
    pub by_client: u64,
}

impl Sockets {
    /// No sockets yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sockets that were opened.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.counted.opened.get()
    }

    /// How they were closed.
    pub fn closes(&self) -> impl Iterator<Item = Closes> + '_ {
        let codes = CODES.iter().copied().map(Some).chain([None]);
        let Counted { closed_by_server, closed_by_client, .. } = &*self.counted;
        codes.zip(closed_by_server.iter().zip(closed_by_client)).map(|(code, (server, client))| Closes {
            code,
            by_server: server.get(),
            by_client: client.get(),
        })
    }

    pub(crate) fn count_open(&self) {
        self.counted.opened.inc();
    }

    /// Counts the end of a socket: by the server with a code of its own, or by the client.
    pub(crate) fn count_close(&self, code: u16, by_server: bool) {
        let place = CODES.iter().position(|known| *known == code).unwrap_or(CODES.len());
        let Counted { closed_by_server, closed_by_client, .. } = &*self.counted;
        let counters = if by_server { closed_by_server } else { closed_by_client };
        counters[place].inc();
    }

    /// How many sockets are open, those that are closing included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Says that no more sockets are expected: [`Sockets::wait`] ends once the open ones are closed. An upgrade that
    /// comes in between is still waited for.
    pub fn close(&self) {
        self.tasks.close();
    }

    /// Waits until every socket is closed, behind [`Sockets::close`]. They close by themselves once the engine
    /// drains, within [`Timing::drain`](crate::Timing::drain) and a few seconds; set a limit of your own around it
    /// all the same.
    pub async fn wait(&self) {
        self.tasks.wait().await;
    }

    pub(crate) fn spawn(&self, socket: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(socket);
    }
}
