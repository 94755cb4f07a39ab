//! The live registries of modes and policies: a catalog that decisions see whole, and hints of its changes.

use std::sync::Arc;

use macp_kernel::Catalog;
use parking_lot::RwLock;
use tokio::sync::watch;

pub(crate) struct Registry {
    catalog: RwLock<Arc<Catalog>>,
    modes: watch::Sender<u64>,
    policies: watch::Sender<u64>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            catalog: RwLock::new(Arc::new(Catalog::built_in())),
            modes: watch::Sender::new(0),
            policies: watch::Sender::new(0),
        }
    }
}

impl Registry {
    /// The registries as of now.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read())
    }

    /// Changes of the mode registry, as a revision number.
    pub(crate) fn mode_changes(&self) -> watch::Receiver<u64> {
        self.modes.subscribe()
    }

    /// Changes of the policy registry, as a revision number.
    pub(crate) fn policy_changes(&self) -> watch::Receiver<u64> {
        self.policies.subscribe()
    }
}
