//! Which credential becomes which identity.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step fails the test; helpers too")]

mod certificate;
mod jwt;
mod keyring;
mod signing;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use macp_auth::{Authenticator, Credentials, StaticTokens};
use macp_kernel::Identity;

use crate::signing::{Issuer, claims, now_ms};

/// No resolver here waits for anything.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the resolver waits"),
    }
}

fn resolve(authenticator: &Authenticator, bearer: Option<&str>, token: Option<&str>) -> Identity {
    now(authenticator.authenticate(&Credentials { bearer, token, certificate: None }))
}

fn sender(identity: &Identity) -> Option<&str> {
    match identity {
        Identity::Known(caller) => Some(caller.sender.as_str()),
        _ => None,
    }
}

#[test]
fn development_takes_any_bearer_as_the_sender() {
    let dev = Authenticator::dev();
    let known = resolve(&dev, Some("agent://a"), None);
    assert_eq!(sender(&known), Some("agent://a"));
    let Identity::Known(caller) = known else { panic!("known") };
    assert!(!caller.verified && !caller.capabilities.is_observer && caller.capabilities.can_start_sessions);
    assert!(caller.capabilities.can_manage_mode_registry);
    assert_eq!(sender(&resolve(&dev, None, Some("agent://b"))), Some("agent://b"));
    assert_eq!(sender(&resolve(&dev, Some("a"), Some("b"))), Some("a"), "the bearer wins");
    assert_eq!(resolve(&dev, None, None), Identity::Anonymous);
    assert_eq!(resolve(&dev, Some(""), None), Identity::Anonymous);
}

#[test]
fn static_tokens_are_matched_and_others_rejected() {
    let tokens = Authenticator::from_tokens_json(r#"[{"token":"s3cret","sender":"agent://a"}]"#).unwrap();
    assert_eq!(sender(&resolve(&tokens, Some("s3cret"), None)), Some("agent://a"));
    assert_eq!(sender(&resolve(&tokens, None, Some("s3cret"))), Some("agent://a"));
    assert_eq!(resolve(&tokens, None, None), Identity::Anonymous);
    for wrong in ["s3cre", "S3CRET", "s3cret ", "s3.cr.et"] {
        let Identity::Rejected(refusal) = resolve(&tokens, Some(wrong), None) else {
            panic!("{wrong:?} is accepted")
        };
        assert_eq!(refusal.code.name(), "UNAUTHENTICATED");
        assert!(!refusal.message.contains(wrong), "the text repeats the credential: {refusal}");
    }
    assert!(
        matches!(resolve(&tokens, Some("unknown"), Some("s3cret")), Identity::Rejected(_)),
        "no fall-through"
    );
}

#[test]
fn a_dot_decides_between_jwt_and_token() {
    let issuer = Issuer::new();
    let now = now_ms();
    let tokens = StaticTokens::from_json(r#"[{"token":"s3cret","sender":"agent://t"}]"#).unwrap();
    let both = issuer.authenticator().and_tokens(tokens);
    let jwt = issuer.token(&claims(now));
    assert_eq!(sender(&resolve(&both, Some(&jwt), None)), Some("agent://j"));
    assert_eq!(sender(&resolve(&both, Some("s3cret"), None)), Some("agent://t"));
    assert_eq!(sender(&resolve(&both, None, Some("s3cret"))), Some("agent://t"));
    for (bearer, token) in [
        (None, Some(jwt.as_str())), // a JWT is a bearer
        (Some("a.b.c"), None),
        (Some("a.b"), None),
        (Some("a.b.c"), Some("s3cret")), // refused is refused
        (Some("unknown"), None),
    ] {
        assert!(matches!(resolve(&both, bearer, token), Identity::Rejected(_)), "{bearer:?} {token:?}");
    }
    assert!(matches!(resolve(&issuer.authenticator(), Some("s3cret"), None), Identity::Rejected(_)));
}
