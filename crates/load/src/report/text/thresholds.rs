//! The block `THRESHOLDS`: each metric's conditions with what was found, parts under their metric.

use std::collections::BTreeMap;

use super::paint::Paint;
use crate::outcome::{Outcome, ThresholdResult};
use crate::plan::{Aggregate, Metric, Plan, Threshold};
use crate::report::format::{k6_number, k6_share, k6_time, printable};
use crate::report::words::{MetricName, aggregate_name, condition};

pub(super) fn lines(plan: &Plan, outcome: &Outcome, paint: Paint) -> Vec<String> {
    let mut by_name: BTreeMap<MetricName, Vec<(&Threshold, &ThresholdResult)>> = BTreeMap::new();
    for (threshold, result) in plan.thresholds.iter().zip(&outcome.thresholds) {
        by_name.entry(MetricName::of(threshold)).or_default().push((threshold, result));
    }
    let mut lines = Vec::new();
    for (name, conditions) in &by_name {
        let whole = MetricName { base: name.base.clone(), tags: Vec::new() };
        // A part stands under its metric where that has conditions of its own.
        let (heading, indent) = if !name.tags.is_empty() && by_name.contains_key(&whole) {
            (name.suffix(), "      ")
        } else {
            (name.whole(), "    ")
        };
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(format!("{indent}{}", printable(&heading)));
        for (threshold, result) in conditions {
            let mark = paint.mark(result.passed);
            let condition = printable(condition(threshold));
            lines.push(format!("{indent}{mark} '{condition}' {}", found(threshold, result)));
        }
    }
    lines
}

/// `p(95)=45.76ms`.
fn found(threshold: &Threshold, result: &ThresholdResult) -> String {
    let Some(found) = result.found else { return "no samples".to_owned() };
    let value = match (threshold.metric, threshold.aggregate) {
        (_, Aggregate::Count) => k6_number(found),
        (Metric::Trend(_) | Metric::DurationOfExpected, _) => k6_time(found),
        (Metric::Checks | Metric::CheckFailureRate | Metric::HttpReqFailed, _) => k6_share(found),
        (Metric::HttpReqs | Metric::Iterations | Metric::DroppedIterations, Aggregate::Rate) => {
            format!("{}/s", k6_number(found))
        }
        _ => k6_number(found),
    };
    format!("{}={value}", aggregate_name(threshold.aggregate))
}
