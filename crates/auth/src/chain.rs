//! The chain of resolvers: the first that takes a credential decides (RFC-MACP-0004 §3).

use macp_kernel::{Caller, Capabilities, Identity};

use crate::bearer::Credentials;
use crate::tokens::{StaticTokens, TokensError};

/// Resolves credentials into identities.
#[derive(Clone, Debug)]
pub struct Authenticator {
    resolver: Resolver,
}

#[derive(Clone, Debug)]
enum Resolver {
    Static(StaticTokens),
    Development,
}

impl Authenticator {
    /// Development identities: any bearer is accepted and is the sender. Never for a server that others reach.
    ///
    /// Such senders may start sessions and manage the registries, are not observers, and count as unverified.
    #[must_use]
    pub fn dev() -> Self {
        Self { resolver: Resolver::Development }
    }

    /// Static tokens.
    #[must_use]
    pub fn tokens(tokens: StaticTokens) -> Self {
        Self { resolver: Resolver::Static(tokens) }
    }

    /// Static tokens from their JSON document.
    ///
    /// # Errors
    /// See [`StaticTokens::from_json`].
    pub fn from_tokens_json(text: &str) -> Result<Self, TokensError> {
        StaticTokens::from_json(text).map(Self::tokens)
    }

    /// Whether any credential is accepted as its own sender.
    #[must_use]
    pub fn is_dev(&self) -> bool {
        matches!(self.resolver, Resolver::Development)
    }

    /// Resolves what a request carries. Asynchronous because key sets may have to be fetched.
    #[allow(clippy::unused_async, reason = "a resolver that fetches keys awaits here")]
    pub async fn authenticate(&self, credentials: &Credentials<'_>) -> Identity {
        let Some(token) = credentials.bearer.or(credentials.token).filter(|token| !token.is_empty()) else {
            return Identity::Anonymous;
        };
        match &self.resolver {
            Resolver::Development => Identity::Known(Caller {
                sender: token.into(),
                verified: false,
                capabilities: Capabilities { can_manage_mode_registry: true, ..Capabilities::default() },
            }),
            // A token with a dot is a JWT by definition, and there is no resolver for one.
            Resolver::Static(_) if token.contains('.') => Identity::Rejected(
                "the credential looks like a JWT, which this server does not accept".into(),
            ),
            Resolver::Static(tokens) => match tokens.find(token) {
                Some(caller) => Identity::Known(caller.clone()),
                None => Identity::Rejected("the credential is not known here".into()),
            },
        }
    }
}
