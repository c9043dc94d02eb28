//! A run's end in a word and its reasons, as every report tells it.

use serde::Serialize;

use super::format;
use crate::outcome::{Ending, Outcome, Part, exit};

/// What a run is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// In a word.
    pub kind: VerdictKind,
    /// Why, what weighs most first; empty when everything held.
    pub reasons: Vec<String>,
    /// What the process exits with.
    pub exit_code: u8,
    /// Whether not one request was answered.
    #[serde(skip)]
    unanswered: bool,
    /// Whether not one request met its check.
    #[serde(skip)]
    nothing_met: bool,
}

/// A verdict in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictKind {
    /// No threshold was crossed, and nothing spoils the figures.
    Passed,
    /// A threshold was crossed.
    Failed,
    /// Somebody ended the run.
    Interrupted,
    /// The generator was the bottleneck.
    Invalid,
    /// A part of the run is missing.
    Partial,
    /// Acknowledgements and the server's counters disagree.
    Unreconciled,
}

impl VerdictKind {
    /// As reports print it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::Failed => "FAILED",
            Self::Interrupted => "INTERRUPTED",
            Self::Invalid => "INVALID",
            Self::Partial => "PARTIAL",
            Self::Unreconciled => "UNRECONCILED",
        }
    }
}

impl Verdict {
    /// The verdict that goes with the exit code; its reasons are all there are, also those that
    /// another one outweighs.
    pub fn of(outcome: &Outcome) -> Self {
        let exit_code = outcome.exit_code();
        let kind = match exit_code {
            exit::UNRECONCILED => VerdictKind::Unreconciled,
            exit::PARTIAL => VerdictKind::Partial,
            exit::INVALID => VerdictKind::Invalid,
            exit::INTERRUPTED => VerdictKind::Interrupted,
            exit::THRESHOLDS => VerdictKind::Failed,
            _ => VerdictKind::Passed,
        };
        let mut reasons = Vec::new();
        let reconciliation = outcome.reconciliation.iter().filter(|found| !found.agrees);
        reasons.extend(reconciliation.map(|found| found.words.clone()));
        reasons.extend(outcome.missing.iter().cloned());
        reasons.extend(outcome.health.invalid.iter().cloned());
        let at = format::seconds(outcome.stopped_at.unwrap_or(outcome.elapsed).as_secs_f64());
        match outcome.ending {
            // That an agent was lost is said already.
            Ending::Completed | Ending::Lost => {}
            Ending::Aborted => reasons.push(format!("ended by a threshold after {at}")),
            Ending::Interrupted => reasons.push(format!("interrupted after {at}")),
        }
        reasons.extend(thresholds(outcome));
        reasons.extend(unmet(outcome));
        let unanswered = outcome.health.answered == 0;
        Self { kind, reasons, exit_code, unanswered, nothing_met: outcome.health.nothing_met() }
    }

    /// What the figures are worth, in a sentence.
    pub fn meaning(&self) -> &'static str {
        match self.kind {
            VerdictKind::Passed if self.unanswered => {
                "No threshold was crossed, but not one request was answered."
            }
            VerdictKind::Passed => "No threshold was crossed, and the figures are the server's.",
            VerdictKind::Failed if self.unanswered => "Not one request was answered.",
            VerdictKind::Failed if self.nothing_met => {
                "No request met its check: is the URL complete (/api/usages), and --check as intended?"
            }
            VerdictKind::Failed => "The figures are the server's, and they are not good enough.",
            VerdictKind::Interrupted => "The figures are of the part of the run before its end.",
            VerdictKind::Invalid => {
                "The generator was the bottleneck: the figures are not the server's."
            }
            VerdictKind::Partial => "The figures are of a part of the run.",
            VerdictKind::Unreconciled => {
                "What the server counted and what it acknowledged are not the same."
            }
        }
    }
}

/// How many requests failed, as a reason.
fn unmet(outcome: &Outcome) -> Option<String> {
    let Part { count, of } = outcome.health.unmet;
    let share = format::share(format::ratio(count, of));
    (count > 0).then(|| format!("{share} of requests failed ({count} of {of})"))
}

/// The thresholds that do not hold, as one reason.
fn thresholds(outcome: &Outcome) -> Option<String> {
    let failed = outcome.thresholds.iter().filter(|threshold| !threshold.passed);
    let texts: Vec<String> = failed
        .map(|threshold| {
            let found = if threshold.found.is_none() { " (no samples)" } else { "" };
            format!("{}{found}", threshold.text)
        })
        .collect();
    let all = outcome.thresholds.len();
    let noun = if all == 1 { "threshold" } else { "thresholds" };
    (!texts.is_empty())
        .then(|| format!("{} of {all} {noun} not met: {}", texts.len(), texts.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::outcome::{Health, Reconciliation, ThresholdResult};

    fn outcome() -> Outcome {
        Outcome {
            thresholds: Vec::new(),
            health: Health::default(),
            reconciliation: None,
            missing: Vec::new(),
            ending: Ending::Completed,
            stopped_at: None,
            started_wall_ns: 0,
            elapsed: Duration::from_secs(12),
            machines: Vec::new(),
            command: String::new(),
        }
    }

    #[track_caller]
    fn check(change: impl Fn(&mut Outcome), kind: VerdictKind, reasons: &[&str]) {
        let mut changed = outcome();
        change(&mut changed);
        let verdict = Verdict::of(&changed);
        assert_eq!((verdict.kind, verdict.reasons.as_slice()), (kind, owned(reasons).as_slice()));
        assert_eq!(verdict.exit_code, changed.exit_code());
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn crossed(outcome: &mut Outcome) {
        let result =
            |text: &str, found, passed| ThresholdResult { text: text.to_owned(), found, passed };
        outcome.thresholds = vec![
            result("a", Some(1.0), false),
            result("b", Some(1.0), true),
            result("c", None, false),
        ];
    }

    fn disagree(outcome: &mut Outcome) {
        outcome.reconciliation = Some(Reconciliation {
            acknowledged: 2,
            counted: Some(1),
            unknown: 0,
            agrees: false,
            words: "one is not counted".to_owned(),
        });
    }

    #[test]
    fn each_kind_has_its_reasons() {
        check(|_| (), VerdictKind::Passed, &[]);
        let not_met = "2 of 3 thresholds not met: a, c (no samples)";
        check(crossed, VerdictKind::Failed, &[not_met]);
        let aborted = |outcome: &mut Outcome| {
            crossed(outcome);
            outcome.ending = Ending::Aborted;
        };
        check(aborted, VerdictKind::Failed, &["ended by a threshold after 12 s", not_met]);
        let interrupted = |outcome: &mut Outcome| outcome.ending = Ending::Interrupted;
        check(interrupted, VerdictKind::Interrupted, &["interrupted after 12 s"]);
        let invalid = |outcome: &mut Outcome| outcome.health.invalid = owned(&["lag"]);
        check(invalid, VerdictKind::Invalid, &["lag"]);
        let partial = |outcome: &mut Outcome| outcome.missing = owned(&["agent 2"]);
        check(partial, VerdictKind::Partial, &["agent 2"]);
        check(disagree, VerdictKind::Unreconciled, &["one is not counted"]);
    }

    #[test]
    fn what_outweighs_comes_first_and_hides_nothing() {
        let all = |outcome: &mut Outcome| {
            crossed(outcome);
            disagree(outcome);
            outcome.missing = owned(&["agent 2"]);
            outcome.health.invalid = owned(&["lag"]);
        };
        let reasons = [
            "one is not counted",
            "agent 2",
            "lag",
            "2 of 3 thresholds not met: a, c (no samples)",
        ];
        check(all, VerdictKind::Unreconciled, &reasons);
    }
}
