//! Whoever watches a run while it goes on.

use std::time::Duration;

use crate::measure::Totals;
use crate::outcome::{Ending, Outcome};
use crate::plan::Plan;

/// Is shown the figures so far at each tick. It is called between two collections of what the workers
/// measured, so it must not wait for anybody.
pub trait Observer {
    /// The run is about to begin; `notes` are sentences of what was found before it.
    fn begin(&mut self, plan: &Plan, notes: &[String]) {
        let _ = (plan, notes);
    }

    /// The figures `at` after the run's start.
    fn tick(&mut self, plan: &Plan, totals: &Totals, at: Duration);

    /// The run was told to end, `at` after its start, and why: nothing more is asked for.
    fn stopping(&mut self, why: Ending, at: Duration) {
        let _ = (why, at);
    }

    /// Something is missing from here on, as when an agent was lost; what, in a sentence.
    fn missing(&mut self, words: &str) {
        let _ = words;
    }

    /// The last figures, and what came of the run.
    fn end(&mut self, plan: &Plan, totals: &Totals, outcome: &Outcome) {
        let _ = (plan, totals, outcome);
    }
}
