//! What must hold for a run to pass, in k6's words: `http_req_duration{scenario:day}: p(95)<5ms`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::nearest::hint;
use super::quantity;
use crate::measure::Trend;

/// One condition on a run's figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// As it was written.
    pub text: String,
    /// What is looked at.
    pub metric: Metric,
    /// Of which scenarios: those that have all these tags.
    pub tags: BTreeMap<String, String>,
    /// Which figure of it.
    pub aggregate: Aggregate,
    /// How it must compare to `value`.
    pub comparison: Comparison,
    /// Milliseconds for times, a share for rates, else a number.
    pub value: f64,
    /// End the run as soon as it does not hold, but not before this time.
    pub abort_after: Option<Duration>,
}

/// What a threshold may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// A distribution of times.
    Trend(Trend),
    /// `http_req_duration{expected_response:true}`: [`Trend::Duration`] but for those of
    /// [`Trend::DurationOfFailed`].
    DurationOfExpected,
    /// `checks`: the share of checks that passed.
    Checks,
    /// `check_failure_rate`: the share of checks that did not.
    CheckFailureRate,
    /// `http_req_failed`: the share of requests without an answer of 200 to 399.
    HttpReqFailed,
    /// `http_reqs`: how many requests ended.
    HttpReqs,
    /// `iterations`: the same.
    Iterations,
    /// `dropped_iterations`.
    DroppedIterations,
}

/// A figure of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aggregate {
    /// `p(95)`.
    Percentile(f64),
    /// `avg`.
    Average,
    /// `min`.
    Min,
    /// `med`.
    Median,
    /// `max`.
    Max,
    /// `count`.
    Count,
    /// `rate`: a share for shares, a number a second for counters.
    Rate,
}

/// How two numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `==`
    Equal,
    /// `!=`
    Unequal,
}

/// What every metric is, for what it can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Times,
    Share,
    Counter,
}

/// The metrics that are not measured as distributions of times.
const OTHERS: [(&str, Metric); 7] = [
    ("http_req_duration{expected_response:true}", Metric::DurationOfExpected),
    ("checks", Metric::Checks),
    ("check_failure_rate", Metric::CheckFailureRate),
    ("http_req_failed", Metric::HttpReqFailed),
    ("http_reqs", Metric::HttpReqs),
    ("iterations", Metric::Iterations),
    ("dropped_iterations", Metric::DroppedIterations),
];

/// Longer ones first, so that `<` is not found in `<=`.
const COMPARISONS: [(&str, Comparison); 8] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("===", Comparison::Equal),
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<", Comparison::Below),
    (">", Comparison::Above),
    ("=", Comparison::Equal),
];

impl Threshold {
    /// Parses `METRIC: AGGREGATE COMPARISON VALUE`; `METRIC{tag:value}: …` for some scenarios. Three
    /// tags of `http_req_duration` choose requests instead: `from:sent` counts from sending,
    /// `expected_response:true` is of those answered with 200 to 399, and `expected_response:false` of the
    /// others.
    ///
    /// # Errors
    /// In words, with the names that there are.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let form =
            || format!("`{text}` is no threshold; write it like `http_req_duration: p(95)<5ms`");
        let (subject, condition) = split(text).ok_or_else(form)?;
        let (name, mut tags) = tags_of(subject).ok_or_else(form)?;
        let metric = metric(name, &mut tags)?;
        let (at, sign, comparison) = COMPARISONS
            .iter()
            .filter_map(|(sign, comparison)| Some((condition.find(sign)?, *sign, *comparison)))
            .min_by_key(|(at, sign, _)| (*at, usize::MAX - sign.len()))
            .ok_or_else(form)?;
        let aggregate = aggregate(condition[..at].trim(), name, metric.kind())?;
        let value = condition[at + sign.len()..].trim();
        let value = match metric.kind() {
            Kind::Times => milliseconds(value),
            Kind::Share => share(value),
            Kind::Counter => value.replace('_', "").parse().ok(),
        };
        let value = value.filter(|value: &f64| value.is_finite()).ok_or_else(|| {
            let like = match metric.kind() {
                Kind::Times => "5ms, 1.5s, or 5 for milliseconds",
                Kind::Share => "0.01 or 1%",
                Kind::Counter => "0 or 1000",
            };
            format!("`{text}`: the value must be like {like}")
        })?;
        let text = text.trim().to_owned();
        Ok(Self { text, metric, tags, aggregate, comparison, value, abort_after: None })
    }
}

impl Metric {
    fn kind(self) -> Kind {
        match self {
            Self::Trend(_) | Self::DurationOfExpected => Kind::Times,
            Self::Checks | Self::CheckFailureRate | Self::HttpReqFailed => Kind::Share,
            Self::HttpReqs | Self::Iterations | Self::DroppedIterations => Kind::Counter,
        }
    }
}

/// At the first colon outside braces.
fn split(text: &str) -> Option<(&str, &str)> {
    let from = text.find('}').unwrap_or(0);
    let at = from + text[from..].find(':')?;
    Some((text[..at].trim(), text[at + 1..].trim()))
}

/// `NAME` or `NAME{KEY:VALUE,KEY:VALUE}`.
fn tags_of(subject: &str) -> Option<(&str, BTreeMap<String, String>)> {
    let Some((name, braced)) = subject.split_once('{') else {
        return Some((subject, BTreeMap::new()));
    };
    let inside = braced.strip_suffix('}')?;
    let tag = |pair: &str| {
        let (key, value) = pair.split_once(':')?;
        Some((key.trim().to_owned(), value.trim().to_owned()))
    };
    let tags: Option<BTreeMap<_, _>> =
        inside.split(',').filter(|pair| !pair.trim().is_empty()).map(tag).collect();
    Some((name.trim(), tags?))
}

/// The metric of a name; tags that are part of its own name are taken out.
fn metric(name: &str, tags: &mut BTreeMap<String, String>) -> Result<Metric, String> {
    let trends = Trend::ALL.map(|trend| (trend.name(), Metric::Trend(trend)));
    let all = trends.into_iter().chain(OTHERS);
    for (whole, metric) in all.clone() {
        let Some((own_name, mut own_tags)) = tags_of(whole) else { continue };
        let has_all = own_tags.iter().all(|(key, value)| tags.get(key) == Some(value));
        // One with tags of its own comes before the one without, which is left when none fits.
        if own_name == name && !own_tags.is_empty() && has_all {
            own_tags.retain(|key, _| tags.remove(key).is_none());
            return Ok(metric);
        }
    }
    all.clone().find(|(whole, _)| *whole == name).map(|(_, metric)| metric).ok_or_else(|| {
        let names: Vec<&str> = all.map(|(whole, _)| whole).collect();
        let hint = hint(name, names.iter().copied());
        format!("there is no metric `{name}`{hint}; there are {}", names.join(", "))
    })
}

fn aggregate(text: &str, name: &str, kind: Kind) -> Result<Aggregate, String> {
    let percentile = text.strip_prefix("p(").and_then(|rest| rest.strip_suffix(')'));
    let percentile = percentile.and_then(|number| number.trim().parse::<f64>().ok());
    let found = match (kind, text) {
        (Kind::Times, "avg") => Some(Aggregate::Average),
        (Kind::Times, "min") => Some(Aggregate::Min),
        (Kind::Times, "med") => Some(Aggregate::Median),
        (Kind::Times, "max") => Some(Aggregate::Max),
        (Kind::Times, _) => {
            percentile.filter(|p| (0.0..=100.0).contains(p)).map(Aggregate::Percentile)
        }
        (Kind::Share | Kind::Counter, "rate") => Some(Aggregate::Rate),
        (Kind::Counter, "count") => Some(Aggregate::Count),
        _ => None,
    };
    found.ok_or_else(|| {
        let there_are = match kind {
            Kind::Times => "avg, min, med, max and p(0) to p(100)",
            Kind::Share => "rate",
            Kind::Counter => "count and rate",
        };
        format!("`{name}` has no `{text}`; it has {there_are}")
    })
}

/// With a unit, or milliseconds as in k6.
fn milliseconds(text: &str) -> Option<f64> {
    text.parse().ok().or_else(|| Some(quantity::duration(text).ok()?.as_secs_f64() * 1e3))
}

/// `0.01` or `1%`.
fn share(text: &str) -> Option<f64> {
    match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok().map(|percent| percent / 100.0),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thresholds_are_read() {
        let check = |text: &str, metric, tags: &[(&str, &str)], aggregate, comparison, value| {
            let found = Threshold::parse(text).expect(text);
            let tags = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let text = text.trim().to_owned();
            let abort_after = None;
            let expected =
                Threshold { text, metric, tags, aggregate, comparison, value, abort_after };
            assert_eq!(found, expected);
        };
        use Aggregate::{Average, Count, Max, Percentile, Rate};
        use Comparison::{Above, AtLeast, AtMost, Below, Equal, Unequal};
        let duration = Metric::Trend(Trend::Duration);
        check("http_req_duration: p(95)<5ms", duration, &[], Percentile(95.0), Below, 5.0);
        check("http_req_duration:p(99.9) < 1.5s", duration, &[], Percentile(99.9), Below, 1500.0);
        check(
            "http_req_duration{scenario:x}: avg<=3",
            duration,
            &[("scenario", "x")],
            Average,
            AtMost,
            3.0,
        );
        check(
            "http_req_duration{from:sent, scenario: x , a:b}: max>=200us",
            Metric::Trend(Trend::DurationFromSent),
            &[("scenario", "x"), ("a", "b")],
            Max,
            AtLeast,
            0.2,
        );
        let failed = Metric::Trend(Trend::DurationOfFailed);
        check("http_req_duration{expected_response:false}: max<1", failed, &[], Max, Below, 1.0);
        let expected = Metric::DurationOfExpected;
        check(
            "http_req_duration{expected_response:true}: avg<1",
            expected,
            &[],
            Average,
            Below,
            1.0,
        );
        check(
            "http_req_duration{ scenario:x, expected_response:true }: med<1",
            expected,
            &[("scenario", "x")],
            Aggregate::Median,
            Below,
            1.0,
        );
        check("schedule_lag: max!=1", Metric::Trend(Trend::ScheduleLag), &[], Max, Unequal, 1.0);
        check("check_failure_rate: rate<0.01", Metric::CheckFailureRate, &[], Rate, Below, 0.01);
        check("checks: rate>99%", Metric::Checks, &[], Rate, Above, 0.99);
        check("dropped_iterations: count==0", Metric::DroppedIterations, &[], Count, Equal, 0.0);
        check("http_reqs{}: rate>16_000", Metric::HttpReqs, &[], Rate, Above, 16_000.0);
        check(" http_req_failed : rate=0 ", Metric::HttpReqFailed, &[], Rate, Equal, 0.0);
    }

    #[test]
    fn what_is_none_is_told_what_there_is() {
        let check = |text: &str, expected: &str| {
            let error = Threshold::parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        };
        for text in ["", "http_req_duration", "http_req_duration: p(95)", "p(95)<5", "a{b: c<1"] {
            check(text, "write it like `http_req_duration: p(95)<5ms`");
        }
        check("http_req_duraton: p(95)<5", "did you mean `http_req_duration`?");
        check("latency: p(95)<5", "there are http_req_duration, http_req_duration{from:sent}");
        check("http_req_duration: p95<5", "has no `p95`; it has avg, min, med, max and p(0)");
        check("http_req_duration: p(101)<5", "has no `p(101)`");
        check("http_req_duration: rate<5", "has no `rate`");
        check("checks: avg>1", "`checks` has no `avg`; it has rate");
        check("http_reqs: p(95)>1", "it has count and rate");
        check("http_req_duration: p(95)<5x", "like 5ms, 1.5s, or 5");
        check("http_req_duration: p(95)<NaN", "like 5ms");
        check("checks: rate>", "like 0.01 or 1%");
        check("http_reqs: count>1k5", "like 0 or 1000");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(http_req_duration|checks)?[{}:a-z()<>=!0-9%. é]{0,30}") {
            let _ = Threshold::parse(&text);
        }
    }
}
