//! A run so far, over all workers and machines.

use super::counts::Counts;
use super::histogram::TotalTimes;
use super::interval::{Gauges, Interval};
use super::metric::Trend;
use super::timeline::Timeline;

/// Everything measured so far.
#[derive(Debug, Clone)]
pub struct Totals {
    /// In the plan's order.
    pub scenarios: Vec<ScenarioTotals>,
    /// Over time.
    pub timeline: Timeline,
    /// By machine and worker: how it stood last, and its CPU over the whole run.
    workers: Vec<Worker>,
    /// The end of the latest interval, in nanoseconds from the run's start.
    pub until_ns: u64,
}

/// One scenario so far.
#[derive(Debug, Clone)]
pub struct ScenarioTotals {
    trends: Vec<TotalTimes>,
    /// Beside the times.
    pub counts: Counts,
}

#[derive(Debug, Clone)]
struct Worker {
    machine: usize,
    worker: usize,
    latest: Gauges,
    cpu_ns: u64,
    until_ns: u64,
}

impl Totals {
    /// Nothing yet, for scenarios with these numbers of checks.
    pub fn new(checks: &[usize]) -> Self {
        Self {
            scenarios: checks.iter().map(|count| ScenarioTotals::new(*count)).collect(),
            timeline: Timeline::default(),
            workers: Vec::new(),
            until_ns: 0,
        }
    }

    /// Adds what a worker of machine number `machine` measured.
    pub fn add(&mut self, machine: usize, interval: &Interval) {
        for (total, of_interval) in self.scenarios.iter_mut().zip(&interval.scenarios) {
            for (into, from) in total.trends.iter_mut().zip(&of_interval.trends) {
                into.add(from);
            }
            total.counts.add(&of_interval.counts);
        }
        self.timeline.add(interval);
        self.until_ns = self.until_ns.max(interval.until_ns);
        let worker = self.worker(machine, interval.worker);
        worker.latest = interval.gauges;
        worker.cpu_ns += interval.gauges.cpu_ns;
        worker.until_ns = interval.until_ns;
    }

    /// How things stand now, over all workers; `cpu_ns` is that of the latest tick.
    pub fn gauges(&self) -> Gauges {
        self.workers.iter().fold(Gauges::default(), |sum, worker| Gauges {
            in_flight: sum.in_flight + worker.latest.in_flight,
            waiting: sum.waiting + worker.latest.waiting,
            users: sum.users + worker.latest.users,
            cpu_ns: sum.cpu_ns + worker.latest.cpu_ns,
        })
    }

    /// Up to when every worker has handed over what it measured, in nanoseconds from the run's start;
    /// figures are of one instant when this is [`Self::until_ns`].
    pub fn complete_until_ns(&self) -> u64 {
        self.workers.iter().map(|worker| worker.until_ns).min().unwrap_or(0)
    }

    /// CPU that the workers used so far, together.
    pub fn cpu_ns(&self) -> u64 {
        self.workers.iter().map(|worker| worker.cpu_ns).sum()
    }

    /// For each worker the share of a core that it used over its run, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "shares, for people")]
    pub fn worker_cpu_shares(&self) -> Vec<f64> {
        self.workers.iter().map(|w| w.cpu_ns as f64 / w.until_ns.max(1) as f64).collect()
    }

    /// The distribution of `trend` over the scenarios for which `of` says yes.
    pub fn trend(&self, trend: Trend, of: impl Fn(usize) -> bool) -> TotalTimes {
        let mut all = TotalTimes::default();
        for (number, scenario) in self.scenarios.iter().enumerate() {
            if of(number) {
                all.merge(scenario.trend(trend));
            }
        }
        all
    }

    /// The counts over the scenarios for which `of` says yes, but for checks, which are numbered
    /// within their scenario only: see [`Self::checks`].
    pub fn counts(&self, of: impl Fn(usize) -> bool) -> Counts {
        let mut all = Counts::new(0);
        for (number, scenario) in self.scenarios.iter().enumerate() {
            if of(number) {
                all.add(&scenario.counts);
            }
        }
        all
    }

    /// Checks made and checks passed over the scenarios for which `of` says yes.
    pub fn checks(&self, of: impl Fn(usize) -> bool) -> (u64, u64) {
        let chosen = self.scenarios.iter().enumerate().filter(|(number, _)| of(*number));
        chosen.fold((0, 0), |(made, passed), (_, scenario)| {
            (made + scenario.counts.checks_total(), passed + scenario.counts.checks_succeeded())
        })
    }

    fn worker(&mut self, machine: usize, worker: usize) -> &mut Worker {
        let found = self.workers.iter().position(|w| (w.machine, w.worker) == (machine, worker));
        let index = found.unwrap_or_else(|| {
            let latest = Gauges::default();
            self.workers.push(Worker { machine, worker, latest, cpu_ns: 0, until_ns: 0 });
            self.workers.len() - 1
        });
        &mut self.workers[index]
    }
}

impl ScenarioTotals {
    fn new(checks: usize) -> Self {
        Self { trends: vec![TotalTimes::default(); Trend::COUNT], counts: Counts::new(checks) }
    }

    /// The distribution of one metric.
    pub fn trend(&self, trend: Trend) -> &TotalTimes {
        &self.trends[trend as usize]
    }
}
