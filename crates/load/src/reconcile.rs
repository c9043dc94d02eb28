//! Where the target is inhale, its own count of usages is held against the client's: every 201 must
//! be accounted for. The counters are read before and after the run from the admin listener.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::fetch;
use crate::measure::{Counts, Failure, Totals};
use crate::outcome::Reconciliation;
use crate::plan::{Plan, Scenario};
use crate::request::Parts;

/// The path to which usages are posted.
const USAGES: &str = "/api/usages";
/// A listener that may not be there is not waited for.
const CONNECT: Duration = Duration::from_secs(1);
const WHOLE: Duration = Duration::from_secs(10);
/// The exposition of a server of many cores is some tens of kilobytes.
const BYTES_MAX: u64 = 4 << 20;
/// Requests that are looked at for how many usages each holds.
const LOOKS: u64 = 16;

/// Where the server's counters are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum MetricsUrl {
    /// Where inhale has them unless told otherwise: at the port after the target's. If there is
    /// nothing of the kind, nothing is said.
    #[default]
    Usual,
    /// Here, and nowhere else (`--metrics-url`).
    At(String),
    /// Nowhere: do not ask.
    Nowhere,
}

/// Why counters that were asked for cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// It is not there, or is no HTTP.
    #[error("--metrics-url {url} cannot be read: {why}")]
    Unreadable {
        /// As it was given.
        url: String,
        /// In words.
        why: String,
    },
    /// The plan posts no usages, or to several servers, or unknown numbers of them.
    #[error("--metrics-url {url} is of no use: {why}")]
    Useless {
        /// As it was given.
        url: String,
        /// In words.
        why: &'static str,
    },
}

/// The counters before the run, and what is needed to make sense of those after it.
#[derive(Debug)]
pub struct Before {
    url: String,
    counters: Counters,
    /// Usages of each request of each scenario, in the plan's order; 0 where it posts none.
    usages_each: Vec<u64>,
}

/// Reads the counters before the run. `None` when the target is not inhale, as far as one can see.
///
/// # Errors
/// When the user named the place and it does not have them.
pub fn before(plan: &Plan, metrics: &MetricsUrl) -> Result<Option<Before>, MetricsError> {
    let (url, named) = match metrics {
        MetricsUrl::Nowhere => return Ok(None),
        MetricsUrl::At(url) => (url.clone(), true),
        MetricsUrl::Usual => match usual(plan) {
            Some(url) => (url, false),
            None => return Ok(None),
        },
    };
    match (usages_each(plan), read(&url)) {
        (Ok(usages_each), Ok(counters)) => Ok(Some(Before { url, counters, usages_each })),
        _ if !named => Ok(None),
        (Err(why), _) => Err(MetricsError::Useless { url, why }),
        (_, Err(why)) => Err(MetricsError::Unreadable { url, why }),
    }
}

impl Before {
    /// Reads the counters again and compares. Where they were before the run and are not there any
    /// more, nothing is shown, which must not pass for agreement.
    pub fn after(&self, totals: &Totals) -> Reconciliation {
        match read(&self.url).and_then(|after| self.counters.until(after)) {
            Ok(counted) => compare(counted, &self.client(totals)),
            Err(why) => self.failed(totals, &why),
        }
    }

    /// That the store holds usages of others already, with which synthetic ones should not be mixed.
    pub fn warning(&self) -> Option<String> {
        let Journal { position, openings } = self.counters.journal?;
        // Each opening can have left one frame that is not a usage.
        let stored = (position - 1).saturating_sub(openings);
        (stored > 0).then(|| {
            format!(
                "The store already held {stored} usages; this run adds synthetic ones, of patients \
                 load-… unless --body says otherwise. For tests, start a server with a store of its own \
                 (`inhale serve --data DIR`)."
            )
        })
    }

    fn failed(&self, totals: &Totals, why: &str) -> Reconciliation {
        let Client { acknowledged, unknown, .. } = self.client(totals);
        let words = format!(
            "{acknowledged} usages were acknowledged, and the server's count could not be compared: \
             {why} ({}). With --receipts, `inhale load verify` finds each of them.",
            self.url
        );
        Reconciliation { acknowledged, counted: None, unknown, agrees: false, words }
    }

    fn client(&self, totals: &Totals) -> Client {
        let mut client = Client::default();
        for (scenario, each) in totals.scenarios.iter().zip(&self.usages_each) {
            let created = status(&scenario.counts, |status| status == 201);
            let unknown = unknown(&scenario.counts);
            client.acknowledged += created * each;
            client.unknown += if *each > 0 { unknown } else { 0 };
            client.unknown_usages += unknown * each;
        }
        client
    }
}

/// What the client knows.
#[derive(Debug, Clone, Copy, Default)]
struct Client {
    /// Usages that a 201 was received for.
    acknowledged: u64,
    /// Requests whose outcome it does not know, and the usages in them.
    unknown: u64,
    unknown_usages: u64,
}

/// Requests that the server may have stored and not told of: those that were sent and have no whole
/// answer, those with an answer of which nobody knows who gave it (500, 502, 504), and batches of
/// which a part was stored (207).
fn unknown(counts: &Counts) -> u64 {
    let sent = [
        Failure::Reset,
        Failure::ClosedEarly,
        Failure::Timeout,
        Failure::Garbage,
        Failure::Interrupted,
    ];
    let unanswered: u64 = sent.iter().map(|failure| counts.failures[*failure as usize]).sum();
    unanswered + status(counts, |status| matches!(status, 207 | 500 | 502 | 504))
}

fn status(counts: &Counts, of: impl Fn(u16) -> bool) -> u64 {
    counts.statuses().filter(|(status, _)| of(*status)).map(|(_, count)| count).sum()
}

fn compare(counted: RangeInclusive<u64>, client: &Client) -> Reconciliation {
    let Client { acknowledged, unknown, unknown_usages } = *client;
    // Of the counts that are possible the one that agrees, if one does.
    let possible =
        (*counted.start()).max(acknowledged)..=(*counted.end()).min(acknowledged + unknown_usages);
    let agrees = !possible.is_empty();
    let counted = if agrees { *possible.start() } else { *counted.end() };
    let told = format!("{acknowledged} usages were acknowledged and the server counted {counted}");
    let words = match counted.checked_sub(acknowledged) {
        Some(0) => format!("{told}: every 201 is accounted for."),
        Some(more) if agrees => format!(
            "{told}: every 201 is accounted for, and the {more} more are among {unknown} requests \
             whose outcome is not known."
        ),
        Some(more) => format!(
            "{told}, {more} more, and only {unknown_usages} usages have no known outcome: another \
             client posted meanwhile, or a usage was stored twice."
        ),
        None => format!(
            "{told}, {} fewer: the server acknowledged what it did not count.",
            acknowledged - counted
        ),
    };
    Reconciliation { acknowledged, counted: Some(counted), unknown, agrees, words }
}

/// The port after the target's, as `inhale serve` has it.
fn usual(plan: &Plan) -> Option<String> {
    let target = &posting(plan)?.target;
    let port = target.addresses.first()?.port().checked_add(1)?;
    let host = &target.host;
    Some(if host.contains(':') {
        format!("http://[{host}]:{port}/metrics")
    } else {
        format!("http://{host}:{port}/metrics")
    })
}

/// The first scenario that posts usages.
fn posting(plan: &Plan) -> Option<&Scenario> {
    plan.scenarios.iter().find(|scenario| usages_in(scenario) != Some(0))
}

/// How many usages each request holds, by scenario.
fn usages_each(plan: &Plan) -> Result<Vec<u64>, &'static str> {
    let first = posting(plan).ok_or("the plan posts no usages to /api/usages")?;
    let each = plan.scenarios.iter().map(|scenario| match usages_in(scenario) {
        Some(0) => Ok(0),
        _ if scenario.target.authority != first.target.authority => {
            Err("the plan posts usages to several servers")
        }
        Some(each) => Ok(each),
        None => Err("the plan's batches are of different sizes"),
    });
    each.collect()
}

/// How many usages each request of a scenario holds; `None` when they differ.
fn usages_in(scenario: &Scenario) -> Option<u64> {
    let mut parts = Parts::default();
    let mut each = (0..LOOKS).map(|number| {
        scenario.requests.fill_parts(number, 0, &mut parts);
        usages_of(&parts)
    });
    let first = each.next()?;
    each.all(|usages| usages == first).then_some(first)
}

fn usages_of(parts: &Parts) -> u64 {
    let path = parts.path.split('?').next().unwrap_or_default();
    if parts.method != "POST" || path != USAGES {
        return 0;
    }
    let lines = parts
        .headers
        .iter()
        .any(|(name, value)| name == "content-type" && value.contains("ndjson"));
    let items = if lines {
        parts.body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count()
    } else if parts.body.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice::<Vec<serde::de::IgnoredAny>>(&parts.body).map_or(0, |all| all.len())
    } else {
        1
    };
    items as u64
}

/// What the server has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counters {
    /// Usages since its process began, accepted or replayed.
    usages: u64,
    /// `None` where it does not show its journal.
    journal: Option<Journal>,
}

/// A position that goes on when another process takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Journal {
    /// One past the last sequence.
    position: u64,
    /// How often the journal was opened, each time by another process.
    openings: u64,
}

impl Counters {
    /// How many usages were counted from here to `after`. Where another process has taken over, that is
    /// known from the journal's position, but for a frame that each process may add when it closes.
    fn until(self, after: Self) -> Result<RangeInclusive<u64>, String> {
        let openings = after.journal.zip(self.journal).map(|(after, before)| {
            (
                after.openings.checked_sub(before.openings),
                after.position.checked_sub(before.position),
            )
        });
        match openings {
            Some((Some(0), _)) | None if after.usages >= self.usages => {
                let counted = after.usages - self.usages;
                Ok(counted..=counted)
            }
            Some((Some(openings), Some(frames))) => Ok(frames.saturating_sub(openings)..=frames),
            _ => Err("another server answers there, or it was started on another store".to_owned()),
        }
    }
}

fn read(url: &str) -> Result<Counters, String> {
    let (status, text) = fetch::get(&fetch::agent(CONNECT, WHOLE), url, BYTES_MAX)
        .map_err(|error| error.to_string())?;
    if status != 200 {
        return Err(format!("it answers with status {status}"));
    }
    counted(&text).ok_or_else(|| "it has no counters of inhale".to_owned())
}

fn counted(text: &str) -> Option<Counters> {
    let counter = |name: &str| {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        value.split(' ').next()?.parse::<u64>().ok()
    };
    let position = counter("inhale_journal_durable_position").filter(|position| *position > 0);
    let journal = position.zip(counter("inhale_journal_openings"));
    Some(Counters {
        usages: counter("inhale_usages_accepted_total")? + counter("inhale_usages_replayed_total")?,
        journal: journal.map(|(position, openings)| Journal { position, openings }),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;
    use crate::fixture::{self, Figures, MS};
    use crate::measure::Ended;

    const TEXT: &str = "# HELP inhale_usages_accepted Usages.\n# TYPE inhale_usages_accepted counter\n\
                        inhale_usages_accepted_total 40\ninhale_usages_replayed_total 2\n\
                        inhale_usages_refused_total{reason=\"invalid\"} 7\n# EOF\n";

    fn usages(usages: u64) -> Counters {
        Counters { usages, journal: None }
    }

    #[test]
    fn repro_a_takeover_is_reconciled_by_the_journals_position() {
        let at = |usages, position, openings| Counters {
            usages,
            journal: Some(Journal { position, openings }),
        };
        let check = |before: Counters, after, expected: Option<(u64, u64)>| {
            let found = before.until(after).ok().map(|range| (*range.start(), *range.end()));
            assert_eq!(found, expected, "{before:?} {after:?}");
        };
        check(at(10, 11, 1), at(30, 31, 1), Some((20, 20)));
        // The new process counts from 0, and the old one has added a frame when it closed.
        check(at(10, 11, 1), at(5, 32, 2), Some((20, 21)));
        check(at(10, 11, 1), at(50, 111, 3), Some((98, 100)));
        // Another store.
        check(at(10, 11, 1), at(0, 1, 1), None);
        check(at(10, 11, 4), at(50, 99, 1), None);
        check(usages(10), usages(5), None);
        let client = Client { acknowledged: 20, unknown: 0, unknown_usages: 0 };
        assert!(compare(20..=21, &client).agrees && compare(19..=20, &client).agrees);
        assert!(!compare(21..=22, &client).agrees && !compare(18..=19, &client).agrees);
    }

    #[test]
    fn repro_a_store_with_other_usages_is_warned_of() {
        let warning = |position, openings| {
            let counters = Counters { usages: 0, journal: Some(Journal { position, openings }) };
            Before { url: String::new(), counters, usages_each: vec![1] }.warning()
        };
        assert_eq!(warning(1, 1), None, "a new store");
        assert_eq!(warning(3, 3), None, "opened twice before, and nothing stored");
        assert!(warning(1001, 1).is_some_and(|warning| warning.contains("held 999 usages")));
    }

    #[test]
    fn counters_are_read() {
        assert_eq!(counted(TEXT), Some(Counters { usages: 42, journal: None }));
        let shown = format!("inhale_journal_durable_position 7\ninhale_journal_openings 2\n{TEXT}");
        let journal = Some(Journal { position: 7, openings: 2 });
        assert_eq!(counted(&shown), Some(Counters { usages: 42, journal }));
        for text in ["", "inhale_usages_accepted_total 40\n", &TEXT.replace("40", "many")] {
            assert_eq!(counted(text), None, "{text}");
        }
    }

    #[test]
    fn usages_of_a_request() {
        let check = |method: &str, path: &str, kind: &str, body: &str, usages: u64| {
            let parts = Parts {
                method: method.to_owned(),
                path: path.to_owned(),
                headers: vec![("content-type".to_owned(), kind.to_owned())],
                body: body.as_bytes().to_vec(),
            };
            assert_eq!(usages_of(&parts), usages, "{method} {path} {body}");
        };
        check("POST", "/api/usages", "application/json", "{}", 1);
        check("POST", "/api/usages?a=b", "application/json", " [{}, {\"a\":[1,2]}]", 2);
        check("POST", "/api/usages", "application/json", "[", 0);
        check("POST", "/api/usages", "application/x-ndjson", "{}\n{}\n\n{}", 3);
        check("GET", "/api/usages", "application/json", "", 0);
        check("POST", "/api/usages/search", "application/json", "{}", 0);
    }

    #[track_caller]
    fn check(acknowledged: u64, unknown: u64, counted: u64, agrees: bool, words: &str) {
        let client = Client { acknowledged, unknown, unknown_usages: unknown };
        let found = compare(counted..=counted, &client);
        assert_eq!(found.agrees, agrees, "{found:?}");
        assert!(found.words.contains(words) && found.words.ends_with('.'), "{}", found.words);
    }

    #[test]
    fn unknown_outcomes_bound_the_difference() {
        check(
            100,
            0,
            100,
            true,
            "100 usages were acknowledged and the server counted 100: every 201",
        );
        check(100, 5, 100, true, "every 201");
        check(100, 5, 103, true, "the 3 more are among 5 requests");
        check(100, 5, 105, true, "the 5 more");
        check(100, 5, 106, false, "6 more, and only 5 usages");
        check(100, 0, 101, false, "another client posted meanwhile");
        check(100, 5, 99, false, "1 fewer");
    }

    #[test]
    fn what_the_client_knows_is_counted_by_usages() {
        let mut figures = Figures::new(&[1, 0]);
        for _ in 0..10 {
            figures.answered(0, 5 * MS, 201, 1);
        }
        figures.answered(0, 5 * MS, 500, 0);
        figures.answered(0, 5 * MS, 503, 0);
        for failure in Failure::ALL {
            figures.ended(0, 0, 5 * MS, Ended::Failed(failure), 0);
        }
        figures.answered(1, 5 * MS, 201, 0);
        let before = Before { url: String::new(), counters: usages(0), usages_each: vec![3, 0] };
        let client = before.client(&figures.totals());
        // Of the ten failures five were before anything was sent.
        assert_eq!(
            (client.acknowledged, client.unknown, client.unknown_usages),
            (30, 6, 18),
            "{client:?}"
        );
    }

    #[test]
    fn counters_that_are_gone_after_the_run_do_not_agree() {
        let gone = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/metrics", gone.local_addr().expect("it is bound"));
        drop(gone);
        let totals = Figures::new(&[1]).totals();
        let failed =
            Before { url: url.clone(), counters: usages(0), usages_each: vec![1] }.after(&totals);
        assert!(!failed.agrees && failed.words.contains(&url), "{failed:?}");
        assert_eq!(failed.counted, None, "nobody knows that it counted nothing");
    }

    #[test]
    fn a_server_that_counts_anew_cannot_be_compared() {
        let before = |counted| Before {
            url: answer_once(TEXT),
            counters: usages(counted),
            usages_each: vec![1],
        };
        let mut figures = Figures::new(&[1]);
        figures.answered(0, 5 * MS, 201, 1);
        let totals = figures.totals();
        let agrees = before(41).after(&totals);
        assert!(agrees.agrees, "{agrees:?}");
        let anew = before(43).after(&totals);
        assert!(!anew.agrees && anew.words.contains("another server"), "{anew:?}");
    }

    /// The URL of a server that answers one request with this text.
    fn answer_once(text: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/metrics", listener.local_addr().expect("it is bound"));
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody comes");
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).expect("it asks");
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
                .expect("it listens");
        });
        url
    }

    #[test]
    fn the_usual_place_is_the_port_after_the_targets() {
        let mut plan = fixture::plan();
        assert_eq!(usual(&plan).as_deref(), Some("http://127.0.0.1:3001/metrics"));
        plan.scenarios[0].target.host = "::1".to_owned();
        plan.scenarios[0].target.addresses = vec!["[::1]:80".parse().expect("an address")];
        assert_eq!(usual(&plan).as_deref(), Some("http://[::1]:81/metrics"));
        // Nobody is there, which is no reason not to run.
        plan.scenarios[0].target.addresses = vec!["127.0.0.1:1".parse().expect("an address")];
        plan.scenarios[0].target.host = "127.0.0.1".to_owned();
        assert!(before(&plan, &MetricsUrl::Usual).expect("nothing is said").is_none());
    }

    #[test]
    fn a_plan_without_usages_is_no_case_for_it() {
        // A request of no method posts nothing.
        let mut plan = fixture::plan();
        plan.scenarios.clear();
        assert!(before(&plan, &MetricsUrl::Usual).expect("nothing is said").is_none());
        let asked = before(&plan, &MetricsUrl::At("http://127.0.0.1:1/metrics".to_owned()));
        assert!(matches!(asked, Err(MetricsError::Useless { .. })), "{asked:?}");
    }
}
