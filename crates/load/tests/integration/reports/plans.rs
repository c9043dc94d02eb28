//! Plans to report on.

use std::collections::BTreeMap;
use std::time::Duration;

use load::measure::Trend;
use load::plan::{
    Aggregate, Arrivals, Check, Comparison, Connections, Executor, Keeping, LocalAddresses, Metric,
    Plan, Protocol, Scenario, Target, Think, Threshold, Tls, UserStage,
};
use load::request::Requests;

/// A plan of these scenarios without thresholds.
pub(crate) fn plan(scenarios: Vec<Scenario>) -> Plan {
    Plan {
        scenarios,
        thresholds: Vec::new(),
        threads: 2,
        graceful_stop: Duration::from_secs(30),
        seed: 7,
        notes: Vec::new(),
    }
}

/// Usages at a rate from stage to stage, each a number of seconds and the rates at its ends.
pub(crate) fn arrivals(name: &str, stages: &[(u64, f64, f64)]) -> Scenario {
    let stages = stages.iter().map(|(s, from, to)| (Duration::from_secs(*s), *from, *to));
    scenario(name, Executor::Arrivals(Arrivals::new(stages).expect("somebody comes")))
}

/// So many users for so many seconds.
pub(crate) fn users(name: &str, users: u64, seconds: u64) -> Scenario {
    let stage = UserStage { duration: Duration::from_secs(seconds), from: users, to: users };
    let think = Think { min: Duration::from_millis(100), max: Duration::from_millis(300) };
    scenario(name, Executor::Users { stages: vec![stage], think })
}

fn scenario(name: &str, executor: Executor) -> Scenario {
    Scenario {
        name: name.to_owned(),
        tags: BTreeMap::from([("scenario".to_owned(), name.to_owned())]),
        start: Duration::ZERO,
        executor,
        target: Target {
            https: false,
            host: "localhost".to_owned(),
            authority: "localhost:3000".to_owned(),
            addresses: vec!["127.0.0.1:3000".parse().expect("an address")],
        },
        requests: Requests::usages("localhost:3000", "/api/usages"),
        connections: Connections {
            keeping: Keeping::Alive { max: 256 },
            protocol: Protocol::Http1,
            tls: Tls::default(),
            local: LocalAddresses::Kernel,
        },
        checks: vec![Check::Status(201)],
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(5),
        late_max: None,
        rps_max: None,
    }
}

/// A threshold as somebody wrote it, with what that means.
pub(crate) fn threshold(
    text: &str,
    metric: Metric,
    aggregate: Aggregate,
    comparison: Comparison,
    value: f64,
) -> Threshold {
    let mut tags = BTreeMap::new();
    if let Some((_, rest)) = text.split_once('{') {
        let written = rest.split_once('}').expect("a brace that closes").0;
        for tag in written.split(',') {
            let (name, value) = tag.split_once(':').expect("a tag");
            // These two are told apart by the metric.
            if !matches!(name, "from" | "expected_response") {
                tags.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    Threshold {
        text: text.to_owned(),
        metric,
        tags,
        aggregate,
        comparison,
        value,
        abort_after: None,
    }
}

/// One on `http_req_duration`.
pub(crate) fn duration_below(text: &str, percent: f64, ms: f64) -> Threshold {
    let metric = Metric::Trend(Trend::Duration);
    threshold(text, metric, Aggregate::Percentile(percent), Comparison::Below, ms)
}
