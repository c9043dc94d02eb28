//! The load generator: a plan of who comes when, workers that make it so, and figures of what came
//! of it.
//!
//! ```text
//! options ──build──▶ plan ──▶ engine: a worker a core ──▶ interval ──▶ totals ──▶ outcome ──▶ reports
//!  (as typed)       (valid)    arrivals, connections      each tick     merged     judged
//! ```
//!
//! A plan is divided into **lanes**, one for each worker of each machine. Which request belongs to
//! which lane is arithmetic ([`plan::Lane`]), so dividing a plan loses no request and doubles none.

pub mod agents;
pub mod clock;
pub mod engine;
mod fetch;
#[cfg(test)]
mod fixture;
pub mod judge;
pub mod kernel;
pub mod limits;
pub mod live;
pub mod machine;
pub mod measure;
pub mod observe;
pub mod outcome;
pub mod plan;
pub mod preflight;
pub mod receipts;
pub mod reconcile;
pub mod report;
pub mod request;
pub mod run;
pub mod verify;
