//! Puts what the operator lists in files in place while the gateway runs: on SIGHUP, and when a file changes.
//!
//! Each list is replaced as a whole or not at all. What is wrong with a new one is logged, and the old one stays.

use std::path::Path;
use std::sync::Arc;

use macp_auth::{Authenticator, Origins, StaticTokens};
use macp_engine::{Agents, Engine, Roots, observe};
use macp_kernel::policy::Policy;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::cli::RunError;
use crate::config::Config;
use crate::config::layers::Layers;
use crate::config::lists::{self, Lists};
use crate::reload::{Cause, Changes};

/// Keeps the lists up to date.
pub(crate) struct Refresher {
    /// The settings of the start, and as they were read last.
    first: Arc<Layers>,
    layers: Arc<Layers>,
    changes: Changes,
    engine: Engine,
    authenticator: Authenticator,
    origins: Origins,
    /// Whether the policies come from a directory.
    policies: bool,
}

impl Refresher {
    /// Begins to watch the files. From now on, SIGHUP does not end the process.
    pub(crate) fn new(layers: Layers, config: &Config, engine: &Engine) -> Result<Self, RunError> {
        let layers = Arc::new(layers);
        Ok(Self {
            changes: Changes::of(files(&layers))?,
            first: Arc::clone(&layers),
            layers,
            engine: engine.clone(),
            authenticator: config.auth.authenticator.clone(),
            origins: config.cors_origins.clone(),
            policies: config.policies.is_some(),
        })
    }

    /// Reads the files again whenever that is called for, until the gateway stops.
    pub(crate) async fn run(mut self, draining: CancellationToken) {
        // What has changed between the start's own reading and the watch.
        self.refresh().await;
        loop {
            let cause = tokio::select! {
                () = draining.cancelled() => return,
                cause = self.changes.next() => cause,
            };
            tracing::info!(%cause, "reading the operator's files again");
            self.read_settings(&cause).await;
            self.refresh().await;
        }
    }

    /// The file of settings, which may name other files or hold a list itself.
    async fn read_settings(&mut self, cause: &Cause) {
        let Some(path) = self.layers.path() else { return };
        // It is watched first, so if it has changed it is the one that is named.
        if matches!(cause, Cause::File(changed) if *changed != path) {
            return;
        }
        let layers = Arc::clone(&self.layers);
        let Ok(read) = spawn_blocking(move || layers.again()).await else { return };
        match read {
            Ok(layers) => {
                let fixed: Vec<_> = layers.differing(&self.first);
                let fixed: Vec<_> =
                    fixed.into_iter().filter(|name| !lists::SETTINGS.contains(name)).collect();
                if !fixed.is_empty() {
                    tracing::warn!(
                        settings = fixed.join(", "),
                        "these settings take effect at the next start"
                    );
                }
                self.layers = Arc::new(layers);
                self.changes.watch(files(&self.layers));
            }
            Err(error) => tracing::error!("{error}\nthe settings from before stay"),
        }
    }

    async fn refresh(&self) {
        let layers = Arc::clone(&self.layers);
        let Ok(lists) = spawn_blocking(move || Lists::read(&|name| layers.value(name))).await else { return };
        if let Some(roots) = good("roots", lists.roots) {
            self.roots(roots);
        }
        if let Some(agents) = good("agents' manifests", lists.agents) {
            self.agents(agents);
        }
        if let Some(policies) = good("policies", lists.policies) {
            self.policies(policies).await;
        }
        if let Some(tokens) = good("tokens", lists.tokens) {
            self.tokens(tokens);
        }
        if let Some(origins) = good("origins", lists.origins) {
            self.origins(&origins);
        }
    }

    fn roots(&self, roots: Roots) {
        let count = roots.len();
        if self.engine.replace_roots(roots) {
            tracing::info!(count, "other roots are in place");
            observe::list_replaced("roots", count);
        }
    }

    fn agents(&self, agents: Agents) {
        let count = agents.len();
        if self.engine.replace_agents(agents) {
            tracing::info!(count, "other agents' manifests are in place");
            observe::list_replaced("agents' manifests", count);
        }
    }

    async fn policies(&self, policies: Option<Vec<Policy>>) {
        let policies = match (policies, self.policies) {
            (Some(policies), true) => policies,
            (None, false) => return,
            // Whether the registry can be written to was told to clients in Initialize.
            (Some(_), false) | (None, true) => {
                return tracing::warn!("MACP_POLICIES_DIR is set or unset at the next start");
            }
        };
        match self.engine.replace_policies(&policies).await {
            Ok((0, 0)) => {}
            Ok((new, gone)) => {
                tracing::info!(count = policies.len(), new, gone, "other policies are in place");
                observe::list_replaced("policies", policies.len());
            }
            Err(error) => tracing::error!("MACP_POLICIES_DIR: {error}; the policies from before stay"),
        }
    }

    fn tokens(&self, tokens: Option<StaticTokens>) {
        let (tokens, before) = match (tokens, self.authenticator.static_tokens()) {
            (Some(tokens), Some(before)) => (tokens, before),
            (None, None) => return,
            (Some(_), None) | (None, Some(_)) => {
                return tracing::warn!("tokens begin or end to be accepted at the next start");
            }
        };
        let (tokens, new, gone) = tokens.succeeding(&before);
        if (new, gone) == (0, 0) {
            return;
        }
        let count = tokens.len();
        // In this order nobody who comes in between with a token that stays or is new is shut out.
        self.engine.credentials_stand(tokens.credentials());
        self.authenticator.replace_tokens(tokens);
        tracing::info!(
            count,
            new,
            gone,
            "other tokens are in place; what those that are gone had opened ends"
        );
        observe::list_replaced("tokens", count);
    }

    fn origins(&self, origins: &Origins) {
        if origins.list() != self.origins.list() {
            self.origins.replace(origins);
            tracing::info!(count = origins.list().len(), "other origins are in place");
            observe::list_replaced("origins", origins.list().len());
        }
    }
}

/// Everything that may change: the file of settings, and what the settings name.
fn files(layers: &Layers) -> Vec<std::path::PathBuf> {
    let named = lists::files(&|name| layers.value(name));
    layers.path().map(Path::to_owned).into_iter().chain(named).collect()
}

fn good<T>(what: &str, read: Result<T, Vec<String>>) -> Option<T> {
    read.map_err(|errors| tracing::error!("{}; the {what} from before stay", errors.join("; "))).ok()
}
