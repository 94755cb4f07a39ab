//! The live registries of modes and policies: a catalog that decisions see whole, and hints of its changes.
//!
//! Every change is an operation on the catalog, kept in the store before it takes effect and done again, in order,
//! when the engine opens. So registrations survive a restart, by the same rules that admitted them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use macp_kernel::catalog::{ModeRegistryError, PolicyRegistryError};
use macp_kernel::mode::ModeKind;
use macp_kernel::policy::Policy;
use macp_kernel::{Catalog, UnixMillis};
use macp_store::{LogStore, StoreError};
use macp_wire::v1::{ModeDescriptor, PolicyDescriptor};
use parking_lot::RwLock;
use prost::Message;
use tokio::sync::{Mutex, watch};

/// Where operations are kept: one side record each, by number.
const SPACE: &str = "registry";

pub(crate) struct Registry {
    catalog: RwLock<Arc<Catalog>>,
    modes: watch::Sender<u64>,
    policies: watch::Sender<u64>,
    store: Arc<dyn LogStore>,
    /// Changes wait here for each other, decisions never do.
    journal: Mutex<Journal>,
}

/// What only those who change something look at.
struct Journal {
    /// Number of the next operation.
    next: u64,
    /// Ids of the operator's policies that are registered.
    provided: BTreeSet<String>,
}

/// A change of a registry, as it is kept.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Operation {
    #[prost(oneof = "Change", tags = "1, 2, 3, 4, 5")]
    pub(crate) change: Option<Change>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Change {
    #[prost(message, tag = "1")]
    RegisterPolicy(PolicyDescriptor),
    #[prost(string, tag = "2")]
    UnregisterPolicy(String),
    #[prost(message, tag = "3")]
    RegisterMode(ModeDescriptor),
    #[prost(string, tag = "4")]
    UnregisterMode(String),
    #[prost(message, tag = "5")]
    PromoteMode(Promotion),
}

impl Change {
    /// The id that it is about.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::RegisterPolicy(policy) => &policy.policy_id,
            Self::RegisterMode(descriptor) => &descriptor.mode,
            Self::UnregisterPolicy(id) | Self::UnregisterMode(id) => id,
            Self::PromoteMode(promotion) => &promotion.mode,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Promotion {
    #[prost(string, tag = "1")]
    pub(crate) mode: String,
    #[prost(string, tag = "2")]
    pub(crate) promoted_name: String,
}

/// Why a registry does not change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error(transparent)]
    Policies(#[from] PolicyRegistryError),
    #[error(transparent)]
    Modes(#[from] ModeRegistryError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Registry {
    /// The provided catalog, `preloaded` policies, and every operation that was kept.
    pub(crate) async fn open(store: Arc<dyn LogStore>, preloaded: &[Policy]) -> Result<Self, StoreError> {
        let mut catalog = Catalog::built_in();
        for policy in preloaded {
            catalog = catalog
                .with_policy(policy.clone())
                .map_err(|error| StoreError::Corrupt(error.to_string()))?;
        }
        let mut next = 0;
        for (key, value) in store.list_side(SPACE).await? {
            let corrupt = |why: String| StoreError::Corrupt(format!("registry operation {key:?}: {why}"));
            let operation = Operation::decode(value).map_err(|error| corrupt(error.to_string()))?;
            let change = operation.change.ok_or_else(|| corrupt("written by a newer release".into()))?;
            next = key.first_chunk().map_or(next, |number| u64::from_be_bytes(*number)) + 1;
            match applied(&catalog, &change) {
                Ok((changed, _)) => catalog = changed,
                // A release that brings a policy or mode of this name itself makes the operation moot.
                Err(error) => tracing::warn!(%error, "a kept registration no longer applies and is skipped"),
            }
        }
        Ok(Self {
            catalog: RwLock::new(Arc::new(catalog)),
            modes: watch::Sender::new(0),
            policies: watch::Sender::new(0),
            store,
            journal: Mutex::new(Journal {
                next,
                provided: preloaded.iter().map(|policy| policy.id().to_owned()).collect(),
            }),
        })
    }

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

    /// Makes one change: judged, kept, then seen by everyone. Answers with the id that the change was about.
    pub(crate) async fn change(&self, change: Change) -> Result<String, ChangeError> {
        let mut journal = self.journal.lock().await;
        let (catalog, id) = applied(&self.catalog(), &change)?;
        let hint = match &change {
            Change::RegisterPolicy(_) | Change::UnregisterPolicy(_) => &self.policies,
            Change::RegisterMode(_) | Change::UnregisterMode(_) | Change::PromoteMode(_) => &self.modes,
        };
        let operation = Bytes::from(Operation { change: Some(change) }.encode_to_vec());
        self.store.put_side(SPACE, &journal.next.to_be_bytes(), Some(operation)).await?;
        journal.next += 1;
        *self.catalog.write() = Arc::new(catalog);
        hint.send_modify(|revision| *revision += 1);
        Ok(id)
    }

    /// Puts the operator's policies in the place of those from before: all of them, or none if one cannot be registered.
    /// Not kept: the next start reads them from where they come from. Answers with how many came and went.
    pub(crate) async fn provide(&self, policies: &[Policy]) -> Result<(usize, usize), PolicyRegistryError> {
        let mut journal = self.journal.lock().await;
        let mut catalog = Catalog::clone(&self.catalog());
        let wanted: BTreeSet<String> = policies.iter().map(|policy| policy.id().to_owned()).collect();
        let gone: Vec<&String> = journal.provided.difference(&wanted).collect();
        for id in &gone {
            catalog = catalog.without_policy(id)?;
        }
        let mut new = 0;
        for policy in policies {
            let same =
                catalog.policies().any(|known| known.id() == policy.id() && known.same_definition(policy));
            if !(same && journal.provided.contains(policy.id())) {
                catalog = catalog.with_policy(policy.clone())?;
                new += 1;
            }
        }
        let counts = (new, gone.len());
        if counts != (0, 0) {
            journal.provided = wanted;
            *self.catalog.write() = Arc::new(catalog);
            self.policies.send_modify(|revision| *revision += 1);
        }
        Ok(counts)
    }
}

/// The catalog after a change, and the id that the change was about.
fn applied(catalog: &Catalog, change: &Change) -> Result<(Catalog, String), ChangeError> {
    Ok(match change {
        Change::RegisterPolicy(descriptor) => {
            let policy = Policy::from_history(descriptor.clone());
            (catalog.with_policy(policy)?, descriptor.policy_id.clone())
        }
        Change::UnregisterPolicy(id) => (catalog.without_policy(id)?, id.clone()),
        Change::RegisterMode(descriptor) => {
            (catalog.with_mode(descriptor.clone(), ModeKind::Passthrough)?, descriptor.mode.clone())
        }
        Change::UnregisterMode(id) => (catalog.without_mode(id)?, id.clone()),
        Change::PromoteMode(promotion) => catalog.promote_mode(&promotion.mode, &promotion.promoted_name)?,
    })
}

/// Admits a policy for registration; the text of a refusal is what the call answers in band.
pub(crate) fn admit_policy(
    descriptor: PolicyDescriptor,
    now: UnixMillis,
) -> Result<PolicyDescriptor, String> {
    match Policy::admit(descriptor, now) {
        Ok(policy) => {
            if let Some(warning) = policy.warning() {
                tracing::warn!(
                    policy = policy.id(),
                    warning,
                    "registered a policy that is probably not meant so"
                );
            }
            Ok(policy.descriptor().clone())
        }
        Err(invalid) => Err(invalid.to_string()),
    }
}
