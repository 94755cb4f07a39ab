//! The generated part of the codec: the fields of every message and the table of payload types.
#![allow(clippy::all, reason = "written by codegen/json.rs")]

use super::deterministic::{self as put, Deterministic};
use super::error::JsonError;
use super::payload::Schema;
use super::reader::Reader;
use super::{Codec, read, rules, write};

include!(concat!(env!("OUT_DIR"), "/json.rs"));
