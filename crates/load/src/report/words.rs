//! A plan's parts in words: names of checks and metrics, who comes when, what carries requests.

use std::fmt::Write as _;

use super::format::{count, number, seconds};
use crate::plan::{
    Aggregate, Connections, Executor, Keeping, Metric, Protocol, Scenario, Target, Think, Threshold,
};
use crate::request::Parts;

/// A metric as k6 names it: a base, and the tags that choose a part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MetricName {
    /// `http_req_duration`.
    pub(super) base: String,
    /// `from:sent`, `scenario:day`; in order.
    pub(super) tags: Vec<String>,
}

impl MetricName {
    /// What a threshold looks at.
    pub(super) fn of(threshold: &Threshold) -> Self {
        let mut name = Self::of_metric(threshold.metric);
        name.tags.extend(threshold.tags.iter().map(|(tag, value)| format!("{tag}:{value}")));
        name
    }

    fn of_metric(metric: Metric) -> Self {
        let whole = match metric {
            Metric::Trend(trend) => trend.name(),
            Metric::DurationOfExpected => "http_req_duration{expected_response:true}",
            Metric::Checks => "checks",
            Metric::CheckFailureRate => "check_failure_rate",
            Metric::HttpReqFailed => "http_req_failed",
            Metric::HttpReqs => "http_reqs",
            Metric::Iterations => "iterations",
            Metric::DroppedIterations => "dropped_iterations",
        };
        match whole.split_once('{') {
            Some((base, tag)) => {
                Self { base: base.to_owned(), tags: vec![tag.trim_end_matches('}').to_owned()] }
            }
            None => Self { base: whole.to_owned(), tags: Vec::new() },
        }
    }

    /// `http_req_duration{scenario:day}`.
    pub(super) fn whole(&self) -> String {
        if self.tags.is_empty() {
            self.base.clone()
        } else {
            format!("{}{}", self.base, self.suffix())
        }
    }

    /// `{scenario:day}`, as thresholds are headed.
    pub(super) fn suffix(&self) -> String {
        format!("{{{}}}", self.tags.join(","))
    }
}

/// The condition of a threshold as it was written, without the metric before it.
pub(super) fn condition(threshold: &Threshold) -> &str {
    let text = threshold.text.as_str();
    // The colons of tags stand between braces.
    let after_tags = text.find('}').map_or(0, |at| at + 1);
    text[after_tags..].split_once(':').map_or(text, |(_, condition)| condition.trim())
}

/// An aggregate's name: `p(99.9)`, `avg`.
pub(super) fn aggregate_name(aggregate: Aggregate) -> String {
    match aggregate {
        Aggregate::Percentile(percent) => format!("p({percent})"),
        Aggregate::Average => "avg".to_owned(),
        Aggregate::Min => "min".to_owned(),
        Aggregate::Median => "med".to_owned(),
        Aggregate::Max => "max".to_owned(),
        Aggregate::Count => "count".to_owned(),
        Aggregate::Rate => "rate".to_owned(),
    }
}

/// Who comes when.
pub(super) fn executor(scenario: &Scenario) -> String {
    let cap = scenario.rps_max.map(|rps_max| format!(", at most {}/s", number(rps_max)));
    let executor = &scenario.executor;
    let who = match executor {
        Executor::Arrivals(arrivals) => {
            let span = seconds(arrivals.duration().as_secs_f64());
            let mean = super::format::real(arrivals.count()) / arrivals.duration().as_secs_f64();
            let total = count(arrivals.count());
            if mean >= arrivals.rate_max() * 0.999 {
                format!("arrivals at {}/s for {span}: {total} requests", number(mean))
            } else {
                let most = number(arrivals.rate_max());
                format!("arrivals at up to {most}/s for {span}: {total} requests")
            }
        }
        Executor::Users { stages, think } => {
            let most = stages.iter().map(|stage| stage.from.max(stage.to)).max().unwrap_or(0);
            let steady = stages.iter().all(|stage| stage.from == most && stage.to == most);
            let span = seconds(executor.duration().as_secs_f64());
            let up_to = if steady { "" } else { "up to " };
            format!("{up_to}{} users for {span}{}", count(most), thinking(*think))
        }
        Executor::SharedIterations { users, iterations, think, .. } => {
            format!(
                "{} requests shared by {} users{}",
                count(*iterations),
                count(*users),
                thinking(*think)
            )
        }
        Executor::PerUserIterations { users, iterations, think, .. } => {
            format!(
                "{} users with {} requests each{}",
                count(*users),
                count(*iterations),
                thinking(*think)
            )
        }
    };
    who + &cap.unwrap_or_default()
}

fn thinking(think: Think) -> String {
    let (min, max) = (think.min.as_secs_f64(), think.max.as_secs_f64());
    if max == 0.0 {
        String::new()
    } else if think.min == think.max {
        format!(", thinking for {}", seconds(max))
    } else {
        format!(", thinking for {} to {}", seconds(min), seconds(max))
    }
}

/// What carries a scenario's requests.
pub(super) fn connections(connections: &Connections, executor: &Executor) -> String {
    let mut words = match connections.protocol {
        Protocol::Http1 => "HTTP/1.1".to_owned(),
        Protocol::Http2 { streams_max } => {
            format!("HTTP/2 with up to {} streams", count(to_u64(streams_max)))
        }
    };
    match (connections.keeping, executor) {
        (Keeping::Alive { max }, Executor::Arrivals(_)) => {
            write!(words, ", up to {} connections kept alive", count(to_u64(max)))
        }
        (Keeping::Alive { .. }, _) => write!(words, ", a connection kept alive for each user"),
        (Keeping::PerRequest { max, server_closes }, _) => {
            let who = if server_closes { "server" } else { "generator" };
            write!(
                words,
                ", a new connection for each request, up to {} at once, closed by the {who}",
                count(to_u64(max))
            )
        }
    }
    .expect("a string takes all that is written to it");
    words
}

/// Where a scenario's requests go: `http://localhost:3000/api/usages`, or as far as that is the same
/// for each.
pub(super) fn target(scenario: &Scenario) -> String {
    let Target { https, authority, .. } = &scenario.target;
    let path = |number| {
        let mut parts = Parts::default();
        scenario.requests.fill_parts(number, 0, &mut parts);
        parts.path
    };
    let (first, second) = (path(0), path(1));
    let path = if first == second { first } else { common(&first, &second) };
    format!("{}://{authority}{path}", if *https { "https" } else { "http" })
}

/// What two paths have in common, up to where a part of them ends.
fn common(one: &str, other: &str) -> String {
    let same = one.chars().zip(other.chars()).take_while(|(one, other)| one == other);
    let same: String = same.map(|(c, _)| c).collect();
    let part = same.rfind(['/', '?', '&', '=']).map_or(0, |at| at + 1);
    format!("{}…", &same[..part])
}

/// A scenario's tags but for its name.
pub(super) fn tags(scenario: &Scenario) -> String {
    let others = scenario.tags.iter().filter(|(tag, _)| *tag != "scenario");
    others.map(|(tag, value)| format!("{tag}:{value}")).collect::<Vec<_>>().join(", ")
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
