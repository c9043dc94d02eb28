//! Distributions of times: three digits, a microsecond to an hour, merged without loss.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use hdrhistogram::{Counter, Histogram};

use crate::limits::{DIGITS, TIME_NS_MAX, TIME_NS_MIN};

/// A distribution within one tick, in nanoseconds. Zeros, which most phases of most requests are,
/// cost an addition.
#[derive(Debug, Clone)]
pub struct Times {
    histogram: Histogram<u32>,
    zeros: u64,
}

/// A distribution over a whole run.
#[derive(Debug, Clone)]
pub struct TotalTimes {
    histogram: Histogram<u64>,
}

/// A distribution that came over the wire and is none.
#[derive(Debug, thiserror::Error)]
#[error("a histogram that cannot be read: {0}")]
pub struct WireError(String);

impl WireError {
    pub(super) fn new(why: &str) -> Self {
        Self(why.to_owned())
    }
}

impl Default for Times {
    fn default() -> Self {
        Self { histogram: empty(), zeros: 0 }
    }
}

impl Times {
    /// Records a time; above an hour it counts as an hour.
    pub fn record(&mut self, time_ns: u64) {
        if time_ns == 0 {
            self.zeros += 1;
        } else {
            self.histogram.saturating_record(time_ns.min(TIME_NS_MAX));
        }
    }

    /// How many were recorded.
    pub fn len(&self) -> u64 {
        self.histogram.len() + self.zeros
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pairs of a time in nanoseconds and how many had it, in order.
    pub(super) fn buckets_ns(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let zeros = (self.zeros > 0).then_some((0, self.zeros));
        let recorded = self.histogram.iter_recorded();
        zeros
            .into_iter()
            .chain(recorded.map(|at| (at.value_iterated_to(), at.count_at_value().into())))
    }

    /// Forgets all and keeps the memory.
    pub fn clear(&mut self) {
        // Clearing writes the whole table, so it is worth asking first.
        if !self.histogram.is_empty() {
            self.histogram.reset();
        }
        self.zeros = 0;
    }

    /// Has the system provide the memory now, and not at the first time that is recorded in each page
    /// of it.
    pub(super) fn touch(&mut self) {
        self.histogram.reset();
    }

    /// For the wire: HdrHistogram's V2 encoding in base64; nothing when nothing was recorded.
    pub fn to_wire(&self) -> String {
        if self.is_empty() {
            return String::new();
        }
        let mut with_zeros = self.histogram.clone();
        with_zeros.saturating_record_n(0, u32::try_from(self.zeros).unwrap_or(u32::MAX));
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(&with_zeros, &mut bytes)
            .expect("a vector takes all that is written to it");
        STANDARD.encode(bytes)
    }

    /// From the wire.
    ///
    /// # Errors
    /// When the text is no histogram, or one of other bounds.
    pub fn from_wire(text: &str) -> Result<Self, WireError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let bytes = STANDARD.decode(text).map_err(|error| WireError(error.to_string()))?;
        let histogram: Histogram<u32> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| WireError(error.to_string()))?;
        if (histogram.low(), histogram.high(), histogram.sigfig())
            != (TIME_NS_MIN, TIME_NS_MAX, DIGITS)
        {
            return Err(WireError::new("its bounds are not ours"));
        }
        Ok(Self { histogram, zeros: 0 })
    }
}

impl Default for TotalTimes {
    fn default() -> Self {
        Self { histogram: empty() }
    }
}

impl TotalTimes {
    /// Adds a tick's.
    pub fn add(&mut self, times: &Times) {
        for (time_ns, count) in times.buckets_ns() {
            self.histogram.saturating_record_n(time_ns, count);
        }
    }

    /// Adds another's, exactly: the result is the distribution of both ones' values together.
    pub fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("the bounds are the same");
    }

    /// What is left when those of `part` are taken away, exactly: of an earlier state, what came
    /// since; of a metric's failed requests, the others.
    #[must_use]
    pub fn without(&self, part: &Self) -> Self {
        let mut rest = Self::default();
        for at in self.histogram.iter_recorded() {
            let taken = part.histogram.count_at(at.value_iterated_to());
            let left = at.count_at_value().saturating_sub(taken);
            if left > 0 {
                rest.histogram.saturating_record_n(at.value_iterated_to(), left);
            }
        }
        rest
    }

    /// How many were recorded.
    pub fn len(&self) -> u64 {
        self.histogram.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// The time that a share of `percent` out of a hundred does not exceed, in milliseconds; `None`
    /// when nothing was recorded. What is shorter than the smallest step, half a µs, is 0: a phase
    /// that did not happen took no time.
    pub fn percentile_ms(&self, percent: f64) -> Option<f64> {
        let quantile = (percent / 100.0).clamp(0.0, 1.0);
        self.time_ms(|times| times.value_at_quantile(quantile))
    }

    fn time_ms(&self, time_ns: impl Fn(&Histogram<u64>) -> u64) -> Option<f64> {
        let zero_ns = self.histogram.highest_equivalent(0);
        let shown = |time_ns| if time_ns <= zero_ns { 0.0 } else { ms(time_ns) };
        (!self.is_empty()).then(|| shown(time_ns(&self.histogram)))
    }

    /// The shortest, in milliseconds.
    pub fn min_ms(&self) -> Option<f64> {
        self.time_ms(Histogram::min)
    }

    /// The longest.
    pub fn max_ms(&self) -> Option<f64> {
        self.time_ms(Histogram::max)
    }

    /// The mean; zeros are 0 in it, and not the middle of their step.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    pub fn mean_ms(&self) -> Option<f64> {
        let zeros = self.histogram.count_at(0) as f64 / self.len().max(1) as f64;
        let taken_ns = zeros * self.histogram.median_equivalent(0) as f64;
        (!self.is_empty()).then(|| (self.histogram.mean() - taken_ns).max(0.0) / 1e6)
    }

    /// Pairs of a time in milliseconds and how many took no longer than that but longer than the
    /// pair before, for a picture of the distribution.
    pub fn buckets_ms(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.histogram.iter_recorded().map(|at| (ms(at.value_iterated_to()), at.count_at_value()))
    }
}

fn empty<C: Counter>() -> Histogram<C> {
    Histogram::new_with_bounds(TIME_NS_MIN, TIME_NS_MAX, DIGITS)
        .expect("the bounds are in order and three digits are allowed")
}

#[expect(clippy::cast_precision_loss, reason = "at most an hour")]
fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn total(times_ns: &[u64]) -> TotalTimes {
        let mut times = Times::default();
        times_ns.iter().for_each(|time| times.record(*time));
        let mut total = TotalTimes::default();
        total.add(&times);
        total
    }

    fn quantiles(total: &TotalTimes) -> Vec<Option<f64>> {
        [0.0, 50.0, 90.0, 99.0, 99.9, 100.0].map(|p| total.percentile_ms(p)).to_vec()
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(quantiles(&TotalTimes::default()), [None; 6]);
        assert_eq!(TotalTimes::default().mean_ms(), None);
    }

    #[test]
    fn zeros_count() {
        let total = total(&[0, 0, 0, 5_000_000]);
        assert_eq!(total.len(), 4);
        assert_eq!(total.percentile_ms(75.0), Some(0.0));
        assert!((total.mean_ms().expect("recorded") - 1.25).abs() < 0.001, "{:?}", total.mean_ms());
        assert!(total.max_ms().expect("recorded") >= 5.0);
    }

    proptest! {
        #[test]
        fn values_keep_three_digits(time_ns in TIME_NS_MIN..TIME_NS_MAX) {
            let got = total(&[time_ns]).percentile_ms(50.0).expect("recorded");
            let asked = ms(time_ns);
            prop_assert!((got - asked).abs() <= (asked * 0.001).max(0.000_512), "{got} {asked}");
        }

        #[test]
        fn merged_is_the_distribution_of_the_union(
            one in prop::collection::vec(0..TIME_NS_MAX, 0..200),
            two in prop::collection::vec(0..TIME_NS_MAX, 0..200),
        ) {
            let mut merged = total(&one);
            merged.merge(&total(&two));
            let union = total(&[one, two].concat());
            prop_assert_eq!(quantiles(&merged), quantiles(&union));
            prop_assert_eq!(merged.histogram, union.histogram);
        }

        #[test]
        fn what_is_taken_away_is_gone_and_nothing_else(
            one in prop::collection::vec(0..TIME_NS_MAX, 0..200),
            two in prop::collection::vec(0..TIME_NS_MAX, 0..200),
        ) {
            let union = total(&[one.clone(), two.clone()].concat());
            let rest = union.without(&total(&one));
            prop_assert_eq!(quantiles(&rest), quantiles(&total(&two)));
            prop_assert_eq!(rest.len(), two.len() as u64);
            prop_assert!(total(&one).without(&union).is_empty());
        }

        #[test]
        fn the_wire_changes_nothing(times_ns in prop::collection::vec(0..TIME_NS_MAX, 0..200)) {
            let mut times = Times::default();
            times_ns.iter().for_each(|time| times.record(*time));
            let after = Times::from_wire(&times.to_wire()).expect("our own");
            let mut total_after = TotalTimes::default();
            total_after.add(&after);
            prop_assert_eq!(total_after.histogram, total(&times_ns).histogram);
        }
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        let mut one = Times::default();
        one.record(1);
        for text in ["?", "AAAA", &one.to_wire()[..20]] {
            Times::from_wire(text).expect_err(text);
        }
        let other: Histogram<u64> = Histogram::new_with_bounds(1, 1_000, 2).unwrap();
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&other, &mut bytes).unwrap();
        Times::from_wire(&STANDARD.encode(bytes)).expect_err("other bounds");
    }
}
