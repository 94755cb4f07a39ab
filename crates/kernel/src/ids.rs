//! Identifiers that are checked once, where they enter, and shared cheaply afterwards.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::refusal::{Refusal, RefusalCode};

/// Longest session id in bytes.
pub const MAX_SESSION_ID_BYTES: usize = 128;
/// Shortest session id that is not a UUID: 22 characters of a 64-letter alphabet carry 132 bits.
const MIN_SESSION_ID_CHARS: usize = 22;

macro_rules! shared_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

shared_text! {
    /// A session's identifier (RFC-MACP-0004 §5, §11.2).
    ///
    /// A value of this type exists only for text that once passed [`SessionId::parse`] or that was read back
    /// from accepted history.
    SessionId
}

shared_text! {
    /// The identity of a sender, as its credential names it; compared byte for byte.
    ParticipantId
}

impl From<&str> for ParticipantId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for ParticipantId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl SessionId {
    /// Accepts an id for a new session.
    ///
    /// Two forms are accepted: a canonical lowercase hyphenated UUID of version 4 or 7, and 22 to 128
    /// characters of `A-Z a-z 0-9 _ -`. Text that is a UUID in any other form is refused and does not fall
    /// through to the second rule.
    ///
    /// # Errors
    /// `INVALID_SESSION_ID` names the rule that failed.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse =
            |why: &str| Err(Refusal::new(RefusalCode::InvalidSessionId, format!("session_id {why}")));
        if text.len() > MAX_SESSION_ID_BYTES {
            return refuse("is longer than 128 bytes");
        }
        if is_uuid_shaped(text) {
            let bytes = text.as_bytes();
            let lowercase = !bytes.iter().any(u8::is_ascii_uppercase);
            return match bytes[14] {
                b'4' | b'7' if lowercase => Ok(Self(text.into())),
                b'4' | b'7' => refuse("is a UUID that is not in lowercase hyphenated form"),
                _ => refuse("is a UUID of another version than 4 or 7, which can be guessed"),
            };
        }
        if text.len() < MIN_SESSION_ID_CHARS {
            return refuse(
                "is shorter than 22 characters; use a UUID v4 or v7, or 22 to 128 random characters",
            );
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            return refuse("has characters other than A-Z, a-z, 0-9, '_' and '-'");
        }
        Ok(Self(text.into()))
    }

    /// Takes an id from accepted history, where it was checked when its session started.
    #[must_use]
    pub fn from_history(text: &str) -> Self {
        Self(text.into())
    }
}

/// 36 characters in the 8-4-4-4-12 grouping of hexadecimal digits, in either case.
fn is_uuid_shaped(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_by_rule() {
        for (text, ok) in [
            ("5f0c1d9e-3b52-4c7a-9d51-0a6f3f1f2b11", true),
            ("01890a5d-ac96-774b-bcce-b302099a8057", true),
            ("5F0C1D9E-3B52-4C7A-9D51-0A6F3F1F2B11", false),
            ("5f0c1d9e-3b52-1c7a-9d51-0a6f3f1f2b11", false),
            ("s1", false),
            ("", false),
            ("abcdefghijklmnopqrstu", false),
            ("abcdefghijklmnopqrstuv", true),
            ("01ARZ3NDEKTSV4RRFFQ69G5FAV", true),
            ("abcdefghijklmnopqrst/uvw", false),
            ("abcdefghijklmnopqrstuvé", false),
        ] {
            let got = SessionId::parse(text);
            assert_eq!(got.is_ok(), ok, "{text:?}: {got:?}");
            if let Err(refusal) = got {
                assert_eq!(refusal.code, RefusalCode::InvalidSessionId);
            }
        }
        assert!(SessionId::parse(&"x".repeat(128)).is_ok());
        assert!(SessionId::parse(&"x".repeat(129)).is_err());
    }
}
