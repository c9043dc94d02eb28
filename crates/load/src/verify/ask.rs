//! Asking for ids: a load of as many requests as there are ids.

use std::sync::Arc;
use std::time::Duration;

use super::{Receipt, VerifyError, VerifyOptions};
use crate::clock::now_ns;
use crate::engine::{self, Next};
use crate::measure::{Counts, Failure, Totals};
use crate::plan::{Options, Plan, ScenarioOptions};

/// Between two tries with a server that cannot answer yet.
const PAUSE: Duration = Duration::from_millis(50);
/// What an answer may take at least, however little patience there is.
const TIMEOUT_MIN: Duration = Duration::from_secs(5);
/// How long the engine is waited for at a time.
const WAIT: Duration = Duration::from_secs(1);

/// Where to ask, and how.
pub(super) struct Asker<'a> {
    pub(super) url: &'a str,
    pub(super) options: &'a VerifyOptions,
}

/// How a piece was answered.
struct Answers {
    found: u64,
    /// Not one of what was found and what is known to be gone.
    open: u64,
    counts: Counts,
}

impl Asker<'_> {
    /// How many of `piece` the server gives back. One that is not ready, or starting anew, is asked
    /// again.
    pub(super) fn found(&self, piece: &[Receipt]) -> Result<u64, VerifyError> {
        let patience_ns = u64::try_from(self.options.patience.as_nanos()).unwrap_or(u64::MAX);
        let mut failing_since_ns = None;
        loop {
            // While it does not answer, one question is enough.
            let first = self.ask(&piece[..1])?;
            let answers = if first.open > 0 { first } else { self.ask(piece)? };
            if answers.open == 0 {
                return Ok(answers.found);
            }
            let since_ns = *failing_since_ns.get_or_insert_with(now_ns);
            if !answers.may_change() || now_ns() - since_ns > patience_ns {
                let why = answers.why();
                return Err(VerifyError::Server { url: self.url.to_owned(), why });
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn ask(&self, piece: &[Receipt]) -> Result<Answers, VerifyError> {
        let plan = Arc::new(self.plan(piece)?);
        let server = |why: String| VerifyError::Server { url: self.url.to_owned(), why };
        let running = engine::start(Arc::clone(&plan), 0, 1, now_ns(), None)
            .map_err(|error| server(error.to_string()))?;
        let mut totals = Totals::new(&plan.shape());
        loop {
            match running.next(WAIT) {
                Next::Interval(interval) => {
                    totals.add(0, &interval);
                    running.give_back(interval);
                    // Whoever is gone answers none of the others.
                    if totals.counts(|_| true).failures.iter().any(|count| *count > 0) {
                        running.stop();
                    }
                }
                Next::Nothing => {}
                Next::Ended => break,
            }
        }
        running.join().map_err(|error| server(error.to_string()))?;
        let counts = totals.counts(|_| true);
        let [status, body] = totals.scenarios[0].counts.checks_passed[..] else {
            unreachable!("the plan has two checks")
        };
        let gone: u64 =
            counts.statuses().filter(|(s, _)| matches!(s, 404 | 410)).map(|(_, n)| n).sum();
        // What is answered with 200 and is no receipt is an answer to something else.
        let found = status.min(body);
        Ok(Answers { found, open: (piece.len() as u64).saturating_sub(found + gone), counts })
    }

    fn plan(&self, piece: &[Receipt]) -> Result<Plan, VerifyError> {
        let mut rows = String::from("id\n");
        for (_, id) in piece {
            rows.push_str(id);
            rows.push('\n');
        }
        // Whoever says nothing is not waited for much longer than whoever says that it cannot yet.
        let patience = |most: Duration| {
            Some(format!("{}ms", self.options.patience.clamp(TIMEOUT_MIN, most).as_millis()))
        };
        let asked = ScenarioOptions {
            timeout: patience(Duration::from_secs(60)),
            connect_timeout: patience(Duration::from_secs(10)),
            url: Some(format!("{}/{{{{data.id}}}}", self.url.trim_end_matches('/'))),
            method: Some("GET".to_owned()),
            data_text: Some(rows),
            vus: Some(self.options.connections.clamp(1, piece.len()).to_string()),
            iterations: Some(piece.len().to_string()),
            checks: vec!["status is 200".to_owned(), "json /id exists".to_owned()],
            ..ScenarioOptions::default()
        };
        let defaults = self.options.request.clone().overlaid(&asked);
        Ok(Options { defaults, ..Options::default() }.build()?)
    }
}

impl Answers {
    /// Whether another try may be answered otherwise: not when the server has said that it has
    /// something else there, or lets nobody see it.
    fn may_change(&self) -> bool {
        self.counts.statuses().all(|(status, _)| matches!(status, 200 | 404 | 410 | 429 | 500..))
            && (self.counts.failed > 0 || self.counts.dropped > 0)
    }

    /// What came instead of an answer, in words.
    fn why(&self) -> String {
        let times = |count: u64, what: &str| match count {
            1 => what.to_owned(),
            count => format!("{count} times {what}"),
        };
        let statuses = self.counts.statuses().filter(|(status, _)| !matches!(status, 404 | 410));
        let mut parts: Vec<String> = statuses
            .map(|(status, count)| match status {
                200 => format!("{} receipts", self.found),
                status => times(count, &format!("status {status}")),
            })
            .collect();
        let failures = Failure::ALL.into_iter().zip(self.counts.failures);
        let failures = failures.filter(|(_, count)| *count > 0);
        parts.extend(failures.map(|(failure, count)| times(count, failure.name())));
        if self.counts.failed == 0 {
            parts.push("answers that are no receipts; is it the URL that usages go to?".to_owned());
        }
        parts.join(", ")
    }
}
