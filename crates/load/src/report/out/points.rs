//! What each metric of each scenario did since the last time that somebody asked.

use crate::measure::{Counts, TotalTimes, Totals, Trend};
use crate::plan::{Plan, Scenario};
use crate::report::format::{ratio, real};

/// How far the totals had come; empty before the first time.
#[derive(Debug, Default)]
pub(super) struct Points {
    last: Vec<Last>,
}

/// One scenario's totals as they were.
#[derive(Debug)]
struct Last {
    counts: Counts,
    trends: Vec<TotalTimes>,
}

/// A metric's value over a stretch of time.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) metric: &'static str,
    pub(super) value: f64,
    /// How many values it stands for, and how they are spread, if they are times.
    pub(super) spread: Option<Spread>,
    /// `scenario` and its other tags, and `check` where it is of one.
    pub(super) tags: Vec<(String, String)>,
}

/// How times are spread, in milliseconds.
#[derive(Debug)]
pub(super) struct Spread {
    pub(super) count: u64,
    pub(super) min: f64,
    pub(super) med: f64,
    pub(super) p90: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// Every metric that points are of, with k6's type and unit.
pub(super) const METRICS: [(&str, &str, &str); 18] = [
    ("http_reqs", "counter", "default"),
    ("iterations", "counter", "default"),
    ("dropped_iterations", "counter", "default"),
    ("data_received", "counter", "data"),
    ("data_sent", "counter", "data"),
    ("http_req_failed", "rate", "default"),
    ("checks", "rate", "default"),
    ("http_req_duration", "trend", "time"),
    ("http_req_duration{from:sent}", "trend", "time"),
    ("http_req_duration{expected_response:false}", "trend", "time"),
    ("http_req_blocked", "trend", "time"),
    ("http_req_connecting", "trend", "time"),
    ("http_req_tls_handshaking", "trend", "time"),
    ("http_req_sending", "trend", "time"),
    ("http_req_waiting", "trend", "time"),
    ("http_req_receiving", "trend", "time"),
    ("iteration_duration", "trend", "time"),
    ("schedule_lag", "trend", "time"),
];

impl Points {
    /// Whether somebody has asked before.
    pub(super) fn begun(&self) -> bool {
        !self.last.is_empty()
    }

    /// What came since; metrics that stood still have no point.
    pub(super) fn since_last(&mut self, plan: &Plan, totals: &Totals) -> Vec<Point> {
        if self.last.is_empty() {
            let nothing = |scenario: &Scenario| Last {
                counts: Counts::new(scenario.checks.len()),
                trends: vec![TotalTimes::default(); Trend::COUNT],
            };
            self.last = plan.scenarios.iter().map(nothing).collect();
        }
        let mut points = Vec::new();
        for ((scenario, measured), last) in
            plan.scenarios.iter().zip(&totals.scenarios).zip(&mut self.last)
        {
            counts(scenario, &measured.counts, &last.counts, &mut points);
            last.counts.clone_from(&measured.counts);
            for trend in Trend::ALL {
                let (now, last) = (measured.trend(trend), &mut last.trends[trend as usize]);
                if now.len() > last.len() {
                    let spread = Spread::of(&now.without(last));
                    points.extend(spread.map(|(mean, spread)| Point {
                        metric: trend.name(),
                        value: mean,
                        spread: Some(spread),
                        tags: tags(scenario, None),
                    }));
                    last.clone_from(now);
                }
            }
        }
        points
    }
}

impl Spread {
    /// With the mean beside it; `None` of nothing.
    fn of(times: &TotalTimes) -> Option<(f64, Self)> {
        let spread = Self {
            count: times.len(),
            min: times.min_ms()?,
            med: times.percentile_ms(50.0)?,
            p90: times.percentile_ms(90.0)?,
            p95: times.percentile_ms(95.0)?,
            p99: times.percentile_ms(99.0)?,
            max: times.max_ms()?,
        };
        Some((times.mean_ms()?, spread))
    }
}

fn counts(scenario: &Scenario, now: &Counts, last: &Counts, points: &mut Vec<Point>) {
    let mut point = |metric, value, check: Option<String>| {
        points.push(Point { metric, value, spread: None, tags: tags(scenario, check) });
    };
    let ended = now.ended - last.ended;
    let grown = [
        ("http_reqs", ended),
        ("iterations", ended),
        ("dropped_iterations", now.dropped - last.dropped),
        ("data_received", now.bytes_received - last.bytes_received),
        ("data_sent", now.bytes_sent - last.bytes_sent),
    ];
    for (metric, by) in grown.into_iter().filter(|(_, by)| *by > 0) {
        point(metric, real(by), None);
    }
    if ended > 0 {
        point("http_req_failed", ratio(now.failed - last.failed, ended), None);
        let passed = now.checks_passed.iter().zip(&last.checks_passed);
        for (check, (now, last)) in scenario.checks.iter().zip(passed) {
            point("checks", ratio(now - last, ended), Some(check.to_string()));
        }
    }
}

fn tags(scenario: &Scenario, check: Option<String>) -> Vec<(String, String)> {
    let own = scenario.tags.iter().map(|(tag, value)| (tag.clone(), value.clone()));
    let check = check.map(|name| ("check".to_owned(), name));
    check.into_iter().chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trend_is_among_the_metrics() {
        for trend in Trend::ALL {
            assert!(
                METRICS.iter().any(|(name, kind, _)| (*name, *kind) == (trend.name(), "trend"))
            );
        }
    }
}
