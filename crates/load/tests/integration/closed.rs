//! Closed models: users who wait for their answers and think.

use std::time::Duration;

use load::measure::{Failure, Trend};
use load::plan::{Executor, Keeping, Plan, UserStage};

use crate::plans::{plan, run, scenario, think, users};
use crate::server::{Peer, Server};

#[test]
fn each_user_has_a_connection_and_one_request_at_a_time() {
    let server = Server::friendly();
    let mut scenario = scenario(server.address, users(5, 500, 2));
    // What connections open models share is of no concern to users.
    scenario.connections.keeping = Keeping::Alive { max: 1 };
    let ran = run(plan(scenario));
    assert_eq!(server.accepted(), 5);
    let seen = server.seen();
    assert_eq!(ran.statuses(), [(201, seen.len() as u64)]);
    for connection in 0..5 {
        let mut of_user: Vec<_> = seen.iter().filter(|s| s.connection == connection).collect();
        of_user.sort_by_key(|seen| seen.received_ns);
        assert!(of_user.len() > 1, "user {connection} came once");
        for pair in of_user.windows(2) {
            let between_ns = pair[1].received_ns - pair[0].answered_ns;
            assert!(between_ns >= 2_000_000, "it thought for {between_ns} ns only");
        }
    }
    let iterations = ran.totals.scenarios[0].trend(Trend::Iteration).len();
    assert!(ran.counts().ended - iterations <= 5, "the end cut {iterations} short");
    assert!(ran.percentile(Trend::Iteration, 0.0) >= 1.998, "the think time is part of it");
    let lag = ran.totals.scenarios[0].trend(Trend::ScheduleLag);
    assert!(lag.is_empty(), "users who wait for their answers are never late");
}

#[test]
fn users_come_and_go_over_time() {
    let server = Server::friendly();
    let stage = |ms, from, to| UserStage { duration: Duration::from_millis(ms), from, to };
    let stages = vec![stage(300, 0, 6), stage(100, 6, 6), stage(300, 6, 0)];
    let executor = Executor::Users { stages, think: think(1) };
    let ran = run(plan(scenario(server.address, executor)));
    assert_eq!(server.accepted(), 6);
    // User n comes when the line reaches n + 1, and goes when it is back at n.
    let seen = server.seen();
    let mut firsts: Vec<u64> = (0..6)
        .map(|c| seen.iter().filter(|s| s.connection == c).map(|s| s.received_ns).min().unwrap())
        .collect();
    firsts.sort_unstable();
    for (number, first_ns) in (0..).zip(firsts) {
        let comes_ns = ran.start_ns + (number + 1) * 50_000_000;
        assert!(first_ns >= comes_ns, "user {number} came early");
    }
    assert_eq!(ran.counts().failed, 0, "who goes finishes first");
}

#[test]
fn repro_users_who_think_end_with_the_grace() {
    // What is given up at the end of the grace sends its users thinking, from which nobody wakes them.
    let server = Server::start(Peer::wait_for_end);
    for think_ms in [0, 50, 60_000] {
        let mut plan = plan(scenario(server.address, users(3, 50, think_ms)));
        plan.graceful_stop = Duration::from_millis(100);
        let ran = run(plan);
        assert_eq!(ran.failures(), [(Failure::Interrupted, 3)], "think {think_ms} ms");
    }
}

/// A worker without a user waited for the next tick to find that nothing was left to do.
#[test]
fn repro_a_run_ends_with_its_last_answer() {
    let server = Server::friendly();
    let executor = Executor::SharedIterations {
        users: 1,
        iterations: 5,
        duration_max: Duration::from_secs(60),
        think: think(0),
    };
    let mut plan = plan(scenario(server.address, executor));
    plan.threads = 2;
    let ran = run(plan);
    assert_eq!(ran.counts().answered, 5);
    let last_ns = server.seen().iter().map(|seen| seen.answered_ns).max().expect("five came");
    let later_ns = ran.totals.until_ns.saturating_sub(last_ns - ran.start_ns);
    assert!(later_ns < 150_000_000, "{later_ns} ns after its last answer");
}

#[test]
fn users_keep_to_the_pace_that_they_share() {
    let server = Server::friendly();
    let mut scenario = scenario(server.address, users(5, 1_000, 0));
    scenario.rps_max = Some(100.0);
    let ran = run(Plan { threads: 2, ..plan(scenario) });
    // Two lanes of three and two users, which begin 1,000 ms / 60 and / 40 apart.
    let started = ran.counts().started;
    assert!((90..=101).contains(&started), "{started} in a second");
    let mut received: Vec<u64> = server.seen().iter().map(|seen| seen.received_ns).collect();
    received.sort_unstable();
    let half = received.partition_point(|at| *at < ran.start_ns + 500_000_000);
    assert!((35..=60).contains(&half), "{half} in its first half");
    // What they are held back, for 50 ms each, is their own doing and no time of the server's.
    let p50 = ran.percentile(Trend::Duration, 50.0);
    assert!(p50 < 20.0, "{p50} ms");
}

/// They began one after the other once nobody was to be there any more.
#[test]
fn repro_users_who_were_held_back_begin_nothing_once_they_have_gone() {
    let server = Server::friendly();
    let stage = |ms, from, to| UserStage { duration: Duration::from_millis(ms), from, to };
    let stages = vec![stage(300, 20, 20), stage(0, 20, 0), stage(300, 0, 0)];
    let mut scenario = scenario(server.address, Executor::Users { stages, think: think(0) });
    scenario.rps_max = Some(10.0);
    let ran = run(plan(scenario));
    let started = ran.counts().started;
    assert!((1..=4).contains(&started), "{started} in 0.3 s");
}

/// They thought on, and the run with them, which lowered its rates.
#[test]
fn repro_who_is_answered_after_the_end_does_not_think() {
    let server = Server::slow(Duration::from_millis(200));
    let ran = run(plan(scenario(server.address, users(3, 100, 2_000))));
    assert_eq!((ran.counts().answered, ran.counts().failed), (3, 0));
    assert!(ran.totals.until_ns < 1_500_000_000, "{} ns", ran.totals.until_ns);
}

/// What the last tick said was how many were left after the end: none.
#[test]
fn repro_users_who_think_are_there_until_the_end() {
    let server = Server::friendly();
    let ran = run(plan(scenario(server.address, users(3, 1_000, 300))));
    let points = ran.totals.timeline.points();
    let users: Vec<u64> = points.iter().take(4).map(|point| point.users_max).collect();
    assert_eq!(users, [3; 4], "each quarter of the second has all of them");
}

#[test]
fn iterations_that_are_left_are_dropped() {
    let server = Server::slow(Duration::from_millis(20));
    let duration_max = Duration::from_millis(100);
    for executor in [
        Executor::SharedIterations { users: 2, iterations: 1_000, duration_max, think: think(0) },
        Executor::PerUserIterations { users: 2, iterations: 500, duration_max, think: think(0) },
    ] {
        let ran = run(plan(scenario(server.address, executor)));
        assert_eq!(ran.counts().due, 1_000);
        assert!(ran.counts().started <= 12, "{}", ran.counts().started);
    }
}

#[test]
fn users_whom_nobody_lets_in_do_not_spin() {
    let server = Server::friendly();
    let address = server.address;
    drop(server);
    let ran = run(plan(scenario(address, users(2, 500, 0))));
    let [(Failure::Refused, count)] = ran.failures()[..] else { panic!("{:?}", ran.failures()) };
    // Two users who rest for a tenth of a second each time.
    assert!((2..=12).contains(&count), "{count} times");
}
