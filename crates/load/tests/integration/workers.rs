//! Workers beside each other, and what becomes of the rest when one fails or nobody listens.

use std::sync::Arc;
use std::time::Duration;

use load::clock;
use load::engine::{self, EngineError, Next};
use load::plan::Plan;

use crate::plans::{plan, rate, scenario};
use crate::server::Server;

const HOUR_MS: u64 = 3_600_000;

#[test]
fn a_worker_that_panics_ends_the_run_and_is_told_of() {
    let server = Server::friendly();
    // A target without addresses is no valid plan. Only the first worker has a request for it.
    let mut broken = scenario(server.address, rate(1.0, 1_000));
    broken.target.addresses.clear();
    let plan = Plan {
        threads: 2,
        scenarios: vec![broken, scenario(server.address, rate(10.0, HOUR_MS))],
        ..plan(scenario(server.address, rate(1.0, 1_000)))
    };
    let running = engine::start(Arc::new(plan), 0, 1, clock::now_ns(), None).unwrap();
    // Without that, the other worker would go on for an hour, with four intervals a second.
    let mut intervals = 0;
    while !matches!(running.next(Duration::from_secs(60)), Next::Ended) {
        intervals += 1;
        assert!(intervals < 100, "the other worker goes on");
    }
    let error = running.join().expect_err("one has panicked");
    assert!(matches!(error, EngineError::Panicked { worker: 0 }), "{error}");
}

#[test]
fn workers_wait_for_nobody_who_reads() {
    let server = Server::friendly();
    let plan = Plan { threads: 2, ..plan(scenario(server.address, rate(500.0, 2_000))) };
    // Eight ticks, of which nothing is read.
    let running = engine::start(Arc::new(plan), 0, 1, clock::now_ns(), None).unwrap();
    running.join().expect("it ends all the same");
    assert_eq!(server.numbers(), (0..1_000).collect::<Vec<_>>());
}
