//! Figures that several reports show, computed from the totals.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::format::real;
use super::words::{MetricName, aggregate_name};
use crate::measure::{TotalTimes, Totals, Trend};
use crate::plan::{Aggregate, Plan, Scenario};

/// The figures of a distribution that reports show, in their order (`--summary-trend-stats`).
#[derive(Debug, Clone, PartialEq)]
pub struct Columns(Vec<Aggregate>);

/// A column that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no figure of a distribution: use avg, min, med, max, count or p(N), with N from 0 to 100"
)]
pub struct ColumnsError(String);

impl Default for Columns {
    /// k6's.
    fn default() -> Self {
        use Aggregate::{Average, Max, Median, Min, Percentile};
        Self(vec![Average, Min, Median, Max, Percentile(90.0), Percentile(95.0)])
    }
}

impl FromStr for Columns {
    type Err = ColumnsError;

    fn from_str(text: &str) -> Result<Self, ColumnsError> {
        text.split(',').map(|name| column(name.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn column(name: &str) -> Result<Aggregate, ColumnsError> {
    let percent = || {
        let percent: f64 = name.strip_prefix("p(")?.strip_suffix(')')?.trim().parse().ok()?;
        (0.0..=100.0).contains(&percent).then_some(Aggregate::Percentile(percent))
    };
    Ok(match name {
        "avg" => Aggregate::Average,
        "min" => Aggregate::Min,
        "med" => Aggregate::Median,
        "max" => Aggregate::Max,
        "count" => Aggregate::Count,
        _ => percent().ok_or_else(|| ColumnsError(name.to_owned()))?,
    })
}

impl Columns {
    /// Each column's name and figure; milliseconds but for `count`. Without samples the figures are
    /// 0, as they are in k6.
    pub(super) fn of(&self, times: &TotalTimes) -> Vec<(String, Aggregate, f64)> {
        let figure = |aggregate| match aggregate {
            Aggregate::Percentile(percent) => times.percentile_ms(percent),
            Aggregate::Average => times.mean_ms(),
            Aggregate::Min => times.min_ms(),
            Aggregate::Median => times.percentile_ms(50.0),
            Aggregate::Max => times.max_ms(),
            Aggregate::Count | Aggregate::Rate => Some(real(times.len())),
        };
        let columns = self.0.iter();
        columns.map(|it| (aggregate_name(*it), *it, figure(*it).unwrap_or(0.0))).collect()
    }
}

/// A check over all scenarios that have one of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckTally {
    pub(super) name: String,
    pub(super) passes: u64,
    pub(super) fails: u64,
}

/// The checks in the plan's order.
pub(super) fn checks(plan: &Plan, totals: &Totals) -> Vec<CheckTally> {
    let mut tallies: Vec<CheckTally> = Vec::new();
    for (scenario, measured) in plan.scenarios.iter().zip(&totals.scenarios) {
        for (check, passes) in scenario.checks.iter().zip(&measured.counts.checks_passed) {
            let name = check.to_string();
            let fails = measured.counts.ended.saturating_sub(*passes);
            match tallies.iter_mut().find(|tally| tally.name == name) {
                Some(tally) => {
                    tally.passes += passes;
                    tally.fails += fails;
                }
                None => tallies.push(CheckTally { name, passes: *passes, fails }),
            }
        }
    }
    tallies
}

/// A part of a metric that a threshold looks at, with the scenarios that it is of.
pub(super) struct SubMetric {
    pub(super) name: MetricName,
    chosen: Vec<bool>,
}

impl SubMetric {
    /// Whether a scenario belongs to it.
    pub(super) fn holds(&self, scenario: usize) -> bool {
        self.chosen.get(scenario).copied().unwrap_or(false)
    }
}

/// What of metric `base` thresholds look at by tags, each once, by name.
pub(super) fn sub_metrics(plan: &Plan, base: &str) -> Vec<SubMetric> {
    let mut found = BTreeMap::new();
    for threshold in plan.thresholds.iter().filter(|threshold| !threshold.tags.is_empty()) {
        let name = MetricName::of(threshold);
        if name.base == base {
            let has_all = |tags: &BTreeMap<String, String>| {
                threshold.tags.iter().all(|(tag, value)| tags.get(tag) == Some(value))
            };
            found.insert(name, plan.scenarios.iter().map(|it| has_all(&it.tags)).collect());
        }
    }
    found.into_iter().map(|(name, chosen)| SubMetric { name, chosen }).collect()
}

/// The distribution that `name` is of: `http_req_duration`, or tags of a part of it, some of which are
/// measured apart.
pub(super) fn durations(totals: &Totals, name: &str, of: impl Fn(usize) -> bool) -> TotalTimes {
    match name {
        _ if name.contains("from:sent") => totals.trend(Trend::DurationFromSent, of),
        _ if name.contains("expected_response:false") => totals.trend(Trend::DurationOfFailed, of),
        _ if name.contains("expected_response:true") => totals.expected(of),
        _ => totals.trend(Trend::Duration, of),
    }
}

/// Users at work, or connections open for an open model: last, least and most while requests were
/// to begin, and how many were allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Users {
    pub(super) last: u64,
    pub(super) min: u64,
    pub(super) max: u64,
    pub(super) allowed: u64,
}

/// See [`Users`].
pub(super) fn users(plan: &Plan, totals: &Totals) -> Users {
    let allowed = plan.scenarios.iter().map(Scenario::connections_max);
    let width_s = totals.timeline.width_seconds();
    let planned_s = plan.duration().as_secs_f64();
    let mut seen = Users { allowed: allowed.sum(), min: u64::MAX, ..Users::default() };
    let mut from_s = 0.0;
    for point in totals.timeline.points() {
        if from_s < planned_s {
            seen.last = point.users_max;
            seen.min = seen.min.min(point.users_max);
            seen.max = seen.max.max(point.users_max);
        }
        from_s += width_s;
    }
    seen.min = seen.min.min(seen.max);
    seen
}

/// The share of distribution `times` that took longer than `ms`.
pub(super) fn share_above(times: &TotalTimes, ms: f64) -> f64 {
    let above: u64 = times.buckets_ms().filter(|(at, _)| *at > ms).map(|(_, count)| count).sum();
    super::format::ratio(above, times.len())
}

/// The phases of a request, in their order.
pub(super) const PHASES: [Trend; 6] = [
    Trend::Blocked,
    Trend::Connecting,
    Trend::TlsHandshaking,
    Trend::Sending,
    Trend::Waiting,
    Trend::Receiving,
];

/// How requests ended: a status or a kind of failure each, and how many.
pub(super) fn endings(totals: &Totals) -> Vec<(String, u64, bool)> {
    use crate::measure::{Ended, Failure};
    let counts = totals.counts(|_| true);
    let statuses = counts.statuses().map(|(status, count)| {
        (format!("status {status}"), count, Ended::Answered(status).is_expected())
    });
    let failures = Failure::ALL.into_iter().zip(counts.failures);
    let failures = failures.filter(|(_, count)| *count > 0);
    statuses.chain(failures.map(|(kind, count)| (kind.name().to_owned(), count, false))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read() {
        let k6: Columns = "avg,min,med,max,p(90),p(95)".parse().unwrap();
        assert_eq!(k6, Columns::default());
        let ours: Columns = " p(99.9) , count".parse().unwrap();
        assert_eq!(ours, Columns(vec![Aggregate::Percentile(99.9), Aggregate::Count]));
        for wrong in ["", "p(101)", "p(x)", "p95", "avg,,min", "rate"] {
            wrong.parse::<Columns>().expect_err(wrong);
        }
    }
}
