//! Plans and figures for this crate's tests of what comes after the measuring.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::measure::{Ended, Gauges, Interval, Recorder, Sample, Totals};
use crate::plan::{
    Arrivals, Check, Connections, Executor, Keeping, LocalAddresses, Plan, Protocol, Scenario,
    Target, Think, Tls, UserStage,
};
use crate::request::Requests;

/// A millisecond in nanoseconds.
pub(crate) const MS: u64 = 1_000_000;

/// One scenario of 100 requests a second for 10 s over at most 10 connections to 127.0.0.1:3000.
pub(crate) fn plan() -> Plan {
    Plan {
        scenarios: vec![scenario("default")],
        thresholds: Vec::new(),
        threads: 1,
        graceful_stop: Duration::from_secs(30),
        seed: 0,
        notes: Vec::new(),
    }
}

pub(crate) fn scenario(name: &str) -> Scenario {
    let address: SocketAddr = "127.0.0.1:3000".parse().expect("an address");
    Scenario {
        name: name.to_owned(),
        tags: BTreeMap::from([("scenario".to_owned(), name.to_owned())]),
        start: Duration::ZERO,
        executor: arrivals(10, 100.0),
        target: Target {
            https: false,
            host: "127.0.0.1".to_owned(),
            authority: "127.0.0.1:3000".to_owned(),
            addresses: vec![address],
        },
        requests: Requests::usages("127.0.0.1:3000", "/api/usages"),
        connections: Connections {
            keeping: Keeping::Alive { max: 10 },
            protocol: Protocol::Http1,
            tls: Tls::default(),
            local: LocalAddresses::Kernel,
        },
        checks: vec![Check::Status(201)],
        timeout: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(10),
        late_max: None,
        rps_max: None,
    }
}

pub(crate) fn arrivals(seconds: u64, per_second: f64) -> Executor {
    let stage = (Duration::from_secs(seconds), per_second, per_second);
    Executor::Arrivals(Arrivals::new([stage]).expect("some are due"))
}

pub(crate) fn users(seconds: u64, users: u64) -> Executor {
    let stage = UserStage { duration: Duration::from_secs(seconds), from: users, to: users };
    Executor::Users { stages: vec![stage], think: Think::default() }
}

/// What one worker measures, put together by hand.
pub(crate) struct Figures {
    checks: Vec<usize>,
    recorder: Recorder,
    totals: Totals,
}

impl Figures {
    /// For scenarios with these numbers of checks.
    pub(crate) fn new(checks: &[usize]) -> Self {
        let recorder = Recorder::new(0, checks);
        Self { checks: checks.to_vec(), recorder, totals: Totals::new(checks) }
    }

    /// A request that was due, sent at once and answered.
    pub(crate) fn answered(&mut self, scenario: usize, took_ns: u64, status: u16, checks: u32) {
        self.ended(scenario, 0, took_ns, Ended::Answered(status), checks);
    }

    /// A request that was noticed so late, and ended.
    pub(crate) fn ended(
        &mut self,
        scenario: usize,
        lag_ns: u64,
        took_ns: u64,
        ended: Ended,
        checks_passed: u32,
    ) {
        self.recorder.due(scenario, lag_ns);
        self.recorder.started(scenario, false);
        self.sample(scenario, took_ns, ended, checks_passed);
    }

    /// The end alone, of a request that `recorder` knows already.
    pub(crate) fn sample(&mut self, scenario: usize, took_ns: u64, ended: Ended, checks: u32) {
        let sample = Sample {
            due_ns: 0,
            begun_ns: 0,
            connected_ns: 0,
            secured_ns: 0,
            sent_ns: 0,
            first_byte_ns: took_ns,
            ended_ns: took_ns,
            ended,
            sent: true,
            checks_passed: checks,
            bytes_sent: 100,
            bytes_received: 100,
        };
        self.recorder.ended(scenario, &sample);
    }

    pub(crate) fn connected(&mut self, scenario: usize) {
        self.recorder.connected(scenario);
    }

    pub(crate) fn left_open(&mut self, scenario: usize) {
        self.recorder.left_open(scenario);
    }

    /// Requests that were due, and may have waited for a connection, and are not sent.
    pub(crate) fn dropped(&mut self, scenario: usize, requests: u64, waited: Waited) {
        let all_waited = if waited == Waited::Yes { requests } else { 0 };
        self.recorder.dropped(scenario, requests, all_waited);
    }

    /// A request that is due, and may wait for a connection, and is not over.
    pub(crate) fn due(&mut self, scenario: usize, sent: Option<Waited>) {
        self.recorder.due(scenario, 0);
        if let Some(waited) = sent {
            self.recorder.started(scenario, waited == Waited::Yes);
        }
    }

    /// Hands over what was measured until then, of which the worker was at work for `cpu`.
    pub(crate) fn tick(&mut self, until_ns: u64, cpu: f64) -> Box<Interval> {
        let next = Box::new(Interval::new(0, &self.checks));
        let mut interval = self.recorder.take(until_ns, Gauges::default(), next);
        let took = Duration::from_nanos(interval.until_ns - interval.from_ns).mul_f64(cpu);
        interval.gauges.cpu_ns = u64::try_from(took.as_nanos()).expect("short");
        self.totals.add(0, &interval);
        interval
    }

    /// Everything until now, after a tick of 10 s if there was none.
    pub(crate) fn totals(mut self) -> Totals {
        if self.totals.until_ns == 0 {
            self.tick(10_000 * MS, 0.1);
        }
        self.totals
    }
}

/// Whether a request waited for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Yes,
    No,
}
