//! What one worker measured between two ticks, and how that travels from machine to machine.

use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::histogram::{Times, WireError};
use super::metric::Trend;

/// One worker's measurements from one tick to the next. Instants count from the run's start, so that
/// those of several machines can be put together.
#[derive(Debug, Clone)]
pub struct Interval {
    /// The worker's number among those of its machine.
    pub worker: usize,
    /// Nanoseconds from the run's start to the interval's.
    pub from_ns: u64,
    /// And to its end.
    pub until_ns: u64,
    /// In the plan's order.
    pub scenarios: Vec<ScenarioInterval>,
    /// How things stood at its end.
    pub gauges: Gauges,
    /// Whether nothing comes after it.
    pub last: bool,
}

/// The part of one scenario.
#[derive(Debug, Clone)]
pub struct ScenarioInterval {
    /// By [`Trend`].
    pub trends: [Times; Trend::COUNT],
    /// Beside them.
    pub counts: Counts,
}

/// How things stood at the end of an interval, and what the worker spent in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauges {
    /// Requests sent and not answered yet.
    pub in_flight: u64,
    /// Requests that are due and have no connection yet.
    pub waiting: u64,
    /// Users of closed models that are at work, and connections that are open for open ones.
    pub users: u64,
    /// CPU that the worker's thread used within the interval.
    pub cpu_ns: u64,
}

impl ScenarioInterval {
    /// Empty, for a scenario with so many checks.
    pub fn new(checks: usize) -> Self {
        Self { trends: std::array::from_fn(|_| Times::default()), counts: Counts::new(checks) }
    }
}

impl Interval {
    /// Empty, for scenarios with these numbers of checks.
    pub fn new(worker: usize, checks: &[usize]) -> Self {
        let scenarios = checks.iter().map(|count| ScenarioInterval::new(*count)).collect();
        Self { worker, from_ns: 0, until_ns: 0, scenarios, gauges: Gauges::default(), last: false }
    }

    /// The same with all of its memory at hand: who records in it is not held up for a page.
    pub fn at_hand(worker: usize, checks: &[usize]) -> Self {
        let mut interval = Self::new(worker, checks);
        let trends = interval.scenarios.iter_mut().flat_map(|scenario| &mut scenario.trends);
        trends.for_each(Times::touch);
        interval
    }

    /// Forgets what was measured and keeps the memory.
    pub fn clear(&mut self) {
        for scenario in &mut self.scenarios {
            scenario.trends.iter_mut().for_each(Times::clear);
            scenario.counts.clear();
        }
        self.gauges = Gauges::default();
        self.last = false;
    }

    /// For the wire.
    pub fn to_wire(&self) -> WireInterval {
        let scenario = |scenario: &ScenarioInterval| WireScenario {
            trends: scenario.trends.iter().map(Times::to_wire).collect(),
            counts: scenario.counts.clone(),
        };
        WireInterval {
            worker: self.worker,
            from_ns: self.from_ns,
            until_ns: self.until_ns,
            scenarios: self.scenarios.iter().map(scenario).collect(),
            gauges: self.gauges,
            last: self.last,
        }
    }
}

/// An [`Interval`] as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WireInterval {
    worker: usize,
    from_ns: u64,
    until_ns: u64,
    scenarios: Vec<WireScenario>,
    gauges: Gauges,
    last: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct WireScenario {
    trends: Vec<String>,
    counts: Counts,
}

impl WireInterval {
    /// What was sent, for scenarios with these numbers of checks.
    ///
    /// # Errors
    /// When it does not fit them, or a histogram is none.
    pub fn open(&self, checks: &[usize]) -> Result<Interval, WireError> {
        if self.scenarios.len() != checks.len() || self.until_ns < self.from_ns {
            return Err(WireError::new("not an interval of this plan"));
        }
        let scenario = |(wire, checks): (&WireScenario, &usize)| {
            if wire.trends.len() != Trend::COUNT || !wire.counts.has_shape(*checks) {
                return Err(WireError::new("not a scenario of this plan"));
            }
            let mut opened = ScenarioInterval::new(*checks);
            for (into, text) in opened.trends.iter_mut().zip(&wire.trends) {
                *into = Times::from_wire(text)?;
            }
            opened.counts = wire.counts.clone();
            Ok(opened)
        };
        Ok(Interval {
            worker: self.worker,
            from_ns: self.from_ns,
            until_ns: self.until_ns,
            scenarios: self.scenarios.iter().zip(checks).map(scenario).collect::<Result<_, _>>()?,
            gauges: self.gauges,
            last: self.last,
        })
    }
}
