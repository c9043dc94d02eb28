//! What can go wrong with agents, as each side tells it.

use std::io;
use std::time::Duration;

use super::link::LinkError;
use crate::limits::{AGENTS_MAX, PLAN_BYTES_MAX, REFUSED_MAX};
use crate::outcome::exit;
use crate::run::RunError;

/// Why a coordinator has no run.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// Nobody can join there.
    #[error("cannot listen for agents on {address}: {error} (--agents-listen)")]
    Listen {
        /// As it was given.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// Not a number of agents.
    #[error("a run takes 1 to {AGENTS_MAX} agents, not {0} (--agents)")]
    Number(usize),
    /// TLS has no key.
    #[error("TLS: {0}")]
    Tls(String),
    /// Some did not come.
    #[error("{joined} of {asked} agents have joined within {} s (--agents-timeout)", patience.as_secs())]
    Late {
        /// So many did.
        joined: usize,
        /// So many should have.
        asked: usize,
        /// In this time.
        patience: Duration,
    },
    /// Somebody else knocks.
    #[error(
        "{REFUSED_MAX} greetings were refused, most lately of {peer}: {why}; is the address open to \
         others?"
    )]
    Refused {
        /// Whose.
        peer: String,
        /// Why.
        why: String,
    },
    /// The plan does not travel.
    #[error("the plan has {0} bytes with its files of data; agents take {PLAN_BYTES_MAX}")]
    Large(usize),
    /// An agent cannot do it; nothing was sent.
    #[error("{agent}: {why}")]
    Unfit {
        /// Which.
        agent: String,
        /// What it says.
        why: String,
    },
    /// An agent was gone before the start; nothing was sent.
    #[error("{agent} was lost before the start: {why}")]
    LostEarly {
        /// Which.
        agent: String,
        /// What was seen of it.
        why: String,
    },
    /// The run could not be started for another reason; nothing was sent.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Somebody does not want to wait any longer; nothing was sent.
    #[error("interrupted before the start")]
    Interrupted,
}

/// Why an agent has not done what it was there for.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Where the coordinator is to be is no address.
    #[error("`{0}` is not an address; write HOST:PORT (--join)")]
    Address(String),
    /// Nobody answers.
    #[error("cannot reach a coordinator at {address}: {why} (--join)")]
    Unreachable {
        /// As it was given.
        address: String,
        /// What was seen last.
        why: String,
    },
    /// Whoever answers does not know the secret, or there are two of them.
    #[error(
        "the coordinator at {0} has another secret, or somebody sits between: nothing was sent to it"
    )]
    Secret(String),
    /// Two versions.
    #[error("the coordinator at {0} is another version of inhale: {1}")]
    Version(String, String),
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
    /// The coordinator has no use for it.
    #[error("the coordinator says: {0}")]
    Dismissed(String),
    /// It cannot do its part; the coordinator was told.
    #[error("{0}")]
    Unfit(String),
    /// Its part broke off; the coordinator has what was measured until then.
    #[error("{0}")]
    BrokenOff(String),
    /// The coordinator is gone, and with it whoever would read the figures.
    #[error("the coordinator was lost, so the run was stopped: {0}")]
    CoordinatorLost(String),
    /// A signal came; the coordinator was told.
    #[error("interrupted")]
    Interrupted,
}

impl CoordinatorError {
    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted => exit::INTERRUPTED,
            _ => exit::CONFIGURATION,
        }
    }
}

impl AgentError {
    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted => exit::INTERRUPTED,
            Self::CoordinatorLost(_) => exit::COORDINATOR_LOST,
            Self::BrokenOff(_) => exit::PARTIAL,
            _ => exit::CONFIGURATION,
        }
    }
}

impl From<LinkError> for AgentError {
    fn from(error: LinkError) -> Self {
        Self::CoordinatorLost(error.to_string())
    }
}
