//! The seam between an agent and what it does: an agent knows connections and messages, a workshop
//! knows plans, preflights and engines.

use std::time::Duration;

use super::message::{Closing, Part, Share};
use crate::engine::{self, Next};
use crate::measure::Interval;
use crate::plan::{Executor, Options, Plan};

/// What carries out plans.
pub trait Workshop: Sync {
    /// Understands the options, and sees whether this machine can do its part of them. It may take
    /// its time, but must come to an end.
    ///
    /// # Errors
    /// What is wrong, for whoever started the run: nothing will be sent.
    fn prepare(&self, part: Part, options: Options) -> Result<Box<dyn Prepared>, String>;
}

/// A plan's part, ready to start.
pub trait Prepared: Send {
    /// What the part is.
    fn share(&self) -> Share;
    /// What was found that is worth knowing.
    fn notes(&self) -> Vec<String>;

    /// Starts it, at `start_ns` of [`crate::clock::now_ns`], which lies ahead.
    ///
    /// # Errors
    /// What is wrong, for whoever started the run.
    fn start(self: Box<Self>, start_ns: u64) -> Result<Box<dyn Work>, String>;
}

/// A part that is being done.
pub trait Work {
    /// What was measured next, if it comes within `wait`.
    fn next(&mut self, wait: Duration) -> Next;
    /// Takes an interval back, to be used again.
    fn give_back(&mut self, interval: Box<Interval>);
    /// It goes on until this instant of [`crate::clock::now_ns`], unless it is given more time before.
    fn go_on_until(&mut self, until_ns: u64);
    /// No new requests; those in flight may still end.
    fn stop(&mut self);
    /// Nothing more.
    fn stop_now(&mut self);
    /// What there is to say at the end; nothing goes on after it.
    fn close(self: Box<Self>) -> Closing;
}

impl Share {
    /// Machine `machine`'s share of the plan, out of `machines`.
    pub fn of(plan: &Plan, machine: u64, machines: u64) -> Self {
        let requests = plan.scenarios.iter().map(|scenario| {
            let of_total = |total| scenario.share(total, machine, machines, plan.threads);
            match &scenario.executor {
                Executor::Arrivals(arrivals) => Some(of_total(arrivals.count())),
                Executor::SharedIterations { users, iterations, .. } => {
                    let threads = plan.threads as u64;
                    Some(engine::shared_iterations_of(
                        *iterations,
                        *users,
                        machine,
                        machines,
                        threads,
                    ))
                }
                Executor::PerUserIterations { users, iterations, .. } => {
                    Some(of_total(*users) * iterations)
                }
                Executor::Users { .. } => None,
            }
        });
        Self { checks: plan.shape(), threads: plan.threads, requests: requests.collect() }
    }

    /// All requests, where all are known.
    pub(super) fn requests_total(&self) -> Option<u64> {
        self.requests.iter().copied().sum()
    }
}
