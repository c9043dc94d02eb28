//! How far apart the clocks of two machines are, by round trips. Nothing that is measured depends on
//! it: instants count from the run's start, and the start is a delay, not a time of day. It is told
//! because `{{now}}` in requests comes from each machine's own clock.

use std::time::Duration;

use super::link::nanoseconds;

/// One question and its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoundTrip {
    /// Here, monotonic.
    pub(super) asked_ns: u64,
    /// Here, monotonic.
    pub(super) answered_ns: u64,
    /// Here, by the wall clock, when it was asked.
    pub(super) wall_ns: u64,
    /// There, by the wall clock, when it was answered.
    pub(super) wall_there_ns: u64,
}

/// What round trips say about another machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockCheck {
    /// The shortest round trip: whatever was instantaneous there happened within it.
    pub rtt: Duration,
    /// How far the wall clock there is ahead of the one here, in nanoseconds, give or take half of
    /// `rtt`.
    pub ahead_ns: i64,
}

/// A round trip from here on makes starts differ by more than people would expect.
const RTT_NOTED: Duration = Duration::from_millis(50);
/// Clocks that differ by more than this are told of.
const AHEAD_NOTED: Duration = Duration::from_millis(500);

impl ClockCheck {
    /// From the shortest of these, which the network delayed least; `None` without any.
    pub(super) fn of(trips: &[RoundTrip]) -> Option<Self> {
        let best = trips.iter().min_by_key(|trip| trip.rtt_ns())?;
        // The answer was given half a round trip after the question, or near it.
        let then_ns = i128::from(best.wall_ns) + i128::from(best.rtt_ns() / 2);
        let ahead_ns = i128::from(best.wall_there_ns) - then_ns;
        let ahead_ns =
            i64::try_from(ahead_ns).unwrap_or(if ahead_ns < 0 { i64::MIN } else { i64::MAX });
        Some(Self { rtt: Duration::from_nanos(best.rtt_ns()), ahead_ns })
    }

    /// How long a machine has to wait once it is told to, for it to start at `start_ns` here: by the
    /// time it hears so, half a round trip is over. It is right to within half of the round trip.
    pub(super) fn delay_ns(&self, start_ns: u64, now_ns: u64) -> u64 {
        start_ns.saturating_sub(now_ns).saturating_sub(nanoseconds(self.rtt / 2))
    }

    /// In a line.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    pub fn in_words(&self) -> String {
        let rtt_ms = self.rtt.as_secs_f64() * 1e3;
        let (ms, side) = (self.ahead_ns.unsigned_abs() as f64 / 1e6, self.side());
        format!("clock {ms:.3} ms {side} (± {:.3} ms), round trip {rtt_ms:.3} ms", rtt_ms / 2.0)
    }

    /// What should be known when reading the figures.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.rtt > RTT_NOTED {
            warnings.push(format!(
                "its round trip is {} ms: its start may differ by half of that",
                self.rtt.as_millis()
            ));
        }
        if u128::from(self.ahead_ns.unsigned_abs()) > AHEAD_NOTED.as_nanos() {
            let seconds = Duration::from_nanos(self.ahead_ns.unsigned_abs()).as_secs_f64();
            warnings.push(format!(
                "its clock is {seconds:.1} s {}, and so is what its requests call now; latencies are \
                 not touched",
                self.side()
            ));
        }
        warnings
    }

    fn side(&self) -> &'static str {
        if self.ahead_ns < 0 { "behind" } else { "ahead" }
    }
}

impl RoundTrip {
    fn rtt_ns(&self) -> u64 {
        self.answered_ns.saturating_sub(self.asked_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A round trip over a network that takes so long there and back, to a machine whose clock is
    /// ahead by so much.
    fn trip(there_ns: u64, back_ns: u64, ahead_ns: i64) -> RoundTrip {
        let (asked_ns, wall_ns) = (5_000_000_000, 1_700_000_000_000_000_000);
        let answered_ns = asked_ns + there_ns + back_ns;
        let wall_there_ns = (wall_ns + there_ns).checked_add_signed(ahead_ns).unwrap();
        RoundTrip { asked_ns, answered_ns, wall_ns, wall_there_ns }
    }

    proptest! {
        #[test]
        fn offsets_and_starts_are_right_to_half_a_round_trip(
            delays in prop::collection::vec((0u64..400_000_000, 0u64..400_000_000), 1..20),
            ahead_ns in -9_000_000_000i64..9_000_000_000,
        ) {
            let trips: Vec<RoundTrip> =
                delays.iter().map(|(there, back)| trip(*there, *back, ahead_ns)).collect();
            let check = ClockCheck::of(&trips).expect("at least one");
            let rtt_ns = delays.iter().map(|(there, back)| there + back).min().expect("one");
            prop_assert_eq!(nanoseconds(check.rtt), rtt_ns);
            prop_assert!(check.ahead_ns.abs_diff(ahead_ns) <= rtt_ns / 2 + 1);
            // The word to begin takes as long as the shortest trip's question did.
            let best = delays.iter().find(|(there, back)| there + back == rtt_ns).expect("it");
            let (now_ns, start_ns) = (7_000_000_000, 9_000_000_000);
            let started_ns = now_ns + best.0 + check.delay_ns(start_ns, now_ns);
            prop_assert!(started_ns.abs_diff(start_ns) <= rtt_ns / 2 + 1);
        }
    }

    #[test]
    fn what_is_far_is_told() {
        let check = |there_ns, ahead_ns| {
            ClockCheck::of(&[trip(there_ns, there_ns, ahead_ns)]).expect("one").warnings().len()
        };
        assert_eq!(check(1_000_000, 499_000_000), 0);
        assert_eq!(check(1_000_000, -501_000_000), 1);
        assert_eq!(check(26_000_000, 0), 1);
        assert_eq!(check(26_000_000, 90_000_000_000), 2);
        assert!(ClockCheck::of(&[]).is_none());
        let words = ClockCheck::of(&[trip(500_000, 500_000, -2_000_000)]).expect("one").in_words();
        assert_eq!(words, "clock 2.000 ms behind (± 0.500 ms), round trip 1.000 ms");
    }
}
