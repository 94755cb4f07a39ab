//! Builders for tests of this and other crates.
