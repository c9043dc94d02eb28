//! Requests come when they are due, each once, however the plan is divided.

use std::sync::Arc;
use std::time::Duration;

use load::clock;
use load::engine;
use load::measure::Trend;
use load::plan::{Arrivals, Executor, Plan};

use crate::plans::{Ran, collect, collect_and, collect_and_join, plan, rate, run, scenario};
use crate::server::Server;

#[test]
fn every_request_is_sent_once_and_none_before_its_time() {
    let server = Server::friendly();
    let ran = run(plan(scenario(server.address, rate(2_000.0, 1_000))));
    assert_eq!(ran.statuses(), [(201, 2_000)]);
    assert_eq!(server.numbers(), (0..2_000).collect::<Vec<_>>());
    let arrivals = Arrivals::new([(Duration::from_secs(1), 2e3, 2e3)]).unwrap();
    check_times(&server, &ran, &arrivals);
    assert_eq!(ran.counts().checks_succeeded(), 2_000);
    assert!(server.accepted() <= 10, "{} connections", server.accepted());
    assert_eq!(ran.counts().connections, server.accepted() as u64);
    assert!(ran.intervals >= 4, "a second is four ticks, not {}", ran.intervals);
}

/// Otherwise five requests in a second would be told as more than six a second: the last is due
/// after 0.8 s.
#[test]
fn repro_a_run_lasts_as_long_as_it_was_told_to() {
    let server = Server::friendly();
    let ran = run(plan(scenario(server.address, rate(5.0, 1_000))));
    assert_eq!(ran.counts().answered, 5);
    let lasted = Duration::from_nanos(ran.totals.until_ns).as_secs_f64();
    assert!((1.0..1.2).contains(&lasted), "{lasted} s");
}

#[test]
fn a_ramp_has_the_area_under_it() {
    let server = Server::friendly();
    let ms = Duration::from_millis;
    let stages = [(ms(500), 0.0, 1_000.0), (ms(200), 1_000.0, 1_000.0), (ms(500), 1_000.0, 0.0)];
    let arrivals = Arrivals::new(stages).unwrap();
    let ran = run(plan(scenario(server.address, Executor::Arrivals(arrivals.clone()))));
    assert_eq!(server.numbers(), (0..700).collect::<Vec<_>>());
    check_times(&server, &ran, &arrivals);
}

/// No request is early; and from when each was due to when its answer was written, which the server
/// noted, is no longer than what is reported.
fn check_times(server: &Server, ran: &Ran, arrivals: &Arrivals) {
    let mut least_ms = Vec::new();
    for seen in server.seen() {
        let due_ns = ran.start_ns + arrivals.due_ns(seen.number).expect("it is one of them");
        assert!(seen.received_ns >= due_ns, "request {} came early", seen.number);
        least_ms.push(Duration::from_nanos(seen.answered_ns - due_ns).as_secs_f64() * 1e3);
    }
    least_ms.sort_by(f64::total_cmp);
    for percent in [1usize, 10, 50, 90, 99, 100] {
        let least = least_ms[(least_ms.len() * percent).div_ceil(100) - 1];
        #[expect(clippy::cast_precision_loss, reason = "at most a hundred")]
        let reported = ran.percentile(Trend::Duration, percent as f64);
        assert!(reported >= least * 0.998, "p{percent}: {reported} ms, at least {least} ms");
    }
}

/// Runs the plan that `make` makes on so many machines of so many workers; the numbers that came.
fn divided(machines: u64, threads: usize, make: impl Fn(&Server) -> Plan) -> Vec<u64> {
    let server = Server::friendly();
    let start_ns = clock::now_ns() + 20_000_000;
    let running: Vec<_> = (0..machines)
        .map(|machine| {
            let plan = Arc::new(Plan { threads, ..make(&server) });
            (
                engine::start(Arc::clone(&plan), machine, machines, start_ns, None)
                    .expect("there are threads"),
                plan,
            )
        })
        .collect();
    for (running, plan) in running {
        collect(&plan, running, start_ns);
    }
    server.numbers()
}

#[test]
fn a_divided_plan_sends_what_the_whole_would() {
    let think = crate::plans::think(0);
    let duration_max = Duration::from_secs(20);
    let shared = Executor::SharedIterations { users: 3, iterations: 301, duration_max, think };
    let each = Executor::PerUserIterations { users: 7, iterations: 43, duration_max, think };
    for executor in [rate(1_003.0, 300), shared, each] {
        let make = |server: &Server| plan(scenario(server.address, executor.clone()));
        let whole = divided(1, 1, make);
        assert_eq!(whole, (0..301).collect::<Vec<_>>());
        assert_eq!(divided(1, 2, make), whole, "two workers");
        assert_eq!(divided(2, 1, make), whole, "two machines");
        assert_eq!(divided(2, 2, make), whole, "two machines of two workers");
    }
}

#[test]
fn users_of_all_lanes_send_different_requests() {
    let numbers =
        divided(2, 2, |server| plan(scenario(server.address, crate::plans::users(6, 200, 1))));
    assert!(numbers.len() > 6, "{} requests", numbers.len());
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "no number twice");
}

#[test]
fn what_is_too_late_is_dropped_and_counted() {
    // One connection, on which each answer takes 10 ms, for a request every millisecond.
    let late_max = |late_max| {
        let server = Server::slow(Duration::from_millis(10));
        let mut scenario = scenario(server.address, rate(1_000.0, 200));
        scenario.connections.keeping = load::plan::Keeping::Alive { max: 1 };
        scenario.late_max = late_max;
        let ran = run(plan(scenario));
        assert_eq!((ran.counts().due, ran.counts().answered), (200, ran.counts().started));
        assert_eq!(ran.counts().waited + 1, ran.counts().due, "all but the first waited");
        ran.counts().dropped
    };
    let dropped = late_max(Some(Duration::from_millis(10)));
    assert!(dropped > 100, "{dropped} of 200");
    assert_eq!(late_max(None), 0, "without the cap they are sent late");
}

#[test]
fn what_a_full_stop_cuts_off_is_counted() {
    // The server never answers, so one request is in flight and all others wait.
    let server = Server::start(crate::server::Peer::wait_for_end);
    let mut scenario = scenario(server.address, rate(500.0, 100));
    scenario.connections.keeping = load::plan::Keeping::Alive { max: 1 };
    let plan = Arc::new(Plan { graceful_stop: Duration::from_millis(500), ..plan(scenario) });
    let start_ns = clock::now_ns();
    let running = engine::start(Arc::clone(&plan), 0, 1, start_ns, None).unwrap();
    let mut first = None;
    let ran = collect_and(&plan, running, start_ns, |_, interval| {
        first.get_or_insert(interval.gauges);
    });
    let gauges = first.expect("there is one at least");
    assert_eq!((gauges.in_flight, gauges.waiting, gauges.users), (1, 49, 1));
    assert!(gauges.cpu_ns > 0);
    assert_eq!((ran.counts().started, ran.counts().dropped), (1, 49));
    assert_eq!(ran.counts().waited, 49, "they waited in vain");
    assert_eq!(ran.failures(), [(load::measure::Failure::Interrupted, 1)]);
}

#[test]
fn repro_a_stop_counts_what_the_worker_had_not_come_to() {
    let server = Server::friendly();
    let mut scenario = scenario(server.address, rate(200_000.0, 60_000));
    // As long as there is room for one more connection, one request is noticed for each that is sent.
    scenario.connections.keeping = load::plan::Keeping::Alive { max: 100_000 };
    let plan = Arc::new(plan(scenario));
    // Two seconds behind from the start.
    let start_ns = clock::now_ns() - 2_000_000_000;
    let running = engine::start(Arc::clone(&plan), 0, 1, start_ns, None).unwrap();
    running.stop();
    let ran = collect_and(&plan, running, start_ns, |_, _| {});
    let (due, started) = (ran.counts().due, ran.counts().started);
    assert!(due >= 400_000 && started < due / 2, "{due} due, {started} started");
    assert_eq!(ran.counts().dropped, due - started);
}

#[test]
fn repro_whom_nobody_waits_for_sends_nothing_more() {
    let server = Server::friendly();
    let plan = Arc::new(plan(scenario(server.address, rate(1_000.0, 3_600_000))));
    let start_ns = clock::now_ns();
    let running = engine::start(Arc::clone(&plan), 0, 1, start_ns, None).unwrap();
    let until_ns = start_ns + 300_000_000;
    running.go_on_until(until_ns);
    let (ran, ended) = collect_and_join(&plan, running, start_ns, |_, _| {});
    let why = ended.expect_err("a part is missing").to_string();
    assert!(why.contains("no more time"), "{why}");
    assert!(ran.counts().started > 100, "{} started", ran.counts().started);
    let last_ns = server.seen().iter().map(|seen| seen.received_ns).max().expect("some came");
    assert!(last_ns < until_ns + 1_000_000_000, "{} ns later", last_ns - until_ns);
}

#[test]
fn a_run_stops_when_it_is_told_to() {
    let server = Server::friendly();
    let plan = Arc::new(plan(scenario(server.address, rate(1_000.0, 3_600_000))));
    let start_ns = clock::now_ns();
    let running = engine::start(Arc::clone(&plan), 0, 1, start_ns, None).unwrap();
    let ran = collect_and(&plan, running, start_ns, |running, _| running.stop());
    assert!(ran.counts().due < 3_600_000);
    assert_eq!(ran.counts().failed, 0, "those in flight had their time");
}
