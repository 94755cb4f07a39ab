//! Tests of `connection` over channels instead of a socket, under paused time.

mod harness;
mod lifetime;
mod requests;
mod streams;
