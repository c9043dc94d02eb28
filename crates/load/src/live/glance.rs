//! Everything that the view shows, as figures: what drawing is a function of.

use std::time::Duration;

use super::history::Moment;
use super::recent::Percentiles;

/// A run at one instant.
#[derive(Debug, Clone, Default)]
pub struct Glance {
    /// Where requests go, in a few words.
    pub target: String,
    /// Since the run's start.
    pub at: Duration,
    /// How long requests are sent, by the plan.
    pub planned: Duration,
    /// How much of the plan is done, 0 to 1.
    pub done: f64,
    /// What is left of it, as it goes.
    pub left: Option<Duration>,
    /// How long the last seconds are.
    pub window: Duration,
    /// Requests sent a second, in the last second or two.
    pub rate: f64,
    /// Requests that the plan asked for, a second, in the same time; `None` with a closed model, and
    /// once the time to send in is over.
    pub asked: Option<f64>,
    /// Whether it is over, and only what is late or under way remains.
    pub finishing: bool,
    /// Whether it was told to end by itself, as for a threshold.
    pub aborted: bool,
    /// Requests sent.
    pub sent: u64,
    /// Requests that a cap forbade to send.
    pub dropped: u64,
    /// Requests that ended.
    pub ended: u64,
    /// Of those, without an answer of 200 to 399.
    pub failed: u64,
    /// Sent and not answered yet.
    pub in_flight: u64,
    /// Due, and without a connection.
    pub waiting: u64,
    /// Whether every scenario is of the open model.
    pub open: bool,
    /// Users of closed models, and connections of open ones.
    pub users: u64,
    /// Latency from when due, in the last seconds.
    pub recent: Percentiles,
    /// And in the whole run.
    pub whole: Percentiles,
    /// How late the generator noticed due requests, in the last seconds.
    pub lag_p99_ms: Option<f64>,
    /// And in the whole run.
    pub lag_whole_p99_ms: Option<f64>,
    /// The share of a core that a worker used in the last seconds, over all workers.
    pub cpu_share: f64,
    /// Workers that have told of themselves.
    pub workers: usize,
    /// Statuses that nobody calls a failure, the most frequent first.
    pub answers: Vec<(u16, u64)>,
    /// What failed, by kind, the most frequent first.
    pub errors: Vec<(String, u64)>,
    /// Checks made.
    pub checks: u64,
    /// Checks passed.
    pub checks_passed: u64,
    /// Each threshold as it stands.
    pub thresholds: Vec<ThresholdRow>,
    /// What is missing, as when an agent was lost.
    pub missing: Vec<String>,
    /// Why the figures could not be trusted if the run ended now.
    pub invalid: Vec<String>,
    /// A row for each scenario where there are several.
    pub scenarios: Vec<ScenarioRow>,
    /// The run so far.
    pub moments: Vec<Moment>,
}

/// A threshold as it stands.
#[derive(Debug, Clone, Default)]
pub struct ThresholdRow {
    /// As it was written.
    pub text: String,
    /// The figure with its unit; `None` without samples.
    pub found: Option<String>,
    /// Whether it holds.
    pub passed: bool,
}

/// One scenario of several.
#[derive(Debug, Clone, Default)]
pub struct ScenarioRow {
    /// Its name.
    pub name: String,
    /// Requests sent a second, in the last second or two.
    pub rate: f64,
    /// Requests that the plan asked for, a second, in the same time.
    pub asked: Option<f64>,
    /// Requests that ended.
    pub ended: u64,
    /// Of those, failed ones.
    pub failed: u64,
    /// Latency from when due, in the whole run.
    pub whole: Percentiles,
}

/// How often somebody asked for the run's end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressed {
    /// Not yet.
    #[default]
    Never,
    /// Once: what is in flight may still be answered.
    Once,
    /// Again: now.
    Again,
}

impl Pressed {
    /// As it counts where the run is ending by itself already.
    pub(super) fn of(self, glance: &Glance) -> Self {
        match self {
            _ if !glance.aborted => self,
            Self::Never => Self::Once,
            Self::Once | Self::Again => Self::Again,
        }
    }

    /// From how often it was.
    pub(super) fn times(presses: u8) -> Self {
        match presses {
            0 => Self::Never,
            1 => Self::Once,
            _ => Self::Again,
        }
    }
}
