//! A run over time in a bounded number of points: when they are used up, neighbours are merged two by
//! two and each is twice as wide. A point keeps its whole distribution, so that merging loses nothing;
//! but as plots need it, to within a fiftieth, so that hundreds of points take a megabyte or two.

use crate::limits::{TICK, TIMELINE_POINTS_MAX};

use super::interval::Interval;
use super::metric::Trend;

/// The points of a run.
#[derive(Debug, Clone)]
pub struct Timeline {
    points: Vec<Point>,
    width_ns: u64,
    /// The latest ticks, each at its number modulo their count.
    ticks: [Tick; TICKS_KEPT],
}

/// By how many ticks one worker's measurements may be behind another's and still be added to them.
const TICKS_KEPT: usize = 64;

/// How things stood at the end of a tick, over the workers that have told.
#[derive(Debug, Clone, Copy, Default)]
struct Tick {
    number: u64,
    in_flight: u64,
    users: u64,
}

/// What happened within one stretch of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Point {
    /// Requests sent.
    pub started: u64,
    /// Requests that ended.
    pub ended: u64,
    /// Of those, without an answer of 200 to 399.
    pub failed: u64,
    /// Requests that a cap forbade to send.
    pub dropped: u64,
    /// The most that were in flight at the end of a tick, over all workers.
    pub in_flight_max: u64,
    /// The most users at work, or connections open, at the end of a tick, over all workers.
    pub users_max: u64,
    /// Durations from when due: a time in nanoseconds and how many had it, in order.
    durations: Vec<(u64, u64)>,
}

#[expect(clippy::cast_possible_truncation, reason = "a tick is short")]
const TICK_NS: u64 = TICK.as_nanos() as u64;

impl Default for Timeline {
    fn default() -> Self {
        Self { points: Vec::new(), width_ns: TICK_NS, ticks: [Tick::default(); TICKS_KEPT] }
    }
}

impl Timeline {
    /// The points so far, oldest first.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// How much time each covers, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "at most a month")]
    pub fn width_seconds(&self) -> f64 {
        self.width_ns as f64 / 1e9
    }

    /// Adds what one worker measured. An interval counts in the point that its middle lies in, so that
    /// a tick that comes a little early or late still has a point of its own.
    pub fn add(&mut self, interval: &Interval) {
        let middle_ns = interval.from_ns.midpoint(interval.until_ns);
        while middle_ns / self.width_ns >= TIMELINE_POINTS_MAX as u64 {
            self.halve();
        }
        let index = usize::try_from(middle_ns / self.width_ns).expect("bounded above");
        if index >= self.points.len() {
            self.points.resize(index + 1, Point::default());
        }
        let mut of_interval = Point::default();
        for scenario in &interval.scenarios {
            of_interval.started += scenario.counts.started;
            of_interval.ended += scenario.counts.ended;
            of_interval.failed += scenario.counts.failed;
            of_interval.dropped += scenario.counts.dropped;
            let durations = coarse(scenario.trends[Trend::Duration as usize].buckets_ns());
            of_interval.durations = merge(&of_interval.durations, &durations);
        }
        // Workers are at work side by side, so theirs add up; ticks follow each other, so the most
        // of them is what a point of several has.
        let tick = self.tick(middle_ns / TICK_NS);
        tick.in_flight += interval.gauges.in_flight;
        tick.users += interval.gauges.users;
        (of_interval.in_flight_max, of_interval.users_max) = (tick.in_flight, tick.users);
        self.points[index].join(&of_interval);
    }

    fn tick(&mut self, number: u64) -> &mut Tick {
        let place = usize::try_from(number % TICKS_KEPT as u64).expect("less than the ticks kept");
        let tick = &mut self.ticks[place];
        if tick.number != number {
            *tick = Tick { number, ..Tick::default() };
        }
        tick
    }

    fn halve(&mut self) {
        let mut points = std::mem::take(&mut self.points).into_iter();
        while let Some(mut first) = points.next() {
            if let Some(second) = points.next() {
                first.join(&second);
            }
            self.points.push(first);
        }
        self.width_ns *= 2;
    }
}

impl Point {
    /// The duration that `percent` out of a hundred did not exceed, in milliseconds, to within a
    /// fiftieth.
    #[expect(clippy::cast_precision_loss, reason = "at most an hour")]
    pub fn percentile_ms(&self, percent: f64) -> Option<f64> {
        let total: u64 = self.durations.iter().map(|(_, count)| count).sum();
        let mut seen = 0;
        for (time_ns, count) in &self.durations {
            seen += count;
            if seen as f64 * 100.0 >= percent * total as f64 {
                return Some(*time_ns as f64 / 1e6);
            }
        }
        None
    }

    /// Adds the point that follows in time.
    fn join(&mut self, next: &Self) {
        self.started += next.started;
        self.ended += next.ended;
        self.failed += next.failed;
        self.dropped += next.dropped;
        self.in_flight_max = self.in_flight_max.max(next.in_flight_max);
        self.users_max = self.users_max.max(next.users_max);
        self.durations = merge(&self.durations, &next.durations);
    }
}

/// An ordered list of times and counts with each time moved up to the end of its step, of which there
/// are 64 from one power of two to the next.
fn coarse(exact: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut coarse = Vec::new();
    for (time_ns, count) in exact {
        let step_bits = (u64::BITS - time_ns.leading_zeros()).saturating_sub(7);
        push(&mut coarse, (time_ns | ((1 << step_bits) - 1), count));
    }
    coarse
}

fn push(ordered: &mut Vec<(u64, u64)>, (time_ns, count): (u64, u64)) {
    match ordered.last_mut() {
        Some(last) if last.0 == time_ns => last.1 += count,
        _ => ordered.push((time_ns, count)),
    }
}

/// Merges two ordered lists of times and counts.
fn merge(one: &[(u64, u64)], two: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(one.len().max(two.len()));
    let (mut one, mut two) = (one.iter().peekable(), two.iter().peekable());
    loop {
        let next = match (one.peek(), two.peek()) {
            (Some(left), Some(right)) if left.0 <= right.0 => one.next(),
            (Some(_), None) => one.next(),
            (_, Some(_)) => two.next(),
            (None, None) => {
                // It is kept for as long as the run lasts.
                merged.shrink_to_fit();
                return merged;
            }
        };
        push(&mut merged, *next.expect("it was peeked at"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Ended, Gauges, Recorder, Sample};

    /// An interval in which requests of these durations ended.
    fn interval(from_ns: u64, durations_ms: &[u64]) -> Interval {
        let mut recorder = Recorder::new(0, &[0]);
        let empty = || Box::new(Interval::new(0, &[0]));
        recorder.take(from_ns, Gauges::default(), empty());
        for ms in durations_ms {
            let ended_ns = ms * 1_000_000;
            recorder.ended(
                0,
                &Sample {
                    due_ns: 0,
                    begun_ns: 0,
                    connected_ns: 0,
                    secured_ns: 0,
                    sent_ns: 0,
                    first_byte_ns: ended_ns,
                    ended_ns,
                    ended: Ended::Answered(201),
                    sent: true,
                    checks_passed: 0,
                    bytes_sent: 0,
                    bytes_received: 0,
                },
            );
        }
        let gauges = Gauges { in_flight: 2, users: 5, ..Gauges::default() };
        *recorder.take(from_ns + TICK_NS, gauges, empty())
    }

    #[test]
    fn workers_of_one_tick_are_one_point() {
        let mut timeline = Timeline::default();
        timeline.add(&interval(0, &[1, 2]));
        timeline.add(&interval(0, &[3]));
        timeline.add(&interval(2 * TICK_NS, &[]));
        let [first, between, last] = timeline.points() else { panic!("three points") };
        assert_eq!((first.ended, first.in_flight_max, first.users_max), (3, 4, 10));
        assert_eq!(*between, Point::default());
        assert_eq!(last.percentile_ms(50.0), None);
        for (percent, asked) in [(30.0, 1.0), (60.0, 2.0), (100.0, 3.0)] {
            let got = first.percentile_ms(percent).expect("three ended");
            assert!((got - asked).abs() < asked / 50.0, "{got} for {asked}");
        }
    }

    #[test]
    fn a_long_run_keeps_to_its_points_and_loses_nothing() {
        let mut timeline = Timeline::default();
        let ticks = 5 * TIMELINE_POINTS_MAX as u64;
        let mut workers = [interval(0, &[1]), interval(0, &[2])];
        for tick in 0..ticks {
            for worker in &mut workers {
                (worker.from_ns, worker.until_ns) = (tick * TICK_NS, (tick + 1) * TICK_NS);
                timeline.add(worker);
            }
        }
        assert!(timeline.points().len() <= TIMELINE_POINTS_MAX);
        assert_eq!(timeline.points().iter().map(|point| point.ended).sum::<u64>(), 2 * ticks);
        assert!((timeline.width_seconds() - 2.0).abs() < 1e-9, "{}", timeline.width_seconds());
        // Two workers with two in flight each, in each of a point's eight ticks.
        assert!(timeline.points().iter().all(|point| point.in_flight_max == 4));
    }

    #[test]
    fn steps_are_a_fiftieth_at_most_and_few() {
        let exact: Vec<u64> =
            std::iter::successors(Some(1_000u64), |ns| Some(ns + ns / 20)).take(400).collect();
        for (time_ns, (step_ns, _)) in exact.iter().zip(coarse(exact.iter().map(|t| (*t, 1)))) {
            assert!((*time_ns..=*time_ns + time_ns / 50).contains(&step_ns), "{step_ns}");
        }
        // A millisecond up to two in steps of a microsecond, as they come from a histogram.
        let steps = coarse((1_000..2_000).map(|us| (us * 1_000, 1)));
        assert_eq!(steps.iter().map(|(_, count)| count).sum::<u64>(), 1_000);
        assert!(steps.len() <= 66, "{}", steps.len());
    }

    #[test]
    fn a_tick_that_comes_early_or_late_has_its_own_point() {
        let mut timeline = Timeline::default();
        for (tick, jitter) in [(0, 0), (1, -3_000_000i64), (2, 2_000_000), (3, -1)] {
            timeline.add(&interval((tick * TICK_NS).saturating_add_signed(jitter), &[1]));
        }
        let ended: Vec<u64> = timeline.points().iter().map(|point| point.ended).collect();
        assert_eq!(ended, [1, 1, 1, 1]);
    }
}
