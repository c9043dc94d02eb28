//! The workers of this machine.

use std::sync::Arc;
use std::time::Duration;

use super::RunError;
use super::source::{Finished, Source, Step};
use crate::clock::now_ns;
use crate::engine::{self, Next, Running};
use crate::kernel;
use crate::machine;
use crate::measure::Interval;
use crate::outcome::KernelCounters;
use crate::plan::Plan;
use crate::receipts::Receipts;

/// How far ahead the start lies, so that every worker is ready for it, with the memory that it measures
/// each scenario in.
const LEAD: Duration = Duration::from_millis(50);
const LEAD_EACH: Duration = Duration::from_millis(5);

/// The workers of this machine.
#[derive(Debug)]
pub struct Local {
    running: Running,
    start_ns: u64,
    kernel_before: Option<KernelCounters>,
}

impl Local {
    /// Starts the whole plan here.
    ///
    /// # Errors
    /// When the system does not give what the workers need.
    pub fn start(plan: &Arc<Plan>, receipts: Option<Arc<Receipts>>) -> Result<Self, RunError> {
        let kernel_before = kernel::read();
        let scenarios = u32::try_from(plan.scenarios.len()).expect("they have a bound");
        let lead = LEAD + LEAD_EACH * scenarios;
        let start_ns = now_ns() + u64::try_from(lead.as_nanos()).expect("it is short");
        let running = engine::start(Arc::clone(plan), 0, 1, start_ns, receipts)
            .map_err(|error| RunError::Start(error.to_string()))?;
        Ok(Self { running, start_ns, kernel_before })
    }
}

impl Source for Local {
    fn start_ns(&self) -> u64 {
        self.start_ns
    }

    fn next(&mut self, wait: Duration) -> Step {
        match self.running.next(wait) {
            Next::Interval(interval) => Step::Interval(0, interval),
            Next::Nothing => Step::Nothing,
            Next::Ended => Step::Ended,
        }
    }

    fn give_back(&mut self, _machine: usize, interval: Box<Interval>) {
        self.running.give_back(interval);
    }

    fn stop(&mut self) {
        self.running.stop();
    }

    fn stop_now(&mut self) {
        self.running.stop_now();
    }

    fn finish(self) -> Finished {
        let kernel = kernel::read().zip(self.kernel_before);
        // What the others measured is worth telling, with what is missing of it.
        let failed = self.running.join().err();
        Finished {
            missing: failed
                .map(|error| format!("The run broke off: {error}."))
                .into_iter()
                .collect(),
            machines: vec![machine::describe()],
            kernel: kernel.map(|(after, before)| after.since(before)),
        }
    }
}
