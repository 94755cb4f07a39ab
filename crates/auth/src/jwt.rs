//! Judging a JWT: a function of the token, the keys and the time (RFC 7519, RFC 8725).

use std::collections::BTreeSet;

use jsonwebtoken::Validation;
use macp_kernel::{Caller, Capabilities, UnixMillis};
use serde::Deserialize;

use crate::jwks::{JwtAlgorithm, KeySet};

/// Longest token that is looked at, in bytes.
pub const MAX_JWT_BYTES: usize = 16 << 10;
/// How far the clocks of issuer and server may differ: by so much a token is good before `nbf` and after `exp`.
pub const LEEWAY_MS: i64 = 60_000;

/// What a token must say to be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRules {
    /// The value of `iss` (`MACP_AUTH_ISSUER`).
    pub issuer: String,
    /// One of the values of `aud` (`MACP_AUTH_AUDIENCE`).
    pub audience: String,
    /// The values of `alg` that are allowed (`MACP_AUTH_JWT_ALGS`).
    pub algorithms: Vec<JwtAlgorithm>,
}

/// Why a token is not accepted. Never repeats the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Over [`MAX_JWT_BYTES`].
    #[error("the JWT is longer than {MAX_JWT_BYTES} bytes")]
    TooLong,
    /// Not three parts of base64url JSON with the claims that are needed.
    #[error("the credential looks like a JWT and is none that could be read; it needs iss, aud, exp and sub")]
    Malformed,
    /// An `alg` that is not allowed, `none` among them.
    #[error("the JWT's alg is not one of those that are allowed here (MACP_AUTH_JWT_ALGS)")]
    Algorithm,
    /// Critical header members, none of which is understood.
    #[error("the JWT's header has critical members (crit) that are not understood")]
    Critical,
    /// The key that its `kid` names does not verify it.
    #[error("the JWT's signature does not verify")]
    Signature,
    /// No key verifies it, and it names none of them: the set may be out of date.
    #[error("the JWT is signed with a key that is not in the issuer's key set")]
    UnknownKey,
    /// Another issuer.
    #[error("the JWT's issuer is not the one that is trusted here (MACP_AUTH_ISSUER)")]
    Issuer,
    /// Another audience.
    #[error("the JWT is not for this server: aud does not name it (MACP_AUTH_AUDIENCE)")]
    Audience,
    /// Past `exp`.
    #[error("the JWT has expired; get a new one")]
    Expired,
    /// Before `nbf`.
    #[error("the JWT is not valid yet (nbf); are the clocks right?")]
    NotYet,
    /// An empty `sub`.
    #[error("the JWT names no sender: sub is empty")]
    NoSender,
}

/// Times are numbers of seconds, which may have a fraction (RFC 7519 §2).
#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    macp_scopes: Option<Scopes>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// What a token grants. Unlike in a token document, an empty list of modes means none.
#[derive(Default, Deserialize)]
struct Scopes {
    allowed_modes: Option<BTreeSet<String>>,
    can_start_sessions: Option<bool>,
    max_open_sessions: Option<u64>,
    can_manage_mode_registry: Option<bool>,
    is_observer: Option<bool>,
}

impl JwtRules {
    /// The caller that the token names, if it is good now.
    ///
    /// # Errors
    /// [`JwtError`]; the signature is judged before any claim.
    pub fn verify(&self, token: &str, keys: &KeySet, now: UnixMillis) -> Result<Caller, JwtError> {
        if token.len() > MAX_JWT_BYTES {
            return Err(JwtError::TooLong);
        }
        let claims = self.signed_claims(token, keys)?;
        if claims.iss != self.issuer {
            return Err(JwtError::Issuer);
        }
        let is_meant = match &claims.aud {
            Audience::One(one) => *one == self.audience,
            Audience::Many(many) => many.contains(&self.audience),
        };
        if !is_meant {
            return Err(JwtError::Audience);
        }
        let expires_at = millis(claims.exp).plus(LEEWAY_MS);
        if now >= expires_at {
            return Err(JwtError::Expired);
        }
        if claims.nbf.is_some_and(|nbf| now.plus(LEEWAY_MS) < millis(nbf)) {
            return Err(JwtError::NotYet);
        }
        if claims.sub.trim().is_empty() {
            return Err(JwtError::NoSender);
        }
        Ok(Caller {
            sender: claims.sub.into(),
            verified: true,
            capabilities: claims.macp_scopes.unwrap_or_default().into(),
            expires_at: Some(expires_at),
            credential: None,
        })
    }

    fn signed_claims(&self, token: &str, keys: &KeySet) -> Result<Claims, JwtError> {
        // An `alg` that is not known at all, such as `none`, fails here.
        let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::Json(_) if names_an_algorithm(token) => JwtError::Algorithm,
            _ => JwtError::Malformed,
        })?;
        let algorithm = JwtAlgorithm::of(header.alg)
            .filter(|algorithm| self.algorithms.contains(algorithm))
            .ok_or(JwtError::Algorithm)?;
        if header.crit.is_some() {
            return Err(JwtError::Critical);
        }
        // Only the signature: the claims are judged by the time that is given, and with reasons of our own.
        let mut validation = Validation::new(header.alg);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        for key in keys.candidates(header.kid.as_deref(), algorithm) {
            match jsonwebtoken::decode::<Claims>(token, key, &validation) {
                Ok(decoded) => return Ok(decoded.claims),
                Err(error) => match error.kind() {
                    // The signature is good, and what is signed is not what is needed.
                    jsonwebtoken::errors::ErrorKind::Json(_) | jsonwebtoken::errors::ErrorKind::Utf8(_) => {
                        return Err(JwtError::Malformed);
                    }
                    _ => {}
                },
            }
        }
        match header.kid {
            Some(kid) if keys.knows(&kid) => Err(JwtError::Signature),
            _ => Err(JwtError::UnknownKey),
        }
    }
}

/// Whether a header that could not be read is one whose `alg` is a name that the library does not know.
fn names_an_algorithm(token: &str) -> bool {
    use base64::Engine as _;

    #[derive(Deserialize)]
    struct Named {
        #[allow(dead_code, reason = "only whether it is there matters")]
        alg: String,
    }
    let header = token.split('.').next().unwrap_or_default();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header);
    header.is_ok_and(|header| serde_json::from_slice::<Named>(&header).is_ok())
}

/// Seconds to milliseconds; what is beyond the range is at its end.
fn millis(seconds: f64) -> UnixMillis {
    #[allow(clippy::cast_possible_truncation, reason = "saturates, which is meant")]
    UnixMillis((seconds * 1000.0) as i64)
}

impl From<Scopes> for Capabilities {
    fn from(scopes: Scopes) -> Self {
        let defaults = Self::default();
        Self {
            can_start_sessions: scopes.can_start_sessions.unwrap_or(defaults.can_start_sessions),
            allowed_modes: scopes.allowed_modes,
            max_open_sessions: scopes.max_open_sessions,
            can_manage_mode_registry: scopes
                .can_manage_mode_registry
                .unwrap_or(defaults.can_manage_mode_registry),
            is_observer: scopes.is_observer.unwrap_or(defaults.is_observer),
        }
    }
}
