//! Where measurements come from.

use std::time::Duration;

use crate::measure::Interval;
use crate::outcome::KernelCounters;

/// Workers at work, here or elsewhere.
pub trait Source {
    /// The instant of [`crate::clock::now_ns`] on this machine that the run starts at; it may lie ahead.
    fn start_ns(&self) -> u64;

    /// What comes next, waiting for it at most so long.
    fn next(&mut self, wait: Duration) -> Step;

    /// Gives an interval back, whose memory is used again.
    fn give_back(&mut self, machine: usize, interval: Box<Interval>);

    /// What is missing so far, a sentence each; it only grows.
    fn missing(&self) -> &[String] {
        &[]
    }

    /// Whether so much is missing that the run is to end.
    fn is_lost(&self) -> bool {
        false
    }

    /// No new request is begun; those under way have the graceful stop.
    fn stop(&mut self);

    /// What is under way is given up.
    fn stop_now(&mut self);

    /// Called once, after [`Step::Ended`].
    fn finish(self) -> Finished;
}

/// What a source has to tell.
#[derive(Debug)]
pub enum Step {
    /// Measurements of a worker of this machine, by its number among the machines.
    Interval(usize, Box<Interval>),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    Ended,
}

/// What is known once all is over.
#[derive(Debug, Clone, Default)]
pub struct Finished {
    /// What is missing, a sentence each; empty when nothing is.
    pub missing: Vec<String>,
    /// A line for each machine, for people.
    pub machines: Vec<String>,
    /// What the kernels of all machines counted meanwhile, if they show it.
    pub kernel: Option<KernelCounters>,
}
