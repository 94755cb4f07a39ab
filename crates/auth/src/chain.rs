//! The chain of resolvers: the first that takes a credential decides (RFC-MACP-0004 §3).
//!
//! | order | resolver | takes |
//! |---|---|---|
//! | 1 | JWT | bearers with a dot |
//! | 2 | static tokens | bearers without a dot, else `x-macp-token` |
//! | 3 | development identities, only without the other two | anything |
//!
//! What none of them takes is refused; nothing that one has refused is tried by the next. A certificate that the client
//! has shown in the TLS handshake is a credential of its own; beside it, another one must be of the same sender.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use macp_kernel::{Caller, Capabilities, Identity, Refusal, RefusalCode, UnixMillis};
use parking_lot::RwLock;

use crate::bearer::Credentials;
use crate::jwt::{JwtError, JwtRules};
use crate::keyring::Keyring;
use crate::tokens::{StaticTokens, TokensError};

/// Resolves credentials into identities.
#[derive(Clone, Debug)]
pub struct Authenticator {
    jwt: Option<Jwt>,
    tokens: Option<Arc<RwLock<Arc<StaticTokens>>>>,
    dev: bool,
}

#[derive(Clone, Debug)]
struct Jwt {
    rules: Arc<JwtRules>,
    keys: Arc<Keyring>,
}

impl Authenticator {
    /// Development identities: any bearer is accepted and is the sender. Never for a server that others reach.
    ///
    /// Such senders may start sessions and manage the registries, are not observers, and count as unverified.
    #[must_use]
    pub fn dev() -> Self {
        Self { jwt: None, tokens: None, dev: true }
    }

    /// Static tokens.
    #[must_use]
    pub fn tokens(tokens: StaticTokens) -> Self {
        Self { jwt: None, tokens: Some(shared(tokens)), dev: false }
    }

    /// JWTs by these rules, signed with these keys.
    #[must_use]
    pub fn jwt(rules: JwtRules, keys: Arc<Keyring>) -> Self {
        Self { jwt: Some(Jwt { rules: Arc::new(rules), keys }), tokens: None, dev: false }
    }

    /// Nothing but the certificates of clients.
    #[must_use]
    pub fn certificates() -> Self {
        Self { jwt: None, tokens: None, dev: false }
    }

    /// The same, with static tokens beside what is accepted already; development identities end with that.
    #[must_use]
    pub fn and_tokens(self, tokens: StaticTokens) -> Self {
        Self { tokens: Some(shared(tokens)), dev: false, ..self }
    }

    /// Static tokens from their JSON document.
    ///
    /// # Errors
    /// See [`StaticTokens::from_json`].
    pub fn from_tokens_json(text: &str) -> Result<Self, TokensError> {
        StaticTokens::from_json(text).map(Self::tokens)
    }

    /// The static tokens that are accepted now, if there are any.
    #[must_use]
    pub fn static_tokens(&self) -> Option<Arc<StaticTokens>> {
        self.tokens.as_ref().map(|tokens| Arc::clone(&tokens.read()))
    }

    /// Accepts these static tokens from now on in the place of those before, here and in every clone. Without static
    /// tokens from the start there is no place for them, and nothing changes.
    pub fn replace_tokens(&self, tokens: StaticTokens) {
        if let Some(current) = &self.tokens {
            *current.write() = Arc::new(tokens);
        }
    }

    /// Whether any credential is accepted as its own sender.
    #[must_use]
    pub fn is_dev(&self) -> bool {
        self.dev
    }

    /// Resolves what a request carries. Waits only for a JWT whose key is not known, and whose issuer's keys are then
    /// fetched again: a few seconds at most.
    pub async fn authenticate(&self, credentials: &Credentials<'_>) -> Identity {
        let shown = self.resolve(credentials).await;
        match credentials.certificate {
            Some(certificate) => certificate.beside(shown, now()),
            None => shown,
        }
    }

    async fn resolve(&self, credentials: &Credentials<'_>) -> Identity {
        let Some(token) = credentials.bearer.or(credentials.token).filter(|token| !token.is_empty()) else {
            return Identity::Anonymous;
        };
        if self.dev {
            return Identity::Known(Caller {
                sender: token.into(),
                verified: false,
                capabilities: Capabilities { can_manage_mode_registry: true, ..Capabilities::default() },
                expires_at: None,
                credential: None,
            });
        }
        let identity = match (&self.jwt, token.contains('.')) {
            (Some(jwt), true) if credentials.bearer.is_some() => jwt.resolve(token).await,
            // A token with a dot is a JWT by definition, and never one of the static ones.
            (Some(_), true) => Identity::rejected("a JWT is sent as `Authorization: Bearer <token>`"),
            (None, true) => {
                Identity::rejected("the credential looks like a JWT, which this server does not accept")
            }
            (_, false) => match self.static_tokens().and_then(|tokens| tokens.find(token).cloned()) {
                Some(caller) => Identity::Known(caller),
                None => Identity::rejected("the credential is not known here"),
            },
        };
        if let Identity::Rejected(refusal) = &identity {
            tracing::debug!(why = %refusal.message, "a credential was not accepted");
        }
        identity
    }
}

fn shared(tokens: StaticTokens) -> Arc<RwLock<Arc<StaticTokens>>> {
    Arc::new(RwLock::new(Arc::new(tokens)))
}

impl Jwt {
    async fn resolve(&self, token: &str) -> Identity {
        let now = now();
        let keys = match self.keys.usable(now) {
            Some(keys) => keys,
            // At the start, and after an issuer that could not be reached for long.
            None => match self.keys.newer(now).await {
                Some(keys) => keys,
                None => {
                    return Identity::Rejected(Refusal::new(
                        RefusalCode::Unavailable,
                        "the issuer's keys cannot be fetched at present (MACP_AUTH_JWKS_URL); retry",
                    ));
                }
            },
        };
        let mut verdict = self.rules.verify(token, &keys, now);
        if verdict == Err(JwtError::UnknownKey)
            && let Some(newer) = self.keys.newer(now).await
        {
            verdict = self.rules.verify(token, &newer, now);
        }
        match verdict {
            Ok(caller) => Identity::Known(caller),
            Err(error) => Identity::rejected(error.to_string()),
        }
    }
}

fn now() -> UnixMillis {
    // A clock before 1970 is a broken clock, by which no token with an `nbf` is good.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
