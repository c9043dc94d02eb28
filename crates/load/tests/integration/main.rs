//! The load generator against servers of the tests' own, which know what they did and when; what is
//! shown of runs while they go on, and reports of runs that are made up.

mod agents;
mod arrivals;
mod closed;
mod connections;
mod http2;
mod live;
mod misbehaving;
mod plans;
mod reports;
mod server;
mod tls;
mod truth;
mod workers;
