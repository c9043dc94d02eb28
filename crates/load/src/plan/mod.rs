//! What a run is to do. [`Options`] are as somebody typed them, on the command line, in a scenario
//! file, or sent by a coordinator; [`Options::build`] makes a [`Plan`] of them, in which everything
//! fits: whoever holds a plan need not check it again.

mod addresses;
mod arrivals;
mod build;
mod check;
mod connections;
mod error;
mod executor;
mod file;
mod lane;
mod nearest;
mod options;
mod quantity;
mod target;
mod threshold;

use std::collections::BTreeMap;
use std::time::Duration;

pub use arrivals::Arrivals;
pub use check::{Answer, Check};
pub use connections::{Connections, Keeping, LocalAddresses, Pem, Protocol, Tls};
pub use error::{PlanError, PlanFault};
pub use executor::{Executor, Think, UserStage};
pub use file::FLAGS_ALONE;
pub(crate) use file::is_pem;
pub use lane::Lane;
pub use options::{Options, ScenarioOptions};
pub use quantity::{duration, rate};
pub use target::Target;
pub use threshold::{Aggregate, Comparison, Metric, Threshold};

use crate::request::Requests;

/// A run: valid by construction.
#[derive(Debug)]
pub struct Plan {
    /// What is done, side by side; 1 to [`crate::limits::SCENARIOS_MAX`].
    pub scenarios: Vec<Scenario>,
    /// What must hold for the run to pass.
    pub thresholds: Vec<Threshold>,
    /// Workers on each machine, each a thread.
    pub threads: usize,
    /// How long requests in flight, and those that are due but late, may still take at the end.
    pub graceful_stop: Duration,
    /// What ids and choices follow from.
    pub seed: u64,
    /// What the plan chose by itself and whoever reads its figures should know, in sentences.
    pub notes: Vec<String>,
}

/// One kind of request, and who sends it when.
#[derive(Debug)]
pub struct Scenario {
    /// Its name, which is also its tag `scenario`.
    pub name: String,
    /// What thresholds may choose it by, `scenario` included.
    pub tags: BTreeMap<String, String>,
    /// When it begins, after the run's start.
    pub start: Duration,
    /// Who comes when.
    pub executor: Executor,
    /// Where requests go.
    pub target: Target,
    /// What they say.
    pub requests: Requests,
    /// What carries them.
    pub connections: Connections,
    /// What each answer must be; at most [`crate::limits::CHECKS_MAX`].
    pub checks: Vec<Check>,
    /// How long a request may take, from the first byte sent.
    pub timeout: Duration,
    /// How long connecting and the handshake of TLS may take.
    pub connect_timeout: Duration,
    /// A request that is later than this is dropped instead of sent; `None` sends it however late.
    pub late_max: Option<Duration>,
    /// The most requests a second that the users of a closed model begin together, over all machines;
    /// k6's `--rps`. Above 0.
    pub rps_max: Option<f64>,
}

impl Scenario {
    /// The part of it that the worker of `lane` has. The connections of an open model are shared, and
    /// who sends needs one: where there are fewer of them than workers, the first workers send all.
    pub fn lane(&self, lane: Lane) -> Lane {
        match self.executor {
            Executor::Arrivals(_) => lane.among(self.connections.keeping.max() as u64),
            _ => lane,
        }
    }

    /// The most connections that are open at once: one for each user of a closed model.
    pub fn connections_max(&self) -> u64 {
        self.executor.users_max().unwrap_or(self.connections.keeping.max() as u64)
    }

    /// How many of its `total` requests, users or connections machine `machine` has, out of
    /// `machines` with so many workers each. The first machine has the most.
    pub fn share(&self, total: u64, machine: u64, machines: u64, threads: usize) -> u64 {
        let lanes = Lane::of_machine(machine, machines, threads as u64);
        lanes.map(|lane| self.lane(lane).share(total)).sum()
    }
}

impl Plan {
    /// The number of checks of each scenario: the shape of what is measured.
    pub fn shape(&self) -> Vec<usize> {
        self.scenarios.iter().map(|scenario| scenario.checks.len()).collect()
    }

    /// When the first scenario begins, after the run's start.
    pub fn start(&self) -> Duration {
        self.scenarios.iter().map(|scenario| scenario.start).min().unwrap_or_default()
    }

    /// When the last scenario's time is over, without the graceful stop.
    pub fn duration(&self) -> Duration {
        let ends = self.scenarios.iter().map(|s| s.start + s.executor.duration());
        ends.max().unwrap_or_default()
    }
}
