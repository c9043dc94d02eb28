//! A run's figures held against what was asked of them: thresholds, and whether the figures are the
//! server's at all.

mod health;
mod thresholds;
mod window;

pub use health::{Evidence, health};
pub use thresholds::{abort, thresholds};
