//! Keys that are fetched: at the start, when they rotate, and when the issuer cannot be reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use macp_auth::{Authenticator, Credentials, JwtAlgorithm, KeySet, Keyring};
use macp_kernel::{Identity, UnixMillis};
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::signing::{Signer, claims, now_ms, rules, set};

const LIFETIME: Duration = Duration::from_secs(300);
const HOUR_MS: i64 = 3_600_000;

/// An issuer that can be reached or not, and whoever fetches from it when asked to.
struct Remote {
    answer: Mutex<Option<KeySet>>,
    attempts: AtomicUsize,
}

impl Remote {
    fn with(answer: Option<KeySet>) -> Arc<Self> {
        Arc::new(Self { answer: Mutex::new(answer), attempts: AtomicUsize::new(0) })
    }

    fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }

    /// Fetches whenever somebody wants it. `ago`: how long in the past the attempts are dated, so that the next one is
    /// due without waiting.
    fn serve(self: &Arc<Self>, keyring: &Arc<Keyring>, ago: i64) -> JoinHandle<()> {
        let (remote, keyring) = (Arc::clone(self), Arc::clone(keyring));
        tokio::spawn(async move {
            loop {
                keyring.wanted().await;
                keyring.begin(now_ms().plus(-ago));
                tokio::time::sleep(Duration::from_millis(10)).await;
                remote.attempts.fetch_add(1, Ordering::SeqCst);
                let keys = remote.answer.lock().clone();
                keyring.end(keys, now_ms());
            }
        })
    }
}

fn authenticator(keyring: &Arc<Keyring>) -> Authenticator {
    Authenticator::jwt(rules(&[JwtAlgorithm::Es256]), Arc::clone(keyring))
}

/// The outcome in a word: the sender, or the code of the refusal.
async fn outcome(authenticator: &Authenticator, token: &str) -> String {
    match authenticator.authenticate(&Credentials { bearer: Some(token), ..Credentials::default() }).await {
        Identity::Known(caller) => caller.sender.to_string(),
        Identity::Rejected(refusal) => refusal.code.name().to_owned(),
        Identity::Anonymous => "anonymous".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_caller_waits_for_the_first_keys() {
    let key = Signer::ec("a");
    let token = key.sign(&claims(now_ms()), json!({ "kid": "a" }));
    let keyring = Arc::new(Keyring::fetched(LIFETIME));
    let remote = Remote::with(Some(set(&[&key])));
    let fetching = remote.serve(&keyring, 0);
    let auth = authenticator(&keyring);
    // Many at once cause one attempt.
    let many = (0..50).map(|_| outcome(&auth, &token));
    for outcome in futures_util::future::join_all(many).await {
        assert_eq!(outcome, "agent://j");
    }
    assert_eq!(remote.attempts(), 1);
    fetching.abort();
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_away_at_the_start_is_no_fault_of_the_token() {
    let key = Signer::ec("a");
    let token = key.sign(&claims(now_ms()), json!({ "kid": "a" }));
    let keyring = Arc::new(Keyring::fetched(LIFETIME));
    let auth = authenticator(&keyring);
    // Nobody fetches at all: the caller gives up after a while.
    assert_eq!(outcome(&auth, &token).await, "UNAVAILABLE");
    let remote = Remote::with(None);
    let fetching = remote.serve(&keyring, 0);
    assert_eq!(outcome(&auth, &token).await, "UNAVAILABLE");
    let failed = remote.attempts();
    assert!(failed > 0);
    assert_eq!(outcome(&auth, &token).await, "UNAVAILABLE");
    assert_eq!(remote.attempts(), failed, "the last attempt was a moment ago");
    // The fetcher's own timer, later.
    keyring.begin(now_ms());
    keyring.end(Some(set(&[&key])), now_ms());
    assert_eq!(outcome(&auth, &token).await, "agent://j");
    fetching.abort();
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_fetched_when_a_token_has_it() {
    let (old, new) = (Signer::ec("old"), Signer::ec("new"));
    let keyring = Arc::new(Keyring::fetched(LIFETIME));
    let remote = Remote::with(Some(set(&[&old])));
    let fetching = remote.serve(&keyring, 20_000);
    let auth = authenticator(&keyring);
    let token = |key: &Signer, kid: &str| key.sign(&claims(now_ms()), json!({ "kid": kid }));
    assert_eq!(outcome(&auth, &token(&old, "old")).await, "agent://j");
    *remote.answer.lock() = Some(set(&[&new]));
    assert_eq!(outcome(&auth, &token(&old, "old")).await, "agent://j", "known keys need no fetching");
    assert_eq!(remote.attempts(), 1);
    assert_eq!(outcome(&auth, &token(&new, "new")).await, "agent://j");
    assert_eq!(remote.attempts(), 2);
    assert_eq!(outcome(&auth, &token(&old, "old")).await, "UNAUTHENTICATED", "retired");
    fetching.abort();
}

#[tokio::test(start_paused = true)]
async fn made_up_keys_cause_few_attempts() {
    let (known, forger) = (Signer::ec("known"), Signer::ec("forger"));
    let keyring = Arc::new(Keyring::fetched(LIFETIME));
    let remote = Remote::with(Some(set(&[&known])));
    let fetching = remote.serve(&keyring, 0);
    let auth = authenticator(&keyring);
    for n in 0..100 {
        let token = forger.sign(&claims(now_ms()), json!({ "kid": format!("k{n}") }));
        assert_eq!(outcome(&auth, &token).await, "UNAUTHENTICATED");
    }
    assert_eq!(remote.attempts(), 1);
    fetching.abort();
}

#[test]
fn keys_outlive_their_issuer_by_an_hour() {
    let key = Signer::ec("a");
    let keyring = Keyring::fetched(LIFETIME);
    let start = UnixMillis(1_000_000);
    assert!(keyring.usable(start).is_none());
    keyring.begin(start);
    keyring.end(Some(set(&[&key])), start);
    let lifetime = i64::try_from(LIFETIME.as_millis()).unwrap();
    for (after, usable) in [(0, true), (lifetime + HOUR_MS - 1, true), (lifetime + HOUR_MS, false)] {
        assert_eq!(keyring.usable(start.plus(after)).is_some(), usable, "{after}");
    }
    // An attempt that fails takes nothing away, and gives no time.
    keyring.begin(start.plus(lifetime));
    keyring.end(None, start.plus(lifetime));
    assert!(keyring.usable(start.plus(lifetime)).is_some());
    assert!(keyring.usable(start.plus(lifetime + HOUR_MS)).is_none());
    assert!(Keyring::fixed(set(&[&key])).usable(UnixMillis(i64::MAX)).is_some());
}
