//! A histogram of durations with fixed buckets from 50 µs to 10 s, written by one thread and read by
//! any.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets in microseconds; a last bucket takes everything beyond.
pub const BOUNDS_US: [u64; 20] = [
    50, 100, 150, 250, 400, 650, 1_000, 1_500, 2_500, 4_000, 6_500, 10_000, 25_000, 50_000,
    100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
];
const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Counts of durations by bucket, and their sum.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

/// A histogram at one moment; several add up to one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Counts by bucket, not cumulated.
    pub counts: [u64; BUCKETS],
    /// Sum of all durations in nanoseconds.
    pub sum_ns: u64,
}

impl Histogram {
    /// Counts `duration`. Only one thread may record into a histogram: that saves locked instructions,
    /// and a second writer would lose counts.
    pub fn record(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let us = ns / 1000;
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        add(&self.counts[bucket], 1);
        add(&self.sum_ns, ns);
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (count, cell) in snapshot.counts.iter_mut().zip(&self.counts) {
            *count = cell.load(Relaxed);
        }
        snapshot.sum_ns = self.sum_ns.load(Relaxed);
        snapshot
    }
}

/// Adds to a cell that only this thread writes.
pub(crate) fn add(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(amount), Relaxed);
}

impl Snapshot {
    /// Adds `other`'s counts to this one's.
    pub fn merge(&mut self, other: &Snapshot) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The upper bound of the bucket that holds the quantile `share` (0 to 1); `None` without counts.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let rank = (count as f64 * share).ceil().max(1.0);
        let mut below = 0;
        for (index, in_bucket) in self.counts.iter().enumerate() {
            below += in_bucket;
            if count > 0 && below as f64 >= rank {
                let bound = BOUNDS_US.get(index).copied().unwrap_or(u64::MAX / 1000);
                return Some(Duration::from_micros(bound));
            }
        }
        None
    }

    /// Buckets as OpenMetrics wants them: upper bound in seconds and count, not cumulated.
    pub(crate) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        bounds.zip(self.counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_buckets() {
        let check = |us: u64, bucket: usize| {
            let histogram = Histogram::default();
            histogram.record(Duration::from_micros(us));
            let snapshot = histogram.snapshot();
            assert_eq!(
                snapshot.counts.iter().position(|count| *count == 1),
                Some(bucket),
                "{us} µs"
            );
            assert_eq!(snapshot.sum_ns, us * 1000);
        };
        check(0, 0);
        check(50, 0);
        check(51, 1);
        check(1_000, 6);
        check(10_000_000, 19);
        check(10_000_001, 20);
    }

    #[test]
    fn merged_snapshots_hold_the_sum_and_its_quantiles() {
        let (fast, slow) = (Histogram::default(), Histogram::default());
        (0..99).for_each(|_| fast.record(Duration::from_micros(80)));
        slow.record(Duration::from_millis(80));
        let mut both = fast.snapshot();
        both.merge(&slow.snapshot());
        assert_eq!(both.count(), 100);
        assert_eq!(both.quantile(0.5), Some(Duration::from_micros(100)));
        assert_eq!(both.quantile(0.99), Some(Duration::from_micros(100)));
        assert_eq!(both.quantile(1.0), Some(Duration::from_millis(100)));
        assert_eq!(Snapshot::default().quantile(0.5), None);
    }
}
