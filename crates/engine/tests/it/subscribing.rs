//! Cursor subscriptions: replay then live, no gap, no repeat, no buffer.

use futures_util::FutureExt as _;
use macp_engine::Event;
use macp_kernel::Identity;
use macp_wire::v1::*;

use crate::support::*;

#[tokio::test]
async fn replay_then_live_from_any_position() {
    let Fixture { engine, .. } = fixture().await;
    accept(&engine, "agent://a", start(SESSION)).await;
    for n in 2..=5 {
        accept(&engine, "agent://a", proposal(SESSION, &n.to_string())).await;
    }
    for after in 0..=5 {
        let mut subscription = engine.subscribe(&identity("agent://b"), SESSION, after).await.unwrap();
        assert_eq!((subscription.high_water(), subscription.after_sequence()), (5, after));
        for expected in after + 1..=5 {
            assert_eq!(next_envelope(&mut subscription).await.0, expected);
        }
        assert!(subscription.next().now_or_never().is_none(), "caught up");
    }
    let mut subscription = engine.subscribe(&identity("agent://b"), SESSION, 5).await.unwrap();
    accept(&engine, "agent://a", proposal(SESSION, "6")).await;
    assert_eq!(next_envelope(&mut subscription).await, (6, "proposal-6".into()));
    assert_eq!(subscription.head(), 6);
}

#[tokio::test]
async fn a_position_beyond_the_end_waits_for_what_is_new_to_it() {
    let Fixture { engine, .. } = fixture().await;
    accept(&engine, "agent://a", start(SESSION)).await;
    let mut subscription = engine.subscribe(&identity("agent://a"), SESSION, 2).await.unwrap();
    accept(&engine, "agent://a", proposal(SESSION, "2")).await;
    assert!(subscription.next().now_or_never().is_none(), "ordinal 2 was seen already");
    accept(&engine, "agent://a", proposal(SESSION, "3")).await;
    assert_eq!(next_envelope(&mut subscription).await.0, 3);
}

#[tokio::test]
async fn a_slow_reader_loses_nothing() {
    let Fixture { engine, .. } = fixture().await;
    accept(&engine, "agent://a", start(SESSION)).await;
    let mut slow = engine.subscribe(&identity("agent://a"), SESSION, 0).await.unwrap();
    let mut fast = engine.subscribe(&identity("agent://b"), SESSION, 0).await.unwrap();
    assert_eq!(next_envelope(&mut fast).await.0, 1);
    // Far more than the shared tail holds.
    for n in 2..=1000 {
        accept(&engine, "agent://a", proposal(SESSION, &n.to_string())).await;
        assert_eq!(next_envelope(&mut fast).await.0, n);
    }
    for n in 1..=1000 {
        assert_eq!(next_envelope(&mut slow).await.0, n);
    }
    accept(&engine, "agent://a", proposal(SESSION, "live")).await;
    assert_eq!(next_envelope(&mut slow).await.0, 1001);
    assert_eq!(next_envelope(&mut fast).await.0, 1001);
}

#[tokio::test]
async fn dropping_next_loses_nothing() {
    let Fixture { engine, .. } = fixture().await;
    accept(&engine, "agent://a", start(SESSION)).await;
    let mut subscription = engine.subscribe(&identity("agent://a"), SESSION, 0).await.unwrap();
    assert_eq!(next_envelope(&mut subscription).await.0, 1);
    for n in 2..=50 {
        assert!(subscription.next().now_or_never().is_none());
        accept(&engine, "agent://a", proposal(SESSION, &n.to_string())).await;
        assert_eq!(next_envelope(&mut subscription).await.0, n);
    }
}

#[tokio::test]
async fn all_subscribers_share_one_delivery() {
    let Fixture { engine, .. } = fixture().await;
    accept(&engine, "agent://a", start(SESSION)).await;
    let mut first = engine.subscribe(&identity("agent://a"), SESSION, 1).await.unwrap();
    let mut second = engine.subscribe(&identity("agent://b"), SESSION, 1).await.unwrap();
    accept(&engine, "agent://a", proposal(SESSION, "p")).await;
    let (Event::Envelope(a), Event::Envelope(b)) =
        (first.next().await.unwrap(), second.next().await.unwrap())
    else {
        panic!("two envelopes");
    };
    assert!(std::sync::Arc::ptr_eq(&a, &b));
    assert_eq!(a.json().as_ptr(), b.json().as_ptr(), "encoded once");
}

#[tokio::test]
async fn the_end_comes_once_and_after_everything() {
    let Fixture { engine, .. } = fixture().await;
    accept(&engine, "agent://a", start(SESSION)).await;
    let mut live = engine.subscribe(&identity("agent://a"), SESSION, 0).await.unwrap();
    accept(&engine, "agent://a", proposal(SESSION, "p")).await;
    accept(&engine, "agent://a", commitment(SESSION)).await;
    let late = engine.subscribe(&identity("agent://a"), SESSION, 0).await.unwrap();
    for mut subscription in [
        std::mem::replace(&mut live, late),
        engine.subscribe(&identity("agent://a"), SESSION, 0).await.unwrap(),
    ] {
        for n in 1..=3 {
            assert_eq!(next_envelope(&mut subscription).await.0, n);
        }
        let Event::Ended { state, last_sequence } = subscription.next().await.unwrap() else {
            panic!("the end");
        };
        assert_eq!((state, last_sequence), (SessionState::Resolved, 3));
        assert!(subscription.next().now_or_never().is_none(), "nothing follows");
    }
}

#[tokio::test]
async fn only_those_who_may_read_subscribe() {
    let Fixture { engine, .. } = fixture().await;
    accept(&engine, "agent://c", start(SESSION)).await;
    let observer = caller("agent://watcher", |c| c.capabilities.is_observer = true);
    for (identity, code) in [
        (identity("agent://c"), None),
        (identity("agent://a"), None),
        (observer, None),
        (identity("agent://x"), Some("FORBIDDEN")),
        (Identity::Anonymous, Some("UNAUTHENTICATED")),
        (Identity::rejected("no"), Some("UNAUTHENTICATED")),
    ] {
        let got = engine.subscribe(&identity, SESSION, 0).await.err().map(|refusal| refusal.code.name());
        assert_eq!(got, code, "{identity:?}");
    }
    let missing = engine.subscribe(&identity("agent://a"), "missing", 0).await.err().unwrap();
    assert_eq!(missing.code.name(), "SESSION_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_subscribers_joining_under_load_see_one_history() {
    let Fixture { engine, .. } = fixture().await;
    accept(&engine, "agent://a", start(SESSION)).await;
    const LAST: u64 = 600;
    let readers: Vec<_> = (0..20)
        .map(|n| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let mut after = 0;
                // Each reader leaves and resumes all the time.
                while after < LAST {
                    let mut subscription =
                        engine.subscribe(&identity("agent://b"), SESSION, after).await.unwrap();
                    for _ in 0..=(n * 7 % 40) {
                        let (sequence, _) = next_envelope(&mut subscription).await;
                        assert_eq!(sequence, after + 1);
                        after = sequence;
                        if after == LAST {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    for n in 2..=LAST {
        accept(&engine, "agent://a", proposal(SESSION, &n.to_string())).await;
    }
    for reader in readers {
        reader.await.unwrap();
    }
}
