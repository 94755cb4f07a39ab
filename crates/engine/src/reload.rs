//! What the operator changes while the server runs. Each call replaces one list as a whole, and tells those who watch it.

use macp_kernel::CredentialId;
use macp_kernel::catalog::PolicyRegistryError;
use macp_kernel::policy::Policy;

use crate::Engine;
use crate::provided::{Agents, Roots};

impl Engine {
    /// Answers `ListRoots` with these from now on; tells whether they differ from those before, in which case
    /// `WatchRoots` says so.
    pub fn replace_roots(&self, roots: Roots) -> bool {
        self.inner.provided.replace_roots(roots)
    }

    /// Answers `GetManifest` for these agents from now on; tells whether anything differs. The server's own manifest is
    /// not among them.
    pub fn replace_agents(&self, agents: Agents) -> bool {
        self.inner.provided.replace_agents(agents)
    }

    /// Registers these policies in the place of those that the operator provided before; if any came or went,
    /// `WatchPolicies` says so. Sessions that bound one keep their copy. Answers with how many came and how many went.
    ///
    /// # Errors
    /// For an id that is registered with another definition (RFC-MACP-0012 §2.3); nothing has changed then.
    pub async fn replace_policies(&self, policies: &[Policy]) -> Result<(usize, usize), PolicyRegistryError> {
        self.inner.registry.provide(policies).await
    }

    /// These static credentials are good from now on. What was opened with another one ends, by [`Engine::expiry`].
    pub fn credentials_stand(&self, credentials: impl IntoIterator<Item = CredentialId>) {
        self.inner.standing.replace(credentials);
    }
}
