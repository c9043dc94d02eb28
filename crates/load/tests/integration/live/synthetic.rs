//! Runs that never were: plans and figures, made up tick by tick, for looking at the view.

use std::time::Duration;

use load::limits::TICK;
use load::measure::{Ended, Failure, Gauges, Interval, Recorder, Sample, Totals};
use load::plan::{Executor, Options, Plan, ScenarioOptions};

/// What kind of run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As it should be.
    Well,
    /// A stall, refused connections, and a threshold that does not hold.
    Failing,
    /// The generator cannot keep up.
    Invalid,
    /// Several scenarios, one of them a closed model.
    Several,
}

/// A run so far.
pub(crate) struct Synthetic {
    pub(crate) plan: Plan,
    pub(crate) totals: Totals,
    kind: Kind,
    recorder: Recorder,
    random: u64,
    ticks: u64,
}

const TICK_NS: u64 = 250_000_000;

impl Synthetic {
    /// Before its first tick.
    pub(crate) fn new(kind: Kind, seconds: u64, rate: f64) -> Self {
        let plan = plan(kind, seconds, rate);
        let shape = plan.shape();
        let (totals, recorder) = (Totals::new(&shape), Recorder::new(0, &shape));
        Self { plan, totals, kind, recorder, random: 7, ticks: 0 }
    }

    /// How far it is.
    pub(crate) fn at(&self) -> Duration {
        TICK * u32::try_from(self.ticks).expect("short")
    }

    /// A tick more.
    pub(crate) fn tick(&mut self) {
        let until_ns = (self.ticks + 1) * TICK_NS;
        for scenario in 0..self.plan.scenarios.len() {
            let due = self.due(scenario, until_ns);
            let sent = if self.kind == Kind::Invalid { due * 4 / 5 } else { due };
            for number in 0..due {
                let lag_ns = match self.kind {
                    Kind::Invalid => 40_000_000 + self.below(30_000_000),
                    _ => 8_000 + self.below(40_000),
                };
                self.recorder.due(scenario, lag_ns);
                if number < sent {
                    self.request(scenario);
                }
            }
        }
        self.ticks += 1;
        let cpu_ns = if self.kind == Kind::Invalid { TICK_NS } else { TICK_NS * 43 / 100 };
        let gauges = Gauges {
            in_flight: 10 + self.below(12),
            waiting: if self.kind == Kind::Invalid { 1_312 } else { 0 },
            users: 1_000,
            cpu_ns,
        };
        let next = Box::new(Interval::new(0, &self.plan.shape()));
        let interval = self.recorder.take(until_ns, gauges, next);
        self.totals.add(0, &interval);
    }

    fn due(&mut self, scenario: usize, until_ns: u64) -> u64 {
        match &self.plan.scenarios[scenario].executor {
            Executor::Arrivals(arrivals) => {
                let due = |n: &u64| arrivals.due_ns(*n).is_some_and(|due_ns| due_ns < until_ns);
                let first = self.totals.scenarios[scenario].counts.due;
                (first..arrivals.count()).take_while(due).count() as u64
            }
            // A closed model asks as fast as it is answered.
            _ => 40 + self.below(10),
        }
    }

    fn request(&mut self, scenario: usize) {
        self.recorder.started(scenario, false);
        let stalls = self.kind == Kind::Failing && (20..26).contains(&(self.ticks % 64));
        let took_ns = match self.below(1_000) {
            0 => 3_000_000 + self.below(4_000_000),
            1..20 => 900_000 + self.below(500_000),
            _ if stalls => 30_000_000 + self.below(700_000_000),
            _ => 250_000 + self.below(300_000),
        };
        let ended = match (self.kind, self.below(200)) {
            (Kind::Failing, 0) => Ended::Failed(Failure::Refused),
            (Kind::Failing, 1..4) => Ended::Answered(503),
            (Kind::Failing, 4) if stalls => Ended::Failed(Failure::Timeout),
            (Kind::Several, 0) if scenario == 0 => Ended::Answered(429),
            _ => Ended::Answered(201),
        };
        let checks_passed = u32::from(ended == Ended::Answered(201));
        self.recorder.ended(
            scenario,
            &Sample {
                due_ns: 0,
                begun_ns: 0,
                connected_ns: 0,
                secured_ns: 0,
                sent_ns: 20_000,
                first_byte_ns: took_ns,
                ended_ns: took_ns,
                ended,
                sent: true,
                checks_passed,
                bytes_sent: 260,
                bytes_received: 190,
            },
        );
    }

    /// A number below another one, the same in each run (xorshift).
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }
}

/// A plan as somebody would type it.
fn plan(kind: Kind, seconds: u64, rate: f64) -> Plan {
    let duration = format!("{seconds}s");
    let at = |rate: f64| ScenarioOptions {
        rate: Some(format!("{rate:.1}/s")),
        duration: Some(duration.clone()),
        ..ScenarioOptions::default()
    };
    let defaults = ScenarioOptions {
        url: Some("http://127.0.0.1:3000/api/usages".to_owned()),
        ..ScenarioOptions::default()
    };
    let thresholds = ["http_req_duration: p(95)<5ms", "check_failure_rate: rate<0.01"];
    let mut options = Options {
        defaults: defaults.clone(),
        thresholds: thresholds.map(str::to_owned).to_vec(),
        ..Options::default()
    };
    if kind == Kind::Several {
        let users = ScenarioOptions {
            vus: Some("50".to_owned()),
            duration: Some(duration.clone()),
            ..ScenarioOptions::default()
        };
        let scenarios =
            [("evening", at(rate / 2.0)), ("clinic", users), ("morning", at(rate / 3.0))];
        options.scenarios = scenarios.map(|(name, of)| (name.to_owned(), of)).into();
    } else {
        options.defaults = ScenarioOptions { url: defaults.url, ..at(rate) };
    }
    options.build().expect("the plan is a good one")
}
