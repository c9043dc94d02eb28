//! What people and monitoring see while a run goes on: a view that fills the terminal, a progress line
//! where there is none, and metrics for Prometheus.
//!
//! ```text
//! totals ──gather──▶ glance ──▶ view: a thread that draws and listens to keys
//!   at ticks        (figures)   line: a line of text
//! ```
//!
//! All three read totals at ticks, so none costs a request anything. What talks to a terminal or a
//! socket, and might have to wait for it, has a thread of its own.

mod asked;
pub mod draw;
mod format;
mod gather;
mod glance;
mod history;
mod line;
mod look;
pub mod metrics;
mod recent;
mod screen;
mod signals;
mod view;

pub use gather::Gatherer;
pub use glance::{Glance, Pressed, ScenarioRow, ThresholdRow};
pub use history::Moment;
pub use line::ProgressLine;
pub use look::Look;
pub use recent::Percentiles;
pub use screen::{Display, display_for};
pub use view::View;
