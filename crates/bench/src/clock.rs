//! The one place of the benchmark that reads a clock.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since some fixed moment; never goes back. The same clock as a monotonic timerfd's.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Seconds since 1970 by the wall clock.
pub(crate) fn wall_seconds() -> u64 {
    clock_gettime(ClockId::Realtime).tv_sec.cast_unsigned()
}
