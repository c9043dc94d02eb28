//! The HTTP API: what each call means, on `edge` and `store`. [`start`] serves it on a thread for
//! each core, and what operators ask on a listener of its own.

mod address;
mod admin;
mod admission;
mod answers;
mod api;
mod batch;
mod contract;
mod counting;
mod figures;
mod filters;
mod intake;
mod reads;
mod refusals;
mod serve;
mod shared;

pub use contract::OPENAPI;
pub use serve::{Config, Listeners, Server, start};
