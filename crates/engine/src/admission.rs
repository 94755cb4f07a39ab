//! What may be refused before a session is looked at: shape, sender, mode and rate, in the documented order.

use macp_kernel::envelope::{self, Plane, core_type};
use macp_kernel::{Caller, Identity, Refusal, UnixMillis};
use macp_limits::{Quota, Rates, Windows};
use macp_wire::v1::Envelope;

use crate::options::Limits;

/// The setting behind the message window.
const MESSAGE_LIMIT: &str = "MACP_MESSAGE_LIMIT_PER_MINUTE";
const MINUTE_MS: u32 = 60_000;
const SECOND_MS: u32 = 1_000;

pub(crate) struct Admission {
    max_payload_bytes: usize,
    starts: Windows,
    messages: Windows,
    bytes: Rates,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            max_payload_bytes: limits.max_payload_bytes,
            starts: a_minute(limits.session_starts_per_minute),
            messages: a_minute(limits.messages_per_minute),
            bytes: Rates::new(Quota { amount: limits.payload_bytes_per_second, window_ms: SECOND_MS }),
        }
    }

    /// Admits an envelope and makes the caller its sender. Whatever the kernel refuses later has used its place in
    /// the rate window; what is refused here before the window has not.
    pub(crate) fn admit<'a>(
        &self,
        identity: &'a Identity,
        envelope: &mut Envelope,
        now: UnixMillis,
    ) -> Result<(&'a Caller, Plane), Refusal> {
        let plane = envelope::check_shape(envelope, self.max_payload_bytes)?;
        let caller = identity.require()?;
        envelope::bind_sender(envelope, caller)?;
        envelope::authorize_mode(envelope, caller)?;
        let (window, name) = if envelope.message_type == core_type::SESSION_START {
            (&self.starts, "MACP_SESSION_START_LIMIT_PER_MINUTE")
        } else {
            (&self.messages, MESSAGE_LIMIT)
        };
        window.take(&caller.sender, 1, now.0).map_err(|wait_ms| limited(name, wait_ms))?;
        self.bytes.take(&caller.sender, envelope.payload.len() as u64, now.0).map_err(too_fast)?;
        Ok((caller, plane))
    }

    /// Takes a place in the caller's message window for a call that costs as much as a message.
    pub(crate) fn charge(&self, caller: &Caller, now: UnixMillis) -> Result<(), Refusal> {
        self.messages.take(&caller.sender, 1, now.0).map_err(|wait_ms| limited(MESSAGE_LIMIT, wait_ms))
    }
}

fn a_minute(limit: u32) -> Windows {
    Windows::new(Quota { amount: limit.into(), window_ms: MINUTE_MS })
}

fn limited(name: &str, wait_ms: u64) -> Refusal {
    Refusal::rate_limited(
        format!("this sender has used up its messages of this minute ({name}); retry in {wait_ms} ms"),
        wait_ms,
    )
}

fn too_fast(wait_ms: u64) -> Refusal {
    Refusal::rate_limited(
        format!(
            "this sender has sent more payload than it may in a second (MACP_BYTES_PER_SECOND_PER_SENDER); retry in \
             {wait_ms} ms"
        ),
        wait_ms,
    )
}
