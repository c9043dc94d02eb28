//! A run on several machines from beginning to end, for whoever has a plan and a group of agents.

use super::coordinator::Group;
use super::error::CoordinatorError;
use super::prepare::Job;
use crate::measure::Totals;
use crate::observe::Observer;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::run::{self, RunContext, RunError, StopFlag};

/// Has the agents of `group` prepare and do `job`, which `plan` was divided into, and judges the run
/// like one on a single machine.
///
/// # Errors
/// When nothing was sent: an agent cannot do its part, or is lost before the start, or somebody has
/// pressed `stop`.
pub fn run(
    group: Group,
    job: Job,
    plan: &Plan,
    context: &RunContext,
    observers: &mut [&mut dyn Observer],
    stop: &StopFlag,
) -> Result<(Totals, Outcome), CoordinatorError> {
    let mut go_on = || stop.presses() == 0;
    let ready = group.prepare(job, &mut go_on)?;
    let notes = ready.notes();
    let mut failed = None;
    let begin = || {
        ready.begin(&mut go_on).map_err(|error| {
            let words = error.to_string();
            failed = Some(error);
            RunError::Start(words)
        })
    };
    let ran = run::run_on(plan, context, &notes, begin, observers, stop);
    match failed {
        Some(error) => Err(error),
        None => Ok(ran?),
    }
}
