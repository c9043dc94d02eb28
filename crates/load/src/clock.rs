//! The one place of this crate that reads a clock. Everything else is given the time.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock, which `timerfd` and every machine-local instant are counted in.
pub fn now_ns() -> u64 {
    read_ns(ClockId::Monotonic)
}

/// Nanoseconds since 1970 by the wall clock: for people and for `{{now}}`, never for durations.
pub fn wall_ns() -> u64 {
    read_ns(ClockId::Realtime)
}

/// Nanoseconds of CPU that this thread has used.
pub fn thread_cpu_ns() -> u64 {
    read_ns(ClockId::ThreadCPUTime)
}

/// Nanoseconds of CPU that this process has used.
pub fn process_cpu_ns() -> u64 {
    read_ns(ClockId::ProcessCPUTime)
}

fn read_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
