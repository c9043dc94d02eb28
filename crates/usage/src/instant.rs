//! A point on the time line to the nanosecond, as seconds and nanoseconds since 1970 in UTC.

use std::fmt;

use crate::civil::Civil;
use crate::limits::{INSTANT_SECONDS_END, INSTANT_SECONDS_MIN};

const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// A point on the time line between 1900-01-01 and 9998-12-31, both included.
///
/// Ordered by time. Shown as RFC 3339 in UTC with 0, 3, 6 or 9 fractional digits, as few as keep
/// the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    seconds: i64,
    nanos: u32,
}

impl Instant {
    /// Earliest instant there is.
    pub const MIN: Instant = Instant { seconds: INSTANT_SECONDS_MIN, nanos: 0 };
    /// Latest instant there is.
    pub const MAX: Instant =
        Instant { seconds: INSTANT_SECONDS_END - 1, nanos: NANOS_PER_SECOND - 1 };

    /// The instant `seconds` after 1970 (before it, if negative) and `nanos` later still, or
    /// `None` outside the range or for a whole second of nanoseconds.
    #[inline]
    pub fn from_parts(seconds: i64, nanos: u32) -> Option<Instant> {
        let in_range = (INSTANT_SECONDS_MIN..INSTANT_SECONDS_END).contains(&seconds);
        (in_range && nanos < NANOS_PER_SECOND).then_some(Instant { seconds, nanos })
    }

    /// The instant `ms` milliseconds after 1970, or `None` outside the range.
    #[expect(clippy::cast_possible_truncation, reason = "0 to 999")]
    pub fn from_millis(ms: i64) -> Option<Instant> {
        Instant::from_parts(ms.div_euclid(1000), ms.rem_euclid(1000) as u32 * 1_000_000)
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds past [`Instant::seconds`], below a thousand million.
    pub const fn nanos(self) -> u32 {
        self.nanos
    }

    /// Milliseconds since 1970, rounded down.
    pub const fn millis(self) -> i64 {
        self.seconds * 1000 + (self.nanos / 1_000_000) as i64
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second } = Civil::from_seconds(self.seconds);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match self.nanos {
            0 => {}
            n if n % 1_000_000 == 0 => write!(f, ".{:03}", n / 1_000_000)?,
            n if n % 1_000 == 0 => write!(f, ".{:06}", n / 1_000)?,
            n => write!(f, ".{n:09}")?,
        }
        f.write_str("Z")
    }
}

/// An offset from UTC as RFC 3339 writes it: `-05:00`, `Z` never, and `+00:00` for zero. Seconds
/// appear (`-04:56:02`) only where an offset has them.
pub fn offset_text(offset_seconds: i32) -> String {
    let sign = if offset_seconds < 0 { '-' } else { '+' };
    let seconds = offset_seconds.unsigned_abs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if rest == 0 {
        format!("{sign}{hours:02}:{minutes:02}")
    } else {
        format!("{sign}{hours:02}:{minutes:02}:{rest:02}")
    }
}
