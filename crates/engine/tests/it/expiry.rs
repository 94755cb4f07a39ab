//! The end of a credential, by the engine's clock.

use futures_util::FutureExt;
use macp_kernel::{Caller, Identity, UnixMillis};
use tokio::time::{Duration, Instant, timeout};

use crate::support::{Fixture, fixture};

fn until(at: Option<UnixMillis>) -> Identity {
    Identity::Known(Caller { expires_at: at, ..Caller::new("agent://a") })
}

#[tokio::test(start_paused = true)]
async fn it_comes_when_the_clock_says_so() {
    let Fixture { engine, clock, .. } = fixture().await;
    let mut expiry = engine.expiry(&until(Some(engine.now().plus(300_000))));
    assert!(expiry.reached().now_or_never().is_none());
    // Set forward, or a machine that slept: noticed within a minute, not after the five that were left.
    clock.advance(300_000);
    let began = Instant::now();
    let refusal = expiry.reached().await;
    assert_eq!(refusal.code.name(), "UNAUTHENTICATED");
    assert!(began.elapsed() <= Duration::from_secs(60));
    assert!(expiry.reached().now_or_never().is_some(), "it stays past");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_gives_more_time() {
    let Fixture { engine, clock, .. } = fixture().await;
    let mut expiry = engine.expiry(&until(Some(engine.now().plus(30_000))));
    assert!(timeout(Duration::from_secs(600), expiry.reached()).await.is_err(), "the clock stands still");
    clock.advance(29_999);
    assert!(
        timeout(Duration::from_secs(600), async {
            // One more millisecond is one more look.
            expiry.reached().now_or_never()
        })
        .await
        .unwrap()
        .is_none()
    );
    clock.advance(1);
    expiry.reached().await;
}

#[tokio::test(start_paused = true)]
async fn what_has_no_end_has_none() {
    let Fixture { engine, clock, .. } = fixture().await;
    let past = until(Some(engine.now()));
    assert!(engine.expiry(&past).reached().now_or_never().is_some());
    for identity in [until(None), Identity::Anonymous, Identity::rejected("no")] {
        let mut expiry = engine.expiry(&identity);
        clock.advance(1_000_000_000);
        assert!(timeout(Duration::from_secs(100_000), expiry.reached()).await.is_err());
    }
}
