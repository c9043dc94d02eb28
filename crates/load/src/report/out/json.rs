//! Points as lines of JSON, in the form of k6's.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::points::{METRICS, Point};
use crate::plan::Plan;
use crate::report::format::instant;
use crate::report::words::{MetricName, condition};

/// A line for each metric: what it is, and which thresholds look at it.
pub(super) fn head(plan: &Plan, out: &mut String) {
    for (name, kind, contains) in METRICS {
        let thresholds = plan.thresholds.iter().filter(|it| MetricName::of(it).whole() == name);
        let line = json!({
            "type": "Metric",
            "data": {
                "name": name,
                "type": kind,
                "contains": contains,
                "thresholds": thresholds.map(condition).collect::<Vec<_>>(),
                "submetrics": null,
            },
            "metric": name,
        });
        add_line(&line, out);
    }
}

/// A line for a point; `count` and percentiles stand beside the value, where k6 has nothing.
pub(super) fn point(point: &Point, wall_ns: u64, out: &mut String) {
    let tags: Map<String, Value> =
        point.tags.iter().map(|(tag, value)| (tag.clone(), json!(value))).collect();
    let mut data = json!({ "time": instant(wall_ns), "value": point.value, "tags": tags });
    if let Some(spread) = &point.spread {
        data["count"] = json!(spread.count);
        data["min"] = json!(spread.min);
        data["med"] = json!(spread.med);
        data["p(90)"] = json!(spread.p90);
        data["p(95)"] = json!(spread.p95);
        data["p(99)"] = json!(spread.p99);
        data["max"] = json!(spread.max);
    }
    add_line(&json!({ "metric": point.metric, "type": "Point", "data": data }), out);
}

fn add_line(line: &Value, out: &mut String) {
    writeln!(out, "{line}").expect("a string takes all that is written to it");
}
