//! An accepted envelope on its way out, with its encoded forms, each made at most once.
//!
//! Every subscriber on every transport shares one `Arc<Delivery>`, so fan-out copies no bytes and encodes nothing
//! twice.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use macp_kernel::envelope::Sealed;
use macp_wire::v1::Envelope;

/// An envelope for subscribers.
#[derive(Debug)]
pub struct Delivery {
    sequence: u64,
    sealed: Arc<Sealed>,
    json: OnceLock<Bytes>,
    forms: [OnceLock<Bytes>; Form::COUNT],
}

/// A transport's ready-framed form of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// gRPC: a `StreamSessionResponse`.
    GrpcStream,
    /// gRPC: a `WatchSignalsResponse`.
    GrpcSignal,
    /// HTTP: a server-sent event of `StreamSession`.
    Sse,
    /// WebSocket: an `envelope` frame as JSON.
    WsJson,
    /// WebSocket: an `envelope` frame as protobuf.
    WsProto,
}

impl Form {
    const COUNT: usize = 5;
}

impl Delivery {
    /// A delivery of the envelope with this accepted ordinal; 0 for an ambient one.
    #[must_use]
    pub fn new(sequence: u64, sealed: Arc<Sealed>) -> Self {
        Self { sequence, sealed, json: OnceLock::new(), forms: Default::default() }
    }

    /// The session's id; empty for an ambient envelope.
    #[must_use]
    pub fn session_id(&self) -> &str {
        &self.sealed.envelope().session_id
    }

    /// The 1-based accepted ordinal; 0 for an ambient envelope.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The envelope.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        self.sealed.envelope()
    }

    /// The envelope's protobuf bytes.
    #[must_use]
    pub fn proto(&self) -> &Bytes {
        self.sealed.bytes()
    }

    /// The envelope's canonical JSON, made on first use.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        self.json.get_or_init(|| Bytes::from(macp_wire::json::to_vec(self.envelope())))
    }

    /// A ready-framed form, made on first use. `make` must depend on the delivery alone.
    pub fn form(&self, form: Form, make: impl FnOnce(&Self) -> Bytes) -> &Bytes {
        self.forms[form as usize].get_or_init(|| make(self))
    }
}
