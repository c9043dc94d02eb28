//! What the system tells about itself: metrics counted on each core and merged when somebody looks,
//! and structured logs. Nothing here ever holds a patient's id, a body, a key or an address: labels
//! are closed sets, and log fields are those of [`logs`] alone.

pub mod exposition;
pub mod histogram;
pub mod labels;
pub mod logs;
pub mod metrics;
pub mod process;

pub use exposition::{CONTENT_TYPE, Figures};
pub use histogram::{Histogram, Snapshot};
pub use labels::{Method, Refusal, Route, STATUSES, status_index};
pub use metrics::{CoreMetrics, Metrics};
