//! The open sockets, to be waited for at shutdown: an HTTP server does not wait for what it has upgraded.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

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

/// A handle to the open sockets of one or more routers.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    tasks: TaskTracker,
}

impl Sockets {
    /// No sockets yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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
