//! The one place of this crate that reads a clock.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time since a fixed point before the process began; never goes back. Read twice for every request,
/// so it is the kernel's clock as it is, without a subtraction.
pub(crate) fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).expect("the monotonic clock starts at zero");
    let nanos = u32::try_from(time.tv_nsec).expect("nanoseconds are below 10^9");
    Duration::new(seconds, nanos)
}
