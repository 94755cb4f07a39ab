//! Close codes: why the server ends a connection.

use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// A reason for the server to close. 1000 is the client's own: it is echoed, never chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// 1001: the server goes away.
    Drain,
    /// 1002: the bytes are no WebSocket frames (RFC 6455's own code).
    Protocol,
    /// 1003: text on a binary connection or the reverse.
    WrongKind,
    /// 1007: a text message that is not UTF-8 (RFC 6455's own code).
    NotUtf8,
    /// 1008: too many malformed frames.
    Abuse,
    /// 1008: a message that was begun and not ended in time.
    Unfinished,
    /// 1009: a message over the cap.
    TooBig,
    /// 1011: a fault of the server.
    Internal,
    /// 4401: a bad credential, none in time, or one that has expired.
    Unauthenticated,
    /// 4403: a credential of somebody else.
    Forbidden,
    /// 4408: nothing was heard for two heartbeats.
    Silent,
}

impl Close {
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Drain => 1001,
            Self::Protocol => 1002,
            Self::WrongKind => 1003,
            Self::NotUtf8 => 1007,
            Self::Abuse | Self::Unfinished => 1008,
            Self::TooBig => 1009,
            Self::Internal => 1011,
            Self::Unauthenticated => 4401,
            Self::Forbidden => 4403,
            Self::Silent => 4408,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Drain => "server is going away",
            Self::Protocol => "protocol error",
            Self::WrongKind => "wrong message kind for this subprotocol",
            Self::NotUtf8 => "text is not UTF-8",
            Self::Abuse => "too many malformed frames",
            Self::Unfinished => "message not finished in time",
            Self::TooBig => "message too big",
            Self::Internal => "internal error",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Silent => "heartbeat lost",
        }
    }

    pub(crate) fn frame(self) -> CloseFrame {
        CloseFrame { code: CloseCode::from(self.code()), reason: self.reason().into() }
    }

    /// What to answer to a fault in reading; `None` when there is nobody left to answer.
    pub(crate) fn of_read_error(error: &Error) -> Option<Self> {
        match error {
            Error::Capacity(_) => Some(Self::TooBig),
            Error::Utf8(_) => Some(Self::NotUtf8),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
            Error::Protocol(_) => Some(Self::Protocol),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_may_be_sent_and_reasons_fit() {
        for close in [
            Close::Drain,
            Close::Protocol,
            Close::WrongKind,
            Close::NotUtf8,
            Close::Abuse,
            Close::TooBig,
            Close::Internal,
            Close::Unauthenticated,
            Close::Forbidden,
            Close::Silent,
        ] {
            let frame = close.frame();
            assert!(frame.code.is_allowed(), "{close:?}");
            assert_eq!(u16::from(frame.code), close.code());
            // A control frame's payload is at most 125 bytes, two of which are the code.
            assert!(frame.reason.len() <= 123, "{close:?}");
        }
    }
}
