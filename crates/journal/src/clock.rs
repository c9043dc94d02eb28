//! Time as the journal sees it, passed in so that tests and simulations decide it.

use std::time::{Duration, Instant, SystemTime};

/// Where the journal reads time.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch. May jump; decides nothing but recorded times.
    fn wall_ms(&self) -> u64;
    /// Time since an arbitrary fixed point. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// A wall time for people: `2016-11-01 14:11:51 UTC`. One that the calendar does not reach is
/// written in milliseconds.
pub(crate) fn utc_text(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(
        || format!("{ms} ms after 1970"),
        |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// The operating system's clocks. The only place in this crate that reads them.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the module that reads the clock")]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the module that reads the clock")]
    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    #[allow(clippy::disallowed_methods, reason = "the module that reads the clock")]
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        fn check(ms: u64, expected: &str) {
            assert_eq!(utc_text(ms), expected);
        }
        check(0, "1970-01-01 00:00:00 UTC");
        check(1_478_009_511_999, "2016-11-01 14:11:51 UTC");
        check(951_782_400_000, "2000-02-29 00:00:00 UTC");
        check(u64::MAX, "18446744073709551615 ms after 1970");
        check(4_107_542_399_000, "2100-02-28 23:59:59 UTC");
        check(4_107_542_400_000, "2100-03-01 00:00:00 UTC");
        check(1_798_761_599_000, "2026-12-31 23:59:59 UTC");
    }
}
