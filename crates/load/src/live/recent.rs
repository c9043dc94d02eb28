//! The last seconds of a run, as the difference between the totals now and as they were then. A mark
//! a second is kept and no more than the window needs, so memory does not grow with the run.

use std::collections::VecDeque;

use crate::measure::{TotalTimes, Totals, Trend};

/// How long "the last seconds" are, at least.
pub(super) const WINDOW_NS: u64 = 5_000_000_000;
const BETWEEN_MARKS_NS: u64 = 1_000_000_000;
/// One for each second of the window, and the one it begins with.
const MARKS_MAX: usize = (WINDOW_NS / BETWEEN_MARKS_NS) as usize + 2;

/// Counts of one scenario.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) started: u64,
    pub(super) ended: u64,
    pub(super) failed: u64,
}

/// Totals as they were at one instant, as far as the view needs them.
#[derive(Debug, Clone, Default)]
struct Mark {
    until_ns: u64,
    cpu_ns: u64,
    flows: Vec<Flow>,
    durations: TotalTimes,
    lags: TotalTimes,
}

/// The last seconds.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) from_ns: u64,
    pub(super) until_ns: u64,
    pub(super) cpu_ns: u64,
    pub(super) durations: Percentiles,
    pub(super) lag_p99_ms: Option<f64>,
    pub(super) lately: Lately,
}

/// The last second or two, for rates: they change faster than percentiles can be told.
#[derive(Debug)]
pub(super) struct Lately {
    pub(super) from_ns: u64,
    pub(super) until_ns: u64,
    /// In the plan's order.
    pub(super) flows: Vec<Flow>,
}

impl Lately {
    /// So many in this time, a second.
    pub(super) fn per_second(&self, count: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate, for people")]
        let seconds = (self.until_ns - self.from_ns) as f64 / 1e9;
        if seconds > 0.0 { count / seconds } else { 0.0 }
    }
}

/// What is known of a distribution at a glance, in milliseconds; `None` without samples.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Percentiles {
    /// The median.
    pub p50: Option<f64>,
    /// Of ten, nine took no longer.
    pub p90: Option<f64>,
    /// Of a hundred, 99 took no longer.
    pub p99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

impl Percentiles {
    pub(super) fn of(times: &TotalTimes) -> Self {
        let [p50, p90, p99] = [50.0, 90.0, 99.0].map(|percent| times.percentile_ms(percent));
        Self { p50, p90, p99, max: times.max_ms() }
    }
}

/// Remembers as much as the last seconds need.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Oldest first.
    marks: VecDeque<Mark>,
}

impl Recent {
    /// What happened since the mark that is [`WINDOW_NS`] old, or since the run's start.
    pub(super) fn window(&mut self, totals: &Totals) -> Window {
        let now = Mark::of(totals);
        // The second mark old enough makes the first one of no use.
        while self.marks.get(1).is_some_and(|mark| mark.until_ns + WINDOW_NS <= now.until_ns) {
            self.marks.pop_front();
        }
        let start = Mark::default();
        let then = self.marks.front().unwrap_or(&start);
        let is_past = |mark: &&Mark| mark.until_ns + BETWEEN_MARKS_NS <= now.until_ns;
        let lately = self.marks.iter().rev().find(is_past).unwrap_or(then);
        let window = now.since(then, lately);
        let newest = self.marks.back().map_or(0, |mark| mark.until_ns);
        if self.marks.is_empty() {
            // The first window of all begins with the run.
            self.marks.push_back(start);
        }
        if now.until_ns >= newest + BETWEEN_MARKS_NS && self.marks.len() < MARKS_MAX {
            self.marks.push_back(now);
        }
        window
    }
}

impl Mark {
    fn of(totals: &Totals) -> Self {
        let flow = |counts: &crate::measure::Counts| Flow {
            started: counts.started,
            ended: counts.ended,
            failed: counts.failed,
        };
        Self {
            until_ns: totals.until_ns,
            cpu_ns: totals.cpu_ns(),
            flows: totals.scenarios.iter().map(|scenario| flow(&scenario.counts)).collect(),
            durations: totals.trend(Trend::Duration, |_| true),
            lags: totals.trend(Trend::ScheduleLag, |_| true),
        }
    }

    fn since(&self, then: &Self, lately: &Self) -> Window {
        let nothing = Flow::default();
        let flows = self.flows.iter().enumerate().map(|(number, now)| {
            let then = lately.flows.get(number).unwrap_or(&nothing);
            Flow {
                started: now.started - then.started,
                ended: now.ended - then.ended,
                failed: now.failed - then.failed,
            }
        });
        Window {
            from_ns: then.until_ns,
            until_ns: self.until_ns,
            cpu_ns: self.cpu_ns - then.cpu_ns,
            durations: Percentiles::of(&self.durations.without(&then.durations)),
            lag_p99_ms: self.lags.without(&then.lags).percentile_ms(99.0),
            lately: Lately {
                from_ns: lately.until_ns,
                until_ns: self.until_ns,
                flows: flows.collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Ended, Gauges, Interval, Recorder, Sample};

    const SECOND_NS: u64 = 1_000_000_000;

    /// Adds one second in which so many requests took so long.
    fn second(totals: &mut Totals, recorder: &mut Recorder, requests: u64, ms: u64) {
        for _ in 0..requests {
            recorder.due(0, 1_000);
            recorder.started(0, false);
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
        let gauges = Gauges { cpu_ns: SECOND_NS / 2, ..Gauges::default() };
        let until_ns = totals.until_ns + SECOND_NS;
        let interval = recorder.take(until_ns, gauges, Box::new(Interval::new(0, &[0])));
        totals.add(0, &interval);
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let (mut totals, mut recorder) = (Totals::new(&[0]), Recorder::new(0, &[0]));
        let mut recent = Recent::default();
        assert_eq!(recent.window(&totals).durations, Percentiles::default());
        // Slow for three seconds, fast from then on.
        for number in 1..=100 {
            second(&mut totals, &mut recorder, 10, if number <= 3 { 100 } else { 1 });
            let window = recent.window(&totals);
            let seconds = number.min(5);
            assert_eq!(window.until_ns - window.from_ns, seconds * SECOND_NS, "{number}");
            let lately = &window.lately;
            assert_eq!(lately.until_ns - lately.from_ns, SECOND_NS, "{number}");
            assert_eq!(lately.flows[0].started, 10, "{number}");
            assert_eq!(window.cpu_ns, seconds * SECOND_NS / 2, "{number}");
            let max = window.durations.max.expect("some ended");
            assert_eq!(max > 50.0, number < 8, "{number}: {max}");
            assert!(recent.marks.len() <= MARKS_MAX, "{}", recent.marks.len());
        }
        let whole = Percentiles::of(totals.scenarios[0].trend(Trend::Duration));
        assert!(whole.max.expect("some ended") >= 100.0, "the whole run still knows");
    }
}
