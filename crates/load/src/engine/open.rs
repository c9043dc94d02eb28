//! The open model: requests of one lane that come when they are due. What is late and not yet sent is
//! two counters, not a queue: who is due follows from its number.

use crate::plan::{Arrivals, Lane};

/// Where one lane is in its arrivals.
#[derive(Debug)]
pub(super) struct Open {
    lane: Lane,
    /// When the scenario starts.
    start_ns: u64,
    /// Requests of this lane altogether.
    count: u64,
    /// Of those, how many have been seen to be due.
    noticed: u64,
    /// Of those, how many have been sent or dropped.
    taken: u64,
    /// Those below this have been seen to find no connection.
    waited: u64,
    /// When the next is due; [`u64::MAX`] after the last.
    next_ns: u64,
}

/// A request that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// Its number among all of its scenario.
    pub(super) number: u64,
    /// When it was due.
    pub(super) due_ns: u64,
    /// Whether it had to wait for a connection.
    pub(super) waited: bool,
}

/// Requests that are due and will not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GivenUp {
    pub(super) requests: u64,
    /// Of those, how many found no connection.
    pub(super) waited: u64,
}

impl Open {
    /// At the start, which is at `start_ns`.
    pub(super) fn new(arrivals: &Arrivals, lane: Lane, start_ns: u64) -> Self {
        let count = lane.share(arrivals.count());
        let mut open =
            Self { lane, start_ns, count, noticed: 0, taken: 0, waited: 0, next_ns: u64::MAX };
        open.next_ns = open.due_ns(arrivals, 0);
        open
    }

    /// When the next request that has not been noticed is due; [`u64::MAX`] when none is to come.
    pub(super) fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// Notes that the next is due, and says by how much that is late.
    pub(super) fn notice(&mut self, arrivals: &Arrivals, now_ns: u64) -> u64 {
        let lag_ns = now_ns.saturating_sub(self.next_ns);
        self.noticed += 1;
        self.next_ns = self.due_ns(arrivals, self.noticed);
        lag_ns
    }

    /// Requests that are due and neither sent nor dropped.
    pub(super) fn backlog(&self) -> u64 {
        self.noticed - self.taken
    }

    /// The oldest of the backlog.
    pub(super) fn oldest(&self, arrivals: &Arrivals) -> Option<Due> {
        (self.taken < self.noticed).then(|| Due {
            number: self.lane.number(self.taken),
            due_ns: self.due_ns(arrivals, self.taken),
            waited: self.taken < self.waited,
        })
    }

    /// The oldest is sent or dropped.
    pub(super) fn take_oldest(&mut self) {
        debug_assert!(self.taken < self.noticed, "there is an oldest");
        self.taken += 1;
    }

    /// There is no connection for the backlog.
    pub(super) fn wait(&mut self) {
        self.waited = self.noticed;
    }

    /// Gives the backlog up.
    pub(super) fn give_up(&mut self) -> GivenUp {
        let waited = self.waited.saturating_sub(self.taken);
        let given_up = GivenUp { requests: self.backlog(), waited };
        self.taken = self.noticed;
        given_up
    }

    /// Nobody comes any more.
    pub(super) fn stop(&mut self) {
        self.count = self.noticed;
        self.next_ns = u64::MAX;
    }

    /// Whether all are sent or dropped, and none is to come.
    pub(super) fn is_over(&self) -> bool {
        self.taken == self.count
    }

    fn due_ns(&self, arrivals: &Arrivals, nth: u64) -> u64 {
        if nth >= self.count {
            return u64::MAX;
        }
        let due_ns = arrivals.due_ns(self.lane.number(nth)).expect("below this lane's share");
        self.start_ns + due_ns
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A thousand a second for a tenth of a second.
    fn arrivals() -> Arrivals {
        Arrivals::new([(Duration::from_millis(100), 1e3, 1e3)]).expect("a hundred")
    }

    #[test]
    fn two_lanes_take_turns() {
        let arrivals = arrivals();
        let mut numbers = Vec::new();
        for index in 0..2 {
            let mut open = Open::new(&arrivals, Lane { index, of: 2 }, 5);
            while open.next_ns() != u64::MAX {
                let now_ns = open.next_ns() + 7;
                assert_eq!(open.notice(&arrivals, now_ns), 7);
                let due = open.oldest(&arrivals).expect("just noticed");
                assert_eq!(due.due_ns + 7, now_ns);
                numbers.push(due.number);
                open.take_oldest();
            }
            assert!(open.is_over());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_backlog_is_sent_oldest_first_or_given_up() {
        let arrivals = arrivals();
        let mut open = Open::new(&arrivals, Lane { index: 0, of: 1 }, 0);
        for _ in 0..3 {
            open.notice(&arrivals, 1_000_000_000);
        }
        open.wait();
        open.notice(&arrivals, 1_000_000_000);
        let mut waited = Vec::new();
        for number in 0..4 {
            let due = open.oldest(&arrivals).expect("four are due");
            assert_eq!((due.number, due.due_ns), (number, number * 1_000_000));
            waited.push(due.waited);
            if number < 3 {
                open.take_oldest();
            }
        }
        assert_eq!(waited, [true, true, true, false]);
        assert!(!open.is_over());
        assert_eq!(open.give_up(), GivenUp { requests: 1, waited: 0 });
        assert_eq!((open.backlog(), open.is_over()), (0, false));
        open.stop();
        assert!(open.is_over() && open.oldest(&arrivals).is_none());
    }
}
