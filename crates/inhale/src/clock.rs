//! The one place of the binary that reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time since some fixed moment; never goes back.
#[expect(clippy::disallowed_methods, reason = "this is the module that may read the clock")]
pub(crate) fn monotonic() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Milliseconds since 1970 by the wall clock; 0 before.
#[expect(clippy::disallowed_methods, reason = "this is the module that may read the clock")]
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
