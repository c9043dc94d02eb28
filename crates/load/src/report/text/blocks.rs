//! k6's blocks: checks, `HTTP`, `EXECUTION`, `NETWORK`.

use super::paint::Paint;
use super::rows::{Group, Row, padded, width};
use crate::measure::{Totals, Trend};
use crate::outcome::Outcome;
use crate::plan::{Metric, Plan};
use crate::report::format::{k6_bytes, k6_number, k6_share, printable, ratio, real};
use crate::report::views::{self, Columns, SubMetric};

/// The totals of checks, then each; nothing without checks.
pub(super) fn checks(plan: &Plan, totals: &Totals, outcome: &Outcome, paint: Paint) -> Vec<String> {
    let tallies = views::checks(plan, totals);
    if tallies.is_empty() {
        return Vec::new();
    }
    let (made, passed) = totals.checks(|_| true);
    let failed = made - passed;
    let of = |part: u64| format!("{part} out of {made}");
    let values = [
        ("checks_total", made.to_string(), format!("{}/s", per_second(made, outcome))),
        ("checks_succeeded", k6_share(ratio(passed, made)), of(passed)),
        ("checks_failed", k6_share(ratio(failed, made)), of(failed)),
    ];
    let value_width = values.iter().map(|(_, value, _)| width(value)).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (name, value, extra) in values {
        let dots = paint.faint(&".".repeat("checks_succeeded".len() + 3 - name.len()));
        let value = paint.value(&padded(&value, value_width));
        lines.push(format!("    {name}{dots}: {value} {extra}"));
    }
    lines.push(String::new());
    for check in tallies {
        let name = printable(&check.name);
        lines.push(format!("    {} {name}", paint.mark(check.fails == 0)));
        if check.fails > 0 {
            let percent = check.passes * 100 / (check.passes + check.fails);
            let line = format!("↳  {percent}% — ✓ {} / ✗ {}", check.passes, check.fails);
            lines.push(format!("      {}", paint.bad(&line)));
        }
    }
    lines.push(String::new());
    lines
}

/// The rest.
pub(super) fn k6(plan: &Plan, totals: &Totals, outcome: &Outcome, columns: &Columns) -> Vec<Group> {
    vec![
        Group { heading: "CUSTOM", of_k6: true, rows: custom(plan, totals) },
        Group { heading: "HTTP", of_k6: true, rows: http(plan, totals, outcome, columns) },
        Group {
            heading: "EXECUTION",
            of_k6: true,
            rows: execution(plan, totals, outcome, columns),
        },
        Group { heading: "NETWORK", of_k6: true, rows: network(totals, outcome) },
    ]
}

/// k6 knows `check_failure_rate` from the scripts that make it; here it is there when looked at.
fn custom(plan: &Plan, totals: &Totals) -> Vec<Row> {
    if !plan.thresholds.iter().any(|threshold| threshold.metric == Metric::CheckFailureRate) {
        return Vec::new();
    }
    with_parts(plan, "check_failure_rate", |name, of| {
        let (made, passed) = totals.checks(of);
        Row::values(name, share_of(made - passed, made))
    })
}

fn http(plan: &Plan, totals: &Totals, outcome: &Outcome, columns: &Columns) -> Vec<Row> {
    let all = |_: usize| true;
    let duration = |name: &str, of: &dyn Fn(usize) -> bool| {
        Row::trend(name, &views::durations(totals, name, of), columns)
    };
    let mut rows = with_parts(plan, "http_req_duration", duration);
    let mut parts = vec!["expected_response:true", "from:sent"];
    if !totals.trend(Trend::DurationOfFailed, all).is_empty() {
        parts.insert(1, "expected_response:false");
    }
    rows.splice(1..1, parts.into_iter().map(|name| duration(name, &all).into_part()));
    rows.extend(with_parts(plan, "http_req_failed", |name, of| {
        let counts = totals.counts(of);
        Row::values(name, share_of(counts.failed, counts.ended))
    }));
    rows.extend(with_parts(plan, "http_reqs", |name, of| {
        counter(name, totals.counts(of).ended, outcome)
    }));
    rows
}

fn execution(plan: &Plan, totals: &Totals, outcome: &Outcome, columns: &Columns) -> Vec<Row> {
    let mut rows = Vec::new();
    let watched = plan.thresholds.iter().any(|it| it.metric == Metric::DroppedIterations);
    // As in k6, there is a line once something was dropped; or somebody asked.
    if watched || totals.counts(|_| true).dropped > 0 {
        rows.extend(with_parts(plan, "dropped_iterations", |name, of| {
            counter(name, totals.counts(of).dropped, outcome)
        }));
    }
    if !totals.trend(Trend::Iteration, |_| true).is_empty() {
        rows.extend(with_parts(plan, "iteration_duration", |name, of| {
            Row::trend(name, &totals.trend(Trend::Iteration, of), columns)
        }));
    }
    rows.extend(with_parts(plan, "iterations", |name, of| {
        counter(name, totals.counts(of).ended, outcome)
    }));
    let users = views::users(plan, totals);
    let range = |min: u64, max: u64| [format!("min={min}"), format!("max={max}")];
    let [min, max] = range(users.min, users.max);
    rows.push(Row::values("vus", [users.last.to_string(), min, max]));
    let [min, max] = range(users.allowed, users.allowed);
    rows.push(Row::values("vus_max", [users.allowed.to_string(), min, max]));
    rows
}

fn network(totals: &Totals, outcome: &Outcome) -> Vec<Row> {
    let counts = totals.counts(|_| true);
    let row = |name, bytes: u64| {
        let rate = real(bytes) / outcome.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        Row::values(name, [k6_bytes(real(bytes)), format!("{}/s", k6_bytes(rate))])
    };
    vec![row("data_received", counts.bytes_received), row("data_sent", counts.bytes_sent)]
}

/// A metric's line, and one below it for each part that a threshold looks at.
pub(super) fn with_parts(
    plan: &Plan,
    base: &str,
    row: impl Fn(&str, &dyn Fn(usize) -> bool) -> Row,
) -> Vec<Row> {
    let mut rows = vec![row(base, &|_| true)];
    for part in views::sub_metrics(plan, base) {
        let of = |scenario| SubMetric::holds(&part, scenario);
        rows.push(row(&part.name.tags.join(","), &of).into_part());
    }
    rows
}

pub(super) fn counter(name: &str, count: u64, outcome: &Outcome) -> Row {
    Row::values(name, [count.to_string(), format!("{}/s", per_second(count, outcome))])
}

pub(super) fn share_of(part: u64, whole: u64) -> [String; 2] {
    [k6_share(ratio(part, whole)), format!("{part} out of {whole}")]
}

fn per_second(count: u64, outcome: &Outcome) -> String {
    let seconds = outcome.elapsed.as_secs_f64();
    k6_number(if seconds > 0.0 { real(count) / seconds } else { 0.0 })
}
