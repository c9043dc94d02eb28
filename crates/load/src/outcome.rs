//! What came of a run, judged: everything that a report tells beside the totals.

use std::time::Duration;

use serde::Serialize;

/// A run's end.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Each threshold with what was found, in the plan's order: at the end, or when it ended the run.
    pub thresholds: Vec<ThresholdResult>,
    /// Whether the figures are the server's and not the generator's own.
    pub health: Health,
    /// The server's counters beside the client's, where the target is inhale.
    pub reconciliation: Option<Reconciliation>,
    /// What is missing, in words, when an agent was lost.
    pub missing: Vec<String>,
    /// How the run ended.
    pub ending: Ending,
    /// When it was told to, counted from its start, if that was before the plan's end.
    pub stopped_at: Option<Duration>,
    /// The wall clock at the run's start, in nanoseconds since 1970.
    pub started_wall_ns: u64,
    /// From the first scenario's start to the last answer.
    pub elapsed: Duration,
    /// What it ran on, a line for each machine: for people.
    pub machines: Vec<String>,
    /// The command or file that asked for it, as typed; no secret.
    pub command: String,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Everything planned was done.
    Completed,
    /// A threshold that aborts did not hold.
    Aborted,
    /// An agent was lost without which the run was not to go on, or all of them.
    Lost,
    /// Somebody pressed Ctrl-C, or a signal came.
    Interrupted,
}

/// A threshold and what was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThresholdResult {
    /// As it was written.
    pub text: String,
    /// The figure: milliseconds, a share, or a number. `None` without samples, which fails.
    pub found: Option<f64>,
    /// Whether it holds.
    pub passed: bool,
}

/// Whether the generator did what it was asked to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Health {
    /// Why the figures cannot be trusted; empty when they can.
    pub invalid: Vec<String>,
    /// What should be known when reading them.
    pub warnings: Vec<String>,
    /// How late the generator noticed due requests, 99 of 100, in milliseconds; `None` for closed
    /// models alone.
    pub schedule_lag_p99_ms: Option<f64>,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that failed or did not meet a check, of those that ended. A request may fail one of several
    /// checks: the most that fail any one of them counts.
    pub unmet: Part,
    /// Requests a second that were due, over the time in which they were.
    pub asked_per_second: Option<f64>,
    /// Requests a second that were sent in it.
    pub achieved_per_second: f64,
    /// Of the requests of open models that were due, those that waited for a connection to be free or
    /// still did when the run ended; `None` for closed models alone.
    pub waited: Option<Part>,
    /// The share of a core that each worker used in its busiest five seconds, 0 to 1.
    pub worker_cpu_shares: Vec<f64>,
    /// What the kernels counted meanwhile, all programs of each machine together; `None` where that
    /// is not known.
    pub kernel: Option<KernelCounters>,
}

impl Health {
    /// Whether requests ended, and not one of them met its check.
    pub fn nothing_met(&self) -> bool {
        self.unmet.of > 0 && self.unmet.count == self.unmet.of
    }
}

/// Some of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Part {
    /// So many.
    pub count: u64,
    /// Of so many.
    pub of: u64,
}

/// Counters of the kernel's TCP, all programs of a machine together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct KernelCounters {
    /// Connections that found a listener's queue full (`TcpExt ListenOverflows`).
    pub listen_overflows: u64,
    /// Connections that were dropped for any reason (`TcpExt ListenDrops`).
    pub listen_drops: u64,
    /// Segments sent again (`Tcp RetransSegs`).
    pub retransmits: u64,
}

/// The server's counters over the run, and the client's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reconciliation {
    /// Usages that the client has an acknowledgement of.
    pub acknowledged: u64,
    /// Usages that the server counted as accepted or replayed; `None` when it could not be asked.
    pub counted: Option<u64>,
    /// Requests whose outcome the client does not know: the server may have counted each or not.
    pub unknown: u64,
    /// Whether the two agree.
    pub agrees: bool,
    /// In a sentence.
    pub words: String,
}

/// Exit codes: k6's where it has one.
pub mod exit {
    /// Everything held.
    pub const PASSED: u8 = 0;
    /// The same, but a report or an output of points could not be written.
    pub const NOT_WRITTEN: u8 = 1;
    /// A threshold did not hold, whether or not the run was ended for it (k6), or not one request met its check.
    pub const THRESHOLDS: u8 = 99;
    /// What was asked for cannot be done: nothing was sent (k6's "invalid configuration").
    pub const CONFIGURATION: u8 = 104;
    /// Ended by Ctrl-C or a signal (k6).
    pub const INTERRUPTED: u8 = 105;
    /// The generator was the bottleneck: the figures are not the server's.
    pub const INVALID: u8 = 120;
    /// An agent was lost, or a run broke off: the figures are of a part of it.
    pub const PARTIAL: u8 = 121;
    /// Acknowledgements and the server's counters disagree, or an acknowledged usage is not found.
    pub const UNRECONCILED: u8 = 122;
    /// An agent has lost its coordinator and stopped.
    pub const COORDINATOR_LOST: u8 = 123;
}

impl Outcome {
    /// The exit code: of several reasons the one that makes the figures mean least.
    pub fn exit_code(&self) -> u8 {
        let unreconciled = self.reconciliation.as_ref().is_some_and(|found| !found.agrees);
        if unreconciled {
            exit::UNRECONCILED
        } else if !self.missing.is_empty() {
            exit::PARTIAL
        } else if !self.health.invalid.is_empty() {
            exit::INVALID
        } else if self.ending == Ending::Interrupted {
            exit::INTERRUPTED
        } else if self.ending == Ending::Aborted
            || self.health.nothing_met()
            || self.thresholds.iter().any(|threshold| !threshold.passed)
        {
            exit::THRESHOLDS
        } else {
            exit::PASSED
        }
    }
}
