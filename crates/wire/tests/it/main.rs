//! Tests of the wire crate: protos, the canonical JSON mapping and its rules, one module for each subject.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step fails the test; helpers too")]

mod envelope;
mod frames;
mod hostile;
mod integers;
mod methods;
mod oracle;
mod parity;
mod properties;
mod text;
mod types;
mod values;
