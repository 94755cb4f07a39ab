//! The engine with a memory store: what callers are promised, whatever the transport.

mod faults;
mod lifecycle;
mod sending;
mod subscribing;
mod support;
mod watching;
