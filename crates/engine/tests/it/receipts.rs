//! Decision receipts: issued once, the same for ever, to those who may read the session.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use macp_engine::{Clock, Engine, Options, ReceiptKeys, ReceiptOptions, ReceiptSigner};
use macp_kernel::{Identity, Refusal, UnixMillis};
use macp_store::{LogStore, MemoryStore};
use macp_wire::v1::*;
use serde_json::{Value, json};

use crate::support::*;

/// A private key from a byte; its public half is told for the two that are used.
fn signer(kid: &str, byte: u8) -> ReceiptSigner {
    let x = match byte {
        1 => "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w",
        _ => "gTl3Dqh9F19Wo1Rmw0x-zMuNipG07jeiXfYPW4_Js5Q",
    };
    let d = URL_SAFE_NO_PAD.encode([byte; 32]);
    ReceiptSigner::parse(&json!({"kty": "OKP", "crv": "Ed25519", "d": d, "x": x}).to_string(), Some(kid))
        .unwrap()
}

fn signing(options: &mut Options, runtime_id: &str, signer: ReceiptSigner) {
    let keys = ReceiptKeys::new(Some(signer), None).unwrap();
    options.receipts = ReceiptOptions { runtime_id: runtime_id.into(), keys };
}

async fn receipt(engine: &Engine, identity: &Identity, session: &str) -> Result<String, Refusal> {
    let request = GetDecisionReceiptRequest { session_id: session.into() };
    engine.get_decision_receipt(identity, request).await.map(|response| response.receipt_json)
}

async fn code(engine: &Engine, identity: &Identity, session: &str) -> &'static str {
    receipt(engine, identity, session).await.unwrap_err().code.name()
}

async fn jwks(engine: &Engine) -> Value {
    let keys = engine.get_receipt_keys(&Identity::Anonymous, GetReceiptKeysRequest {}).await.unwrap();
    serde_json::from_str(&keys.jwks_json).unwrap()
}

pub(crate) async fn resolve(engine: &Engine, session: &str) {
    accept(engine, "agent://a", start(session)).await;
    accept(engine, "agent://a", proposal(session, "p")).await;
    accept(engine, "agent://a", commitment(session)).await;
}

/// Checks the signature as a verifier would: with the published key, over the document without its attestations.
fn verify(document: &str, key: &Value) {
    let parsed: Value = serde_json::from_str(document).unwrap();
    let jws = parsed["attestations"][0]["jws"].as_str().unwrap();
    let (header, signature) = jws.split_once("..").unwrap();
    let read: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    assert_eq!(read, json!({"alg": "EdDSA", "kid": key["kid"]}));
    let (_, rest) = document.split_once("],").unwrap();
    let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(format!("{{{rest}")));
    let x = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
    let key = VerifyingKey::from_bytes(&x.try_into().unwrap()).unwrap();
    let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    key.verify_strict(input.as_bytes(), &signature).unwrap();
}

#[tokio::test]
async fn an_unsigned_receipt() {
    let Fixture { engine, clock, .. } = fixture().await;
    resolve(&engine, SESSION).await;
    clock.advance(86_400_999);
    let text = receipt(&engine, &identity("agent://b"), SESSION).await.unwrap();
    let parsed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(parsed["attestations"], json!([]));
    assert_eq!(parsed["issuer"], "runtime:macp-gateway");
    assert_eq!(parsed["issued_at"], "2027-01-16T08:00:00Z", "first issuance, not the commitment");
    assert_eq!((&parsed["session_id"], &parsed["mode"]), (&json!(SESSION), &json!(DECISION)));
    assert_eq!(parsed["commitment"]["reason"], "voted");
    assert_eq!(parsed["semantics_rev"], json!({"implementation": "macp-gateway", "rev": 4}));
    assert_eq!(jwks(&engine).await, json!({"keys": []}));
}

#[tokio::test]
async fn served_bytes_never_change() {
    let Fixture { engine, clock, store } = fixture().await;
    resolve(&engine, SESSION).await;
    let signed_later = "signed-0123456789abcdef0";
    resolve(&engine, signed_later).await;
    let a = identity("agent://a");
    let unsigned = receipt(&engine, &a, SESSION).await.unwrap();
    let reopened = async |change: &dyn Fn(&mut Options)| {
        clock.advance(5_000);
        reopen(Arc::clone(&store) as Arc<dyn LogStore>, &clock, change).await
    };
    let engine = reopened(&|options| signing(options, "one", signer("k1", 1))).await;
    assert_eq!(receipt(&engine, &a, SESSION).await.unwrap(), unsigned, "an unsigned receipt stays unsigned");
    let signed = receipt(&engine, &a, signed_later).await.unwrap();
    let first_key = jwks(&engine).await["keys"][0].clone();
    let engine = reopened(&|options| signing(options, "two", signer("k2", 2))).await;
    assert_ne!(jwks(&engine).await["keys"][0], first_key);
    for _ in 0..2 {
        assert_eq!(
            receipt(&engine, &a, signed_later).await.unwrap(),
            signed,
            "nor does a key change a receipt"
        );
        assert_eq!(receipt(&engine, &a, SESSION).await.unwrap(), unsigned);
    }
    verify(&signed, &first_key);
    assert_eq!(serde_json::from_str::<Value>(&signed).unwrap()["issuer"], "runtime:one");
}

#[tokio::test]
async fn concurrent_first_calls_get_one_receipt() {
    /// Every look at it is a second later.
    struct Restless(AtomicI64);
    impl Clock for Restless {
        fn now(&self) -> UnixMillis {
            UnixMillis(self.0.fetch_add(1_000, Ordering::SeqCst))
        }
    }
    let options = Options { limits: macp_engine::testing::generous_limits(), ..Options::default() };
    let clock = Arc::new(Restless(AtomicI64::new(EPOCH)));
    let engine = Engine::open(Arc::new(MemoryStore::new()), clock, options).await.unwrap();
    resolve(&engine, SESSION).await;
    let a = identity("agent://a");
    let texts = futures_util::future::join_all((0..20).map(|_| receipt(&engine, &a, SESSION))).await;
    let first = texts[0].clone().unwrap();
    assert!(texts.into_iter().all(|text| text.unwrap() == first));
}

#[tokio::test]
async fn refusals_in_order() {
    let Fixture { engine, .. } = fixture_with(|options| options.limits.messages_per_minute = 2).await;
    accept(&engine, "agent://a", start(SESSION)).await;
    let a = identity("agent://a");
    for _ in 0..3 {
        assert_eq!(code(&engine, &Identity::Anonymous, SESSION).await, "UNAUTHENTICATED");
        assert_eq!(code(&engine, &a, "no-such-session").await, "SESSION_NOT_FOUND");
        assert_eq!(code(&engine, &a, "../../etc/passwd").await, "SESSION_NOT_FOUND");
        assert_eq!(code(&engine, &identity("agent://else"), SESSION).await, "FORBIDDEN");
    }
    for expected in ["RECEIPT_UNAVAILABLE", "RECEIPT_UNAVAILABLE", "RATE_LIMITED"] {
        assert_eq!(code(&engine, &a, SESSION).await, expected);
    }
    assert_eq!(
        refuse(&engine, "agent://a", proposal(SESSION, "p")).await,
        "RATE_LIMITED",
        "one window for both"
    );
}

#[tokio::test]
async fn only_resolved_sessions_and_only_their_readers() {
    let Fixture { engine, clock, .. } = fixture().await;
    let observer = caller("agent://observer", |c| c.capabilities.is_observer = true);
    resolve(&engine, SESSION).await;
    assert!(receipt(&engine, &observer, SESSION).await.is_ok());
    let other = "second-0123456789abcdef0";
    accept(&engine, "agent://a", start_with(other, "start", 5_000)).await;
    assert_eq!(code(&engine, &observer, other).await, "RECEIPT_UNAVAILABLE");
    clock.advance(5_001);
    let refusal = receipt(&engine, &observer, other).await.unwrap_err();
    assert_eq!(refusal.code.name(), "RECEIPT_UNAVAILABLE");
    assert!(refusal.message.contains("EXPIRED"), "{refusal}");
}
