//! How many users of a closed model there are over time: straight lines from stage to stage. On a
//! line that climbs, user `n` (from 0) comes when it reaches `n + 1`; on one that falls, he goes when
//! it reaches `n`. So each lane finds its users' times from their numbers alone.

use crate::plan::{Lane, UserStage};

/// The users of one lane over time.
#[derive(Debug)]
pub(super) struct Population {
    lane: Lane,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    from_ns: u64,
    until_ns: u64,
    from: u64,
    to: u64,
}

impl Population {
    /// Of the stages that follow each other from `start_ns` on.
    pub(super) fn new(stages: &[UserStage], lane: Lane, start_ns: u64) -> Self {
        let mut from_ns = start_ns;
        let mut lines = Vec::new();
        for stage in stages {
            let took = u64::try_from(stage.duration.as_nanos()).unwrap_or(u64::MAX);
            let until_ns = from_ns.saturating_add(took);
            // A stage of no length is a jump, which the next one's start makes.
            if until_ns > from_ns {
                lines.push(Line { from_ns, until_ns, from: stage.from, to: stage.to });
            }
            from_ns = until_ns;
        }
        Self { lane, lines }
    }

    /// The most that this lane ever has.
    pub(super) fn max(&self) -> u64 {
        self.lane.share(self.lines.iter().map(|line| line.from.max(line.to)).max().unwrap_or(0))
    }

    /// How many there are in all lanes at an instant.
    pub(super) fn all_at(&self, now_ns: u64) -> u64 {
        let is_now = |line: &&Line| (line.from_ns..line.until_ns).contains(&now_ns);
        self.lines.iter().find(is_now).map_or(0, |line| line.users(now_ns))
    }

    /// How many there are in this lane at an instant, and until when that is so at least.
    pub(super) fn at(&self, now_ns: u64) -> (u64, u64) {
        let Some(line) = self.lines.iter().find(|line| now_ns < line.until_ns) else {
            return (0, u64::MAX);
        };
        if now_ns < line.from_ns {
            return (0, line.from_ns);
        }
        let users = line.users(now_ns);
        let share = self.lane.share(users);
        let change = if line.to > line.from {
            line.comes_ns(self.lane.number(share))
        } else if line.to < line.from && share > 0 {
            line.goes_ns(self.lane.number(share - 1))
        } else {
            line.until_ns
        };
        (share, change.clamp(now_ns + 1, line.until_ns))
    }
}

impl Line {
    fn users(&self, now_ns: u64) -> u64 {
        let (since, length) = (now_ns - self.from_ns, self.until_ns - self.from_ns);
        let moved = |change: u64| {
            let moved = u128::from(change) * u128::from(since) / u128::from(length);
            u64::try_from(moved).expect("no more than the change")
        };
        if self.to >= self.from {
            self.from + moved(self.to - self.from)
        } else {
            self.from - moved(self.from - self.to)
        }
    }

    /// When user `number` comes, on a line that climbs.
    fn comes_ns(&self, number: u64) -> u64 {
        self.reached_ns((number + 1).saturating_sub(self.from), self.to - self.from)
    }

    /// When user `number` goes, on a line that falls.
    fn goes_ns(&self, number: u64) -> u64 {
        self.reached_ns(self.from.saturating_sub(number), self.from - self.to)
    }

    /// When so many out of a whole change have come or gone.
    fn reached_ns(&self, moved: u64, change: u64) -> u64 {
        let length = u128::from(self.until_ns - self.from_ns);
        let since = (u128::from(moved) * length).div_ceil(u128::from(change));
        self.from_ns.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn stage(seconds: u64, from: u64, to: u64) -> UserStage {
        UserStage { duration: Duration::from_secs(seconds), from, to }
    }

    /// The number of users at each change, with the second it happens in.
    fn changes(stages: &[UserStage], lane: Lane) -> Vec<(u64, u64)> {
        let population = Population::new(stages, lane, 0);
        let mut found = Vec::new();
        let mut now_ns = 0;
        while now_ns != u64::MAX {
            let (users, until_ns) = population.at(now_ns);
            if found.last().is_none_or(|(_, last)| *last != users) {
                found.push((now_ns / 1_000_000_000, users));
            }
            now_ns = until_ns;
        }
        found
    }

    #[test]
    fn users_come_and_go_in_a_straight_line() {
        let alone = Lane { index: 0, of: 1 };
        assert_eq!(
            changes(&[stage(3, 0, 3), stage(5, 3, 3), stage(2, 3, 1)], alone),
            [(0, 0), (1, 1), (2, 2), (3, 3), (9, 2), (10, 0)]
        );
        // A jump, and a constant number.
        assert_eq!(changes(&[stage(0, 0, 4), stage(7, 4, 4)], alone), [(0, 4), (7, 0)]);
        assert_eq!(changes(&[], alone), [(0, 0)]);
        assert_eq!(Population::new(&[stage(1, 0, 4)], alone, 0).max(), 4);
    }

    proptest! {
        #[test]
        fn lanes_add_up_and_miss_no_change(
            stages in prop::collection::vec((0u64..4, 0u64..9, 0u64..9), 1..5),
            of in 1u64..4,
            now_ns in 0u64..16_000_000_000,
        ) {
            let stages: Vec<_> = stages.into_iter().map(|(s, a, b)| stage(s, a, b)).collect();
            let all = Population::new(&stages, Lane { index: 0, of: 1 }, 0).at(now_ns).0;
            let mut sum = 0;
            for index in 0..of {
                let lane = Population::new(&stages, Lane { index, of }, 0);
                // Following the changes from the start must lead to the same number.
                let (mut users, mut until_ns) = lane.at(0);
                while until_ns <= now_ns {
                    (users, until_ns) = lane.at(until_ns);
                }
                prop_assert_eq!(users, lane.at(now_ns).0);
                prop_assert!(users <= lane.max());
                sum += users;
            }
            prop_assert_eq!(sum, all);
        }
    }
}
