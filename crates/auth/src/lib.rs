//! From credentials to callers: the only place where a secret is compared.
//!
//! This crate knows no transport and no store. A transport takes what a request carries into [`Credentials`];
//! [`Authenticator::authenticate`] answers with an [`Identity`](macp_kernel::Identity), once for each request or
//! connection. Credentials are never logged, stored or echoed: not in errors, not in `Debug` output.

mod bearer;
mod chain;
mod tokens;

pub use bearer::{Credentials, bearer};
pub use chain::Authenticator;
pub use tokens::{StaticTokens, TokensError};
