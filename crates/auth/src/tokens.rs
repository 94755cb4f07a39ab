//! Static bearer tokens: the document that lists them, and their comparison.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use macp_kernel::{Caller, Capabilities, CredentialId};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Why a token document is not usable. Never shows a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// Not the document's form.
    #[error(
        "the token document is not a JSON array of tokens, nor an object {{\"tokens\": [...]}} (line {line}, \
         column {column})"
    )]
    Malformed {
        /// 1-based line.
        line: usize,
        /// 1-based column.
        column: usize,
    },
    /// A token that can never match or that names nobody.
    #[error("token number {number} of the token document {why}")]
    Unusable {
        /// 1-based place in the list.
        number: usize,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The number of the next token that is read.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Tokens by digest: the tokens themselves are not kept.
#[derive(Clone)]
pub struct StaticTokens(Vec<(Digested, Caller)>);

#[derive(Clone, Copy, PartialEq, Eq)]
struct Digested([u8; 32]);

impl Digested {
    fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticTokens({} identities)", self.0.len())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    List(Vec<Entry>),
    Object { tokens: Vec<Entry> },
}

#[derive(Deserialize)]
struct Entry {
    token: String,
    sender: String,
    #[serde(default)]
    allowed_modes: Vec<String>,
    #[serde(default = "yes")]
    can_start_sessions: bool,
    #[serde(default)]
    max_open_sessions: Option<u64>,
    #[serde(default)]
    can_manage_mode_registry: bool,
    #[serde(default)]
    is_observer: bool,
}

fn yes() -> bool {
    true
}

impl StaticTokens {
    /// Reads a token document: a JSON array of tokens or `{"tokens": [...]}`; unknown members are ignored.
    ///
    /// # Errors
    /// [`TokensError`] for another form, an empty token or sender, a token used twice, or a token with a dot,
    /// which is always taken for a JWT and could never match.
    pub fn from_json(text: &str) -> Result<Self, TokensError> {
        let document: Document = serde_json::from_str(text).map_err(|error| malformed(text, &error))?;
        let (Document::List(entries) | Document::Object { tokens: entries }) = document;
        let mut tokens: Vec<(Digested, Caller)> = Vec::with_capacity(entries.len());
        for (at, entry) in entries.into_iter().enumerate() {
            let unusable = |why| Err(TokensError::Unusable { number: at + 1, why });
            if entry.token.is_empty() {
                return unusable("is empty");
            }
            if entry.token.contains('.') {
                return unusable("has a dot: such a credential is taken for a JWT and never matches");
            }
            if entry.sender.trim().is_empty() {
                return unusable("has no sender");
            }
            let digest = Digested::of(&entry.token);
            if tokens.iter().any(|(known, _)| *known == digest) {
                return unusable("is listed twice");
            }
            tokens.push((digest, entry.into_caller()));
        }
        Ok(Self(tokens))
    }

    /// The caller of a token. Every listed token is compared, in constant time.
    #[must_use]
    pub fn find(&self, token: &str) -> Option<&Caller> {
        let digest = Digested::of(token);
        let mut found = None;
        for (known, caller) in &self.0 {
            let same: Choice = known.0.ct_eq(&digest.0);
            if bool::from(same) {
                found = Some(caller);
            }
        }
        found
    }

    /// These tokens as the successors of `before`: a token that is listed in both and grants the same is the same
    /// credential, and what it opened may stay open. Also how many tokens are new or grant something else, and how many
    /// of those before are gone or do.
    #[must_use]
    pub fn succeeding(mut self, before: &Self) -> (Self, usize, usize) {
        let mut kept = 0;
        for (digest, caller) in &mut self.0 {
            let Some((_, old)) = before.0.iter().find(|(known, _)| known == digest) else { continue };
            let as_before = Caller { credential: old.credential, ..caller.clone() };
            if as_before == *old {
                *caller = as_before;
                kept += 1;
            }
        }
        let (new, gone) = (self.0.len() - kept, before.0.len() - kept);
        (self, new, gone)
    }

    /// The credentials that are listed.
    pub fn credentials(&self) -> impl Iterator<Item = CredentialId> {
        self.0.iter().filter_map(|(_, caller)| caller.credential)
    }

    /// Whether no token is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many tokens are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Entry {
    fn into_caller(self) -> Caller {
        Caller {
            sender: self.sender.into(),
            verified: true,
            capabilities: Capabilities {
                can_start_sessions: self.can_start_sessions,
                allowed_modes: (!self.allowed_modes.is_empty())
                    .then(|| self.allowed_modes.into_iter().collect()),
                max_open_sessions: self.max_open_sessions,
                can_manage_mode_registry: self.can_manage_mode_registry,
                is_observer: self.is_observer,
            },
            expires_at: None,
            credential: Some(CredentialId(NEXT.fetch_add(1, Ordering::Relaxed))),
        }
    }
}

/// serde's own messages can quote the document, which holds secrets; only the place is kept.
fn malformed(text: &str, error: &serde_json::Error) -> TokensError {
    // An untagged document reports no place of its own; look for one in the plain JSON.
    let place = match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Err(syntax) => (syntax.line(), syntax.column()),
        Ok(_) => (error.line().max(1), error.column().max(1)),
    };
    TokensError::Malformed { line: place.0, column: place.1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_and_defaults() {
        for text in [
            r#"[{"token":"t","sender":"agent://a","unknown":1}]"#,
            r#"{"tokens":[{"token":"t","sender":"agent://a"}]}"#,
        ] {
            let tokens = StaticTokens::from_json(text).unwrap();
            let credential = tokens.credentials().next();
            assert_eq!(tokens.find("t"), Some(&Caller { credential, ..Caller::new("agent://a") }));
            assert_eq!(tokens.find("u"), None);
            assert_eq!(tokens.find(""), None);
        }
    }

    #[test]
    fn capabilities_are_read() {
        let tokens = StaticTokens::from_json(
            r#"[{"token":"t","sender":"s","allowed_modes":["m"],"can_start_sessions":false,
                 "max_open_sessions":3,"can_manage_mode_registry":true,"is_observer":true}]"#,
        )
        .unwrap();
        let capabilities = &tokens.find("t").unwrap().capabilities;
        assert_eq!(
            *capabilities,
            Capabilities {
                can_start_sessions: false,
                allowed_modes: Some(["m".to_owned()].into()),
                max_open_sessions: Some(3),
                can_manage_mode_registry: true,
                is_observer: true,
            }
        );
    }

    #[test]
    fn a_token_that_grants_the_same_is_the_same_credential() {
        let read = |text: &str| StaticTokens::from_json(text).unwrap();
        let id = |tokens: &StaticTokens, token| tokens.find(token).unwrap().credential.unwrap();
        let before = read(
            r#"[{"token":"a","sender":"a"},{"token":"b","sender":"b"},{"token":"c","sender":"c"},
                {"token":"d","sender":"d","is_observer":true}]"#,
        );
        let (after, new, gone) = read(
            r#"[{"token":"e","sender":"e"},{"token":"d","sender":"d"},{"token":"b","sender":"other"},
                {"token":"a","sender":"a"}]"#,
        )
        .succeeding(&before);
        assert_eq!((new, gone), (3, 3), "b and d grant something else, c is gone, e is new");
        assert_eq!(id(&after, "a"), id(&before, "a"));
        for token in ["b", "d"] {
            assert_ne!(id(&after, token), id(&before, token), "{token}");
        }
        let mut ids: Vec<_> = before.credentials().chain(after.credentials()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 7, "no number is given twice");
    }

    #[test]
    fn unusable_documents_are_refused_without_showing_a_token() {
        for (text, part) in [
            ("{", "line 1"),
            (r#"{"tokens": 5}"#, "not a JSON array"),
            (r#"[{"token":"s3cret"}]"#, "not a JSON array"),
            (r#"[{"token":"","sender":"a"}]"#, "number 1 of the token document is empty"),
            (r#"[{"token":"s3.cret","sender":"a"}]"#, "has a dot"),
            (r#"[{"token":"s3cret","sender":" "}]"#, "has no sender"),
            (r#"[{"token":"s3cret","sender":"a"},{"token":"s3cret","sender":"b"}]"#, "number 2"),
        ] {
            let error = StaticTokens::from_json(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("s3"), "{error}");
        }
    }
}
