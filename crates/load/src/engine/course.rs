//! One scenario as one worker runs it.

use std::sync::Arc;
use std::time::Duration;

use crate::plan::{Executor, Lane, Protocol, Scenario, UserStage};

use super::closed::{Closed, Pace};
use super::iterations::{Heap, Iterations};
use super::multiplex::Origin;
use super::open::Open;
use super::pool::Pool;
use super::population::Population;
use super::scrutiny::Scrutiny;
use super::tls::Opening;
use super::trust::{self, TlsError};

/// Where a worker is in a scenario.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) model: Model,
    pub(super) pool: Pool,
    /// How TLS begins, if it is spoken.
    pub(super) tls: Option<Opening>,
    /// What its requests have in common in HTTP/2, if that is spoken.
    pub(super) http2: Option<Origin>,
    pub(super) scrutiny: Scrutiny,
    pub(super) timeout_ns: u64,
    pub(super) connect_timeout_ns: u64,
    /// Later than this is dropped; [`u64::MAX`] when nothing is.
    pub(super) late_max_ns: u64,
    /// When the time for new requests is over.
    pub(super) until_ns: u64,
    /// When the time for those under way is over, too.
    pub(super) grace_until_ns: u64,
    /// The most users, or connections, that were seen since the last tick.
    users_max: u64,
    /// Requests under way.
    pub(super) in_flight: usize,
    /// Whether no new requests are begun but those that are late.
    pub(super) stopped: bool,
    /// Whether nothing is left to do.
    pub(super) over: bool,
}

/// Who comes when.
#[derive(Debug)]
pub(super) enum Model {
    Open(Open),
    Closed(Closed),
}

/// What the workers of a machine have in common of a scenario.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    /// The machine's part of shared iterations.
    heap: Option<Arc<Heap>>,
    /// How TLS begins, if it is spoken.
    tls: Option<Opening>,
}

impl Shared {
    /// For machine number `machine` out of `machines`, each of so many workers.
    pub(super) fn new(
        scenario: &Scenario,
        machine: u64,
        machines: u64,
        threads: u64,
    ) -> Result<Self, TlsError> {
        let heap = match &scenario.executor {
            Executor::SharedIterations { users, iterations, .. } => {
                Some(Arc::new(Heap::new(*iterations, *users, machine, machines, threads)))
            }
            _ => None,
        };
        Ok(Self { heap, tls: trust::opening(scenario)? })
    }
}

impl Course {
    /// At its start.
    pub(super) fn new(
        scenario: &Scenario,
        shared: &Shared,
        lane: Lane,
        run_start_ns: u64,
        graceful_stop: Duration,
        receipts: bool,
    ) -> Self {
        let lane = scenario.lane(lane);
        let start_ns = run_start_ns + ns(scenario.start);
        let until_ns = start_ns.saturating_add(ns(scenario.executor.duration()));
        Self {
            model: model(scenario, lane, shared.heap.as_ref(), start_ns),
            pool: Pool::new(&scenario.connections, &scenario.target, lane),
            tls: shared
                .tls
                .as_ref()
                .map(|tls| trust::of_worker(tls, scenario.connections.tls.resume)),
            http2: match scenario.connections.protocol {
                Protocol::Http1 => None,
                Protocol::Http2 { streams_max } => Some(Origin::new(&scenario.target, streams_max)),
            },
            scrutiny: Scrutiny::new(&scenario.checks, receipts),
            timeout_ns: ns(scenario.timeout),
            connect_timeout_ns: ns(scenario.connect_timeout),
            late_max_ns: scenario.late_max.map_or(u64::MAX, ns),
            until_ns,
            grace_until_ns: until_ns.saturating_add(ns(graceful_stop)),
            users_max: 0,
            in_flight: 0,
            stopped: false,
            over: false,
        }
    }

    /// When something is to be done although nothing happened.
    pub(super) fn next_ns(&self) -> u64 {
        if self.over {
            return u64::MAX;
        }
        let model = match &self.model {
            Model::Open(open) => open.next_ns(),
            Model::Closed(closed) => closed.next_ns(),
        };
        let end = if self.stopped { self.grace_until_ns } else { self.until_ns };
        model.min(end)
    }

    /// Whether somebody waits to send.
    pub(super) fn has_waiting(&self) -> bool {
        match &self.model {
            Model::Open(open) => open.backlog() > 0,
            Model::Closed(closed) => closed.has_ready(),
        }
    }

    /// How many wait for a connection to be free.
    pub(super) fn waiting(&self) -> u64 {
        match &self.model {
            Model::Open(open) => open.backlog(),
            Model::Closed(_) => 0,
        }
    }

    /// Notes how many users are at work, or connections open, before some of them go.
    pub(super) fn note_users(&mut self) {
        let users = match &self.model {
            Model::Open(_) => self.pool.open() as u64,
            Model::Closed(closed) => closed.at_work(self.in_flight),
        };
        self.users_max = self.users_max.max(users);
    }

    /// The most there were since the last tick, which this one is.
    pub(super) fn take_users(&mut self) -> u64 {
        self.note_users();
        std::mem::take(&mut self.users_max)
    }

    /// Whether nobody sends any more and nothing is under way.
    pub(super) fn has_ended(&self) -> bool {
        let over = match &self.model {
            // A rate is one over the whole of its time, whoever came last in it.
            Model::Open(open) => self.stopped && open.is_over(),
            Model::Closed(closed) => closed.is_over(),
        };
        over && self.in_flight == 0
    }
}

fn model(scenario: &Scenario, lane: Lane, heap: Option<&Arc<Heap>>, start_ns: u64) -> Model {
    // As long as they have iterations left, users stay until the time is over.
    let constant = |users: u64, duration: Duration| {
        Population::new(&[UserStage { duration, from: users, to: users }], lane, start_ns)
    };
    let (population, iterations, think) = match &scenario.executor {
        Executor::Arrivals(arrivals) => return Model::Open(Open::new(arrivals, lane, start_ns)),
        Executor::Users { stages, think } => {
            let iterations = Iterations::Endless { lane, begun: 0 };
            (Population::new(stages, lane, start_ns), iterations, *think)
        }
        Executor::SharedIterations { users, duration_max, think, .. } => {
            let heap = Arc::clone(heap.expect("made for each scenario of shared iterations"));
            (constant(*users, *duration_max), Iterations::Shared(heap), *think)
        }
        Executor::PerUserIterations { users, iterations, duration_max, think } => {
            let left = lane.share(*users) * iterations;
            let (users, iterations) = (*users, *iterations);
            let each = Iterations::Each { lane, users, iterations, left };
            (constant(users, *duration_max), each, *think)
        }
    };
    // Lanes begin one after the other.
    let pace = scenario.rps_max.map(|rps_max| {
        let gap_ns = ns(Duration::try_from_secs_f64(1.0 / rps_max).unwrap_or(Duration::MAX));
        Pace { gap_ns, next_ns: start_ns.saturating_add(gap_ns.saturating_mul(lane.index)) }
    });
    Model::Closed(Closed::new(population, iterations, think, pace, lane.index))
}

/// Nanoseconds of a time, at most what leaves room for sums.
pub(super) fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).min(u64::MAX / 4)
}
