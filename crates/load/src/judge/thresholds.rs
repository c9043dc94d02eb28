//! Thresholds against totals. A threshold that found nothing to look at fails: a run in which nothing
//! was measured has shown nothing.

use std::time::Duration;

use crate::measure::{TotalTimes, Totals};
use crate::outcome::ThresholdResult;
use crate::plan::{Aggregate, Comparison, Metric, Plan, Threshold};

/// Each threshold with what was found, in the plan's order. `elapsed` is what counters a second are
/// over.
pub fn thresholds(plan: &Plan, totals: &Totals, elapsed: Duration) -> Vec<ThresholdResult> {
    plan.thresholds.iter().map(|threshold| result(plan, threshold, totals, elapsed)).collect()
}

/// The first threshold that ends the run now. One without samples does not yet: there may be some
/// later.
pub fn abort(plan: &Plan, totals: &Totals, elapsed: Duration) -> Option<ThresholdResult> {
    let watched = plan
        .thresholds
        .iter()
        .filter(|threshold| threshold.abort_after.is_some_and(|delay| elapsed >= delay));
    watched
        .map(|threshold| result(plan, threshold, totals, elapsed))
        .find(|result| result.found.is_some() && !result.passed)
}

fn result(
    plan: &Plan,
    threshold: &Threshold,
    totals: &Totals,
    elapsed: Duration,
) -> ThresholdResult {
    let found = found(plan, threshold, totals, elapsed);
    let passed = found.is_some_and(|found| threshold.comparison.holds(found, threshold.value));
    ThresholdResult { text: threshold.text.clone(), found, passed }
}

/// The figure in the threshold's unit; `None` without samples.
fn found(plan: &Plan, threshold: &Threshold, totals: &Totals, elapsed: Duration) -> Option<f64> {
    let of = |number: usize| {
        let tags = &plan.scenarios[number].tags;
        threshold.tags.iter().all(|(name, value)| tags.get(name) == Some(value))
    };
    let aggregate = threshold.aggregate;
    let counts = || totals.counts(of);
    match threshold.metric {
        Metric::Trend(trend) => of_times(&totals.trend(trend, of), aggregate, elapsed),
        Metric::DurationOfExpected => of_times(&totals.expected(of), aggregate, elapsed),
        Metric::Checks => {
            let (made, passed) = totals.checks(of);
            share(passed, made, aggregate)
        }
        Metric::CheckFailureRate => {
            let (made, passed) = totals.checks(of);
            share(made - passed, made, aggregate)
        }
        Metric::HttpReqFailed => share(counts().failed, counts().ended, aggregate),
        Metric::HttpReqs | Metric::Iterations => {
            let ended = counts().ended;
            counter(ended, ended > 0, aggregate, elapsed)
        }
        // That none was dropped says something only if there were some to drop.
        Metric::DroppedIterations => {
            let counts = counts();
            let any = counts.due + counts.started + counts.dropped > 0;
            counter(counts.dropped, any, aggregate, elapsed)
        }
    }
}

fn of_times(times: &TotalTimes, aggregate: Aggregate, elapsed: Duration) -> Option<f64> {
    match aggregate {
        Aggregate::Percentile(percent) => times.percentile_ms(percent),
        Aggregate::Average => times.mean_ms(),
        Aggregate::Min => times.min_ms(),
        Aggregate::Median => times.percentile_ms(50.0),
        Aggregate::Max => times.max_ms(),
        Aggregate::Count | Aggregate::Rate => {
            counter(times.len(), !times.is_empty(), aggregate, elapsed)
        }
    }
}

fn share(part: u64, whole: u64, aggregate: Aggregate) -> Option<f64> {
    match aggregate {
        Aggregate::Rate => (whole > 0).then(|| part as f64 / whole as f64),
        Aggregate::Count => (whole > 0).then_some(part as f64),
        _ => None,
    }
}

fn counter(count: u64, any: bool, aggregate: Aggregate, elapsed: Duration) -> Option<f64> {
    let seconds = elapsed.as_secs_f64();
    match aggregate {
        Aggregate::Count => any.then_some(count as f64),
        Aggregate::Rate => (any && seconds > 0.0).then(|| count as f64 / seconds),
        _ => None,
    }
}

impl Comparison {
    /// Whether `found` compares to `value` in this way.
    pub fn holds(self, found: f64, value: f64) -> bool {
        match self {
            Self::Below => found < value,
            Self::AtMost => found <= value,
            Self::Above => found > value,
            Self::AtLeast => found >= value,
            Self::Equal => found == value,
            Self::Unequal => found != value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, Figures, MS, Waited};
    use crate::measure::Trend;
    use crate::plan::Metric;

    const TEN_SECONDS: Duration = Duration::from_secs(10);

    fn threshold(
        metric: Metric,
        aggregate: Aggregate,
        comparison: Comparison,
        value: f64,
    ) -> Threshold {
        let tags = std::collections::BTreeMap::new();
        let text = format!("{metric:?} {aggregate:?} {comparison:?} {value}");
        Threshold { text, metric, tags, aggregate, comparison, value, abort_after: None }
    }

    /// 80 requests of 1 to 80 ms answered with 201 and the check passed, 20 of 1 s with 503.
    fn mixed() -> Figures {
        let mut figures = Figures::new(&[1]);
        for ms in 1..=80 {
            figures.answered(0, ms * MS, 201, 1);
        }
        for _ in 0..20 {
            figures.answered(0, 1_000 * MS, 503, 0);
        }
        figures.dropped(0, 5, Waited::No);
        figures
    }

    #[track_caller]
    fn check(metric: Metric, aggregate: Aggregate, expected: f64) {
        let mut plan = fixture::plan();
        plan.thresholds = vec![threshold(metric, aggregate, Comparison::AtMost, expected * 1.01)];
        let found = thresholds(&plan, &mixed().totals(), TEN_SECONDS)[0].found;
        let found = found.unwrap_or_else(|| panic!("{metric:?} {aggregate:?} finds nothing"));
        // Times keep three digits.
        assert!((found - expected).abs() <= expected * 0.002, "{metric:?} {aggregate:?}: {found}");
    }

    #[test]
    fn figures_have_their_units() {
        let duration = Metric::Trend(Trend::Duration);
        check(duration, Aggregate::Percentile(50.0), 50.0);
        check(duration, Aggregate::Median, 50.0);
        check(duration, Aggregate::Percentile(95.0), 1_000.0);
        check(duration, Aggregate::Min, 1.0);
        check(duration, Aggregate::Max, 1_000.0);
        check(duration, Aggregate::Average, (40.5 * 80.0 + 20_000.0) / 100.0);
        check(duration, Aggregate::Count, 100.0);
        check(Metric::Trend(Trend::DurationOfFailed), Aggregate::Min, 1_000.0);
        check(Metric::DurationOfExpected, Aggregate::Max, 80.0);
        check(Metric::DurationOfExpected, Aggregate::Average, 40.5);
        check(Metric::Checks, Aggregate::Rate, 0.8);
        check(Metric::CheckFailureRate, Aggregate::Rate, 0.2);
        check(Metric::HttpReqFailed, Aggregate::Rate, 0.2);
        check(Metric::HttpReqs, Aggregate::Count, 100.0);
        check(Metric::HttpReqs, Aggregate::Rate, 10.0);
        check(Metric::Iterations, Aggregate::Rate, 10.0);
        check(Metric::DroppedIterations, Aggregate::Count, 5.0);
        check(Metric::DroppedIterations, Aggregate::Rate, 0.5);
    }

    #[test]
    fn comparisons() {
        use Comparison::{Above, AtLeast, AtMost, Below, Equal, Unequal};
        // Below, equal, above.
        for (comparison, expected) in [
            (Below, [true, false, false]),
            (AtMost, [true, true, false]),
            (Above, [false, false, true]),
            (AtLeast, [false, true, true]),
            (Equal, [false, true, false]),
            (Unequal, [true, false, true]),
        ] {
            let found = [1.0, 2.0, 3.0].map(|found| comparison.holds(found, 2.0));
            assert_eq!(found, expected, "{comparison:?}");
        }
    }

    #[test]
    fn nothing_measured_fails() {
        let mut plan = fixture::plan();
        for (metric, aggregate) in [
            (Metric::Trend(Trend::Duration), Aggregate::Max),
            (Metric::Checks, Aggregate::Rate),
            (Metric::CheckFailureRate, Aggregate::Rate),
            (Metric::HttpReqFailed, Aggregate::Rate),
            (Metric::HttpReqs, Aggregate::Count),
            (Metric::DroppedIterations, Aggregate::Count),
        ] {
            plan.thresholds.push(threshold(metric, aggregate, Comparison::Below, f64::MAX));
        }
        for result in thresholds(&plan, &Figures::new(&[1]).totals(), TEN_SECONDS) {
            assert_eq!((result.found, result.passed), (None, false), "{}", result.text);
        }
    }

    #[test]
    fn tags_choose_scenarios() {
        let mut plan = fixture::plan();
        plan.scenarios.push(fixture::scenario("evening"));
        let mut figures = Figures::new(&[1, 1]);
        figures.answered(0, 5 * MS, 201, 1);
        figures.answered(1, 500 * MS, 201, 0);
        let totals = figures.totals();
        let max = |tag: Option<(&str, &str)>| {
            let duration = Metric::Trend(Trend::Duration);
            let mut threshold = threshold(duration, Aggregate::Max, Comparison::Below, 100.0);
            threshold.tags =
                tag.map(|(name, value)| (name.into(), value.into())).into_iter().collect();
            result(&plan, &threshold, &totals, TEN_SECONDS)
        };
        assert!(max(Some(("scenario", "default"))).passed);
        assert!(!max(Some(("scenario", "evening"))).passed);
        assert!(!max(None).passed, "no tag is all of them");
        assert_eq!(max(Some(("scenario", "night"))).found, None);
        assert_eq!(max(Some(("kind", "evening"))).found, None);
    }

    #[test]
    fn a_run_is_ended_after_the_delay_and_for_something_found() {
        let mut plan = fixture::plan();
        let failed = Metric::HttpReqFailed;
        let mut threshold = threshold(failed, Aggregate::Rate, Comparison::Below, 0.1);
        plan.thresholds = vec![threshold.clone()];
        let totals = mixed().totals();
        assert_eq!(abort(&plan, &totals, TEN_SECONDS), None, "it does not ask for it");
        threshold.abort_after = Some(Duration::from_secs(5));
        plan.thresholds = vec![threshold];
        assert_eq!(abort(&plan, &totals, Duration::from_secs(4)), None);
        assert!(abort(&plan, &totals, Duration::from_secs(5)).is_some());
        let nothing = Figures::new(&[1]).totals();
        assert_eq!(abort(&plan, &nothing, TEN_SECONDS), None, "nothing was measured yet");
    }
}
