//! A bucket that holds a window's worth and fills all the time (the generic cell rate algorithm).

use crate::limiter::{Quota, Usage};

/// Nanoseconds of a millisecond: shares of a quota are finer than milliseconds.
const NANOS: i64 = 1_000_000;

/// Admits what the bucket holds. What is larger than a whole bucket takes it all and leaves a debt behind: so it passes,
/// too, and what follows waits until it is paid for.
#[derive(Debug, Default)]
pub struct Bucket {
    /// When the bucket will be full again, in nanoseconds; none if it is.
    full_at: Option<i64>,
}

impl Bucket {
    fn price(quota: Quota, amount: u64) -> i64 {
        let window = u128::from(quota.window_ms) * u128::from(NANOS.unsigned_abs());
        let price = u128::from(amount) * window / u128::from(quota.amount.max(1));
        i64::try_from(price).unwrap_or(i64::MAX)
    }

    /// Nanoseconds until the bucket holds this much, or all that it can.
    fn wait(full_at: i64, price: i64, quota: Quota, now: i64) -> i64 {
        let window = i64::from(quota.window_ms) * NANOS;
        full_at.saturating_add(price.min(window)).saturating_sub(window).saturating_sub(now)
    }
}

impl Usage for Bucket {
    fn take(&mut self, quota: Quota, amount: u64, now_ms: i64) -> Result<(), u64> {
        let now = now_ms.saturating_mul(NANOS);
        let full_at = self.full_at.unwrap_or(now).max(now);
        let price = Self::price(quota, amount);
        let wait = Self::wait(full_at, price, quota, now);
        if wait > 0 {
            return Err(wait.unsigned_abs().div_ceil(NANOS.unsigned_abs()));
        }
        self.full_at = Some(full_at.saturating_add(price));
        Ok(())
    }

    fn is_idle(&self, _: Quota, now_ms: i64) -> bool {
        self.full_at.is_none_or(|at| at <= now_ms.saturating_mul(NANOS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_A_SECOND: Quota = Quota { amount: 10, window_ms: 1_000 };

    #[test]
    fn a_burst_then_the_average() {
        let mut bucket = Bucket::default();
        for _ in 0..10 {
            assert_eq!(bucket.take(TEN_A_SECOND, 1, 0), Ok(()));
        }
        assert_eq!(bucket.take(TEN_A_SECOND, 1, 0), Err(100), "empty");
        let admitted = (1..=10_000).filter(|at| bucket.take(TEN_A_SECOND, 1, *at).is_ok()).count();
        assert!((99..=101).contains(&admitted), "{admitted} in ten seconds");
    }

    #[test]
    fn what_is_larger_than_the_bucket_passes_and_is_paid_for() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(TEN_A_SECOND, 100, 0), Ok(()));
        let wait = bucket.take(TEN_A_SECOND, 1, 1).unwrap_err();
        assert!((9_090..=9_100).contains(&wait), "{wait}");
        assert!(bucket.take(TEN_A_SECOND, 1, i64::try_from(wait).unwrap()).is_err());
        assert_eq!(bucket.take(TEN_A_SECOND, 1, 1 + i64::try_from(wait).unwrap()), Ok(()));
    }
}
