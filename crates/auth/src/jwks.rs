//! The keys that sign JWTs, as a JWK set gives them (RFC 7517): which of them are usable, and for what.

use std::fmt;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// Keys of one set that are used; an issuer has a handful.
const MAX_KEYS: usize = 64;
/// Least bytes of a shared secret (RFC 7518 §3.2).
const MIN_SECRET: usize = 32;
/// Bytes of an RSA modulus: 2048 to 8192 bits.
const RSA_MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;
/// Bytes of an uncompressed P-256 point.
const P256_POINT: usize = 65;

/// Why a JWK set is not usable. Never shows a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Not the document's form.
    #[error("is not a JWK set, an object {{\"keys\": [...]}} (RFC 7517 §5)")]
    Malformed,
    /// Nothing in it can verify anything.
    #[error(
        "has no usable key: needed is an RSA key of 2048 to 8192 bits, a P-256 key, or a secret of at least 32 bytes, for signatures"
    )]
    NoKey,
}

/// A signature algorithm that may be allowed (`MACP_AUTH_JWT_ALGS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// HMAC with SHA-256: whoever can verify can also sign.
    Hs256,
}

impl JwtAlgorithm {
    /// The algorithm of this name, as in a JWT's `alg`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "HS256" => Some(Self::Hs256),
            _ => None,
        }
    }

    pub(crate) fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::RS256 => Some(Self::Rs256),
            Algorithm::ES256 => Some(Self::Es256),
            Algorithm::HS256 => Some(Self::Hs256),
            _ => None,
        }
    }
}

/// The usable keys of a JWK set.
#[derive(Clone, Default)]
pub struct KeySet(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: Option<String>,
    /// The one algorithm that this key verifies: what a token's header says cannot turn a public key into a secret.
    algorithm: JwtAlgorithm,
    key: DecodingKey,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({} keys)", self.0.len())
    }
}

/// Keys are looked at one by one, so that one of a kind that is not known does not spoil the others.
#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a JWK set. Keys of other kinds, for other uses, or too weak are left out.
    ///
    /// # Errors
    /// [`JwksError`] for another form, or when no key is left.
    pub fn from_json(text: &str) -> Result<Self, JwksError> {
        let document: Document = serde_json::from_str(text).map_err(|_| JwksError::Malformed)?;
        let usable = document.keys.into_iter().filter_map(Key::from_value);
        let keys: Vec<Key> = usable.take(MAX_KEYS).collect();
        if keys.is_empty() { Err(JwksError::NoKey) } else { Ok(Self(keys)) }
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys that may have signed a token with this header: those with its key id, or, if no key has it, all of the
    /// algorithm.
    pub(crate) fn candidates<'s>(
        &'s self,
        id: Option<&'s str>,
        algorithm: JwtAlgorithm,
    ) -> impl Iterator<Item = &'s DecodingKey> {
        let named = id.filter(|id| self.knows(id));
        self.0
            .iter()
            .filter(move |key| key.algorithm == algorithm)
            .filter(move |key| named.is_none() || key.id.as_deref() == named)
            .map(|key| &key.key)
    }

    /// Whether a key has this id.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }
}

impl Key {
    fn from_value(value: serde_json::Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
            return None;
        }
        let (algorithm, stated_as) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (JwtAlgorithm::Rs256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (JwtAlgorithm::Es256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKey(_) => (JwtAlgorithm::Hs256, KeyAlgorithm::HS256),
            _ => return None,
        };
        if jwk.common.key_algorithm.is_some_and(|stated| stated != stated_as) {
            return None;
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        is_strong(&key, algorithm).then_some(Self { id: jwk.common.key_id, algorithm, key })
    }
}

fn is_strong(key: &DecodingKey, algorithm: JwtAlgorithm) -> bool {
    use jsonwebtoken::DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
    match (key.kind(), algorithm) {
        (RsaModulusExponent { n, .. }, JwtAlgorithm::Rs256) => RSA_MODULUS.contains(&n.len()),
        (SecretOrDer(point), JwtAlgorithm::Es256) => point.len() == P256_POINT,
        (SecretOrDer(secret), JwtAlgorithm::Hs256) => secret.len() >= MIN_SECRET,
        _ => false,
    }
}
