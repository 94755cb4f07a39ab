//! The binding end to end: a real server on a free port, the generated client, a real engine in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod calls;
mod decision;
mod drain;
mod frames;
mod hostile;
mod limits;
mod metadata;
mod services;
mod subscribe;
mod support;
mod watches;
