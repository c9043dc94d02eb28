//! Runs that never were: samples written through a worker's recorder as the engine writes them, so
//! that what a report must say of them is known.

use std::sync::LazyLock;
use std::time::Duration;

use load::measure::{Ended, Failure, Gauges, Interval, Recorder, Sample, Totals, Trend};
use load::outcome::{
    Ending, Health, KernelCounters, Outcome, Part, Reconciliation, ThresholdResult,
};
use load::plan::{Aggregate, Check, Comparison, Executor, Metric, Plan, Threshold};

use super::plans::{arrivals, duration_below, plan, threshold, users};

/// Everything that a report is made of.
pub(crate) struct Run {
    pub(crate) name: &'static str,
    pub(crate) plan: Plan,
    pub(crate) totals: Totals,
    pub(crate) outcome: Outcome,
}

/// A run for each state that a report can be in.
pub(crate) fn all() -> &'static [Run] {
    static RUNS: LazyLock<Vec<Run>> =
        LazyLock::new(|| vec![passed(), failed(), invalid(), partial(), empty(), hostile(), day()]);
    &RUNS
}

/// The run of that name.
pub(crate) fn named(name: &str) -> &'static Run {
    all().iter().find(|run| run.name == name).expect("a run of that name")
}

/// One million a minute is asked for and given, at a hundredth of the size; one stall of 250 ms.
fn passed() -> Run {
    let mut plan = plan(vec![arrivals("usages", &[(60, 1_000.0, 1_000.0)])]);
    plan.scenarios[0]
        .checks
        .push(Check::Header { name: "durability".to_owned(), value: Some("fsync".to_owned()) });
    plan.thresholds = vec![
        duration_below("http_req_duration: p(95)<20ms", 95.0, 20.0),
        duration_below("http_req_duration: p(99.9)<500ms", 99.9, 500.0),
        check_failures(),
    ];
    let server = |at_s: f64, noise: f64| {
        let stalled_ms = if (30.0..30.25).contains(&at_s) { (30.25 - at_s) * 1e3 } else { 0.0 };
        Answer::after(0.35 - 0.45 * (1.0 - noise).ln() + stalled_ms)
    };
    let mut totals = play(&plan, 1, server);
    let mut outcome = judged(&plan, &mut totals);
    let acknowledged = totals.counts(|_| true).answered;
    outcome.reconciliation = Some(Reconciliation {
        acknowledged,
        counted: Some(acknowledged),
        unknown: 0,
        agrees: true,
        words: format!("All {acknowledged} acknowledged usages were counted by the server."),
    });
    Run { name: "passed", plan, totals, outcome }
}

/// Two scenarios, a server that is overrun between 20 s and 40 s.
fn failed() -> Run {
    let mut steady = arrivals("steady", &[(60, 300.0, 300.0)]);
    steady.tags.insert("kind".to_owned(), "background".to_owned());
    let rush = arrivals("rush", &[(20, 0.0, 800.0), (20, 800.0, 800.0), (20, 800.0, 0.0)]);
    let mut plan = plan(vec![steady, rush]);
    plan.thresholds = vec![
        duration_below("http_req_duration: p(95)<5ms", 95.0, 5.0),
        duration_below("http_req_duration{scenario:steady}: p(50)<100ms", 50.0, 100.0),
        check_failures(),
        threshold(
            "http_req_failed{kind:background}: rate<0.2",
            Metric::HttpReqFailed,
            Aggregate::Rate,
            Comparison::Below,
            0.2,
        ),
        threshold(
            "dropped_iterations: count<1",
            Metric::DroppedIterations,
            Aggregate::Count,
            Comparison::Below,
            1.0,
        ),
        threshold(
            "http_req_connecting{scenario:none}: p(95)<1ms",
            Metric::Trend(Trend::Connecting),
            Aggregate::Percentile(95.0),
            Comparison::Below,
            1.0,
        ),
    ];
    let server = |at_s: f64, noise: f64| {
        if !(20.0..40.0).contains(&at_s) {
            return Answer::after(0.8 - 0.9 * (1.0 - noise).ln());
        }
        let queue_ms = 20.0 * (at_s - 19.9).min(40.1 - at_s);
        match (noise * 1_000.0).rem_euclid(10.0) {
            share if share < 1.2 => Answer { ended: Ended::Answered(503), ..Answer::after(0.4) },
            share if share < 1.5 => {
                Answer { ended: Ended::Failed(Failure::Reset), ..Answer::after(2.0) }
            }
            share if share < 1.6 => {
                Answer { ended: Ended::Failed(Failure::Timeout), ..Answer::after(10_000.0) }
            }
            share if share < 1.8 => Answer { dropped: true, ..Answer::after(0.0) },
            _ => Answer::after(queue_ms - 4.0 * (1.0 - noise).ln()),
        }
    };
    let mut totals = play(&plan, 2, server);
    let mut outcome = judged(&plan, &mut totals);
    outcome.health.kernel =
        Some(KernelCounters { listen_overflows: 41, listen_drops: 41, retransmits: 97 });
    Run { name: "failed", plan, totals, outcome }
}

/// A generator that could not keep up.
pub(super) fn invalid() -> Run {
    let mut plan = plan(vec![arrivals("usages", &[(20, 1_000.0, 1_000.0)])]);
    plan.thresholds = vec![duration_below("http_req_duration: p(95)<5ms", 95.0, 5.0)];
    plan.notes = vec!["localhost was taken for 127.0.0.1".to_owned()];
    let server = |_: f64, noise: f64| Answer { lag_ms: 40.0 * noise, ..Answer::after(1.0 + noise) };
    let mut totals = play(&plan, 2, server);
    let mut outcome = judged(&plan, &mut totals);
    outcome.health.invalid = vec![
        "schedule lag p99 was 39.7 ms, more than 10 ms".to_owned(),
        "worker 2 used 99.8% of its core".to_owned(),
    ];
    outcome.health.warnings = vec!["the target's name has one source address only".to_owned()];
    outcome.health.achieved_per_second = 921.4;
    outcome.health.worker_cpu_shares = vec![0.994, 0.998];
    Run { name: "invalid", plan, totals, outcome }
}

/// Users of a closed model on three machines, of which one was lost.
fn partial() -> Run {
    let plan = plan(vec![users("inhalers", 90, 30)]);
    let server = |_: f64, noise: f64| Answer::after(2.0 - 1.5 * (1.0 - noise).ln());
    let mut totals = play(&plan, 2, server);
    let mut outcome = judged(&plan, &mut totals);
    outcome.missing =
        vec!["agent 10.0.0.7 was lost after 21 s: its last 9 s are missing".to_owned()];
    outcome.machines = ["a", "b", "c"].map(|name| format!("{name}: 2 cores, Linux 6.1")).to_vec();
    Run { name: "partial", plan, totals, outcome }
}

/// Ended before the first request.
fn empty() -> Run {
    let mut plan = plan(vec![arrivals("usages", &[(60, 1_000.0, 1_000.0)])]);
    plan.thresholds = vec![duration_below("http_req_duration: p(95)<5ms", 95.0, 5.0)];
    let mut totals = Totals::new(&plan.shape());
    let mut outcome = judged(&plan, &mut totals);
    outcome.elapsed = Duration::ZERO;
    outcome.ending = Ending::Interrupted;
    outcome.stopped_at = Some(Duration::ZERO);
    Run { name: "empty", plan, totals, outcome }
}

/// What stands in names is markup, escapes of a terminal, and too long.
fn hostile() -> Run {
    let nasty = "<script>alert(1)</script>\"'&\u{1b}[2J";
    let mut scenario = arrivals(nasty, &[(2, 100.0, 100.0)]);
    scenario.tags.insert("kind".to_owned(), format!("</title>{nasty}"));
    scenario.target.authority = "<img src=x onerror=alert(2)>".to_owned();
    scenario.checks.push(Check::Body(format!("{nasty}{}", "long".repeat(60))));
    let mut plan = plan(vec![scenario]);
    plan.thresholds = vec![duration_below(
        &format!("http_req_duration{{scenario:{nasty}}}: p(95)<5ms"),
        95.0,
        5.0,
    )];
    let mut totals = play(&plan, 1, |_, noise| Answer::after(1.0 + noise));
    let mut outcome = judged(&plan, &mut totals);
    outcome.command = format!("inhale load '{nasty}'");
    outcome.machines = vec![nasty.to_owned()];
    outcome.health.warnings = vec![nasty.to_owned()];
    outcome.health.invalid = vec![nasty.to_owned()];
    Run { name: "hostile", plan, totals, outcome }
}

/// A day with a morning's and an evening's peak.
fn day() -> Run {
    let hour = 3_600;
    let mut plan = plan(vec![arrivals(
        "day",
        &[
            (6 * hour, 0.2, 0.2),
            (2 * hour, 0.2, 2.0),
            (3 * hour, 2.0, 0.5),
            (6 * hour, 0.5, 0.5),
            (2 * hour, 0.5, 2.5),
            (5 * hour, 2.5, 0.2),
        ],
    )]);
    plan.thresholds = vec![duration_below("http_req_duration: p(99)<50ms", 99.0, 50.0)];
    let mut totals = play(&plan, 1, |at_s, noise| {
        Answer::after(1.0 + (at_s / 20_000.0).sin().abs() - 2.0 * (1.0 - noise).ln())
    });
    let outcome = judged(&plan, &mut totals);
    Run { name: "day", plan, totals, outcome }
}

fn check_failures() -> Threshold {
    threshold(
        "check_failure_rate: rate<0.01",
        Metric::CheckFailureRate,
        Aggregate::Rate,
        Comparison::Below,
        0.01,
    )
}

/// What a made-up server does with a request.
#[derive(Clone, Copy)]
struct Answer {
    after_ms: f64,
    lag_ms: f64,
    ended: Ended,
    dropped: bool,
}

impl Answer {
    fn after(ms: f64) -> Self {
        Self { after_ms: ms, lag_ms: 0.03, ended: Ended::Answered(201), dropped: false }
    }
}

/// Plays a plan: each request gets what `server` says for its time in seconds and a number between 0
/// and 1 that looks random and is always the same.
fn play(plan: &Plan, workers: usize, server: impl Fn(f64, f64) -> Answer) -> Totals {
    let shape = plan.shape();
    let mut totals = Totals::new(&shape);
    // Samples as (end, scenario, due, answer), so that each is counted in the tick of its end.
    let mut samples = Vec::new();
    for (number, scenario) in plan.scenarios.iter().enumerate() {
        for (nth, due_ns) in (0u64..).zip(due_times(&scenario.executor)) {
            let answer = server(to_f64(due_ns) / 1e9, noise(nth * 64 + number as u64));
            samples.push((due_ns + to_ns(answer.after_ms + answer.lag_ms), number, due_ns, answer));
        }
    }
    samples.sort_by_key(|(end_ns, ..)| *end_ns);
    let end_ns = samples.last().map_or(0, |(end_ns, ..)| *end_ns);
    // A day's ticks are too many for a test; the timeline would merge them in any case.
    let mut tick_ns = 250_000_000;
    while end_ns / tick_ns > 700 {
        tick_ns *= 2;
    }
    let mut recorders: Vec<Recorder> = (0..workers).map(|w| Recorder::new(w, &shape)).collect();
    let mut spare: Vec<Box<Interval>> =
        (0..workers).map(|w| Box::new(Interval::new(w, &shape))).collect();
    let mut samples = samples.into_iter().peekable();
    let mut connected = false;
    for tick in 1..=end_ns.div_ceil(tick_ns) {
        let mut ended = 0;
        while let Some((_, scenario, due_ns, answer)) =
            samples.next_if(|(end_ns, ..)| *end_ns <= tick * tick_ns)
        {
            let recorder = &mut recorders[ended % workers];
            if !std::mem::replace(&mut connected, true) {
                (0..64).for_each(|_| recorder.connected(scenario));
            }
            let is_open = matches!(plan.scenarios[scenario].executor, Executor::Arrivals(_));
            record(recorder, scenario, is_open, due_ns, answer);
            ended += 1;
        }
        for (recorder, spare) in recorders.iter_mut().zip(&mut spare) {
            let in_flight = (ended / workers / 20) as u64;
            let gauges = Gauges { in_flight, waiting: 0, users: 32, cpu_ns: tick_ns / 5 };
            let empty = std::mem::replace(spare, Box::new(Interval::new(0, &[])));
            let mut full = recorder.take(tick * tick_ns, gauges, empty);
            totals.add(0, &full);
            full.clear();
            *spare = full;
        }
    }
    totals
}

fn record(recorder: &mut Recorder, scenario: usize, is_open: bool, due_ns: u64, answer: Answer) {
    let lag_ns = to_ns(answer.lag_ms);
    if is_open {
        recorder.due(scenario, lag_ns);
    } else {
        recorder.ready(scenario);
    }
    if answer.dropped {
        recorder.dropped(scenario, 1, 0);
        return;
    }
    let begun_ns = due_ns + lag_ns;
    let ended_ns = begun_ns + to_ns(answer.after_ms);
    // A queue before the server shows as waiting for a connection beyond 50 ms.
    let begun_ns = begun_ns.max(ended_ns.saturating_sub(50_000_000));
    recorder.started(scenario, ended_ns - begun_ns >= 50_000_000);
    let sent_ns = (begun_ns + 15_000).min(ended_ns);
    let good = answer.ended == Ended::Answered(201);
    recorder.ended(
        scenario,
        &Sample {
            due_ns,
            begun_ns,
            connected_ns: begun_ns,
            secured_ns: begun_ns,
            sent_ns,
            first_byte_ns: ended_ns.saturating_sub(25_000).max(sent_ns),
            ended_ns,
            ended: answer.ended,
            sent: true,
            checks_passed: if good { u32::MAX } else { 0 },
            bytes_sent: 250,
            bytes_received: 180,
        },
    );
    recorder.iterated(scenario, ended_ns - due_ns);
}

fn due_times(executor: &Executor) -> Vec<u64> {
    match executor {
        Executor::Arrivals(arrivals) => (0..).map_while(|nth| arrivals.due_ns(nth)).collect(),
        // Each user comes five times a second.
        Executor::Users { stages, .. } => {
            let seconds: u64 = stages.iter().map(|stage| stage.duration.as_secs()).sum();
            let users = stages[0].from;
            (0..seconds * 5 * users).map(|nth| nth * 200_000_000 / users).collect()
        }
        _ => Vec::new(),
    }
}

/// What a run that went well is judged to be; thresholds are looked at.
fn judged(plan: &Plan, totals: &mut Totals) -> Outcome {
    let counts = totals.counts(|_| true);
    let seconds = plan.duration().as_secs_f64();
    let lag = totals.trend(Trend::ScheduleLag, |_| true);
    let open = plan.scenarios.iter().all(|it| matches!(it.executor, Executor::Arrivals(_)));
    let elapsed = Duration::from_nanos(totals.until_ns.max(1));
    Outcome {
        thresholds: plan.thresholds.iter().map(|it| evaluate(it, plan, totals, elapsed)).collect(),
        health: Health {
            invalid: Vec::new(),
            warnings: Vec::new(),
            schedule_lag_p99_ms: lag.percentile_ms(99.0),
            asked_per_second: open.then(|| to_f64(counts.due) / seconds),
            achieved_per_second: to_f64(counts.started) / seconds,
            waited: open.then_some(Part { count: counts.waited, of: counts.due }),
            worker_cpu_shares: totals.worker_cpu_shares(),
            answered: counts.answered,
            unmet: load::outcome::Part::default(),
            kernel: Some(KernelCounters::default()),
        },
        reconciliation: None,
        missing: Vec::new(),
        ending: Ending::Completed,
        stopped_at: None,
        // The first of January 2026 at noon.
        started_wall_ns: 1_767_268_800_000_000_000,
        elapsed,
        machines: vec!["2 cores, 24 GiB, Linux 6.1.0".to_owned()],
        command: "inhale load http://localhost:3000/api/usages --rate 1000/s --duration 60s"
            .to_owned(),
    }
}

fn evaluate(it: &Threshold, plan: &Plan, totals: &Totals, elapsed: Duration) -> ThresholdResult {
    let of =
        |number: usize| it.tags.iter().all(|(k, v)| plan.scenarios[number].tags.get(k) == Some(v));
    let counts = totals.counts(of);
    let seconds = elapsed.as_secs_f64();
    let share = |part: u64, whole: u64| (whole > 0).then(|| to_f64(part) / to_f64(whole));
    let found = match (it.metric, it.aggregate) {
        (Metric::Trend(trend), Aggregate::Percentile(p)) => {
            totals.trend(trend, of).percentile_ms(p)
        }
        (Metric::CheckFailureRate, _) => {
            let (made, passed) = totals.checks(of);
            share(made - passed, made)
        }
        (Metric::HttpReqFailed, _) => share(counts.failed, counts.ended),
        (Metric::DroppedIterations, Aggregate::Count) => Some(to_f64(counts.dropped)),
        (Metric::HttpReqs, Aggregate::Rate) => Some(to_f64(counts.ended) / seconds),
        other => panic!("no run has a threshold on {other:?}"),
    };
    let passed = found.is_some_and(|found| match it.comparison {
        Comparison::Below => found < it.value,
        other => panic!("no run compares with {other:?}"),
    });
    ThresholdResult { text: it.text.clone(), found, passed }
}

/// A number between 0 and 1 from a number: a round of splitmix64.
fn noise(seed: u64) -> f64 {
    let mut mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    to_f64((mixed ^ (mixed >> 31)) >> 11) / to_f64(1 << 53)
}

#[expect(clippy::cast_precision_loss, reason = "small")]
fn to_f64(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "short and positive")]
fn to_ns(ms: f64) -> u64 {
    (ms * 1e6) as u64
}
