//! Which JWT is good: forged, mistimed, misdirected and odd ones are not.

use std::sync::LazyLock;

use macp_auth::{JwtAlgorithm, JwtError, KeySet, LEEWAY_MS, MAX_JWT_BYTES};
use macp_kernel::{Caller, UnixMillis};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::signing::{Signer, claims, raw, rules, set};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const ALL: [JwtAlgorithm; 3] = [JwtAlgorithm::Rs256, JwtAlgorithm::Es256, JwtAlgorithm::Hs256];
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa"));
static EC: LazyLock<Signer> = LazyLock::new(|| Signer::ec("ec"));

fn verify(token: &str, keys: &KeySet, algorithms: &[JwtAlgorithm]) -> Result<Caller, JwtError> {
    rules(algorithms).verify(token, keys, NOW)
}

/// The verdict on good claims with these members changed (`null` takes one out), signed well.
fn with(changes: Value) -> Result<Caller, JwtError> {
    let mut claims = claims(NOW);
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    verify(&EC.sign(&claims, json!({ "kid": "ec" })), &set(&[&EC]), &ALL)
}

#[test]
fn every_algorithm_verifies_when_it_is_allowed() {
    let secret = Signer::secret("s", SECRET);
    for (signer, algorithm) in
        [(&*RSA, JwtAlgorithm::Rs256), (&*EC, JwtAlgorithm::Es256), (&secret, JwtAlgorithm::Hs256)]
    {
        let token = signer.sign(&claims(NOW), json!({}));
        let keys = set(&[&RSA, &EC, &secret]);
        let caller = verify(&token, &keys, &[algorithm]).unwrap();
        assert!(caller.sender.as_str() == "agent://j" && caller.verified);
        assert_eq!(caller.expires_at, Some(NOW.plus(300_000 + LEEWAY_MS)));
        for other in ALL.into_iter().filter(|other| *other != algorithm) {
            assert_eq!(verify(&token, &keys, &[other]), Err(JwtError::Algorithm));
        }
        assert_eq!(verify(&token, &keys, &[]), Err(JwtError::Algorithm));
    }
}

/// The public key, as anybody can have it, used as a secret; and the same under the public key's own id.
#[test]
fn a_public_key_is_no_secret() {
    let keys = set(&[&RSA, &EC]);
    for public in [&RSA.public, &EC.public] {
        let material = ["n", "x"].iter().find_map(|name| public[name].as_str()).unwrap();
        for secret in [material.as_bytes(), public.to_string().as_bytes()] {
            let forger = Signer::secret("forger", secret);
            for header in [json!({}), json!({ "kid": public["kid"] })] {
                let token = forger.sign(&claims(NOW), header);
                let verdict = verify(&token, &keys, &ALL);
                assert!(matches!(verdict, Err(JwtError::UnknownKey | JwtError::Signature)), "{verdict:?}");
            }
        }
    }
}

#[test]
fn unsigned_and_unknown_algorithms_are_refused() {
    let keys = set(&[&EC]);
    for alg in ["none", "None", "NONE", "", "HS257", "ES256K", "dir"] {
        for signature in [&b""[..], b"x"] {
            let token = raw(&json!({ "alg": alg }), &claims(NOW), signature);
            assert_eq!(verify(&token, &keys, &ALL), Err(JwtError::Algorithm), "{alg:?}");
        }
    }
    // Known to the library, not to this server.
    for alg in ["ES384", "PS256", "EdDSA", "HS512"] {
        let token = raw(&json!({ "alg": alg }), &claims(NOW), b"x");
        assert_eq!(verify(&token, &keys, &ALL), Err(JwtError::Algorithm), "{alg:?}");
    }
    let unsigned = raw(&json!({ "alg": "ES256", "kid": "ec" }), &claims(NOW), b"");
    assert_eq!(verify(&unsigned, &keys, &ALL), Err(JwtError::Signature));
    let empty = raw(&json!({ "alg": "ES256" }), &claims(NOW), b"");
    assert_eq!(verify(&empty, &keys, &ALL), Err(JwtError::UnknownKey));
}

/// Keys that a token brings along, or points to, are nothing.
#[test]
fn a_token_does_not_choose_its_key() {
    let forger = Signer::ec("ec");
    for header in [
        json!({ "jwk": forger.public }),
        json!({ "jku": "https://forger.example/keys", "kid": "ec" }),
        json!({ "x5u": "https://forger.example/cert", "kid": "ec" }),
    ] {
        let verdict = verify(&forger.sign(&claims(NOW), header), &set(&[&EC]), &ALL);
        assert!(matches!(verdict, Err(JwtError::Signature | JwtError::UnknownKey)), "{verdict:?}");
    }
    let critical = EC.sign(&claims(NOW), json!({ "kid": "ec", "crit": ["b64"] }));
    assert_eq!(verify(&critical, &set(&[&EC]), &ALL), Err(JwtError::Critical));
}

#[test]
fn the_key_id_decides_if_a_key_has_it() {
    let other = Signer::ec("other");
    let both = set(&[&EC, &other]);
    let token = |kid: Option<&str>| EC.sign(&claims(NOW), kid.map_or(json!({}), |kid| json!({ "kid": kid })));
    assert!(verify(&token(Some("ec")), &both, &ALL).is_ok());
    assert!(verify(&token(None), &both, &ALL).is_ok(), "without an id every key is tried");
    assert!(verify(&token(Some("gone")), &both, &ALL).is_ok(), "with one that no key has, too");
    assert_eq!(verify(&token(Some("other")), &both, &ALL), Err(JwtError::Signature));
    let rotated = set(&[&other]);
    assert_eq!(verify(&token(Some("ec")), &rotated, &ALL), Err(JwtError::UnknownKey));
    assert_eq!(verify(&token(None), &rotated, &ALL), Err(JwtError::UnknownKey));
}

#[test]
fn times_have_a_minute_of_leeway() {
    let now = NOW.0 / 1000;
    let leeway = LEEWAY_MS / 1000;
    for (changes, verdict) in [
        (json!({ "exp": now + 1 }), None),
        (json!({ "exp": now - leeway + 1 }), None),
        (json!({ "exp": now - leeway }), Some(JwtError::Expired)),
        (json!({ "exp": 0 }), Some(JwtError::Expired)),
        (json!({ "exp": -1 }), Some(JwtError::Expired)),
        (json!({ "exp": now as f64 + 0.5 }), None),
        (json!({ "exp": 1e300 }), None),
        (json!({ "exp": null }), Some(JwtError::Malformed)),
        (json!({ "exp": (now + 300).to_string() }), Some(JwtError::Malformed)),
        (json!({ "nbf": now + leeway }), None),
        (json!({ "nbf": now + leeway + 1 }), Some(JwtError::NotYet)),
        (json!({ "nbf": 1e300 }), Some(JwtError::NotYet)),
        (json!({ "nbf": null }), None),
        (json!({ "nbf": "soon" }), Some(JwtError::Malformed)),
    ] {
        assert_eq!(with(changes.clone()).err(), verdict, "{changes}");
    }
}

#[test]
fn issuer_audience_and_subject_are_exact() {
    for (changes, verdict) in [
        (json!({ "iss": "https://id.example/" }), Some(JwtError::Issuer)),
        (json!({ "iss": "https://ID.example" }), Some(JwtError::Issuer)),
        (json!({ "iss": "" }), Some(JwtError::Issuer)),
        (json!({ "iss": null }), Some(JwtError::Malformed)),
        (json!({ "iss": ["https://id.example"] }), Some(JwtError::Malformed)),
        (json!({ "aud": ["other", "macp-runtime"] }), None),
        (json!({ "aud": "other" }), Some(JwtError::Audience)),
        (json!({ "aud": ["other"] }), Some(JwtError::Audience)),
        (json!({ "aud": [] }), Some(JwtError::Audience)),
        (json!({ "aud": "macp-runtime2" }), Some(JwtError::Audience)),
        (json!({ "aud": null }), Some(JwtError::Malformed)),
        (json!({ "aud": 1 }), Some(JwtError::Malformed)),
        (json!({ "sub": "" }), Some(JwtError::NoSender)),
        (json!({ "sub": " " }), Some(JwtError::NoSender)),
        (json!({ "sub": null }), Some(JwtError::Malformed)),
        (json!({ "sub": 1 }), Some(JwtError::Malformed)),
    ] {
        assert_eq!(with(changes.clone()).err(), verdict, "{changes}");
    }
}

#[test]
fn scopes_grant_what_they_say() {
    let capabilities =
        |scopes: Value| with(json!({ "macp_scopes": scopes })).map(|caller| caller.capabilities);
    let defaults = with(json!({})).unwrap().capabilities;
    assert!(defaults.can_start_sessions && defaults.allowed_modes.is_none());
    assert!(
        !defaults.can_manage_mode_registry && !defaults.is_observer && defaults.max_open_sessions.is_none()
    );
    assert_eq!(capabilities(json!({})).unwrap(), defaults);
    assert_eq!(capabilities(json!({ "unknown": 1 })).unwrap(), defaults);
    let all = capabilities(json!({
        "allowed_modes": ["m"], "can_start_sessions": false, "max_open_sessions": 3,
        "can_manage_mode_registry": true, "is_observer": true,
    }))
    .unwrap();
    assert_eq!(all.allowed_modes, Some(["m".to_owned()].into()));
    assert!(!all.can_start_sessions && all.can_manage_mode_registry && all.is_observer);
    assert_eq!(all.max_open_sessions, Some(3));
    let none = capabilities(json!({ "allowed_modes": [] })).unwrap();
    assert_eq!(none.allowed_modes, Some(Default::default()), "an empty list is no mode");
    for bad in [
        json!("admin"),
        json!([]),
        json!({ "is_observer": "yes" }),
        json!({ "max_open_sessions": -1 }),
        json!({ "allowed_modes": "m" }),
    ] {
        let verdict = capabilities(bad.clone());
        // An empty array is also how serde writes a struct without members.
        assert!(verdict == Err(JwtError::Malformed) || verdict == Ok(defaults.clone()), "{bad}: {verdict:?}");
        assert!(bad == json!([]) || verdict.is_err(), "{bad}");
    }
}

#[test]
fn odd_tokens() {
    let keys = set(&[&EC]);
    let good = EC.sign(&claims(NOW), json!({ "kid": "ec" }));
    let [header, payload, signature] = *good.split('.').collect::<Vec<_>>() else { panic!("three parts") };
    for odd in [
        "a.b".to_owned(),
        "..".into(),
        "...".into(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!(" {good}"),
        format!("{header}..{signature}"),
    ] {
        assert!(verify(&odd, &keys, &ALL).is_err(), "{odd}");
    }
    let padded = "x".repeat(MAX_JWT_BYTES);
    let long = EC.sign(&json!({ "padding": padded }), json!({}));
    assert_eq!(verify(&long, &keys, &ALL), Err(JwtError::TooLong));
    // Twice the same claim: which one counts must not depend on the reader.
    let twice = format!(r#"{{"sub":"agent://x",{}"#, &claims(NOW).to_string()[1..]);
    let twice = jsonwebtoken::encode(
        &jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256),
        &serde_json::value::RawValue::from_string(twice).unwrap(),
        &EC.key,
    );
    assert_eq!(verify(&twice.unwrap(), &keys, &ALL), Err(JwtError::Malformed));
}

#[test]
fn key_sets() {
    let with = |key: &Value, changes: Value| {
        let mut key = key.clone();
        key.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        KeySet::from_json(&json!({ "keys": [key] }).to_string()).map(|keys| keys.len())
    };
    let secret = Signer::secret("s", SECRET).public;
    for key in [&RSA.public, &EC.public, &secret] {
        assert_eq!(with(key, json!({})), Ok(1));
        assert_eq!(with(key, json!({ "use": "sig" })), Ok(1));
        assert!(with(key, json!({ "use": "enc" })).is_err());
        assert!(with(key, json!({ "alg": "ES384" })).is_err(), "{key}");
        assert!(with(key, json!({ "kty": "unknown" })).is_err());
    }
    assert!(with(&EC.public, json!({ "crv": "P-384" })).is_err());
    assert!(with(&EC.public, json!({ "x": "AA" })).is_err(), "not a point of the curve");
    assert!(with(&RSA.public, json!({ "n": "AQAB" })).is_err(), "too short");
    assert!(with(&secret, json!({ "k": "c2hvcnQ" })).is_err(), "too short");
    for bad in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[1,null,{}]}"#] {
        assert!(KeySet::from_json(bad).is_err(), "{bad}");
    }
    let mixed = json!({ "keys": [{ "kty": "new" }, EC.public, 7] }).to_string();
    assert_eq!(KeySet::from_json(&mixed).unwrap().len(), 1, "what is not known spoils nothing");
}

#[test]
fn no_error_and_no_debug_output_repeats_a_secret() {
    let secret = "a-secret-that-nobody-may-see-0123";
    let keys = set(&[&Signer::secret("s", secret.as_bytes())]);
    assert!(!format!("{keys:?}").contains("nobody"));
    let error = KeySet::from_json(&format!(r#"{{"keys":["{secret}"]}}"#)).unwrap_err();
    assert!(!error.to_string().contains("nobody"), "{error}");
}

proptest! {
    /// Whatever is changed in a good token, it is good no more.
    #[test]
    fn a_changed_token_is_refused(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.-]") {
        let good = EC.sign(&claims(NOW), json!({ "kid": "ec" }));
        let at = at.index(good.len());
        let mut changed = good.clone();
        changed.replace_range(at..=at, &to);
        // The last character of a part has bits that mean nothing; a strict decoder refuses them all the same.
        prop_assert!(changed == good || verify(&changed, &set(&[&EC]), &ALL).is_err(), "{changed}");
    }

    /// Nothing that is sent makes it panic, and nothing unsigned is taken.
    #[test]
    fn any_text_is_refused(text in "\\PC{0,200}", parts in prop::collection::vec("[A-Za-z0-9_-]{0,40}", 0..5)) {
        let keys = set(&[&EC]);
        prop_assert!(verify(&text, &keys, &ALL).is_err());
        prop_assert!(verify(&parts.join("."), &keys, &ALL).is_err());
    }

    /// Good is what is within its times, and nothing else.
    #[test]
    fn time_alone_decides(exp in -200i64..200, nbf in -200i64..200) {
        let now = NOW.0 / 1000;
        let verdict = with(json!({ "exp": now + exp, "nbf": now + nbf }));
        let leeway = LEEWAY_MS / 1000;
        prop_assert_eq!(verdict.is_ok(), exp + leeway > 0 && nbf <= leeway);
    }
}
