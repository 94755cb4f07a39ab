//! An issuer: keys of each kind, the set that publishes them, and tokens signed with them.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use macp_auth::{Authenticator, JwtAlgorithm, JwtRules, KeySet, Keyring};
use macp_kernel::UnixMillis;
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "macp-runtime";

/// A private key with the member of a key set that publishes it.
pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    pub(crate) key: EncodingKey,
    pub(crate) public: Value,
}

impl Signer {
    fn new(algorithm: Algorithm, key: EncodingKey, kid: &str) -> Self {
        let mut public = serde_json::to_value(Jwk::from_encoding_key(&key, algorithm).unwrap()).unwrap();
        public["kid"] = json!(kid);
        Self { algorithm, key, public }
    }

    pub(crate) fn ec(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let key = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self::new(Algorithm::ES256, key, kid)
    }

    pub(crate) fn rsa(kid: &str) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        // What PKCS #8 wraps is PKCS #1, behind a header whose length is the same for all keys of this size.
        Self::new(Algorithm::RS256, EncodingKey::from_rsa_der(&pkcs8.as_ref()[26..]), kid)
    }

    pub(crate) fn secret(kid: &str, secret: &[u8]) -> Self {
        Self::new(Algorithm::HS256, EncodingKey::from_secret(secret), kid)
    }

    /// A token of these claims, with these header members beside `alg`.
    pub(crate) fn sign(&self, claims: &Value, header: Value) -> String {
        let mut header: Value = header;
        header["alg"] = serde_json::to_value(self.algorithm).unwrap();
        let header: Header = serde_json::from_value(header).unwrap();
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// A key set of these signers' keys.
pub(crate) fn set(signers: &[&Signer]) -> KeySet {
    let keys: Vec<&Value> = signers.iter().map(|signer| &signer.public).collect();
    KeySet::from_json(&json!({ "keys": keys }).to_string()).unwrap()
}

/// Rules that trust the issuer for these algorithms.
pub(crate) fn rules(algorithms: &[JwtAlgorithm]) -> JwtRules {
    JwtRules { issuer: ISSUER.into(), audience: AUDIENCE.into(), algorithms: algorithms.to_vec() }
}

/// The parts of a token put together as they are.
pub(crate) fn raw(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    format!(
        "{}.{}.{}",
        encode(header.to_string().as_bytes()),
        encode(claims.to_string().as_bytes()),
        encode(signature)
    )
}

/// Claims that are good from `now` for five minutes.
pub(crate) fn claims(now: UnixMillis) -> Value {
    let now = now.0 / 1000;
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "agent://j", "exp": now + 300, "nbf": now })
}

pub(crate) fn now_ms() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
}

/// An issuer with one key, which does not change.
pub(crate) struct Issuer(Signer);

impl Issuer {
    pub(crate) fn new() -> Self {
        Self(Signer::ec("k1"))
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        self.0.sign(claims, json!({ "kid": "k1" }))
    }

    pub(crate) fn authenticator(&self) -> Authenticator {
        Authenticator::jwt(rules(&[JwtAlgorithm::Es256]), Arc::new(Keyring::fixed(set(&[&self.0]))))
    }
}
