//! Who comes when: k6's executors.

use std::time::Duration;

use super::arrivals::Arrivals;

/// Who comes when.
#[derive(Debug, Clone)]
pub enum Executor {
    /// The open model: requests come when they are due, whatever the server does. k6's
    /// `constant-arrival-rate` and `ramping-arrival-rate`, and the shape of a day.
    Arrivals(Arrivals),
    /// The closed model: so many users, each of whom sends its next request some time after its last
    /// answer. k6's `constant-vus` and `ramping-vus`.
    Users {
        /// How many there are over time; not empty.
        stages: Vec<UserStage>,
        /// Between an answer and the next request.
        think: Think,
    },
    /// So many requests altogether, which `users` take from one heap. k6's `shared-iterations`.
    SharedIterations {
        /// At least 1.
        users: u64,
        /// At least 1.
        iterations: u64,
        /// What is left then is dropped.
        duration_max: Duration,
        /// Between an answer and the next request.
        think: Think,
    },
    /// So many requests for each user. k6's `per-vu-iterations`.
    PerUserIterations {
        /// At least 1.
        users: u64,
        /// For each user; at least 1.
        iterations: u64,
        /// What is left then is dropped.
        duration_max: Duration,
        /// Between an answer and the next request.
        think: Think,
    },
}

/// The number of users goes from `from` to `to` in a straight line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserStage {
    /// For so long; 0 is a jump.
    pub duration: Duration,
    /// At its start.
    pub from: u64,
    /// At its end.
    pub to: u64,
}

/// How long a user waits between an answer and its next request: evenly distributed between the two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Think {
    /// At least.
    pub min: Duration,
    /// At most; not less than `min`.
    pub max: Duration,
}

impl Executor {
    /// For how long requests begin; iterations may be over earlier.
    pub fn duration(&self) -> Duration {
        match self {
            Self::Arrivals(arrivals) => arrivals.duration(),
            Self::Users { stages, .. } => stages.iter().map(|stage| stage.duration).sum(),
            Self::SharedIterations { duration_max, .. }
            | Self::PerUserIterations { duration_max, .. } => *duration_max,
        }
    }

    /// All iterations of users who count them; `None` where time alone ends them.
    pub fn iterations_total(&self) -> Option<u64> {
        match self {
            Self::Arrivals(_) | Self::Users { .. } => None,
            Self::SharedIterations { iterations, .. } => Some(*iterations),
            Self::PerUserIterations { users, iterations, .. } => {
                Some(users.saturating_mul(*iterations))
            }
        }
    }

    /// All requests; `None` where it depends on the server how many they become.
    pub fn requests_total(&self) -> Option<u64> {
        match self {
            Self::Arrivals(arrivals) => Some(arrivals.count()),
            users => users.iterations_total(),
        }
    }

    /// The most users that there are at once; `None` for the open model, which has none.
    pub fn users_max(&self) -> Option<u64> {
        match self {
            Self::Arrivals(_) => None,
            Self::Users { stages, .. } => {
                Some(stages.iter().map(|stage| stage.from.max(stage.to)).max().unwrap_or(0))
            }
            Self::SharedIterations { users, .. } | Self::PerUserIterations { users, .. } => {
                Some(*users)
            }
        }
    }
}
