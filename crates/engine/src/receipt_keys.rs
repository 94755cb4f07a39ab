//! Keys of decision receipts: reading, signing and publishing (RFC-MACP-0013 §13, Appendix A.2, A.3).
//!
//! Error texts never repeat a key. Nothing here outputs a private member.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde_json::{Map, Value, json};

/// Members of a JWK that belong to its owner alone (RFC 7518 §6); none is ever published.
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a key or a key set is not usable; reads as the end of a sentence about where the text came from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptKeyError {
    /// Begins like a PEM, and is none of an Ed25519 private key.
    #[error("is not the PKCS#8 PEM of an Ed25519 private key")]
    Pem,
    /// Neither a PEM nor a private Ed25519 JWK.
    #[error("is neither a PKCS#8 PEM nor a private Ed25519 JWK: {0}")]
    Jwk(&'static str),
    /// The key has no `kid`.
    #[error("has no kid; name one")]
    NoKid,
    /// The key has a `kid` and is to have another one.
    #[error("has a kid of its own that differs from the given one")]
    OtherKid,
    /// The set of retired keys is not a JWK set.
    #[error("is not a JWK set, an object with an array of keys")]
    Set,
    /// One of the retired keys.
    #[error("key number {number} {why}")]
    Retired {
        /// 1-based place in the set.
        number: usize,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// A private key and the name under which verifiers find its public half.
pub struct ReceiptSigner {
    kid: String,
    key: SigningKey,
}

impl fmt::Debug for ReceiptSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceiptSigner({:?})", self.kid)
    }
}

impl ReceiptSigner {
    /// Reads a PKCS#8 PEM or a private OKP/Ed25519 JWK. A PEM needs `kid`; a JWK may have its own, which must then be
    /// the same.
    ///
    /// # Errors
    /// [`ReceiptKeyError`]
    pub fn parse(text: &str, kid: Option<&str>) -> Result<Self, ReceiptKeyError> {
        let text = text.trim();
        let (key, own_kid) = if text.starts_with("-----BEGIN") {
            (SigningKey::from_pkcs8_pem(text).map_err(|_| ReceiptKeyError::Pem)?, None)
        } else {
            private_jwk(text)?
        };
        let kid = match (own_kid, kid) {
            (Some(own), Some(given)) if own != given => return Err(ReceiptKeyError::OtherKid),
            (Some(kid), _) => kid,
            (None, kid) => kid.unwrap_or_default().to_owned(),
        };
        if kid.trim().is_empty() {
            return Err(ReceiptKeyError::NoKid);
        }
        Ok(Self { kid, key })
    }

    /// A compact JWS over `body` with its payload part left empty (RFC-MACP-0013 A.2).
    ///
    /// Ed25519 signatures are deterministic: the same body and key always give the same text.
    #[must_use]
    pub fn sign(&self, body: &str) -> String {
        // The kid as JSON text; the members stand in the order that the format demands.
        let header = format!(r#"{{"alg":"EdDSA","kid":{}}}"#, Value::from(self.kid.as_str()));
        let header = URL_SAFE_NO_PAD.encode(header);
        let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(body));
        let signature = self.key.sign(input.as_bytes()).to_bytes();
        format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn public_x(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes())
    }

    fn public_jwk(&self) -> Value {
        json!({
            "alg": "EdDSA",
            "crv": "Ed25519",
            "kid": self.kid,
            "kty": "OKP",
            "use": "sig",
            "x": self.public_x(),
        })
    }
}

/// The keys of a deployment. Cheap to clone; the default signs nothing and publishes nothing.
#[derive(Clone, Debug, Default)]
pub struct ReceiptKeys {
    signer: Option<Arc<ReceiptSigner>>,
    retired: Arc<[Value]>,
}

impl ReceiptKeys {
    /// The active key, if receipts are to be signed, and the text of a JWK set of retired public keys.
    ///
    /// # Errors
    /// [`ReceiptKeyError`] about the retired keys.
    pub fn new(signer: Option<ReceiptSigner>, retired: Option<&str>) -> Result<Self, ReceiptKeyError> {
        let retired = match retired {
            Some(text) => retired_keys(text, signer.as_ref())?,
            None => Vec::new(),
        };
        Ok(Self { signer: signer.map(Arc::new), retired: retired.into() })
    }

    /// Whether receipts are signed.
    #[must_use]
    pub fn signs(&self) -> bool {
        self.signer.is_some()
    }

    /// The active key.
    #[must_use]
    pub fn signer(&self) -> Option<&ReceiptSigner> {
        self.signer.as_deref()
    }

    /// The JWK set that `GetReceiptKeys` answers: the active key, then the retired ones in the order given.
    #[must_use]
    pub fn jwks(&self) -> String {
        let active = self.signer.as_ref().map(|signer| signer.public_jwk());
        let keys: Vec<Value> = active.into_iter().chain(self.retired.iter().cloned()).collect();
        json!({ "keys": keys }).to_string()
    }
}

/// Reads a private OKP/Ed25519 JWK and its `kid`, if it has one.
fn private_jwk(text: &str) -> Result<(SigningKey, Option<String>), ReceiptKeyError> {
    let fail = |why| Err(ReceiptKeyError::Jwk(why));
    let Ok(Value::Object(jwk)) = serde_json::from_str(text) else {
        return fail("it is not a JSON object");
    };
    if member(&jwk, "kty") != Some("OKP") || member(&jwk, "crv") != Some("Ed25519") {
        return fail("kty must be OKP and crv Ed25519");
    }
    let Some(secret) = member(&jwk, "d").and_then(thirty_two_bytes) else {
        return fail("d must be the base64url form of 32 bytes");
    };
    let key = SigningKey::from_bytes(&secret);
    if member(&jwk, "x").and_then(thirty_two_bytes) != Some(key.verifying_key().to_bytes()) {
        return fail("x must be the public half of d");
    }
    let kid = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return fail("kid must be text"),
    };
    Ok((key, kid))
}

/// Reads and judges the retired keys. They are published as given, except for a copy of the active one.
fn retired_keys(text: &str, active: Option<&ReceiptSigner>) -> Result<Vec<Value>, ReceiptKeyError> {
    let Ok(Value::Object(mut set)) = serde_json::from_str(text) else { return Err(ReceiptKeyError::Set) };
    let Some(Value::Array(keys)) = set.remove("keys") else { return Err(ReceiptKeyError::Set) };
    let mut kids = BTreeSet::new();
    let mut published = Vec::with_capacity(keys.len());
    for (at, key) in keys.into_iter().enumerate() {
        let fail = |why| Err(ReceiptKeyError::Retired { number: at + 1, why });
        let Value::Object(jwk) = &key else { return fail("is not an object") };
        if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
            return fail("has a private or symmetric member; publish public keys only");
        }
        let Some(kid) = member(jwk, "kid") else { return fail("has no kid") };
        let Some(kty) = member(jwk, "kty") else { return fail("has no kty") };
        if kty == "OKP" && !is_public_okp(jwk) {
            return fail("needs a crv and an x that is a point of it");
        }
        if !kids.insert(kid.to_owned()) {
            return fail("has the kid of another key in the set");
        }
        match active {
            Some(active) if active.kid == kid => {
                if member(jwk, "x") != Some(&active.public_x()) {
                    return fail("has the kid of the active key and is another key");
                }
            }
            _ => published.push(key),
        }
    }
    Ok(published)
}

fn is_public_okp(jwk: &Map<String, Value>) -> bool {
    match (member(jwk, "crv"), member(jwk, "x")) {
        (Some("Ed25519"), Some(x)) => {
            thirty_two_bytes(x).is_some_and(|bytes| VerifyingKey::from_bytes(&bytes).is_ok())
        }
        // Curves that no receipt of this release is signed on; only the form can be judged.
        (Some(_), Some(x)) => URL_SAFE_NO_PAD.decode(x).is_ok(),
        _ => false,
    }
}

/// A member that is text and not empty.
fn member<'a>(jwk: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    jwk.get(name)?.as_str().filter(|text| !text.is_empty())
}

fn thirty_two_bytes(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key whose secret half is the bytes 0 to 31, in both forms.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
                       MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n\
                       -----END PRIVATE KEY-----\n";
    const D: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    const X: &str = "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg";
    const OTHER_X: &str = "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w";

    fn jwk(kid: &str) -> String {
        json!({"kty": "OKP", "crv": "Ed25519", "d": D, "x": X, "kid": kid}).to_string()
    }

    fn retired(kid: &str, x: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x, "note": "as given"})
    }

    fn keys(active: &str, retired: &[Value]) -> Result<String, String> {
        let signer = ReceiptSigner::parse(PEM, Some(active)).unwrap();
        let set = json!({ "keys": retired }).to_string();
        ReceiptKeys::new(Some(signer), Some(&set)).map(|keys| keys.jwks()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_signature_is_that_of_an_independent_implementation() {
        let signed = concat!(
            "eyJhbGciOiJFZERTQSIsImtpZCI6ImsgXCIxXCIifQ..",
            "nmzcKRbSh8QGMXoA9Q0OGYpMA-x-PcFCsJtwWrO7-mT_mXTw33cb7Bck_X875N60XxU97kCGiuUi3LbmQbAWCw",
        );
        let kid = "k \"1\"";
        for text in [PEM, PEM.trim_end(), &jwk(kid), &format!("\n{}\n", jwk(kid))] {
            let signer = ReceiptSigner::parse(text, Some(kid)).unwrap();
            assert_eq!(signer.sign(r#"{"a":"b"}"#), signed);
        }
    }

    #[test]
    fn which_kid() {
        let kid =
            |text: &str, given: Option<&str>| ReceiptSigner::parse(text, given).map(|signer| signer.kid);
        assert_eq!(kid(PEM, Some("k")), Ok("k".into()));
        assert_eq!(kid(PEM, None), Err(ReceiptKeyError::NoKid));
        assert_eq!(kid(PEM, Some(" ")), Err(ReceiptKeyError::NoKid));
        assert_eq!(kid(&jwk("k"), None), Ok("k".into()));
        assert_eq!(kid(&jwk("k"), Some("k")), Ok("k".into()));
        assert_eq!(kid(&jwk("k"), Some("l")), Err(ReceiptKeyError::OtherKid));
        let nameless = json!({"kty": "OKP", "crv": "Ed25519", "d": D, "x": X}).to_string();
        assert_eq!(kid(&nameless, Some("k")), Ok("k".into()));
        assert_eq!(kid(&nameless, None), Err(ReceiptKeyError::NoKid));
    }

    #[test]
    fn unusable_keys_are_refused_and_not_repeated() {
        let long = D.repeat(2);
        for text in [
            PEM.replace("MC4C", "MC4D"),
            PEM.replace("AABAgM", "!!!!"),
            "-----BEGIN".into(),
            String::new(),
            "[]".into(),
            D.into(),
            jwk("k").replace(X, OTHER_X),
            jwk("k").replace("Ed25519", "X25519"),
            jwk("k").replace("OKP", "EC"),
            jwk("k").replace("\"d\"", "\"e\""),
            jwk("k").replace("\"x\"", "\"y\""),
            jwk("k").replace(D, &long),
            jwk("k").replace("\"k\"", "7"),
        ] {
            let error = ReceiptSigner::parse(&text, Some("k")).unwrap_err().to_string();
            assert!(!error.contains("AAEC") && !error.contains("A6EH"), "{error}");
        }
        let signer = ReceiptSigner::parse(PEM, Some("k")).unwrap();
        assert_eq!(format!("{signer:?}"), "ReceiptSigner(\"k\")");
    }

    #[test]
    fn published_keys() {
        let active =
            format!(r#"{{"alg":"EdDSA","crv":"Ed25519","kid":"new","kty":"OKP","use":"sig","x":"{X}"}}"#);
        assert_eq!(ReceiptKeys::default().jwks(), r#"{"keys":[]}"#);
        assert_eq!(keys("new", &[]).unwrap(), format!(r#"{{"keys":[{active}]}}"#));
        let (b, a) = (retired("b", OTHER_X), retired("a", X));
        let wanted = format!(r#"{{"keys":[{active},{b},{a}]}}"#);
        assert_eq!(keys("new", &[b.clone(), retired("new", X), a]).unwrap(), wanted);
        let unsigned = ReceiptKeys::new(None, Some(&json!({ "keys": [b] }).to_string())).unwrap();
        assert_eq!(unsigned.jwks(), format!(r#"{{"keys":[{b}]}}"#));
        assert!(!unsigned.signs());
    }

    #[test]
    fn retired_keys_are_public_and_distinct() {
        let with = |name: &str, value: Value| {
            let mut key = retired("a", X);
            key[name] = value;
            key
        };
        for (bad, why) in [
            (retired("new", OTHER_X), "active"),
            (with("d", D.into()), "private"),
            (with("k", "secret".into()), "private"),
            (with("kid", "".into()), "kid"),
            (with("kty", 1.into()), "kty"),
            (with("x", D[1..].into()), "point"),
            (with("crv", Value::Null), "point"),
            ("key".into(), "object"),
        ] {
            let error = keys("new", &[retired("first", OTHER_X), bad]).unwrap_err();
            assert!(error.starts_with("key number 2 ") && error.contains(why), "{error}");
        }
        let twice = keys("new", &[retired("a", X), retired("a", OTHER_X)]).unwrap_err();
        assert!(twice.contains("another key"), "{twice}");
        for text in ["", "[]", "{}", r#"{"keys":{}}"#] {
            assert_eq!(ReceiptKeys::new(None, Some(text)).unwrap_err(), ReceiptKeyError::Set);
        }
    }
}
