//! Latencies in a histogram of fixed size, to three digits.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longer latencies count as this.
const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// Everything that took some time.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
}

/// What is told of a distribution, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) count: u64,
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
            .expect("the bounds are in order and three digits are allowed");
        Self { histogram }
    }

    pub(crate) fn record_ns(&mut self, latency_ns: u64) {
        self.histogram.saturating_record(latency_ns.clamp(1, LATENCY_NS_MAX));
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        let at = |quantile| ms(self.histogram.value_at_quantile(quantile));
        Quantiles {
            count: self.histogram.len(),
            mean_ms: self.histogram.mean() / 1e6,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: ms(self.histogram.max()),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most 120 s")]
fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(latencies_us: impl IntoIterator<Item = u64>, expected_us: [u64; 4]) {
        let mut latencies = Latencies::new();
        latencies_us.into_iter().for_each(|us| latencies.record_ns(us * 1_000));
        let q = latencies.quantiles();
        for (got_ms, us) in [q.p50_ms, q.p99_ms, q.p999_ms, q.max_ms].into_iter().zip(expected_us) {
            let expected_ms = ms(us * 1_000);
            assert!((got_ms - expected_ms).abs() <= expected_ms * 0.001, "{got_ms}, {expected_ms}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        check(1..=1_000, [500, 990, 999, 1_000]);
        check([100], [100, 100, 100, 100]);
    }

    #[test]
    fn one_slow_answer_in_a_thousand_shows() {
        check((0..2_000).map(|i| if i < 4 { 50_000 } else { 100 }), [100, 100, 50_000, 50_000]);
    }

    #[test]
    fn what_is_beyond_the_bounds_is_not_lost() {
        check([1, 500_000_000], [1, 120_000_000, 120_000_000, 120_000_000]);
        assert_eq!(Latencies::new().quantiles().count, 0);
    }
}
