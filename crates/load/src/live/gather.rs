//! From totals to a glance. It runs at ticks, beside the workers, and reads what they handed over.

use std::time::Duration;

use crate::judge::{self, Evidence};
use crate::limits::TICK;
use crate::measure::{Counts, Failure, Totals, Trend};
use crate::outcome::{Ending, KernelCounters, ThresholdResult};
use crate::plan::{Aggregate, Executor, Metric, Plan, Scenario};

use super::asked::{asked_between, asked_of};
use super::format;
use super::glance::{Glance, ScenarioRow, ThresholdRow};
use super::history::History;
use super::recent::{Lately, Percentiles, Recent};

/// The first moments, in which workers warm up, say little about a generator.
const JUDGED_AFTER: Duration = Duration::from_secs(2);

/// Gathers glances of one run.
#[derive(Debug, Default)]
pub struct Gatherer {
    recent: Recent,
    history: History,
    gathered_at: Option<Duration>,
    /// What the totals reached up to then.
    until_ns: u64,
    /// Why the run was told to end, and when.
    stopped: Option<(Ending, Duration)>,
    missing: Vec<String>,
}

/// Glances are not gathered more often than this: 10 a second.
const APART_MIN: Duration = Duration::from_millis(100);

impl Gatherer {
    /// The run as it is now; `None` when there is nothing new, or while only some workers have handed
    /// over their part of the latest tick, which would show rates too low.
    pub fn gather(&mut self, plan: &Plan, totals: &Totals, at: Duration) -> Option<Glance> {
        let since = self.gathered_at.map(|gathered_at| at.saturating_sub(gathered_at));
        let nothing_new = totals.until_ns == self.until_ns;
        // Somebody who stays silent is not waited for, and time goes on.
        let least = if totals.is_torn() || nothing_new { 2 * TICK } else { APART_MIN };
        if since.is_some_and(|since| since < least) {
            return None;
        }
        self.gathered_at = Some(at);
        self.until_ns = totals.until_ns;
        Some(self.gather_now(plan, totals, at))
    }

    /// The run was told then to end.
    pub fn stopping(&mut self, why: Ending, at: Duration) {
        self.stopped = Some((why, at));
    }

    /// That is missing from now on.
    pub fn missing(&mut self, words: &str) {
        self.missing.push(words.to_owned());
    }

    fn gather_now(&mut self, plan: &Plan, totals: &Totals, at: Duration) -> Glance {
        let mut window = self.recent.window(totals);
        let end = self.stopped.map_or(plan.duration(), |(_, at)| at.min(plan.duration()));
        let end_ns = u64::try_from(end.as_nanos()).unwrap_or(u64::MAX);
        // What is sent past the end was asked for before it; a tick that ends a little later is the
        // last one in time.
        let finishing = Duration::from_nanos(window.until_ns.saturating_sub(end_ns)) > TICK;
        let lately = &mut window.lately;
        if !finishing {
            lately.until_ns = lately.until_ns.min(end_ns);
        }
        let counts = totals.counts(|_| true);
        let gauges = totals.gauges();
        let told = Duration::from_nanos(totals.until_ns).saturating_sub(plan.start());
        let judged = judge::thresholds(plan, totals, told);
        let (checks, checks_passed) = totals.checks(|_| true);
        let workers = totals.worker_cpu_shares().len();
        let (done, left) = progress(plan, &counts, at);
        let left = left.filter(|_| self.stopped.is_none());
        let aborted = self.stopped.is_some_and(|(why, _)| why != Ending::Interrupted);
        Glance {
            target: target(plan),
            at,
            planned: plan.duration(),
            done,
            left,
            window: Duration::from_nanos(window.until_ns - window.from_ns),
            rate: lately.per_second(real(lately.flows.iter().map(|flow| flow.started).sum())),
            asked: asked_between(plan, lately.from_ns, lately.until_ns)
                .filter(|_| !finishing)
                .map(|asked| lately.per_second(asked)),
            finishing,
            aborted,
            sent: counts.started,
            dropped: counts.dropped,
            ended: counts.ended,
            failed: counts.failed,
            in_flight: gauges.in_flight,
            waiting: gauges.waiting,
            open: plan.scenarios.iter().all(is_open),
            users: gauges.users,
            recent: window.durations,
            whole: Percentiles::of(&totals.trend(Trend::Duration, |_| true)),
            lag_p99_ms: window.lag_p99_ms,
            lag_whole_p99_ms: totals.trend(Trend::ScheduleLag, |_| true).percentile_ms(99.0),
            cpu_share: ratio(window.cpu_ns, (window.until_ns - window.from_ns) * workers as u64),
            workers,
            answers: most_frequent(counts.statuses().filter(|(status, _)| !is_error(*status))),
            errors: errors(&counts),
            checks,
            checks_passed,
            thresholds: thresholds(plan, judged),
            missing: self.missing.clone(),
            invalid: invalid(plan, totals, at, end, !self.missing.is_empty()),
            scenarios: rows(plan, totals, lately, finishing),
            moments: self.history.update(plan, totals, end_ns).to_vec(),
        }
    }
}

/// Why the run would be called invalid if it had been planned to end now; `end` is when it was.
fn invalid(
    plan: &Plan,
    totals: &Totals,
    at: Duration,
    end: Duration,
    partial: bool,
) -> Vec<String> {
    if at < JUDGED_AFTER {
        return Vec::new();
    }
    let evidence = Evidence {
        elapsed: at.saturating_sub(plan.start()),
        ending: Ending::Completed,
        // Of what every worker has told.
        stopped_at: Some(Duration::from_nanos(totals.complete_until_ns()).min(end)),
        kernel: Some(KernelCounters::default()),
        partial,
    };
    judge::health(plan, totals, &evidence).invalid
}

/// How much of the plan is done, and how long the rest takes as it goes. A plan that only counts
/// iterations is done when they are; any other one when its time is over.
#[expect(clippy::cast_precision_loss, reason = "a share, for people")]
fn progress(plan: &Plan, counts: &Counts, at: Duration) -> (f64, Option<Duration>) {
    let planned = plan.duration();
    let by_time = (at.as_secs_f64() / planned.as_secs_f64().max(1e-9)).min(1.0);
    let iterations = plan.scenarios.iter().map(|scenario| scenario.executor.iterations_total());
    let Some(iterations) = iterations.sum::<Option<u64>>().filter(|sum| *sum > 0) else {
        return (by_time, Some(planned.saturating_sub(at)));
    };
    let done = (counts.ended as f64 / iterations as f64).min(1.0).max(by_time);
    let rest = at.as_secs_f64() * (1.0 - done) / done;
    let left = Duration::try_from_secs_f64(rest).ok();
    (done, left.filter(|_| at >= Duration::from_secs(1)))
}

fn is_open(scenario: &Scenario) -> bool {
    matches!(scenario.executor, Executor::Arrivals(_))
}

/// Results with the units of what they are results of.
fn thresholds(plan: &Plan, results: Vec<ThresholdResult>) -> Vec<ThresholdRow> {
    let row = |(number, result): (usize, ThresholdResult)| {
        let threshold = plan.thresholds.get(number);
        let words = |found: f64| match threshold.map(|t| (t.metric, t.aggregate)) {
            Some((_, Aggregate::Count)) | None => format!("{found:.0}"),
            Some((Metric::Trend(_) | Metric::DurationOfExpected, _)) => format::time(found),
            Some((Metric::Checks | Metric::CheckFailureRate | Metric::HttpReqFailed, _)) => {
                format!("{:.2}%", found * 100.0)
            }
            Some((_, Aggregate::Rate)) => format::per_second(found),
            Some(_) => format!("{found:.0}"),
        };
        ThresholdRow { found: result.found.map(words), text: result.text, passed: result.passed }
    };
    results.into_iter().enumerate().map(row).collect()
}

fn target(plan: &Plan) -> String {
    let url = |scenario: &Scenario| {
        let scheme = if scenario.target.https { "https" } else { "http" };
        format!("{scheme}://{}", scenario.target.authority)
    };
    let Some((first, rest)) = plan.scenarios.split_first() else { return String::new() };
    if rest.is_empty() {
        return url(first);
    }
    let count = plan.scenarios.len();
    if rest.iter().all(|scenario| scenario.target.authority == first.target.authority) {
        format!("{} · {count} scenarios", url(first))
    } else {
        format!("{count} scenarios")
    }
}

fn rows(plan: &Plan, totals: &Totals, lately: &Lately, finishing: bool) -> Vec<ScenarioRow> {
    if plan.scenarios.len() < 2 {
        return Vec::new();
    }
    let row = |number: usize| {
        let (scenario, so_far) = (&plan.scenarios[number], &totals.scenarios[number]);
        let flow = lately.flows.get(number).copied().unwrap_or_default();
        ScenarioRow {
            name: scenario.name.clone(),
            rate: lately.per_second(real(flow.started)),
            asked: asked_of(scenario, lately.from_ns, lately.until_ns)
                .filter(|_| !finishing)
                .map(|asked| lately.per_second(asked)),
            ended: so_far.counts.ended,
            failed: so_far.counts.failed,
            whole: Percentiles::of(so_far.trend(Trend::Duration)),
        }
    };
    (0..plan.scenarios.len().min(totals.scenarios.len())).map(row).collect()
}

fn errors(counts: &Counts) -> Vec<(String, u64)> {
    let statuses = counts
        .statuses()
        .filter(|(status, _)| is_error(*status))
        .map(|(status, count)| (format!("status {status}"), count));
    let failures = Failure::ALL
        .into_iter()
        .map(|failure| (failure.name().to_owned(), counts.failures[failure as usize]))
        .filter(|(_, count)| *count > 0);
    most_frequent(statuses.chain(failures))
}

fn is_error(status: u16) -> bool {
    !crate::measure::Ended::Answered(status).is_expected()
}

fn most_frequent<T>(counted: impl Iterator<Item = (T, u64)>) -> Vec<(T, u64)> {
    let mut counted: Vec<_> = counted.collect();
    counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counted
}

#[expect(clippy::cast_precision_loss, reason = "a share, for people")]
fn ratio(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "a rate, for people")]
fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Gauges, Interval, Recorder};
    use crate::plan::{Options, ScenarioOptions};

    fn plan(of: ScenarioOptions) -> Plan {
        let url = Some("http://127.0.0.1:9/".to_owned());
        let defaults = ScenarioOptions { url, ..of };
        Options { defaults, ..Options::default() }.build().expect("a plan")
    }

    fn hand_over(totals: &mut Totals, worker: usize, ticks: u64) {
        let mut recorder = Recorder::new(worker, &[1]);
        for _ in 0..25 {
            recorder.started(0, false);
        }
        let until_ns = ticks * 250_000_000;
        let next = Box::new(Interval::new(worker, &[1]));
        totals.add(0, &recorder.take(until_ns, Gauges::default(), next));
    }

    #[test]
    fn half_a_tick_is_not_shown() {
        let plan = plan(ScenarioOptions { rate: Some("200/s".to_owned()), ..Default::default() });
        let mut totals = Totals::new(&plan.shape());
        let mut gatherer = Gatherer::default();
        let mut at = Duration::ZERO;
        for tick in 1..=8 {
            at = TICK * tick;
            hand_over(&mut totals, 0, tick.into());
            if tick > 1 {
                let torn = gatherer.gather(&plan, &totals, at);
                assert!(torn.is_none(), "only one of two workers has told of tick {tick}");
            }
            hand_over(&mut totals, 1, tick.into());
            let glance = gatherer.gather(&plan, &totals, at).expect("both have");
            assert_eq!((glance.rate, glance.asked), (200.0, Some(200.0)), "tick {tick}");
            let again = gatherer.gather(&plan, &totals, at + APART_MIN);
            assert!(again.is_none(), "nothing is new");
        }
        // The second worker is never heard of again.
        hand_over(&mut totals, 0, 9);
        assert!(gatherer.gather(&plan, &totals, at + TICK).is_none());
        assert!(gatherer.gather(&plan, &totals, at + 2 * TICK).is_some());
    }

    #[test]
    fn repro_past_the_end_nothing_is_asked() {
        let [rate, duration] = ["100/s", "2s"].map(|text| Some(text.to_owned()));
        let plan = plan(ScenarioOptions { rate, duration, ..Default::default() });
        let mut totals = Totals::new(&plan.shape());
        let mut gatherer = Gatherer::default();
        // The last tick in time is a little late; those behind it are of requests that were.
        for (until_ms, asked) in [(1_000, Some(100.0)), (2_100, Some(100.0)), (3_000, None)] {
            let mut recorder = Recorder::new(0, &[1]);
            (0..100).for_each(|_| recorder.started(0, false));
            let next = Box::new(Interval::new(0, &[1]));
            totals.add(0, &recorder.take(until_ms * 1_000_000, Gauges::default(), next));
            let at = Duration::from_millis(until_ms);
            let glance = gatherer.gather(&plan, &totals, at).expect("there is something new");
            let found = (glance.rate, glance.asked, glance.finishing);
            assert_eq!(found, (100.0, asked, asked.is_none()), "{until_ms} ms");
        }
    }

    #[test]
    fn repro_once_the_run_was_told_to_end_nothing_is_asked() {
        let [rate, duration] = ["100/s", "60s"].map(|text| Some(text.to_owned()));
        let plan = plan(ScenarioOptions { rate, duration, ..Default::default() });
        let mut totals = Totals::new(&plan.shape());
        let mut gatherer = Gatherer::default();
        for (until_s, sent) in [(1, 100), (2, 100), (3, 0), (4, 0)] {
            if until_s == 3 {
                gatherer.stopping(Ending::Aborted, TICK * 8);
            }
            let mut recorder = Recorder::new(0, &[1]);
            (0..sent).for_each(|_| recorder.started(0, false));
            let next = Box::new(Interval::new(0, &[1]));
            totals.add(0, &recorder.take(until_s * 1_000_000_000, Gauges::default(), next));
            let at = Duration::from_secs(until_s);
            let glance = gatherer.gather(&plan, &totals, at).expect("there is something new");
            let goes_on = until_s <= 2;
            assert_eq!((glance.asked.is_some(), glance.left.is_some()), (goes_on, goes_on));
            assert_eq!((glance.finishing, glance.invalid.len()), (!goes_on, 0), "{until_s} s");
            assert_eq!(glance.aborted, !goes_on);
            let asked: Vec<_> = glance.moments.iter().filter_map(|moment| moment.asked).collect();
            assert!(asked.iter().take(8).all(|asked| *asked > 90.0), "{asked:?}");
            assert!(asked.iter().skip(8).all(|asked| *asked < 1.0), "{asked:?}");
        }
    }

    #[test]
    fn iterations_are_what_is_done_of_a_plan_that_counts_them() {
        let vus = Some("5".to_owned());
        let iterations = Some("100".to_owned());
        let counted = plan(ScenarioOptions { vus, iterations, ..Default::default() });
        let mut counts = Counts::new(1);
        counts.ended = 25;
        let (done, left) = progress(&counted, &counts, Duration::from_secs(10));
        assert_eq!((done, left), (0.25, Some(Duration::from_secs(30))));
        let timed =
            plan(ScenarioOptions { duration: Some("40s".to_owned()), ..Default::default() });
        let (done, left) = progress(&timed, &counts, Duration::from_secs(10));
        assert_eq!((done, left), (0.25, Some(Duration::from_secs(30))));
    }
}
