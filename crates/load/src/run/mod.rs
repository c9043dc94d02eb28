//! A run from beginning to end: look, start, gather what the workers measure, judge. Where the
//! workers are does not matter to it: on this machine, or on several ([`Source`]).

mod conduct;
mod local;
mod source;
mod stop;

use std::sync::Arc;

pub use local::Local;
pub use source::{Finished, Source, Step};
pub use stop::StopFlag;

use conduct::{Conducted, conduct};

use crate::clock;
use crate::judge::{self, Evidence};
use crate::measure::Totals;
use crate::observe::Observer;
use crate::outcome::{Outcome, exit};
use crate::plan::Plan;
use crate::preflight;
use crate::receipts::Receipts;
use crate::reconcile::{self, Before, MetricsError, MetricsUrl};

/// What a run is told beside its plan.
#[derive(Debug, Clone, Default)]
pub struct RunContext {
    /// The command or file that asked for it, as typed, without secrets.
    pub command: String,
    /// Where acknowledged ids are written.
    pub receipts: Option<Arc<Receipts>>,
    /// Where the server's counters are.
    pub metrics: MetricsUrl,
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What the plan needs is not there: a sentence each.
    #[error("{}", .0.join("\n"))]
    Preflight(Vec<String>),
    /// The server's counters were asked for and cannot be had.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The workers could not be started.
    #[error("{0}")]
    Start(String),
}

impl RunError {
    /// For whoever started the program.
    pub fn exit_code(&self) -> u8 {
        exit::CONFIGURATION
    }
}

/// Runs a plan on this machine.
///
/// # Errors
/// When what is needed is not there; nothing was sent then.
pub fn run(
    plan: &Arc<Plan>,
    context: &RunContext,
    observers: &mut [&mut dyn Observer],
    stop: &StopFlag,
) -> Result<(Totals, Outcome), RunError> {
    let start = || Local::start(plan, context.receipts.clone());
    run_here(plan, context, start, observers, stop)
}

/// The same with workers that `start` starts.
///
/// # Errors
/// When what is needed is not there; nothing was sent then.
fn run_here<S: Source>(
    plan: &Plan,
    context: &RunContext,
    start: impl FnOnce() -> Result<S, RunError>,
    observers: &mut [&mut dyn Observer],
    stop: &StopFlag,
) -> Result<(Totals, Outcome), RunError> {
    let findings = preflight::preflight(plan, 1);
    if !findings.errors.is_empty() {
        return Err(RunError::Preflight(findings.errors));
    }
    run_on(plan, context, &findings.notes, start, observers, stop)
}

/// Runs a plan wherever `start` starts it. `notes` are what was found before.
///
/// # Errors
/// When it cannot be started; nothing was sent then.
pub fn run_on<S: Source>(
    plan: &Plan,
    context: &RunContext,
    notes: &[String],
    start: impl FnOnce() -> Result<S, RunError>,
    observers: &mut [&mut dyn Observer],
    stop: &StopFlag,
) -> Result<(Totals, Outcome), RunError> {
    let counters = reconcile::before(plan, &context.metrics)?;
    let mixed = counters.as_ref().and_then(Before::warning);
    let notes: Vec<String> = notes.iter().cloned().chain(mixed.clone()).collect();
    for observer in &mut *observers {
        observer.begin(plan, &notes);
    }
    let source = start()?;
    // The start may lie ahead, or a little behind.
    let (now_ns, start_ns) = (clock::now_ns(), source.start_ns());
    let started_wall_ns = (clock::wall_ns() + start_ns).saturating_sub(now_ns);
    let conducted = conduct(plan, source, observers, stop, &clock::now_ns);
    let mut outcome = outcome(plan, context, counters.as_ref(), &conducted, started_wall_ns);
    outcome.health.warnings.extend(mixed);
    for observer in &mut *observers {
        observer.end(plan, &conducted.totals, &outcome);
    }
    Ok((conducted.totals, outcome))
}

fn outcome(
    plan: &Plan,
    context: &RunContext,
    counters: Option<&Before>,
    conducted: &Conducted,
    started_wall_ns: u64,
) -> Outcome {
    let Conducted { totals, ending, aborted, stopped_at, finished } = conducted;
    let elapsed = conduct::told(plan, totals);
    let evidence = Evidence {
        elapsed,
        ending: *ending,
        stopped_at: *stopped_at,
        kernel: finished.kernel,
        partial: !finished.missing.is_empty(),
    };
    let mut thresholds = judge::thresholds(plan, totals, elapsed);
    for result in &mut thresholds {
        if let Some(aborted) = aborted.as_ref().filter(|aborted| aborted.text == result.text) {
            result.clone_from(aborted);
        }
    }
    // What a lost machine was told, nobody knows: its part cannot be accounted for.
    let accountable = finished.missing.is_empty();
    Outcome {
        thresholds,
        health: judge::health(plan, totals, &evidence),
        reconciliation: counters.filter(|_| accountable).map(|before| before.after(totals)),
        missing: finished.missing.clone(),
        ending: *ending,
        stopped_at: *stopped_at,
        started_wall_ns,
        elapsed,
        machines: finished.machines.clone(),
        command: context.command.clone(),
    }
}

#[cfg(test)]
mod tests;
