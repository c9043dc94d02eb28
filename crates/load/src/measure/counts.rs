//! What is counted beside the times.

use serde::{Deserialize, Serialize};

use super::sample::{Ended, Failure, Sample};

/// Statuses have three digits (RFC 9110, section 15), also those that belong to no class.
const STATUS_FIRST: usize = 100;
const STATUSES: usize = 900;

/// Counters of one scenario over some time. They add up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests whose time had come.
    pub due: u64,
    /// Requests that were sent, or tried.
    pub started: u64,
    /// Requests that waited for a connection to be free, and then were sent or dropped.
    pub waited: u64,
    /// Requests that were due and not sent because a cap forbade it (`dropped_iterations`).
    pub dropped: u64,
    /// Requests with a whole answer.
    pub answered: u64,
    /// Requests without one of 200 to 399, k6's expected ones (`http_req_failed`).
    pub failed: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Of those, how many the server was to close and left open.
    pub left_open: u64,
    /// Bytes written.
    pub bytes_sent: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// By [`Failure`].
    pub failures: [u64; Failure::COUNT],
    /// By status, from 100 on.
    statuses: Vec<u64>,
    /// For each check how many passed; of `started`'s that ended.
    pub checks_passed: Vec<u64>,
    /// Requests that ended, answered or not.
    pub ended: u64,
}

impl Counts {
    /// Zeros, for a scenario with so many checks.
    pub fn new(checks: usize) -> Self {
        Self {
            due: 0,
            started: 0,
            waited: 0,
            dropped: 0,
            answered: 0,
            failed: 0,
            connections: 0,
            left_open: 0,
            bytes_sent: 0,
            bytes_received: 0,
            failures: [0; Failure::COUNT],
            statuses: vec![0; STATUSES],
            checks_passed: vec![0; checks],
            ended: 0,
        }
    }

    /// Counts a request that has ended.
    pub fn ended(&mut self, sample: &Sample) {
        self.ended += 1;
        self.bytes_sent += sample.bytes_sent;
        self.bytes_received += sample.bytes_received;
        match sample.ended {
            Ended::Answered(status) => {
                self.answered += 1;
                let index = usize::from(status).saturating_sub(STATUS_FIRST).min(STATUSES - 1);
                self.statuses[index] += 1;
            }
            Ended::Failed(failure) => self.failures[failure as usize] += 1,
        }
        self.failed += u64::from(!sample.ended.is_expected());
        let mut passed = sample.checks_passed;
        for count in &mut self.checks_passed {
            *count += u64::from(passed & 1);
            passed >>= 1;
        }
    }

    /// The statuses that came, and how often.
    pub fn statuses(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        (100u16..).zip(&self.statuses).filter(|(_, count)| **count > 0).map(|(s, c)| (s, *c))
    }

    /// Checks made: each check of each request that ended.
    pub fn checks_total(&self) -> u64 {
        self.ended * self.checks_passed.len() as u64
    }

    /// Checks passed, over all checks.
    pub fn checks_succeeded(&self) -> u64 {
        self.checks_passed.iter().sum()
    }

    /// Adds another's. Where one has no checks, those of the other are left out.
    pub fn add(&mut self, other: &Self) {
        self.due += other.due;
        self.started += other.started;
        self.waited += other.waited;
        self.dropped += other.dropped;
        self.answered += other.answered;
        self.failed += other.failed;
        self.connections += other.connections;
        self.left_open += other.left_open;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.ended += other.ended;
        add_each(&mut self.failures, &other.failures);
        add_each(&mut self.statuses, &other.statuses);
        add_each(&mut self.checks_passed, &other.checks_passed);
    }

    /// Sets everything to zero and keeps the memory.
    pub fn clear(&mut self) {
        let mut statuses = std::mem::take(&mut self.statuses);
        let mut checks_passed = std::mem::take(&mut self.checks_passed);
        statuses.fill(0);
        checks_passed.fill(0);
        *self = Self { statuses, checks_passed, ..Self::new(0) };
    }

    /// Whether it came over the wire with the shape that a scenario of so many checks has.
    pub(super) fn has_shape(&self, checks: usize) -> bool {
        self.statuses.len() == STATUSES && self.checks_passed.len() == checks
    }
}

fn add_each(into: &mut [u64], from: &[u64]) {
    for (into, from) in into.iter_mut().zip(from) {
        *into += from;
    }
}

#[cfg(test)]
mod tests {
    use crate::fixture::Figures;

    #[test]
    fn repro_every_status_of_three_digits_is_counted_as_itself() {
        let mut figures = Figures::new(&[0]);
        for status in [100, 599, 600, 999, 999] {
            figures.answered(0, 1, status, 0);
        }
        let counts = figures.totals().counts(|_| true);
        let statuses: Vec<_> = counts.statuses().collect();
        assert_eq!(statuses, [(100, 1), (599, 1), (600, 1), (999, 2)]);
    }
}
