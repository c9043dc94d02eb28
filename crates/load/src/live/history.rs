//! A run over time as the plots want it: the timeline's points with their percentiles worked out once.

use crate::limits::TICK;
use crate::measure::{Point, Totals};
use crate::plan::Plan;

use super::asked::asked_between;

/// One stretch of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moment {
    /// The middle of the stretch, in seconds from the run's start.
    pub at_s: f64,
    /// Requests sent, a second.
    pub rate: f64,
    /// Requests that the plan asks for, a second; `None` with a closed model.
    pub asked: Option<f64>,
    /// Requests that failed, a second.
    pub failed: f64,
    /// Half of the requests took no longer, in milliseconds; `None` when none ended.
    pub p50_ms: Option<f64>,
    /// Of a hundred, 99 took no longer.
    pub p99_ms: Option<f64>,
}

/// The moments so far.
#[derive(Debug, Default)]
pub(super) struct History {
    width_ns: u64,
    moments: Vec<Moment>,
}

#[expect(clippy::cast_possible_truncation, reason = "a tick is short")]
const HALF_TICK_NS: u64 = TICK.as_nanos() as u64 / 2;

/// Agents report late by this much at most, so older points no longer change.
const SETTLED_NS: u64 = 2_000_000_000;

impl History {
    /// Takes in what is new; a stretch counts once every worker has told of it. From `end_ns` on
    /// nothing is asked for.
    pub(super) fn update(&mut self, plan: &Plan, totals: &Totals, end_ns: u64) -> &[Moment] {
        let width_ns = width_ns(totals);
        if self.width_ns != width_ns {
            self.moments.clear();
            self.width_ns = width_ns;
        }
        // Who has been silent for so long is not waited for.
        let silent_ns = totals.until_ns.saturating_sub(SETTLED_NS);
        let until_ns = totals.complete_until_ns().max(silent_ns);
        // A tick comes a little early or late, and counts in the point that its middle lies in.
        let whole = usize::try_from((until_ns + HALF_TICK_NS) / width_ns).unwrap_or(usize::MAX);
        let points = totals.timeline.points();
        let points = &points[..points.len().min(whole)];
        let unsettled = usize::try_from(SETTLED_NS / width_ns).unwrap_or(0) + 1;
        self.moments.truncate(self.moments.len().saturating_sub(unsettled).min(points.len()));
        for (index, point) in points.iter().enumerate().skip(self.moments.len()) {
            self.moments.push(moment(plan, index as u64 * width_ns, width_ns, end_ns, point));
        }
        &self.moments
    }
}

#[expect(clippy::cast_precision_loss, reason = "for a plot")]
fn moment(plan: &Plan, from_ns: u64, width_ns: u64, end_ns: u64, point: &Point) -> Moment {
    let width_s = width_ns as f64 / 1e9;
    let asked = asked_between(plan, from_ns, end_ns.min(from_ns + width_ns));
    Moment {
        at_s: (from_ns + width_ns / 2) as f64 / 1e9,
        rate: point.started as f64 / width_s,
        asked: asked.map(|requests| requests / width_s),
        failed: point.failed as f64 / width_s,
        p50_ms: point.percentile_ms(50.0),
        p99_ms: point.percentile_ms(99.0),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a tick, doubled a few times"
)]
fn width_ns(totals: &Totals) -> u64 {
    (totals.timeline.width_seconds() * 1e9).round() as u64
}
