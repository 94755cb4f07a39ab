//! From credentials to callers: the only place where a secret is compared.
//!
//! This crate knows no transport and no store. A transport takes what a request carries into [`Credentials`];
//! [`Authenticator::authenticate`] answers with an [`Identity`](macp_kernel::Identity), once for each request or
//! connection. Credentials are never logged, stored or echoed: not in errors, not in `Debug` output. [`Tickets`] stand
//! in for a credential where a browser can set no header.

mod bearer;
mod certificate;
mod chain;
mod hosts;
mod jwks;
mod jwt;
mod keyring;
mod origins;
mod page;
mod passes;
mod tickets;
mod tokens;

pub use bearer::{Credentials, bearer};
pub use certificate::ClientCertificate;
pub use chain::Authenticator;
pub use hosts::{OwnHosts, split_port};
pub use jwks::{JwksError, JwtAlgorithm, KeySet};
pub use jwt::{JwtError, JwtRules, LEEWAY_MS, MAX_JWT_BYTES};
pub use keyring::Keyring;
pub use origins::{Origins, OriginsError};
pub use page::Page;
pub use tickets::{Ticket, Tickets};
pub use tokens::{StaticTokens, TokensError};
