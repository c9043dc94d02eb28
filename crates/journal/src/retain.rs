//! What may go or be forgotten, and whether the wall clock can be believed about it. Pure: the caller passes in
//! times and segments, and does the removing.
//!
//! A clock that jumps forward would make everything look old at once. So time is trusted only as
//! long as the wall clock moves with the monotonic one, and at an open only when it is near the
//! time that was last trusted; otherwise nothing goes until someone has confirmed the clock.

use std::time::Duration;

use crate::status::ClockSuspect;

/// How far the wall clock may run ahead of the monotonic one between two rounds.
pub const DRIFT_MS_MAX: u64 = 3_600_000;
/// How far it may be ahead at an open of the time that was last trusted.
pub const AHEAD_AT_OPEN_MS_MAX: u64 = 24 * 3_600_000;

/// Two clocks, and whether the first is believed.
#[derive(Clone, Debug)]
pub struct TrustedClock {
    /// The wall and the monotonic time that were last found to agree.
    agreed: (u64, Duration),
    suspect: Option<ClockSuspect>,
}

impl TrustedClock {
    /// At an open: `believed_ms` is the time that was last trusted, as the file `clock` has it.
    /// Where nobody knows, nothing is trusted until it is confirmed.
    #[must_use]
    pub fn at_open(wall_ms: u64, monotonic: Duration, believed_ms: Option<u64>) -> Self {
        let limit_ms = believed_ms.map(|ms| ms.saturating_add(AHEAD_AT_OPEN_MS_MAX));
        let suspect = limit_ms.is_none_or(|limit_ms| wall_ms > limit_ms);
        let expected_ms = believed_ms.unwrap_or(0);
        Self {
            agreed: (wall_ms, monotonic),
            suspect: suspect.then_some(ClockSuspect { expected_ms, wall_ms }),
        }
    }

    /// The wall time if it can be believed. Once it cannot, it takes a [`TrustedClock::confirm`],
    /// or a wall clock that has gone back to where it was expected.
    pub fn now_ms(&mut self, wall_ms: u64, monotonic: Duration) -> Option<u64> {
        if self.believed_ms(wall_ms, monotonic) < wall_ms {
            // What was expected moves on with the monotonic clock, from the moment of suspicion.
            let expected_ms = self.suspect.map_or(self.agreed.0, |suspect| suspect.expected_ms);
            self.suspect = Some(ClockSuspect { expected_ms, wall_ms });
            return None;
        }
        self.confirm(wall_ms, monotonic);
        Some(wall_ms)
    }

    /// The latest time that can be believed: `wall_ms`, or less where that has run ahead.
    #[must_use]
    pub fn believed_ms(&self, wall_ms: u64, monotonic: Duration) -> u64 {
        let (agreed_ms, since) = self.agreed;
        let elapsed = monotonic.saturating_sub(since).as_millis();
        let elapsed_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let base_ms = self.suspect.map_or(agreed_ms, |suspect| suspect.expected_ms);
        let expected_ms = base_ms.saturating_add(elapsed_ms);
        if wall_ms > expected_ms.saturating_add(DRIFT_MS_MAX) { expected_ms } else { wall_ms }
    }

    /// Someone has looked: the wall clock is right.
    pub fn confirm(&mut self, wall_ms: u64, monotonic: Duration) {
        *self = Self { agreed: (wall_ms, monotonic), suspect: None };
    }

    /// Set while nothing may go.
    #[must_use]
    pub fn suspect(&self) -> Option<ClockSuspect> {
        self.suspect
    }
}

/// What has to be over before a segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The age at which a segment may go.
    pub retain: Duration,
    /// How long idempotency keys have to be remembered.
    pub key_window: Duration,
}

impl Rules {
    /// Whether a sealed segment may go: its newest recorded time is older than both ages, and
    /// every projection's cursor has passed its last frame.
    ///
    /// `end_seq` is one past the segment's last sequence, `cursor_min` the lowest cursor of the
    /// registered projections, if there are any.
    #[must_use]
    pub fn may_go(
        &self,
        now_ms: u64,
        newest_committed_ms: u64,
        end_seq: u64,
        cursor_min: Option<u64>,
    ) -> bool {
        let age = Duration::from_millis(now_ms.saturating_sub(newest_committed_ms));
        let passed = cursor_min.is_none_or(|cursor| cursor >= end_seq);
        age > self.retain && age > self.key_window && passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const DAY: u64 = 24 * HOUR;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_segment_goes_only_when_all_three_rules_allow_it() {
        fn check(retain: u64, window: u64, age: u64, cursor: Option<u64>, expected: bool) {
            let rules = Rules { retain: at(retain), key_window: at(window) };
            let newest = 1_000_000;
            let found = rules.may_go(newest + age, newest, 50, cursor);
            assert_eq!(found, expected, "{retain} {window} {age} {cursor:?}");
        }
        check(DAY, HOUR, DAY + 1, None, true);
        check(DAY, HOUR, DAY, None, false);
        check(HOUR, DAY, HOUR + 1, None, false);
        check(HOUR, DAY, DAY + 1, Some(50), true);
        check(HOUR, DAY, DAY + 1, Some(49), false);
        check(0, 0, 0, None, false);
        let rules = Rules { retain: at(0), key_window: at(0) };
        assert!(!rules.may_go(5, 9, 50, None), "recorded in the future");
    }

    #[test]
    fn a_clock_that_moves_with_the_monotonic_one_is_trusted() {
        let mut clock = TrustedClock::at_open(DAY, at(0), Some(HOUR));
        for round in 1..100 {
            let wall_ms = DAY + round * 2 * HOUR;
            assert_eq!(clock.now_ms(wall_ms, at(round * 2 * HOUR)), Some(wall_ms));
        }
    }

    #[test]
    fn a_jump_forward_stays_suspect_until_confirmed_or_undone() {
        let mut clock = TrustedClock::at_open(DAY, at(0), Some(DAY));
        assert_eq!(clock.believed_ms(40 * DAY, at(HOUR)), DAY + HOUR, "before anybody has looked");
        assert_eq!(clock.now_ms(40 * DAY, at(1)), None);
        assert_eq!(clock.believed_ms(40 * DAY, at(HOUR)), DAY + HOUR, "and after");
        let suspect = ClockSuspect { expected_ms: DAY, wall_ms: 40 * DAY };
        assert_eq!(clock.suspect(), Some(suspect));
        assert_eq!(clock.now_ms(40 * DAY + HOUR, at(HOUR)), None, "time alone heals nothing");
        let mut undone = clock.clone();
        assert_eq!(undone.now_ms(DAY + 2 * HOUR, at(2 * HOUR)), Some(DAY + 2 * HOUR));
        assert_eq!(undone.suspect(), None);
        clock.confirm(40 * DAY + HOUR, at(HOUR));
        assert_eq!(clock.now_ms(40 * DAY + 2 * HOUR, at(2 * HOUR)), Some(40 * DAY + 2 * HOUR));
        assert_eq!(clock.believed_ms(41 * DAY, at(DAY)), 41 * DAY);
    }

    #[test]
    fn a_jump_in_small_steps_is_bounded_by_each_round() {
        let mut clock = TrustedClock::at_open(DAY, at(0), Some(DAY));
        assert_eq!(clock.now_ms(DAY + HOUR, at(0)), Some(DAY + HOUR), "within the tolerance");
        assert_eq!(clock.now_ms(DAY + 3 * HOUR, at(0)), None);
    }

    #[test]
    fn a_clock_far_ahead_at_an_open_of_what_was_believed_is_suspect() {
        fn check(wall_ms: u64, believed_ms: Option<u64>, expected: bool) {
            let mut clock = TrustedClock::at_open(wall_ms, at(0), believed_ms);
            assert_eq!(clock.now_ms(wall_ms, at(0)).is_some(), expected, "{wall_ms}");
        }
        check(30 * DAY, None, false);
        check(30 * DAY, Some(29 * DAY), true);
        check(30 * DAY, Some(29 * DAY - 1), false);
        check(DAY, Some(30 * DAY), true);
    }

    #[test]
    fn a_jump_back_deletes_nothing_early() {
        let mut clock = TrustedClock::at_open(30 * DAY, at(0), Some(30 * DAY));
        assert_eq!(clock.now_ms(DAY, at(1)), Some(DAY), "everything looks younger");
        assert_eq!(clock.now_ms(30 * DAY, at(2)), None, "and the way back is a jump");
    }
}
