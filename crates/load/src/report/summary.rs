//! The figures of a run in JSON (`--summary-export`, `--json`): k6's `metrics` and `root_group`, and
//! under `inhale` what k6 has no place for. As in k6, a threshold is `true` when it is crossed.

use serde_json::{Map, Value, json};

use super::format::{ratio, real};
use super::verdict::Verdict;
use super::views::{self, Columns, SubMetric};
use super::words::{MetricName, condition};
use crate::measure::{Counts, Failure, TotalTimes, Totals, Trend};
use crate::outcome::Outcome;
use crate::plan::Plan;

/// Percentiles of every trend, whatever columns were chosen.
const PERCENTILES: [f64; 7] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99];

/// Everything, as one JSON object. Times are in milliseconds.
pub fn summary(plan: &Plan, totals: &Totals, outcome: &Outcome, columns: &Columns) -> Value {
    json!({
        "metrics": metrics(plan, totals, outcome, columns),
        "root_group": root_group(plan, totals),
        "inhale": ours(plan, totals, outcome),
    })
}

/// Says of which scenarios, by their numbers, a figure is to be.
type Chosen<'a> = &'a dyn Fn(usize) -> bool;

fn metrics(
    plan: &Plan,
    totals: &Totals,
    outcome: &Outcome,
    columns: &Columns,
) -> Map<String, Value> {
    let all = |_: usize| true;
    let seconds = outcome.elapsed.as_secs_f64();
    let counter = |count: u64| {
        let rate = if seconds > 0.0 { real(count) / seconds } else { 0.0 };
        json!({ "count": count, "rate": rate })
    };
    let share = |passes: u64, of: u64| json!({ "passes": passes, "fails": of - passes, "value": ratio(passes, of) });
    let mut metrics = Map::new();
    let mut with_parts = |base: &str, value: &dyn Fn(Chosen) -> Value| {
        metrics.insert(base.to_owned(), value(&all));
        for part in views::sub_metrics(plan, base) {
            let of = |scenario| SubMetric::holds(&part, scenario);
            metrics.insert(part.name.whole(), value(&of));
        }
    };
    for trend in Trend::ALL {
        with_parts(trend.name(), &|of| figures(&totals.trend(trend, of), columns));
    }
    with_parts("http_reqs", &|of| counter(totals.counts(of).ended));
    with_parts("iterations", &|of| counter(totals.counts(of).ended));
    with_parts("dropped_iterations", &|of| counter(totals.counts(of).dropped));
    with_parts("http_req_failed", &|of| {
        let counts = totals.counts(of);
        share(counts.failed, counts.ended)
    });
    with_parts("checks", &|of| {
        let (made, passed) = totals.checks(of);
        share(passed, made)
    });
    with_parts("check_failure_rate", &|of| {
        let (made, passed) = totals.checks(of);
        share(made - passed, made)
    });
    let counts = totals.counts(all);
    with_parts("data_received", &|_| counter(counts.bytes_received));
    with_parts("data_sent", &|_| counter(counts.bytes_sent));
    let expected = figures(&totals.expected(all), columns);
    metrics.insert("http_req_duration{expected_response:true}".to_owned(), expected);
    for part in views::sub_metrics(plan, "http_req_duration") {
        let name = part.name.whole();
        let times = views::durations(totals, &name, |scenario| part.holds(scenario));
        metrics.insert(name, figures(&times, columns));
    }
    let users = views::users(plan, totals);
    metrics.insert("vus".to_owned(), gauge(users.last, users.min, users.max));
    metrics.insert("vus_max".to_owned(), gauge(users.allowed, users.allowed, users.allowed));
    add_thresholds(&mut metrics, plan, outcome);
    metrics
}

fn gauge(value: u64, min: u64, max: u64) -> Value {
    json!({ "value": value, "min": min, "max": max })
}

fn figures(times: &TotalTimes, columns: &Columns) -> Value {
    columns.of(times).into_iter().map(|(name, _, figure)| (name, figure)).collect()
}

fn add_thresholds(metrics: &mut Map<String, Value>, plan: &Plan, outcome: &Outcome) {
    for (threshold, result) in plan.thresholds.iter().zip(&outcome.thresholds) {
        let metric = metrics.entry(MetricName::of(threshold).whole()).or_insert_with(|| json!({}));
        metric["thresholds"][condition(threshold)] = json!(!result.passed);
    }
}

fn root_group(plan: &Plan, totals: &Totals) -> Value {
    let checks: Map<String, Value> = views::checks(plan, totals)
        .into_iter()
        .map(|check| {
            let value = json!({
                "name": check.name,
                "path": format!("::{}", check.name),
                "passes": check.passes,
                "fails": check.fails,
            });
            (check.name, value)
        })
        .collect();
    json!({ "name": "", "path": "", "groups": {}, "checks": checks })
}

fn ours(plan: &Plan, totals: &Totals, outcome: &Outcome) -> Value {
    let scenarios: Vec<Value> = plan
        .scenarios
        .iter()
        .enumerate()
        .map(|(number, scenario)| {
            json!({
                "name": scenario.name,
                "tags": scenario.tags,
                "requests": requests(&totals.counts(|it| it == number)),
                "percentiles": percentiles(&totals.trend(Trend::Duration, |it| it == number)),
            })
        })
        .collect();
    let trends: Map<String, Value> = Trend::ALL
        .into_iter()
        .map(|trend| (trend.name().to_owned(), percentiles(&totals.trend(trend, |_| true))))
        .collect();
    let verdict = Verdict::of(outcome);
    json!({
        "verdict": verdict.kind,
        "reasons": verdict.reasons,
        "exit_code": verdict.exit_code,
        "ending": outcome.ending,
        "missing": outcome.missing,
        "started": started(outcome),
        "elapsed_seconds": outcome.elapsed.as_secs_f64(),
        "thresholds": thresholds(plan, outcome),
        "requests": requests(&totals.counts(|_| true)),
        "percentiles": trends,
        "scenarios": scenarios,
        "health": outcome.health,
        "reconciliation": outcome.reconciliation,
        "notes": plan.notes,
        "machines": outcome.machines,
        "command": outcome.command,
    })
}

fn thresholds(plan: &Plan, outcome: &Outcome) -> Vec<Value> {
    let both = plan.thresholds.iter().zip(&outcome.thresholds);
    both.map(|(threshold, result)| {
        json!({
            "text": result.text,
            "metric": MetricName::of(threshold).whole(),
            "condition": condition(threshold),
            "found": result.found,
            "passed": result.passed,
        })
    })
    .collect()
}

/// Counts of requests; statuses and failures that did not occur are left out.
fn requests(counts: &Counts) -> Value {
    let statuses: Map<String, Value> =
        counts.statuses().map(|(status, count)| (status.to_string(), json!(count))).collect();
    let failures: Map<String, Value> = Failure::ALL
        .into_iter()
        .zip(counts.failures)
        .filter(|(_, count)| *count > 0)
        .map(|(failure, count)| (failure.name().to_owned(), json!(count)))
        .collect();
    json!({
        "due": counts.due,
        "started": counts.started,
        "waited": counts.waited,
        "dropped": counts.dropped,
        "ended": counts.ended,
        "answered": counts.answered,
        "failed": counts.failed,
        "connections": counts.connections,
        "left_open": counts.left_open,
        "statuses": statuses,
        "failures": failures,
    })
}

/// `null` for each figure of nothing.
fn percentiles(times: &TotalTimes) -> Value {
    let mut figures: Map<String, Value> = PERCENTILES
        .into_iter()
        .map(|percent| (format!("p({percent})"), json!(times.percentile_ms(percent))))
        .collect();
    figures.insert("min".to_owned(), json!(times.min_ms()));
    figures.insert("avg".to_owned(), json!(times.mean_ms()));
    figures.insert("max".to_owned(), json!(times.max_ms()));
    figures.insert("count".to_owned(), json!(times.len()));
    Value::Object(figures)
}

/// When the run started, in UTC as RFC 3339 writes it.
pub(super) fn started(outcome: &Outcome) -> String {
    super::format::instant(outcome.started_wall_ns)
}
