//! The summary in JSON: in k6's shape, and with the figures that k6 has no place for.

use load::report::Columns;
use load::report::summary::summary;
use serde_json::{Value, json};

use super::runs;

fn of(name: &str) -> Value {
    let run = runs::named(name);
    summary(&run.plan, &run.totals, &run.outcome, &Columns::default())
}

#[test]
fn metrics_are_where_k6_has_them() {
    let summary = of("failed");
    let metrics = &summary["metrics"];
    let keys = |value: &Value| {
        let mut keys: Vec<String> = value.as_object().expect("an object").keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&metrics["http_req_waiting"]), ["avg", "max", "med", "min", "p(90)", "p(95)"]);
    assert_eq!(metrics["http_reqs"]["count"], 49_585);
    assert_eq!(metrics["dropped_iterations"]["count"], 415);
    assert_eq!(metrics["vus_max"], json!({ "value": 512, "min": 512, "max": 512 }));
    // As in k6: of what failed, `passes` are those that did.
    let failed = &metrics["http_req_failed"];
    assert_eq!((&failed["passes"], &failed["fails"]), (&json!(3_592), &json!(45_993)));
    let share = metrics["checks"]["value"].as_f64().expect("a share");
    assert!((share - 45_993.0 / 49_585.0).abs() < 1e-12, "{share}");
    for name in [
        "http_req_duration{expected_response:true}",
        "http_req_duration{from:sent}",
        "http_req_duration{scenario:steady}",
    ] {
        assert!(metrics[name]["p(95)"].is_number(), "{name}");
    }
    assert_eq!(
        summary["root_group"]["checks"]["status is 201"],
        json!({ "name": "status is 201", "path": "::status is 201", "passes": 45_993, "fails": 3_592 })
    );
}

#[test]
fn a_threshold_is_true_when_it_is_crossed() {
    let metrics = &of("failed")["metrics"];
    assert_eq!(metrics["http_req_duration"]["thresholds"], json!({ "p(95)<5ms": true }));
    let part = &metrics["http_req_failed{kind:background}"];
    assert_eq!(part["thresholds"], json!({ "rate<0.2": false }));
    assert_eq!(part["passes"], 937);
}

#[test]
fn what_k6_has_no_place_for_is_ours() {
    let failed = &of("failed")["inhale"];
    assert_eq!((&failed["verdict"], &failed["exit_code"]), (&json!("failed"), &json!(99)));
    assert_eq!(failed["requests"]["statuses"], json!({ "201": 45_993, "503": 2_636 }));
    assert_eq!(
        failed["requests"]["failures"],
        json!({ "connection reset": 724, "timed out": 232 })
    );
    assert_eq!(failed["thresholds"][5]["found"], Value::Null);
    assert_eq!(failed["scenarios"][0]["tags"]["kind"], "background");
    let passed = &of("passed")["inhale"];
    assert_eq!(passed["started"], "2026-01-01T12:00:00Z");
    assert_eq!(passed["reconciliation"]["agrees"], true);
    let p999 = passed["percentiles"]["http_req_duration"]["p(99.9)"].as_f64().expect("a time");
    assert!((p999 - 191.49).abs() < 0.1, "{p999}");
    assert_eq!(of("invalid")["inhale"]["exit_code"], 120);
    assert_eq!(of("partial")["inhale"]["verdict"], "partial");
    assert_eq!(of("empty")["inhale"]["percentiles"]["http_req_duration"]["p(99)"], Value::Null);
}
