//! The tables under random use, against models that forget nothing, and under more keys than they hold.

use std::collections::HashMap;
use std::sync::Arc;

use macp_limits::{Limiter, Place, Places, Quota, REMEMBERED, Rates, Usage, Windows};
use proptest::prelude::*;

/// Attempts of a few keys: who, how much, and after how many milliseconds.
fn attempts() -> impl Strategy<Value = Vec<(u8, u64, i64)>> {
    prop::collection::vec((0..4_u8, 1..4_u64, 0..400_i64), 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// In no window is more admitted than the quota, and nobody is refused who has used none of it for a window.
    #[test]
    fn no_window_holds_more_than_the_quota(attempts in attempts(), amount in 3..60_u64) {
        let quota = Quota { amount, window_ms: 1_000 };
        let windows = Windows::new(quota);
        let mut admitted: HashMap<u8, Vec<(i64, u64)>> = HashMap::new();
        let mut now = 0;
        for (who, much, later) in attempts {
            now += later;
            let of = admitted.entry(who).or_default();
            match windows.take(&who, much, now) {
                Ok(()) => of.push((now, much)),
                Err(wait) => {
                    prop_assert!((1..=1_000).contains(&wait));
                    let within = of.iter().filter(|(at, _)| now - at < 1_000 + 1_000 / 16).count();
                    prop_assert!(within > 0, "refused although nothing was admitted for a window");
                }
            }
            let used: u64 = of.iter().filter(|(at, _)| now - at < 1_000).map(|(_, much)| much).sum();
            prop_assert!(used <= amount, "{used} of {amount}");
        }
    }

    /// A window is exact as long as there are few admissions in it.
    #[test]
    fn few_admissions_are_counted_to_the_millisecond(gaps in prop::collection::vec(1..400_i64, 1..200), amount in 1..20_u64) {
        let windows = Windows::new(Quota { amount, window_ms: 1_000 });
        let mut admitted: Vec<i64> = Vec::new();
        let mut now = 0;
        for gap in gaps {
            now += gap;
            let used = admitted.iter().filter(|at| now - **at < 1_000).count();
            let expected = used < usize::try_from(amount).unwrap();
            prop_assert_eq!(windows.take("key", 1, now).is_ok(), expected);
            if expected {
                admitted.push(now);
            }
        }
    }

    /// Over any span a bucket admits no more than its rate, what it held, and one that was too large.
    #[test]
    fn a_rate_is_kept_on_average(attempts in attempts(), amount in 1..60_u64) {
        let rates = Rates::new(Quota { amount, window_ms: 1_000 });
        let mut admitted: HashMap<u8, Vec<(i64, u64)>> = HashMap::new();
        let mut now = 0;
        for (who, much, later) in attempts {
            now += later;
            let of = admitted.entry(who).or_default();
            if rates.take(&who, much, now).is_ok() {
                of.push((now, much));
            }
            for (begin, _) in of.iter() {
                let used: u64 = of.iter().filter(|(at, _)| at >= begin).map(|(_, much)| much).sum();
                let span = u64::try_from(now - begin).unwrap();
                prop_assert!(used <= amount + amount * span / 1_000 + 1 + 4, "{used} in {span} ms");
            }
        }
    }

    /// Whoever waits as long as told is admitted.
    #[test]
    fn the_advice_is_good(attempts in attempts(), amount in 3..60_u64) {
        fn obey<U: Usage>(limiter: &Limiter<U>, attempts: &[(u8, u64, i64)]) -> Result<(), TestCaseError> {
            let mut now = 0;
            for (who, much, later) in attempts {
                now += later;
                if let Err(wait) = limiter.take(who, *much, now) {
                    now += i64::try_from(wait).unwrap();
                    prop_assert!(limiter.take(who, *much, now).is_ok(), "after {wait} ms");
                }
            }
            Ok(())
        }
        let quota = Quota { amount, window_ms: 1_000 };
        obey(&Windows::new(quota), &attempts)?;
        obey(&Rates::new(quota), &attempts)?;
    }

    /// As many places are held as there are guards, and none without.
    #[test]
    fn places_are_those_that_are_held(steps in prop::collection::vec((0..3_u8, any::<bool>()), 1..200), at_most in 1..6_u64) {
        let places = Arc::new(Places::new());
        let mut held: HashMap<u8, Vec<Place>> = HashMap::new();
        for (who, enters) in steps {
            let of = held.entry(who).or_default();
            if enters {
                let place = places.take(&who, at_most);
                prop_assert_eq!(place.is_some(), u64::try_from(of.len()).unwrap() < at_most);
                of.extend(place);
            } else {
                of.pop();
            }
            prop_assert_eq!(places.keys(), held.values().filter(|of| !of.is_empty()).count());
        }
        held.clear();
        prop_assert_eq!(places.keys(), 0);
    }
}

/// A million strangers, all at the same moment: the table holds what it may, and whoever is busy among them is limited
/// all the same.
#[test]
fn a_million_keys_take_up_the_room_of_a_few() {
    let quota = Quota { amount: 100, window_ms: 60_000 };
    let (windows, rates) = (Windows::new(quota), Rates::new(quota));
    let mut busy = [0_u64; 2];
    for stranger in 0..1_000_000_u64 {
        let now = i64::try_from(stranger / 100_000).unwrap();
        assert!(windows.take(&stranger, 1, now).is_ok() && rates.take(&stranger, 1, now).is_ok());
        if stranger % 1_000 == 0 {
            busy[0] += u64::from(windows.take("busy", 1, now).is_ok());
            busy[1] += u64::from(rates.take("busy", 1, now).is_ok());
        }
        if stranger % 50_000 == 0 {
            assert!(windows.remembered() <= REMEMBERED && rates.remembered() <= REMEMBERED);
        }
    }
    // What the bucket gets in these ten milliseconds is less than one more.
    assert!(busy[0] == 100 && busy[1] <= 101, "a key that is used all the time is not forgotten: {busy:?}");
    assert!(windows.remembered() > REMEMBERED / 4, "{}", windows.remembered());

    // And when they are gone, so is what was kept of them.
    for round in 1..4_i64 {
        for key in 0..1_000_u64 {
            assert!(windows.take(&key, 1, round * 70_000).is_ok());
        }
    }
    assert!(windows.remembered() <= 2_000, "{}", windows.remembered());
}

/// A million keys that each hold a place are a million places; afterwards none is left.
#[test]
fn a_million_places_come_back() {
    let places = Arc::new(Places::new());
    let held: Vec<_> = (0..1_000_000_u64).map(|key| places.take(&key, 1).unwrap()).collect();
    assert_eq!(places.keys(), 1_000_000);
    drop(held);
    assert_eq!(places.keys(), 0);
}
