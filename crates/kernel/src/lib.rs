//! The MACP coordination core: pure, synchronous rules from commands to accepted history.
//!
//! This crate knows **no** IO, clock, randomness, environment, thread or async runtime, and no transport or
//! store. Time is an argument; everything a decision depends on is passed in, so that live processing,
//! recovery, replay and what-if analysis are one and the same fold:
//!
//! ```text
//! Command ──decide(state, catalog, now)──▶ Verdict { entries, reply }      (the rules; refuses)
//! Entry   ──apply(state)─────────────────▶ next state                      (the fold; total)
//! Record  ──replay(state)────────────────▶ Entry or Divergence             (the rules again, on history)
//! ```
//!
//! | to find | open |
//! |---|---|
//! | the order of checks | [`decide`] |
//! | what an accepted fact is | [`entry`] |
//! | what a mode is and how to add one | [`mode`] |
//! | what a policy may decide | [`policy`] |
//! | every code on every transport | [`refusal`] |
//! | bytes of history on disk | [`record`] |
//! | what others can check offline | [`receipt`], [`commitment_hash`] |
//! | what another policy would have done | [`what_if`] |

pub mod apply;
pub mod caller;
pub mod catalog;
pub mod command;
pub mod commitment_hash;
pub mod deadline;
pub mod decide;
mod encode;
pub mod entry;
pub mod envelope;
pub mod ids;
pub mod message_ids;
pub mod mode;
pub mod policy;
pub mod receipt;
pub mod record;
pub mod refusal;
pub mod replay;
pub mod session;
pub mod start;
pub mod summary;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod view;
pub mod what_if;

pub use caller::{Caller, Capabilities, CredentialId, Identity};
pub use catalog::Catalog;
pub use command::Command;
pub use decide::{Acceptance, Reply, Verdict, process};
pub use entry::{Entry, Fact};
pub use ids::{ParticipantId, SessionId};
pub use refusal::{Refusal, RefusalCode};
pub use session::Session;
pub use time::UnixMillis;

/// The protocol version every envelope carries (RFC-MACP-0001 §4).
pub const PROTOCOL_VERSION: &str = "1.0";

/// The revision of the rules that new sessions record; a later tightening is gated on it (RFC-MACP-0003).
///
/// Histories above this number come from a newer release and are refused, never guessed at.
pub const SEMANTICS_REV: u32 = 4;
