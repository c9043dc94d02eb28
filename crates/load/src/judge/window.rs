//! The time in which requests of open models are due, how many the plan asks for in it, and how many
//! were sent.

use std::time::Duration;

use crate::measure::Totals;
use crate::plan::{Executor, Plan};

/// What open models ask for, and what was sent of it in time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    /// How long requests are due, from the first scenario's start to the last one's end.
    pub(super) length: Duration,
    /// Requests that the plan has due in it.
    pub(super) asked: u64,
    /// Requests that were sent, or tried, in it.
    pub(super) sent: u64,
}

impl Window {
    /// `None` when the plan has closed models alone. `stopped_at` cuts it off.
    pub(super) fn of(plan: &Plan, totals: &Totals, stopped_at: Option<Duration>) -> Option<Self> {
        let stopped_at = stopped_at.unwrap_or(Duration::MAX);
        let (mut from, mut until, mut asked, mut started) = (Duration::MAX, Duration::ZERO, 0, 0);
        let mut closed = false;
        for (scenario, measured) in plan.scenarios.iter().zip(&totals.scenarios) {
            let Executor::Arrivals(arrivals) = &scenario.executor else {
                closed = true;
                continue;
            };
            from = from.min(scenario.start);
            // A machine that hears of a stop a little later goes on for as long: until the next would
            // have been due.
            let next = arrivals.due_ns(measured.counts.due).map(Duration::from_nanos);
            let next = scenario.start + next.unwrap_or_else(|| arrivals.duration());
            if stopped_at > scenario.start {
                until = until.max((scenario.start + arrivals.duration()).min(stopped_at.max(next)));
            }
            let by_plan = arrivals.due_before(stopped_at.saturating_sub(scenario.start));
            asked += by_plan.max(measured.counts.due);
            started += measured.counts.started;
        }
        if from == Duration::MAX {
            return None;
        }
        // The timeline does not tell scenarios apart: beside a closed model, all that was sent counts
        // as sent in time, and the schedule lag has to tell.
        let sent = if closed { started } else { started.min(started_before(totals, until)) };
        Some(Self { length: until.saturating_sub(from), asked, sent })
    }

    pub(super) fn per_second(&self, requests: u64) -> Option<f64> {
        let seconds = self.length.as_secs_f64();
        (seconds > 0.0).then(|| requests as f64 / seconds)
    }
}

/// Requests sent in the points of the timeline that begin before `until`.
fn started_before(totals: &Totals, until: Duration) -> u64 {
    let width = totals.timeline.width_seconds();
    let points = totals.timeline.points().iter().enumerate();
    points.filter(|(n, _)| *n as f64 * width < until.as_secs_f64()).map(|(_, p)| p.started).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, Figures, MS, Waited};

    /// The plan's window when so many requests were sent between one of these ticks and the next.
    fn window(sent: &[(u64, u64)], stopped_at: Option<Duration>) -> Window {
        let mut figures = Figures::new(&[1]);
        for (requests, until_ms) in sent {
            (0..*requests).for_each(|_| figures.due(0, Some(Waited::No)));
            figures.tick(until_ms * MS, 0.5);
        }
        Window::of(&fixture::plan(), &figures.totals(), stopped_at).expect("it is open")
    }

    #[test]
    fn what_is_sent_after_the_window_is_late() {
        let window = window(&[(800, 9_000), (0, 10_500), (200, 11_000)], None);
        let length = Duration::from_secs(10);
        assert_eq!(window, Window { length, asked: 1_000, sent: 800 });
        assert_eq!(window.per_second(window.sent), Some(80.0));
    }

    #[test]
    fn a_stop_cuts_it_off() {
        let stopped_at = Some(Duration::from_secs(4));
        let length = Duration::from_secs(4);
        assert_eq!(window(&[], stopped_at), Window { length, asked: 400, sent: 0 });
        assert_eq!(window(&[], Some(Duration::ZERO)).per_second(0), None);
    }

    #[test]
    fn repro_no_more_is_sent_than_was_asked() {
        let window = window(&[(420, 4_200)], Some(Duration::from_secs(4)));
        assert_eq!((window.asked, window.sent), (420, 420), "400 are due in 4 s");
        assert_eq!(window.per_second(window.sent), Some(100.0), "which took them 4.2 s");
    }

    #[test]
    fn repro_what_had_not_begun_is_no_part_of_it() {
        let mut plan = fixture::plan();
        plan.scenarios.push(fixture::scenario("later"));
        plan.scenarios[1].start = Duration::from_secs(60);
        let mut figures = Figures::new(&[1, 1]);
        (0..500).for_each(|_| figures.due(0, Some(Waited::No)));
        figures.tick(5_000 * MS, 0.5);
        let window = Window::of(&plan, &figures.totals(), Some(Duration::from_secs(5)));
        let window = window.expect("it is open");
        assert_eq!(window.per_second(window.asked), Some(100.0), "{window:?}");
    }

    #[test]
    fn closed_models_have_none() {
        let mut plan = fixture::plan();
        plan.scenarios[0].executor = fixture::users(10, 5);
        assert_eq!(Window::of(&plan, &Figures::new(&[1]).totals(), None), None);
    }
}
