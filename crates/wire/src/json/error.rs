//! What can be wrong with a JSON text: the fault's kind, the member it is in, and the reason.

/// Which layer refused the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonErrorKind {
    /// Not UTF-8, not one JSON value, a duplicate key, or nested too deeply.
    Text,
    /// Well-formed JSON that does not fit the message.
    Value,
    /// A value fault inside an envelope: answered in band (RFC-MACP-0006 §4.4).
    Envelope,
}

/// Why a JSON text was refused. Displays as `path: reason`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}{message}", if path.is_empty() { "" } else { ": " })]
pub struct JsonError {
    kind: JsonErrorKind,
    path: String,
    message: String,
}

impl JsonError {
    /// The layer at fault.
    pub fn kind(&self) -> JsonErrorKind {
        self.kind
    }

    /// The member at fault, like `envelope.payload.roots[2].uri`; empty for the whole value and for
    /// [`JsonErrorKind::Text`], whose reason names a byte offset instead.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The reason, without the path.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn text(at: usize, reason: impl std::fmt::Display) -> Self {
        let message = format!("{reason} at byte {at}");
        Self { kind: JsonErrorKind::Text, path: String::new(), message }
    }

    pub(super) fn value(message: impl Into<String>) -> Self {
        Self { kind: JsonErrorKind::Value, path: String::new(), message: message.into() }
    }

    /// Marks a value fault as one of the envelope.
    pub(super) fn in_envelope(mut self) -> Self {
        if self.kind == JsonErrorKind::Value {
            self.kind = JsonErrorKind::Envelope;
        }
        self
    }

    /// The same fault seen from the enclosing object.
    pub(super) fn under(mut self, name: &str) -> Self {
        if self.kind != JsonErrorKind::Text {
            let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
            self.path = format!("{}{dot}{}", excerpt(name), self.path);
        }
        self
    }

    /// The same fault seen from the enclosing array.
    pub(super) fn at(mut self, index: usize) -> Self {
        if self.kind != JsonErrorKind::Text {
            let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
            self.path = format!("[{index}]{dot}{}", self.path);
        }
        self
    }
}

/// The start of a name from the input: a fault must not carry a megabyte of it.
pub(super) fn excerpt(name: &str) -> &str {
    name.char_indices().nth(64).map_or(name, |(end, _)| &name[..end])
}
