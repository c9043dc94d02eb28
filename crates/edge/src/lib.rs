//! What every listener shares: an accept loop on each core, deadlines and limits, request ids,
//! problem details, draining, and one wide log event a request. What a request means is the
//! business of the [`Service`] above.
//!
//! The caller owns sockets and signals: it binds ([`listen::bind`]) or inherits
//! ([`handover`]) listeners, starts cores on them ([`start`]) and drains them ([`Control::drain`]).
//!
//! What a service may rely on:
//! - [`Service::call`] runs on one core's thread; tasks may be spawned there when the service is made
//!   ([`CoreContext::spawn`]). A panic is a 500 of its own request. A panic outside of requests fails
//!   the core ([`Control::failed_core`]).
//! - Beyond [`Config::connections_max`] it is called only for what it admits always; anything else gets
//!   503.
//! - What has arrived of a request that is not whole takes its memory from [`Config::budget`].
//! - [`Request::read_body`] is bounded in bytes and time. An answer without it is sent with
//!   `Connection: close`, and what the sender still sends is read and thrown away for a while, so that
//!   the answer is not lost to a reset. A request with both a length and chunks is the last of its
//!   connection.
//! - A request whose Host or Origin [`Access`] does not allow never reaches the service.
//! - An answer of more than 128 KiB is the last of its connection too, for the room that it took would
//!   be kept as long as the connection is.
//! - `Expect: 100-continue` is answered when the body is first asked for.
//! - A client that half-closes after its request still gets the answer.
//! - Each answer has an `x-request-id`, is counted and timed, and is logged as [`LogPolicy`] says.

mod access;
mod body;
mod budget;
mod clock;
mod connection;
mod control;
mod core;
pub mod handover;
mod head_refusal;
mod host;
mod hush;
mod io;
pub mod listen;
mod log;
mod problem;
mod request;

pub use access::Access;
pub use body::BodyError;
pub use budget::{Budget, Held, Permit};
pub use control::{Control, Drained};
pub use core::{Config, Cores, Deadlines, start};
pub use host::{Host, HostError, Origin};
pub use log::LogPolicy;
pub use problem::{FieldProblem, Problem, ProblemKind};
pub use request::{Answer, CoreContext, Request, Response, Service};
