//! When requests are due in an open model: a rate that goes from stage to stage in straight lines.
//! Request `n` is due when the integral of the rate reaches `n`, so times follow from numbers alone:
//! nothing drifts, and any part of a plan can be computed by itself.

use std::time::Duration;

/// Due times; at least one request is due.
#[derive(Debug, Clone)]
pub struct Arrivals {
    stages: Vec<Stage>,
    count: u64,
    duration_s: f64,
}

#[derive(Debug, Clone, Copy)]
struct Stage {
    /// Where the stage begins.
    start_s: f64,
    duration_s: f64,
    /// Requests a second at its start and at its end.
    from: f64,
    to: f64,
    /// Requests due before it, a whole number or not.
    before: f64,
}

/// What is less than this of a request is an error of arithmetic, not a request.
const ROUNDING: f64 = 1e-6;

impl Arrivals {
    /// From stages of a duration and the rates, a second, at its start and end. `None` when not even
    /// one request is due.
    pub fn new(stages: impl IntoIterator<Item = (Duration, f64, f64)>) -> Option<Self> {
        let (mut start_s, mut before) = (0.0, 0.0);
        let mut kept = Vec::new();
        for (duration, from, to) in stages {
            let stage = Stage { start_s, duration_s: duration.as_secs_f64(), from, to, before };
            start_s += stage.duration_s;
            before += stage.requests();
            if stage.requests() > 0.0 {
                kept.push(stage);
            }
        }
        let count = to_count((before - ROUNDING).ceil());
        (count > 0).then_some(Self { stages: kept, count, duration_s: start_s })
    }

    /// Requests due altogether.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// For how long requests are due.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.duration_s)
    }

    /// The highest rate, a second.
    pub fn rate_max(&self) -> f64 {
        self.stages.iter().fold(0.0, |max, stage| max.max(stage.from).max(stage.to))
    }

    /// When request `number`, counted from 0, is due, in nanoseconds from the start; `None` from
    /// [`Self::count`] on.
    pub fn due_ns(&self, number: u64) -> Option<u64> {
        if number >= self.count {
            return None;
        }
        let number = to_f64(number);
        let after = self.stages.partition_point(|stage| stage.before <= number);
        let stage = &self.stages[after.saturating_sub(1)];
        Some(to_count(stage.reached_s(number - stage.before) * 1e9))
    }

    /// The integral of the rate up to `time`, counted from the start: how many requests are asked for
    /// by then, the last of them in part. For plots, in which whole requests would make steps.
    pub fn asked_before(&self, time: Duration) -> f64 {
        let time_s = time.as_secs_f64();
        let begun = self.stages.iter().filter(|stage| stage.start_s < time_s);
        begun.map(|stage| stage.requests_in(time_s - stage.start_s)).sum()
    }

    /// How many requests are due before `time`, counted from the start.
    pub fn due_before(&self, time: Duration) -> u64 {
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (mut low, mut high) = (0, self.count);
        // Due times are in order: all below `low` are before, none from `high` on is.
        while low < high {
            let middle = low.midpoint(high);
            if self.due_ns(middle).is_some_and(|due_ns| due_ns < time_ns) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl Stage {
    fn requests(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.duration_s
    }

    /// How many of them in its first seconds.
    fn requests_in(&self, seconds: f64) -> f64 {
        let since_s = seconds.min(self.duration_s);
        let slope = (self.to - self.from) / self.duration_s;
        self.from * since_s + slope * since_s * since_s / 2.0
    }

    /// When so many requests have been due since the stage began, in seconds from the run's start.
    fn reached_s(&self, requests: f64) -> f64 {
        // from·t + slope·t²/2 = requests, solved for t in the form that is exact for small slopes.
        let slope = (self.to - self.from) / self.duration_s;
        let root = (self.from * self.from + 2.0 * slope * requests).max(0.0).sqrt();
        let divisor = self.from + root;
        let since_s = if divisor > 0.0 { 2.0 * requests / divisor } else { 0.0 };
        self.start_s + since_s.min(self.duration_s)
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 requests")]
fn to_f64(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounds down, which is meant; negative only by an error of rounding, then 0"
)]
fn to_count(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arrivals(stages: &[(u64, f64, f64)]) -> Arrivals {
        let stages = stages.iter().map(|(s, from, to)| (Duration::from_secs(*s), *from, *to));
        Arrivals::new(stages).expect("somebody comes")
    }

    #[test]
    fn due_before_is_the_rate_times_the_time() {
        let flat = arrivals(&[(10, 100.0, 100.0)]);
        for (ms, due) in [(0, 0), (1, 1), (10, 1), (11, 2), (1_000, 100), (10_000, 1_000)] {
            assert_eq!(flat.due_before(Duration::from_millis(ms)), due, "{ms}");
        }
        assert_eq!(flat.due_before(Duration::MAX), 1_000);
    }

    #[test]
    fn what_is_asked_for_has_no_steps() {
        let day = arrivals(&[(10, 0.0, 100.0), (5, 40.0, 40.0)]);
        for (ms, asked) in [(0, 0.0), (5_000, 125.0), (10_000, 500.0), (12_510, 600.4)] {
            let found = day.asked_before(Duration::from_millis(ms));
            assert!((found - asked).abs() < 1e-9, "{found} in {ms} ms");
        }
        assert!((day.asked_before(Duration::MAX) - 700.0).abs() < 1e-9);
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced_and_exact() {
        for (seconds, rate, count) in
            [(60, 1e6 / 60.0, 1_000_000), (3_600, 16_667.0, 60_001_200), (3, 1.0 / 3.0, 1)]
        {
            let arrivals = arrivals(&[(seconds, rate, rate)]);
            assert_eq!(arrivals.count(), count, "{rate}/s for {seconds} s");
            assert_eq!(arrivals.due_ns(0), Some(0));
            assert_eq!(arrivals.due_ns(count), None);
        }
        let even = arrivals(&[(10, 1_000.0, 1_000.0)]);
        for number in 0..even.count() {
            assert!(
                even.due_ns(number).expect("due").abs_diff(number * 1_000_000) <= 1,
                "{number}"
            );
        }
    }

    #[test]
    fn a_ramp_has_the_area_under_it() {
        // 0 to 100/s in 10 s is 500; at half the time a quarter of them has come.
        let ramp = arrivals(&[(10, 0.0, 100.0)]);
        assert_eq!(ramp.count(), 500);
        let quarter = ramp.due_ns(125).expect("due");
        assert!(quarter.abs_diff(5_000_000_000) <= 1, "{quarter}");
        // Up, flat, down, and a silence in which nobody comes.
        let day = arrivals(&[(10, 0.0, 100.0), (5, 100.0, 100.0), (7, 0.0, 0.0), (10, 100.0, 0.0)]);
        assert_eq!(day.count(), 1_500);
        let before = day.due_ns(999).expect("due");
        let after = day.due_ns(1_000).expect("due");
        assert!(before < 15_000_000_000 && after >= 22_000_000_000, "{before} {after}");
        assert_eq!(day.duration(), Duration::from_secs(32));
    }

    #[test]
    fn nobody_is_no_plan() {
        assert!(Arrivals::new([]).is_none());
        assert!(Arrivals::new([(Duration::from_secs(9), 0.0, 0.0)]).is_none());
        assert!(Arrivals::new([(Duration::ZERO, 9.0, 9.0)]).is_none());
    }

    proptest! {
        #[test]
        fn times_never_go_back_and_agree_with_the_integral(
            stages in prop::collection::vec((0u64..5, 0.0f64..500.0, 0.0f64..500.0), 1..6),
        ) {
            let total: f64 = stages.iter().map(|(s, from, to)| to_f64(*s) * (from + to) / 2.0).sum();
            let durations = stages.iter().map(|(s, from, to)| (Duration::from_secs(*s), *from, *to));
            let Some(arrivals) = Arrivals::new(durations) else {
                prop_assert!(total < 1.0);
                return Ok(());
            };
            prop_assert!((to_f64(arrivals.count()) - total).abs() <= 1.0, "{total}");
            let times: Vec<u64> =
                (0..arrivals.count()).map(|n| arrivals.due_ns(n).expect("due")).collect();
            prop_assert!(times.is_sorted());
            let end_ns = u64::try_from(arrivals.duration().as_nanos()).expect("short");
            prop_assert!(times.last().is_none_or(|last| *last <= end_ns));
            // The integral up to a request's time is its number.
            for (number, time_ns) in (0u64..).zip(&times) {
                let mut until_s = to_f64(*time_ns) / 1e9;
                let mut due = 0.0;
                for (seconds, from, to) in &stages {
                    let t = until_s.clamp(0.0, to_f64(*seconds));
                    if *seconds > 0 {
                        due += from * t + (to - from) / to_f64(*seconds) * t * t / 2.0;
                    }
                    until_s -= to_f64(*seconds);
                }
                prop_assert!((due - to_f64(number)).abs() < 1e-2, "{number}: {due}");
            }
        }
    }
}
