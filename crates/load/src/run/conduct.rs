//! The time between a run's start and its end: measurements are added up, observers are shown them,
//! and the run is ended early when a threshold or somebody wants it.

use std::time::Duration;

use super::source::{Finished, Source, Step};
use super::stop::StopFlag;
use crate::judge;
use crate::measure::Totals;
use crate::observe::Observer;
use crate::outcome::{Ending, ThresholdResult};
use crate::plan::Plan;

/// Observers are shown the figures no more often than this.
const SHOWN_EVERY: Duration = Duration::from_millis(100);
/// Thresholds that end a run are looked at no more often than this: each merges distributions.
const JUDGED_EVERY: Duration = Duration::from_secs(1);
/// A worker that has told nothing for so long is not waited for by thresholds.
const SILENT_FOR: Duration = Duration::from_secs(5);
/// How long a pressed flag may go unnoticed.
const NOTICED_WITHIN: Duration = Duration::from_millis(50);

/// A run that is over, not yet judged.
#[derive(Debug)]
pub(super) struct Conducted {
    pub(super) totals: Totals,
    pub(super) ending: Ending,
    /// The threshold that ended it, as it was found then. What is answered after that may mend it.
    pub(super) aborted: Option<ThresholdResult>,
    /// When it was told to end, since its start, if that was before the plan's end.
    pub(super) stopped_at: Option<Duration>,
    pub(super) finished: Finished,
}

/// Follows a run to its end. `now_ns` reads the monotonic clock.
pub(super) fn conduct<S: Source>(
    plan: &Plan,
    mut source: S,
    observers: &mut [&mut dyn Observer],
    stop: &StopFlag,
    now_ns: &dyn Fn() -> u64,
) -> Conducted {
    let start_ns = source.start_ns();
    let mut totals = Totals::new(&plan.shape());
    let (mut ending, mut aborted) = (Ending::Completed, None);
    let mut stopped_at = None;
    let mut given_up = false;
    let mut missing_told = 0;
    let (mut shown, mut judged) = (None, Duration::ZERO);
    loop {
        let was_told = ending != Ending::Completed;
        match source.next(NOTICED_WITHIN) {
            Step::Interval(machine, interval) => {
                totals.add(machine, &interval);
                source.give_back(machine, interval);
            }
            Step::Nothing => {}
            Step::Ended => break,
        }
        let at = Duration::from_nanos(now_ns().saturating_sub(start_ns));
        let presses = stop.presses();
        if ending == Ending::Completed && presses > 0 {
            ending = Ending::Interrupted;
            source.stop();
        }
        // A run that is ending for a threshold has one press less to wait for.
        if !given_up && (presses > 1 || (presses > 0 && ending != Ending::Interrupted)) {
            given_up = true;
            source.stop_now();
        }
        // What some workers have told and others not yet looks like too little.
        let judged_every = if totals.is_torn() { SILENT_FOR } else { JUDGED_EVERY };
        if ending == Ending::Completed && at.saturating_sub(judged) >= judged_every {
            judged = at;
            aborted = judge::abort(plan, &totals, told(plan, &totals));
            if aborted.is_some() {
                ending = Ending::Aborted;
                source.stop();
            }
        }
        for words in &source.missing()[missing_told..] {
            missing_told += 1;
            observers.iter_mut().for_each(|observer| observer.missing(words));
        }
        if ending == Ending::Completed && source.is_lost() {
            ending = Ending::Lost;
            source.stop();
        }
        if ending != Ending::Completed && !was_told {
            // Past its end only answers are waited for, and there is nothing to cut short.
            stopped_at = Some(at).filter(|at| *at < plan.duration());
            observers.iter_mut().for_each(|observer| observer.stopping(ending, at));
        }
        if shown.is_none_or(|shown| at.saturating_sub(shown) >= SHOWN_EVERY) {
            shown = Some(at);
            for observer in &mut *observers {
                observer.tick(plan, &totals, at);
            }
        }
    }
    let finished = source.finish();
    Conducted { totals, ending, aborted, stopped_at, finished }
}

/// The time that totals are of: from the first scenario's start to what was told last.
pub(super) fn told(plan: &Plan, totals: &Totals) -> Duration {
    Duration::from_nanos(totals.until_ns).saturating_sub(plan.start())
}
