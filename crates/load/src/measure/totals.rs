//! A run so far, over all workers and machines.

use std::collections::VecDeque;

use crate::limits::TICK;

use super::counts::Counts;
use super::histogram::TotalTimes;
use super::interval::{Gauges, Interval};
use super::metric::Trend;
use super::timeline::Timeline;

/// A worker's CPU is looked at over so long: shorter, and the start of a run would count as its
/// whole; longer, and what waits for the last answers would hide that a worker was at its limit.
const BUSY_NS: u64 = 5_000_000_000;

/// What a worker used is a share of this at least. One without work ends at once, and what its thread
/// took to begin would be many times its run.
const RUN_NS_MIN: u64 = 100_000_000;

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
    /// Whether nothing more comes of it.
    ended: bool,
    /// How `until_ns` and `cpu_ns` stood at ticks, oldest first: those of the last [`BUSY_NS`] and one
    /// before them.
    marks: VecDeque<(u64, u64)>,
    /// The highest share of a core over [`BUSY_NS`] so far.
    busiest: f64,
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
        worker.ended = interval.last;
        worker.mark();
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

    /// Up to when every worker has handed over what it measured, in nanoseconds from the run's start.
    /// Those that have ended have nothing more to tell.
    pub fn complete_until_ns(&self) -> u64 {
        let at_work = self.workers.iter().filter(|worker| !worker.ended);
        at_work.map(|worker| worker.until_ns).min().unwrap_or(self.until_ns)
    }

    /// Whether some workers have handed over a tick that others have not: figures are then not of one
    /// instant, and counters lack what happened.
    pub fn is_torn(&self) -> bool {
        u128::from(self.until_ns - self.complete_until_ns()) >= TICK.as_nanos() / 2
    }

    /// CPU that the workers used so far, together.
    pub fn cpu_ns(&self) -> u64 {
        self.workers.iter().map(|worker| worker.cpu_ns).sum()
    }

    /// For each worker the share of a core that it used in its busiest five seconds, 0 to 1; over its
    /// run if that was shorter.
    pub fn worker_cpu_shares(&self) -> Vec<f64> {
        self.workers.iter().map(Worker::cpu_share).collect()
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

    /// [`Trend::Duration`] of the answers that were no failures: what k6 calls
    /// `{ expected_response:true }`.
    pub fn expected(&self, of: impl Fn(usize) -> bool) -> TotalTimes {
        self.trend(Trend::Duration, &of).without(&self.trend(Trend::DurationOfFailed, &of))
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
            self.workers.push(Worker {
                machine,
                worker,
                latest: Gauges::default(),
                cpu_ns: 0,
                until_ns: 0,
                ended: false,
                marks: VecDeque::from([(0, 0)]),
                busiest: 0.0,
            });
            self.workers.len() - 1
        });
        &mut self.workers[index]
    }
}

impl Worker {
    fn mark(&mut self) {
        // The second mark old enough makes the first one of no use.
        let since = |then_ns: u64| self.until_ns.saturating_sub(then_ns);
        while self.marks.get(1).is_some_and(|(then_ns, _)| since(*then_ns) >= BUSY_NS) {
            self.marks.pop_front();
        }
        let (then_ns, then_cpu_ns) = self.marks[0];
        if since(then_ns) >= BUSY_NS {
            let share = share(self.cpu_ns - then_cpu_ns, since(then_ns));
            self.busiest = self.busiest.max(share);
        }
        // A mark for each tick at most, whatever another machine sends.
        let latest_ns = self.marks.back().map_or(0, |(then_ns, _)| *then_ns);
        if u128::from(since(latest_ns)) >= TICK.as_nanos() / 2 {
            self.marks.push_back((self.until_ns, self.cpu_ns));
        }
    }

    fn cpu_share(&self) -> f64 {
        if self.until_ns < BUSY_NS {
            share(self.cpu_ns, self.until_ns.max(RUN_NS_MIN))
        } else {
            self.busiest
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share, for people")]
fn share(cpu_ns: u64, of_ns: u64) -> f64 {
    cpu_ns as f64 / of_ns as f64
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repro_whoever_has_ended_is_not_waited_for() {
        let tick = |worker: usize, until_ns: u64, last: bool| {
            let mut interval = Interval::new(worker, &[1]);
            (interval.until_ns, interval.last) = (until_ns, last);
            interval
        };
        for last in [true, false] {
            let mut totals = Totals::new(&[1]);
            totals.add(0, &tick(0, 0, last));
            totals.add(0, &tick(1, 1_000_000_000, false));
            assert_eq!(totals.complete_until_ns(), if last { 1_000_000_000 } else { 0 });
            assert_eq!(totals.is_torn(), !last, "ended: {last}");
        }
    }
}
