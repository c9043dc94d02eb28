//! The one place of this crate that reads a clock.

use std::time::{Duration, Instant};

/// Time since the process first asked; never goes back.
#[expect(clippy::disallowed_methods, reason = "this is the module that may read the clock")]
pub(crate) fn now() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
