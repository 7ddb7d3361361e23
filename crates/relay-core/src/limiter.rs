//! Token buckets: one, and a bounded number of them by key.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::config::Rate;

/// Parts of a token that a bucket can count, so that slow rates refill too.
const PARTS: u64 = 1_000;

/// How much of a [`Rate`] is left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    left: u64,
    at: Duration,
}

impl Bucket {
    /// A full one.
    pub(crate) fn full(rate: Rate, now: Duration) -> Self {
        Self { left: u64::from(rate.burst) * PARTS, at: now }
    }

    /// Takes `cost` tokens if they are there.
    pub(crate) fn take(&mut self, rate: Rate, cost: u32, now: Duration) -> bool {
        let passed = now.saturating_sub(self.at);
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let refill = u64::from(rate.per_second).saturating_mul(micros) / (1_000_000 / PARTS);
        if refill > 0 {
            self.left = self.left.saturating_add(refill).min(u64::from(rate.burst) * PARTS);
            self.at = now;
        }
        let cost = u64::from(cost) * PARTS;
        let there = self.left >= cost;
        if there {
            self.left -= cost;
        }
        there
    }
}

/// Buckets by key, at most about `capacity`; the longest unused are forgotten, which fills them.
#[derive(Debug)]
pub(crate) struct Limiter<K> {
    rate: Rate,
    young: HashMap<K, Bucket>,
    old: HashMap<K, Bucket>,
    half: usize,
}

impl<K: Eq + Hash> Limiter<K> {
    pub(crate) fn new(rate: Rate, capacity: usize) -> Self {
        Self { rate, young: HashMap::new(), old: HashMap::new(), half: (capacity / 2).max(1) }
    }

    /// Takes `cost` tokens of `key` if they are there.
    pub(crate) fn take(&mut self, key: K, cost: u32, now: Duration) -> bool {
        if let Some(bucket) = self.young.get_mut(&key) {
            return bucket.take(self.rate, cost, now);
        }
        let mut bucket = self.old.remove(&key).unwrap_or_else(|| Bucket::full(self.rate, now));
        let there = bucket.take(self.rate, cost, now);
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, bucket);
        there
    }

    /// Forgets keys that were not used since the time before the last. Long enough ago that their buckets are full again, nothing
    /// changes by it.
    pub(crate) fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }

    /// Keys in memory.
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 2, burst: 3 };

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = Bucket::full(RATE, at(0));
        assert_eq!([(); 4].map(|()| bucket.take(RATE, 1, at(0))), [true, true, true, false]);
        assert!(!bucket.take(RATE, 1, at(499)));
        assert!(bucket.take(RATE, 1, at(500)));
        assert!(!bucket.take(RATE, 1, at(501)));
        assert!(bucket.take(RATE, 3, at(60_000)));
        assert!(!bucket.take(RATE, 1, at(60_000)));
    }

    #[test]
    fn many_small_pauses_add_up() {
        let mut bucket = Bucket::full(RATE, at(0));
        assert!(bucket.take(RATE, 3, at(0)));
        let taken = (1..=10_000).filter(|ms| bucket.take(RATE, 1, at(*ms))).count();
        assert_eq!(taken, 20);
    }

    #[test]
    fn time_going_back_is_no_time() {
        let mut bucket = Bucket::full(RATE, at(1_000));
        assert!(bucket.take(RATE, 3, at(1_000)));
        assert!(!bucket.take(RATE, 1, at(0)));
    }

    #[test]
    fn keys_are_apart_and_few() {
        let mut limiter = Limiter::new(RATE, 8);
        assert!(limiter.take(0, 3, at(0)));
        assert!(!limiter.take(0, 1, at(0)));
        assert!(limiter.take(1, 1, at(0)));
        for key in 0..1_000 {
            limiter.take(key, 1, at(0));
        }
        assert!(limiter.young.len() + limiter.old.len() <= 8);
    }
}
