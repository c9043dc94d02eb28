//! Plans for the tests, and running them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use load::clock;
use load::engine::{self, EngineError, Next, Running};
use load::measure::{Counts, Failure, Interval, Totals, Trend};
use load::plan::{
    Arrivals, Check, Connections, Executor, Keeping, LocalAddresses, Plan, Protocol, Scenario,
    Target, Think, Tls, UserStage,
};
use load::receipts::Receipts;
use load::request::Requests;

/// A run that takes longer hangs.
const RUN_MAX: Duration = Duration::from_secs(60);

/// One scenario against `address`, over ten connections that are kept alive.
pub(crate) fn scenario(address: SocketAddr, executor: Executor) -> Scenario {
    let authority = address.to_string();
    Scenario {
        name: "only".into(),
        tags: [("scenario".to_owned(), "only".to_owned())].into(),
        start: Duration::ZERO,
        executor,
        requests: Requests::posts(&authority, "/api/usages", "{\"number\":{{seq}}}"),
        target: Target {
            https: false,
            host: address.ip().to_string(),
            authority,
            addresses: vec![address],
        },
        connections: Connections {
            keeping: Keeping::Alive { max: 10 },
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

/// A plan of one scenario and one worker.
pub(crate) fn plan(scenario: Scenario) -> Plan {
    Plan {
        scenarios: vec![scenario],
        thresholds: Vec::new(),
        threads: 1,
        notes: Vec::new(),
        seed: 0,
        graceful_stop: Duration::from_secs(10),
    }
}

/// So many requests a second, all in so many milliseconds.
pub(crate) fn rate(per_second: f64, ms: u64) -> Executor {
    let stage = (Duration::from_millis(ms), per_second, per_second);
    Executor::Arrivals(Arrivals::new([stage]).expect("somebody comes"))
}

/// A constant number of users.
pub(crate) fn users(count: u64, ms: u64, think_ms: u64) -> Executor {
    let stage = UserStage { duration: Duration::from_millis(ms), from: count, to: count };
    Executor::Users { stages: vec![stage], think: think(think_ms) }
}

pub(crate) fn think(ms: u64) -> Think {
    Think { min: Duration::from_millis(ms), max: Duration::from_millis(ms) }
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) totals: Totals,
    pub(crate) start_ns: u64,
    pub(crate) intervals: usize,
}

/// Runs a plan on one machine.
pub(crate) fn run(plan: Plan) -> Ran {
    let plan = Arc::new(plan);
    let start_ns = clock::now_ns() + 10_000_000;
    let running =
        engine::start(Arc::clone(&plan), 0, 1, start_ns, None).expect("there are threads");
    collect(&plan, running, start_ns)
}

/// Runs a plan and keeps receipts.
pub(crate) fn run_with_receipts(plan: Plan, receipts: Receipts) -> Ran {
    let plan = Arc::new(plan);
    let start_ns = clock::now_ns();
    let receipts = Some(Arc::new(receipts));
    let running =
        engine::start(Arc::clone(&plan), 0, 1, start_ns, receipts).expect("there are threads");
    collect(&plan, running, start_ns)
}

/// Takes what a run measures until it ends.
pub(crate) fn collect(plan: &Plan, running: Running, start_ns: u64) -> Ran {
    collect_and(plan, running, start_ns, |_, _| {})
}

/// The same, and does something with the run at each of its intervals.
pub(crate) fn collect_and(
    plan: &Plan,
    running: Running,
    start_ns: u64,
    at_interval: impl FnMut(&Running, &Interval),
) -> Ran {
    let (ran, ended) = collect_and_join(plan, running, start_ns, at_interval);
    ended.expect("no worker fails");
    ran
}

/// The same of a run whose workers may fail.
pub(crate) fn collect_and_join(
    plan: &Plan,
    running: Running,
    start_ns: u64,
    mut at_interval: impl FnMut(&Running, &Interval),
) -> (Ran, Result<(), EngineError>) {
    let mut totals = Totals::new(&plan.shape());
    let hangs_ns = clock::now_ns() + u64::try_from(RUN_MAX.as_nanos()).expect("short");
    let mut intervals = 0;
    loop {
        match running.next(Duration::from_millis(100)) {
            Next::Interval(interval) => {
                totals.add(0, &interval);
                intervals += 1;
                at_interval(&running, &interval);
                running.give_back(interval);
            }
            Next::Nothing => assert!(clock::now_ns() < hangs_ns, "it hangs: {totals:?}"),
            Next::Ended => break,
        }
    }
    let ended = running.join();
    let ran = Ran { totals, start_ns, intervals };
    for scenario in &ran.totals.scenarios {
        let counts = &scenario.counts;
        assert_eq!(
            counts.due,
            counts.started + counts.dropped,
            "every due request is accounted for"
        );
        assert_eq!(counts.started, counts.ended, "and every one that was started has ended");
        assert_eq!(counts.ended, counts.answered + counts.failures.iter().sum::<u64>());
        assert_eq!(scenario.trend(Trend::Duration).len(), counts.ended);
        assert_eq!(scenario.trend(Trend::Waiting).len(), counts.answered);
    }
    (ran, ended)
}

impl Ran {
    /// Of the first scenario.
    pub(crate) fn counts(&self) -> &Counts {
        &self.totals.scenarios[0].counts
    }

    /// The failures of the first scenario that there were.
    pub(crate) fn failures(&self) -> Vec<(Failure, u64)> {
        let counts = &self.counts().failures;
        let all = Failure::ALL.into_iter().map(|failure| (failure, counts[failure as usize]));
        all.filter(|(_, count)| *count > 0).collect()
    }

    /// The statuses of the first scenario that there were.
    pub(crate) fn statuses(&self) -> Vec<(u16, u64)> {
        self.counts().statuses().collect()
    }

    /// A percentile of the first scenario, in milliseconds.
    pub(crate) fn percentile(&self, trend: Trend, percent: f64) -> f64 {
        self.totals.scenarios[0].trend(trend).percentile_ms(percent).expect("there are samples")
    }
}
