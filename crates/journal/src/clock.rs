//! Time as the journal sees it, passed in so that tests and simulations decide it.

use std::time::{Duration, Instant, SystemTime};

/// Where the journal reads time.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch. May jump; decides nothing but recorded times.
    fn wall_ms(&self) -> u64;
    /// Time since an arbitrary fixed point. Never goes back.
    fn monotonic(&self) -> Duration;
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
