//! When requests are due in an open loop. A request that could not go out in time keeps its due
//! time, so that a server which stalls is charged for everyone who would have come meanwhile.

/// Evenly spaced due times.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    start_ns: u64,
    end_ns: u64,
    per_second: f64,
    taken: u64,
}

impl Schedule {
    /// Due times from `start_ns`, `per_second` of them each second, all before `end_ns`.
    pub(crate) fn new(start_ns: u64, end_ns: u64, per_second: f64) -> Self {
        Self { start_ns, end_ns, per_second, taken: 0 }
    }

    /// The due time of the next request, whether that has come or not; `None` when there are no more.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        let due = self.start_ns + self.offset_ns(self.taken);
        (due < self.end_ns).then_some(due)
    }

    /// The next request's due time if it has come, and counts that request as taken.
    pub(crate) fn take_due(&mut self, now_ns: u64) -> Option<u64> {
        let due = self.next_due_ns().filter(|due| *due <= now_ns)?;
        self.taken += 1;
        Some(due)
    }

    /// How many requests were due up to `now_ns`, taken or not.
    pub(crate) fn due_count(&self, now_ns: u64) -> u64 {
        let until = now_ns.min(self.end_ns.saturating_sub(1));
        let Some(elapsed_ns) = until.checked_sub(self.start_ns) else { return 0 };
        // The estimate is off by one at most; the due times themselves decide.
        let mut count = to_count(as_f64(elapsed_ns) * self.per_second / 1e9);
        while count > 0 && self.offset_ns(count - 1) > elapsed_ns {
            count -= 1;
        }
        while self.offset_ns(count) <= elapsed_ns {
            count += 1;
        }
        count
    }

    /// How many requests were taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    fn offset_ns(&self, index: u64) -> u64 {
        to_count(as_f64(index) * 1e9 / self.per_second)
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 ns, a run of 104 days")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounds down, which is meant; never negative"
)]
fn to_count(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn due_times_are_evenly_spaced_and_end() {
        let mut schedule = Schedule::new(5 * MS, 8 * MS, 1_000.0);
        assert_eq!(schedule.take_due(4 * MS), None, "not before the first is due");
        let taken: Vec<u64> = std::iter::from_fn(|| schedule.take_due(100 * MS)).collect();
        assert_eq!(taken, [5 * MS, 6 * MS, 7 * MS]);
        assert_eq!(schedule.next_due_ns(), None);
    }

    #[test]
    fn who_comes_during_a_stall_keeps_the_time_at_which_he_came() {
        let mut schedule = Schedule::new(0, 10_000 * MS, 100.0);
        assert_eq!(schedule.take_due(0), Some(0));
        // Nothing is taken for half a second; then all come at once, each as late as he is.
        let late: Vec<u64> =
            std::iter::from_fn(|| schedule.take_due(500 * MS)).map(|due| 500 * MS - due).collect();
        let expected: Vec<u64> = (1..=50).map(|i| 500 * MS - i * 10 * MS).collect();
        assert_eq!(late, expected);
    }

    #[test]
    fn the_rate_does_not_drift() {
        let rate = 16_667.0;
        let schedule = Schedule::new(0, u64::MAX, rate);
        // At 3600 s sharp the 60,001,201st is due, counting from one at zero.
        assert_eq!(schedule.due_count(3_600_000 * MS), 60_001_201);
    }

    #[test]
    fn the_count_agrees_with_the_taking() {
        for rate in [3.0, 1_000.0, 16_667.0, 99_999.9] {
            let mut schedule = Schedule::new(7, 50 * MS, rate);
            for now in (0..60 * MS).step_by(777_777) {
                while schedule.take_due(now).is_some() {}
                assert_eq!(schedule.due_count(now), schedule.taken(), "{rate} at {now}");
            }
        }
    }
}
