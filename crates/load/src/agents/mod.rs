//! Load from several machines. A coordinator divides a plan among agents and adds up what they
//! measure; the figures are those that one machine would have had.
//!
//! ```text
//! agent                               coordinator
//!   hello, proof of the secret ──────▶
//!   ◀────── proof of the secret            each bound to this connection
//!   here: name, cores ───────────────▶     … until all agents are here
//!   ◀──── part i of N, the plan
//!   ready: its share ────────────────▶     … compared with what the coordinator computes
//!   ◀──────────── ping, 16 times
//!   pong, wall clock ────────────────▶     the shortest round trip says how clocks stand
//!   ◀─────────── begin in d ns
//!   interval, interval, … ───────────▶     added up in one `Totals`
//!   ◀──────── stop, if wanted
//!   ended: what else there is to say ▶
//!   ◀──────────────────── done
//! ```
//!
//! - **Division** is the arithmetic of [`crate::plan::Lane`]. Every machine runs the same number of
//!   workers, and each agent's share is compared with the coordinator's before anything starts.
//! - **Start** is a delay and no time of day, so clocks may differ. The word to begin is under way for
//!   half a round trip, which is taken off: starts agree to within half of the round trip.
//! - **Whoever falls silent** for five seconds, or whose connection ends, is lost. A lost agent makes
//!   the run partial: the others go on, and what is missing is told. Agents that lose the coordinator
//!   stop at once.
//! - **Receipts** stay where they are written: an agent that was started with a file writes the
//!   acknowledged ids of its part to it, and the coordinator can demand that all do. No coordinator
//!   names a file on another machine.

mod agent;
mod attend;
mod clocks;
mod coordinator;
mod error;
mod greeting;
mod link;
mod member;
mod message;
mod prepare;
mod secret;
#[cfg(test)]
mod tests;
mod this_machine;
mod tls;
mod together;
mod underway;
mod work;

pub use agent::{AgentNews, Joining, agent};
pub use clocks::ClockCheck;
pub use coordinator::{Coordinator, GatherNews, Group};
pub use error::{AgentError, CoordinatorError};
pub use message::{Closing, Part, Readiness, Share};
pub use prepare::{Job, ReadyGroup};
pub use secret::{SECRET_VARIABLE, Secret, SecretError};
pub use this_machine::ThisMachine;
pub use together::run;
pub use underway::Underway;
pub use work::{Prepared, Work, Workshop};
