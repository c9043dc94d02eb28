//! The one place of the binary that reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

/// Time since some fixed moment; never goes back.
#[expect(clippy::disallowed_methods, reason = "this is the module that may read the clock")]
pub(crate) fn monotonic() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Milliseconds since 1970 by the wall clock; 0 before.
pub(crate) fn wall_ms() -> u64 {
    let since = since_1970().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Refuses a wall clock before 1970, which the index's library and the `Date` of an answer cannot
/// have: a thread would end the process without a word of why.
pub(crate) fn refuse_before_1970() -> Result<()> {
    if since_1970().is_none() {
        bail!("this machine's clock is before 1970; set it, for example with `date --set`");
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "this is the module that may read the clock")]
fn since_1970() -> Option<Duration> {
    SystemTime::now().duration_since(UNIX_EPOCH).ok()
}
