//! Where one worker writes down what it measures. Recording touches the worker's own memory only;
//! whole intervals change hands at ticks.

use super::counts::Counts;
use super::interval::{Gauges, Interval, ScenarioInterval};
use super::metric::Trend;
use super::sample::{Ended, Sample};

/// One worker's current interval.
#[derive(Debug)]
pub struct Recorder {
    current: Box<Interval>,
}

impl Recorder {
    /// For worker number `worker` and scenarios with these numbers of checks.
    pub fn new(worker: usize, checks: &[usize]) -> Self {
        Self { current: Box::new(Interval::at_hand(worker, checks)) }
    }

    /// A request's time has come by the plan, and the worker noticed `lag_ns` later.
    pub fn due(&mut self, scenario: usize, lag_ns: u64) {
        let scenario = &mut self.current.scenarios[scenario];
        scenario.counts.due += 1;
        scenario.trends[Trend::ScheduleLag as usize].record(lag_ns);
    }

    /// A user of a closed model is ready to send, which no plan has a time for.
    pub fn ready(&mut self, scenario: usize) {
        self.current.scenarios[scenario].counts.due += 1;
    }

    /// A request is being sent; `waited` when it had to wait for a connection.
    pub fn started(&mut self, scenario: usize, waited: bool) {
        let counts = &mut self.current.scenarios[scenario].counts;
        counts.started += 1;
        counts.waited += u64::from(waited);
    }

    /// So many requests were due and will not be sent, because a cap forbids it; so many of them had
    /// to wait for a connection.
    pub fn dropped(&mut self, scenario: usize, requests: u64, waited: u64) {
        let counts = &mut self.current.scenarios[scenario].counts;
        counts.dropped += requests;
        counts.waited += waited;
    }

    /// So many requests were never due, because the time for them was over before their turn came.
    pub fn left_over(&mut self, scenario: usize, requests: u64) {
        let counts = &mut self.current.scenarios[scenario].counts;
        counts.due += requests;
        counts.dropped += requests;
    }

    /// A connection was made.
    pub fn connected(&mut self, scenario: usize) {
        self.current.scenarios[scenario].counts.connections += 1;
    }

    /// The server was to close a connection, and has not in time.
    pub fn left_open(&mut self, scenario: usize) {
        self.current.scenarios[scenario].counts.left_open += 1;
    }

    /// A request has ended.
    pub fn ended(&mut self, scenario: usize, sample: &Sample) {
        let scenario = &mut self.current.scenarios[scenario];
        scenario.counts.ended(sample);
        let duration_ns = sample.ended_ns.saturating_sub(sample.due_ns);
        scenario.record(Trend::Duration, duration_ns);
        if !sample.ended.is_expected() {
            scenario.record(Trend::DurationOfFailed, duration_ns);
        }
        if sample.sent {
            let from_sent_ns = sample.ended_ns.saturating_sub(sample.secured_ns);
            scenario.record(Trend::DurationFromSent, from_sent_ns);
        }
        // What has no answer has not all phases.
        if !matches!(sample.ended, Ended::Answered(_)) {
            return;
        }
        let steps = [
            (Trend::Blocked, sample.due_ns, sample.begun_ns),
            (Trend::Connecting, sample.begun_ns, sample.connected_ns),
            (Trend::TlsHandshaking, sample.connected_ns, sample.secured_ns),
            (Trend::Sending, sample.secured_ns, sample.sent_ns),
            (Trend::Waiting, sample.sent_ns, sample.first_byte_ns),
            (Trend::Receiving, sample.first_byte_ns, sample.ended_ns),
        ];
        for (trend, from_ns, until_ns) in steps {
            scenario.record(trend, until_ns.saturating_sub(from_ns));
        }
    }

    /// An iteration is over: its request and the think time behind it.
    pub fn iterated(&mut self, scenario: usize, took_ns: u64) {
        self.current.scenarios[scenario].record(Trend::Iteration, took_ns);
    }

    /// Since when, after the run's start, nothing has been measured; `None` when something has.
    pub fn idle_since_ns(&self) -> Option<u64> {
        let is_idle =
            |counts: &Counts| [counts.due, counts.started, counts.dropped, counts.ended] == [0; 4];
        let is_idle = self.current.scenarios.iter().all(|scenario| is_idle(&scenario.counts));
        is_idle.then_some(self.current.from_ns)
    }

    /// Hands over what was measured until `until_ns` after the run's start, and goes on in `next`,
    /// which must be empty.
    pub fn take(
        &mut self,
        until_ns: u64,
        gauges: Gauges,
        mut next: Box<Interval>,
    ) -> Box<Interval> {
        next.worker = self.current.worker;
        next.from_ns = until_ns;
        next.until_ns = until_ns;
        self.current.until_ns = until_ns;
        self.current.gauges = gauges;
        std::mem::replace(&mut self.current, next)
    }
}

impl ScenarioInterval {
    fn record(&mut self, trend: Trend, time_ns: u64) {
        self.trends[trend as usize].record(time_ns);
    }
}
