//! What makes a run invalid, what is only said, and what is the server's.

use super::*;
use crate::fixture::{self, Figures, MS, Waited};
use crate::measure::Ended;
use crate::plan::{Aggregate, Comparison};

const COMPLETED: Evidence = Evidence {
    elapsed: Duration::from_secs(10),
    ending: Ending::Completed,
    stopped_at: None,
    kernel: Some(KernelCounters { listen_overflows: 0, listen_drops: 0, retransmits: 0 }),
    partial: false,
};

/// The plan's thousand requests, each noticed so late and answered after so long.
fn thousand(lag_ms: u64, took_ms: u64) -> Figures {
    let mut figures = Figures::new(&[1]);
    for _ in 0..1_000 {
        figures.ended(0, lag_ms * MS, took_ms * MS, Ended::Answered(201), 1);
    }
    figures
}

fn judged(plan: &Plan, figures: Figures) -> Health {
    health(plan, &figures.totals(), &COMPLETED)
}

/// Fails unless just one sentence of `said` is there and holds all of `words`.
#[track_caller]
fn check(said: &[String], words: &[&str]) {
    let [only] = said else { panic!("not one sentence: {said:?}") };
    for word in words {
        assert!(only.contains(word), "no `{word}` in: {only}");
    }
    assert!(only.ends_with('.'), "{only}");
}

#[test]
fn a_prompt_generator_is_well() {
    let health = judged(&fixture::plan(), thousand(0, 5));
    assert_eq!((health.invalid.len(), health.warnings.len()), (0, 0), "{health:?}");
    assert_eq!(health.asked_per_second, Some(100.0));
    assert!((health.achieved_per_second - 100.0).abs() < 1e-9);
    assert!(health.schedule_lag_p99_ms.is_some_and(|lag_ms| lag_ms < 0.001));
    assert!((health.worker_cpu_shares[0] - 0.1).abs() < 1e-9);
}

#[test]
fn repro_failures_that_no_threshold_limits_are_said() {
    let of = |status, checks_passed, metric: Option<Metric>| {
        let mut plan = fixture::plan();
        let threshold = |metric| Threshold {
            text: "some threshold".to_owned(),
            metric,
            tags: std::collections::BTreeMap::new(),
            aggregate: Aggregate::Rate,
            comparison: Comparison::Below,
            value: 0.5,
            abort_after: None,
        };
        plan.thresholds = metric.map(threshold).into_iter().collect();
        let mut figures = Figures::new(&[1]);
        for number in 0..1_000 {
            let failing = number < 20;
            let (status, passed) = if failing { (status, checks_passed) } else { (201, 1) };
            figures.ended(0, 0, 5 * MS, Ended::Answered(status), passed);
        }
        judged(&plan, figures).warnings
    };
    check(&of(503, 0, None), &["20 of 1000 requests failed", "http_req_failed: rate<0.01"]);
    check(&of(200, 0, None), &["20 of 1000 checks failed", "check_failure_rate: rate<0.01"]);
    assert_eq!(of(201, 1, None), Vec::<String>::new());
    assert_eq!(of(503, 0, Some(Metric::HttpReqFailed)), Vec::<String>::new());
    check(&of(503, 0, Some(Metric::HttpReqs)), &["20 of 1000 requests failed"]);
}

#[test]
fn repro_a_run_in_which_nothing_met_its_check_is_said_to_have_failed() {
    let unmet = |status, checks_passed| {
        let mut figures = Figures::new(&[1]);
        for _ in 0..200 {
            figures.ended(0, 0, 5 * MS, Ended::Answered(status), checks_passed);
        }
        judged(&fixture::plan(), figures)
    };
    let missing = unmet(404, 0);
    assert_eq!(missing.unmet, Part { count: 200, of: 200 });
    assert!(missing.nothing_met() && unmet(200, 0).nothing_met());
    assert!(!unmet(201, 1).nothing_met() && !Health::default().nothing_met());
}

#[test]
fn repro_lag_spoils_no_upper_bound_that_held_with_the_rate_reached() {
    let judge = |comparison, value, metric| {
        let mut plan = fixture::plan();
        plan.thresholds = vec![Threshold {
            text: "some threshold".to_owned(),
            metric,
            tags: std::collections::BTreeMap::new(),
            aggregate: Aggregate::Percentile(95.0),
            comparison,
            value,
            abort_after: None,
        }];
        judged(&plan, thousand(12, 16))
    };
    let duration = Metric::Trend(Trend::Duration);
    let held = judge(Comparison::Below, 50.0, duration);
    assert_eq!(held.invalid, Vec::<String>::new());
    check(&held.warnings, &["12 ms late", "upper bounds"]);
    // The controls: a bound that was crossed, a lower bound, and one of something else.
    for (comparison, value, metric) in [
        (Comparison::Below, 10.0, duration),
        (Comparison::Above, 1.0, duration),
        (Comparison::Below, 50.0, Metric::HttpReqFailed),
    ] {
        check(&judge(comparison, value, metric).invalid, &["12 ms late"]);
    }
    check(&judged(&fixture::plan(), thousand(12, 16)).invalid, &["12 ms late"]);
}

#[test]
fn a_slow_scenario_hides_no_lag_of_a_fast_one() {
    let mut plan = fixture::plan();
    plan.scenarios.push(fixture::scenario("slow"));
    let both = |lag_ms: u64| {
        let mut figures = Figures::new(&[1, 1]);
        for _ in 0..1_000 {
            figures.ended(0, lag_ms * MS, (lag_ms + 2) * MS, Ended::Answered(201), 1);
            figures.ended(1, lag_ms * MS, 2_000 * MS, Ended::Answered(201), 1);
        }
        judged(&plan, figures)
    };
    check(&both(40).invalid, &["noticed due requests 40", "95% of the reported p99"]);
    assert_eq!(both(0).invalid, Vec::<String>::new());
}

#[test]
fn repro_a_few_late_requests_are_no_bottleneck() {
    let of = |late: u64, all: u64| {
        let mut figures = Figures::new(&[1]);
        for number in 0..all {
            let lag_ms = if number < late { 60 } else { 0 };
            figures.ended(0, lag_ms * MS, (lag_ms + 1) * MS, Ended::Answered(201), 1);
        }
        judged(&fixture::plan(), figures)
    };
    // 960 of the plan's thousand are missing, which is told by itself.
    let is_late = |health: &Health| health.invalid.iter().any(|why| why.contains("noticed due"));
    let few = of(3, 40);
    assert!(!is_late(&few) && few.warnings[0].contains("schedule_lag"), "{few:?}");
    assert!(is_late(&of(4, 40)) && is_late(&of(4, 4)) && !is_late(&of(3, 3)));
    assert!(is_late(&of(20, 1_000)) && !is_late(&of(9, 1_000)), "by the p99 of many");
}

#[test]
fn lag_is_held_against_the_latency_it_is_in() {
    for (lag_ms, took_ms, valid) in
        [(0, 1, true), (2, 5, false), (2, 20, true), (40, 900, true), (60, 900, false)]
    {
        let health = judged(&fixture::plan(), thousand(lag_ms, took_ms));
        let why = format!("{lag_ms} of {took_ms} ms: {health:?}");
        assert_eq!(health.invalid.is_empty(), valid, "{why}");
        if valid && lag_ms > 0 {
            check(&health.warnings, &["schedule_lag"]);
        }
    }
    let health = judged(&fixture::plan(), thousand(2, 5));
    check(&health.invalid, &["2.00 ms late", "40% of the reported p99 of 5.00 ms", "--threads"]);
}

#[test]
fn a_saturated_worker_is_to_blame_when_requests_were_late() {
    let late = |waited: Waited, cpu: f64| {
        let mut figures = Figures::new(&[1]);
        for _ in 0..1_000 {
            figures.due(0, Some(waited));
            figures.sample(0, 5 * MS, Ended::Answered(201), 1);
        }
        figures.tick(10_000 * MS, cpu);
        judged(&fixture::plan(), figures)
    };
    check(&late(Waited::Yes, 0.97).invalid, &["97% of a core", "while requests were late"]);
    let busy_and_prompt = late(Waited::No, 0.97);
    assert!(busy_and_prompt.invalid.is_empty(), "{busy_and_prompt:?}");
    check(&busy_and_prompt.warnings, &["97% of a core"]);
    assert!(late(Waited::Yes, 0.5).invalid.is_empty(), "then the server was slow");
}

#[test]
fn a_late_generator_does_not_blame_the_server_for_waiting() {
    let mut figures = thousand(60, 5);
    for _ in 0..1_000 {
        figures.due(0, Some(Waited::Yes));
    }
    let health = judged(&fixture::plan(), figures);
    assert_eq!(health.invalid.len(), 1, "{health:?}");
    check(&health.warnings, &["1000 of 2000 requests waited", "may be its doing"]);
    assert_eq!(health.waited, Some(Part { count: 1_000, of: 2_000 }), "reports say the same");
}

#[test]
fn a_closed_model_shows_saturation_by_the_worker_alone() {
    let mut plan = fixture::plan();
    plan.scenarios[0].executor = fixture::users(10, 100);
    let at = |cpu: f64| {
        let mut figures = thousand(0, 5);
        figures.tick(10_000 * MS, cpu);
        judged(&plan, figures)
    };
    check(&at(0.96).invalid, &["96% of a core", "not the server"]);
    let well = at(0.5);
    assert!(well.invalid.is_empty(), "{well:?}");
    check(&well.warnings, &["Closed model", "--rate"]);
    assert_eq!((well.schedule_lag_p99_ms, well.asked_per_second), (None, None));
    assert_eq!(well.waited, None);
    assert!((well.achieved_per_second - 100.0).abs() < 1e-9);
}

#[test]
fn repro_a_worker_that_hardly_ran_is_not_called_busy() {
    let mut plan = fixture::plan();
    plan.scenarios[0].executor = fixture::users(1, 1);
    // What a thread takes to begin, against the time until it found that there was nothing to do.
    let at = |until_ns: u64, cpu_ns: f64| {
        let mut figures = Figures::new(&[1]);
        figures.sample(0, MS, Ended::Answered(201), 1);
        figures.tick(until_ns, cpu_ns / until_ns as f64);
        judged(&plan, figures)
    };
    let idle = at(1_000, 3e6);
    assert!(idle.invalid.is_empty(), "{idle:?}");
    assert!(idle.worker_cpu_shares[0] < 0.05, "{idle:?}");
    check(&at(200 * MS, 198e6).invalid, &["99% of a core", "not the server"]);
}

#[test]
fn what_waits_for_the_last_answers_hides_no_saturation() {
    let mut plan = fixture::plan();
    plan.scenarios[0].executor = fixture::users(10, 100);
    let at = |cpu: f64| {
        let mut figures = thousand(0, 5);
        for second in 1..=10 {
            figures.tick(second * 1_000 * MS, cpu);
        }
        figures.tick(40_000 * MS, 0.0);
        judged(&plan, figures)
    };
    check(&at(0.96).invalid, &["96% of a core", "not the server"]);
    assert_eq!(at(0.5).invalid, Vec::<String>::new());
}

#[test]
fn want_of_sockets_is_the_generators() {
    let mut figures = thousand(0, 5);
    figures.ended(0, 0, 0, Ended::Failed(Failure::NoSocket), 0);
    check(
        &judged(&fixture::plan(), figures).invalid,
        &["1 requests had no socket", "sysctl -w", "ulimit -n", "--local-ips"],
    );
    let mut figures = thousand(0, 5);
    figures.ended(0, 0, 0, Ended::Failed(Failure::Refused), 0);
    assert!(judged(&fixture::plan(), figures).invalid.is_empty(), "the server's");
}

/// 800 requests sent in time, 200 in the end or not at all.
fn short_of_200(sent: Option<Waited>) -> Health {
    let mut figures = Figures::new(&[1]);
    for _ in 0..800 {
        figures.answered(0, 5 * MS, 201, 1);
    }
    figures.tick(10_500 * MS, 0.1);
    for _ in 0..200 {
        figures.due(0, sent);
    }
    figures.tick(11_000 * MS, 0.1);
    judged(&fixture::plan(), figures)
}

#[test]
fn a_rate_that_was_not_delivered_is_the_generators_if_connections_were_free() {
    check(&short_of_200(Some(Waited::No)).invalid, &["100 requests", "80 were sent", "--rate"]);
    check(&short_of_200(None).invalid, &["100 requests", "80 were sent"]);
    let slow_server = short_of_200(Some(Waited::Yes));
    assert!(slow_server.invalid.is_empty(), "{slow_server:?}");
    check(
        &slow_server.warnings,
        &["200 of 1000 requests waited", "all 10 were busy", "--connections"],
    );
    assert!((slow_server.achieved_per_second - 80.0).abs() < 1e-9);
}

#[test]
fn what_was_lost_with_a_machine_is_not_the_others_slowness() {
    let figures = || {
        let mut figures = Figures::new(&[1]);
        for _ in 0..500 {
            figures.answered(0, 5 * MS, 201, 1);
        }
        figures.tick(11_000 * MS, 0.1);
        figures.totals()
    };
    let judged =
        |partial| health(&fixture::plan(), &figures(), &Evidence { partial, ..COMPLETED }).invalid;
    assert_eq!(judged(true), Vec::<String>::new());
    check(&judged(false), &["50 were sent"]);
}

#[test]
fn what_a_limit_forbade_is_told() {
    let dropped = |waited| {
        let mut figures = Figures::new(&[1]);
        for _ in 0..900 {
            figures.answered(0, 5 * MS, 201, 1);
        }
        (0..100).for_each(|_| figures.due(0, None));
        figures.dropped(0, 100, waited);
        judged(&fixture::plan(), figures)
    };
    let health = dropped(Waited::Yes);
    assert!(health.invalid.is_empty(), "{health:?}");
    let [waited, dropped_words] = &health.warnings[..] else { panic!("{health:?}") };
    assert!(waited.contains("100 of 1000 requests waited"), "{waited}");
    for words in ["100 iterations", "--late-max", "dropped_iterations"] {
        assert!(dropped_words.contains(words), "{dropped_words}");
    }
    // Late though connections were free: that is the generator's doing.
    check(&dropped(Waited::No).invalid, &["90 were sent in time", "connections were free"]);
}

#[test]
fn connections_that_the_server_leaves_open_are_told() {
    let of = |left_open: u64| {
        let mut figures = thousand(0, 5);
        (0..1_000).for_each(|_| figures.connected(0));
        (0..left_open).for_each(|_| figures.left_open(0));
        judged(&fixture::plan(), figures).warnings
    };
    check(&of(900), &["left 900 connections open", "--close client"]);
    assert_eq!(of(9), Vec::<String>::new(), "one or the other may be slow");
}

#[test]
fn a_run_that_was_ended_is_of_a_part() {
    for (ending, word) in [(Ending::Interrupted, "by hand"), (Ending::Aborted, "a threshold")] {
        let mut figures = Figures::new(&[1]);
        for _ in 0..400 {
            figures.answered(0, 5 * MS, 201, 1);
        }
        figures.tick(4_000 * MS, 0.1);
        let stopped_at = Some(Duration::from_secs(4));
        let elapsed = Duration::from_secs(4);
        let evidence = Evidence { ending, stopped_at, elapsed, ..COMPLETED };
        let health = health(&fixture::plan(), &figures.totals(), &evidence);
        assert!(health.invalid.is_empty(), "{health:?}");
        check(&health.warnings, &[word, "4.0 s of 10.0 s"]);
        assert_eq!(health.asked_per_second, Some(100.0));
    }
}

#[test]
fn what_was_in_flight_at_the_end_is_told() {
    let mut figures = thousand(0, 5);
    figures.sample(0, 5 * MS, Ended::Failed(Failure::Interrupted), 0);
    check(
        &judged(&fixture::plan(), figures).warnings,
        &["1 requests", "--graceful-stop (now 30 s)"],
    );
}

#[test]
fn the_kernels_counters_are_told() {
    let after = |took_ms, kernel| {
        let evidence = Evidence { kernel, ..COMPLETED };
        health(&fixture::plan(), &thousand(0, took_ms).totals(), &evidence)
    };
    let with = |kernel| after(5, kernel);
    let counters = KernelCounters { listen_overflows: 3, listen_drops: 3, retransmits: 5 };
    check(&with(Some(counters)).warnings, &["3 connections", "net.core.somaxconn"]);
    assert_eq!(with(Some(counters)).kernel, Some(counters));
    let counters = KernelCounters { retransmits: 50, ..KernelCounters::default() };
    check(&after(300, Some(counters)).warnings, &["This host", "50 TCP segments"]);
    // No request of ours took as long as one that is sent again.
    assert_eq!(with(Some(counters)).warnings, Vec::<String>::new());
    check(&with(None).warnings, &["/proc/net/netstat"]);
    assert_eq!(with(None).kernel, None);
}
