//! What every listener shares: an accept loop on each core, deadlines and limits, request ids,
//! problem details, draining, and one wide log event a request. What a request means is the
//! business of the [`Service`] above.
//!
//! The caller owns sockets and signals: it binds ([`listen::bind`]) or inherits
//! ([`handover`]) listeners, starts cores on them ([`start`]) and drains them ([`Control::drain`]).

mod body;
mod clock;
mod connection;
mod control;
mod core;
pub mod handover;
mod io;
pub mod listen;
mod log;
mod problem;
mod request;

pub use body::BodyError;
pub use control::{Control, Drained};
pub use core::{Config, Cores, Deadlines, start};
pub use log::LogPolicy;
pub use problem::{FieldProblem, Problem, ProblemKind};
pub use request::{Answer, CoreContext, Request, Response, Service};
