//! Tests of governance policies: admission, evaluation, registries, and agreement with the published schemas.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed helper is a failed test")]

mod admission;
mod catalog;
mod decision;
mod definitions;
mod other_modes;
mod props;
mod schemas;
mod support;
mod votes;
