//! From options to a plan. Everything that is wrong is found before anything is said, and before the
//! first request.

mod connections;
mod executor;
mod requests;

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::{Faults, PlanError};
use super::nearest::hint;
use super::{Check, Executor, Options, Plan, Scenario, ScenarioOptions, Target, Threshold};
use super::{quantity, target};
use crate::limits::{CHECKS_MAX, CONNECTIONS_MAX, DURATION_MAX, SCENARIOS_MAX, THREADS_MAX};

/// A request's time, as in k6.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Connecting is quick or does not happen.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// As in k6.
const GRACEFUL_STOP: Duration = Duration::from_secs(30);
/// Longest wait for one request or for the end.
const PATIENCE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// The one scenario's name, as in k6.
const ONLY: &str = "default";
/// Characters of a scenario's name, and of a tag's name and value.
const NAME_CHARS_MAX: usize = 64;

impl Options {
    /// Understands everything, reads files, looks hosts up, and puts a plan together.
    ///
    /// # Errors
    /// Every fault, each with the flag to change.
    pub fn build(&self) -> Result<Plan, PlanError> {
        let mut builder = Builder { scenarios: self.scenarios.len().max(1), ..Builder::default() };
        let options = self.embedded(&mut builder.faults);
        let mut scenarios = Vec::new();
        if options.scenarios.len() > SCENARIOS_MAX {
            let count = options.scenarios.len();
            builder.faults.add("scenarios", format!("{count}, of at most {SCENARIOS_MAX}"));
        }
        if options.scenarios.is_empty() {
            scenarios.extend(builder.scenario(ONLY, &options.defaults, self.seed));
        }
        for (name, own) in options.scenarios.iter().take(SCENARIOS_MAX) {
            builder.faults.scenario = Some(name.clone());
            let whole = options.defaults.clone().overlaid(own);
            scenarios.extend(builder.scenario(name, &whole, self.seed));
        }
        builder.faults.scenario = None;
        builder.note_what_is_of_no_use();
        let thresholds = builder.thresholds(&options, &scenarios);
        let threads = builder.threads(options.threads);
        let graceful_stop =
            builder.duration("graceful-stop", options.graceful_stop.as_deref(), GRACEFUL_STOP);
        builder.check_sums(&scenarios);
        builder.faults.done()?;
        let (notes, seed) = (builder.notes, options.seed.unwrap_or(0));
        Ok(Plan { scenarios, thresholds, threads, graceful_stop, seed, notes })
    }
}

/// What is found on the way.
#[derive(Debug, Default)]
struct Builder {
    /// How many there are.
    scenarios: usize,
    faults: Faults,
    notes: Vec<String>,
    /// Options that some scenario has, whether any has a use for them, and why not.
    uses: BTreeMap<&'static str, (bool, &'static str)>,
}

impl Builder {
    /// A scenario, or `None` and at least one fault.
    fn scenario(
        &mut self,
        name: &str,
        options: &ScenarioOptions,
        seed: Option<u64>,
    ) -> Option<Scenario> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !name.chars().all(is_name) || name.is_empty() || name.len() > NAME_CHARS_MAX {
            let words = format!("`{name}` is no name; letters, digits, - and _ make one");
            self.faults.add("scenarios", words);
        }
        let executor = self.executor(options);
        let found = self.target(options);
        let requests = self.requests(name, options, found.as_ref(), seed.unwrap_or(0));
        let target = found.as_ref().map(|(target, _)| target);
        let connections = self.connections(options, executor.as_ref(), target);
        let checks = self.checks(options);
        let tags = self.tags(name, options);
        let start = options.start.as_deref();
        let start = self.faults.parse("start", start, quantity::duration).unwrap_or_default();
        let timeout = self.duration("timeout", options.timeout.as_deref(), TIMEOUT);
        let connect_timeout = options.connect_timeout.as_deref();
        let connect_timeout = self.duration("connect-timeout", connect_timeout, CONNECT_TIMEOUT);
        let late_max = self.late_max(options, executor.as_ref());
        let rps_max = options.rps.as_deref().and_then(|text| self.rate("rps", text));
        let executor = executor?;
        if start.saturating_add(executor.duration()) > DURATION_MAX {
            self.faults.add("duration", "a run is over after 31 days at the latest");
        }
        let ((mut target, _), (requests, authority)) = (found?, requests?);
        target.authority = authority;
        let (name, connections) = (name.to_owned(), connections?);
        Some(Scenario {
            name,
            tags,
            start,
            executor,
            target,
            requests,
            connections,
            checks,
            timeout,
            connect_timeout,
            late_max,
            rps_max,
        })
    }

    /// Where requests go, and the template of their path.
    fn target(&mut self, options: &ScenarioOptions) -> Option<(Target, String)> {
        let Some(url) = options.url.as_deref() else {
            let like = "such as http://localhost:3000/api/usages";
            self.faults.add("url", format!("there is none; say where requests go, {like}"));
            return None;
        };
        let url = self.faults.take("url", target::parse(url))?;
        let (addresses, note) = self.faults.take("url", url.resolve())?;
        note.into_iter().for_each(|note| self.note(note));
        let path =
            if url.path.starts_with('/') { url.path.to_owned() } else { format!("/{}", url.path) };
        let (host, authority) = (url.host.to_owned(), url.authority.to_owned());
        Some((Target { https: url.https, host, authority, addresses }, path))
    }

    fn checks(&mut self, options: &ScenarioOptions) -> Vec<Check> {
        let texts: Vec<&str> = options.checks.iter().map(|text| text.trim()).collect();
        if texts.contains(&"none") {
            if texts.len() > 1 {
                self.faults.add("checks", "`none` says that there is none, and there are others");
            }
            return Vec::new();
        }
        if texts.is_empty() {
            // A usage that was taken in is a new resource; whatever else answers 200.
            let is_post = options.method.as_deref().unwrap_or("POST").eq_ignore_ascii_case("post");
            return vec![Check::Status(if is_post { 201 } else { 200 })];
        }
        if texts.len() > CHECKS_MAX {
            self.faults.add("checks", format!("{}, of at most {CHECKS_MAX}", texts.len()));
        }
        texts.into_iter().filter_map(|text| self.faults.take("checks", text.parse())).collect()
    }

    fn tags(&mut self, scenario: &str, options: &ScenarioOptions) -> BTreeMap<String, String> {
        // What separates tags in a threshold cannot be in them.
        let is_plain = |text: &str| {
            let count = text.chars().count();
            (1..=NAME_CHARS_MAX).contains(&count) && !text.contains([':', ',', '{', '}', '"'])
        };
        for (name, value) in &options.tags {
            if OWN_TAGS.contains(&name.as_str()) {
                self.faults.add("tags", format!("`{name}` is set by the generator itself"));
            } else if !is_plain(name) || !is_plain(value) {
                let words =
                    format!("`{name}={value}`: 1 to {NAME_CHARS_MAX} characters, no :,{{}}\"");
                self.faults.add("tags", words);
            }
        }
        let mut tags = options.tags.clone();
        tags.insert("scenario".to_owned(), scenario.to_owned());
        tags
    }

    fn late_max(
        &mut self,
        options: &ScenarioOptions,
        executor: Option<&Executor>,
    ) -> Option<Duration> {
        let text = options.late_max.as_deref();
        let late_max = self.faults.parse("late-max", text, quantity::duration)?;
        if executor.is_some_and(|executor| !matches!(executor, Executor::Arrivals(_))) {
            self.faults.add("late-max", "users of a closed model are never late; it needs --rate");
        }
        Some(late_max)
    }

    fn thresholds(&mut self, options: &Options, scenarios: &[Scenario]) -> Vec<Threshold> {
        let delay = options.abort_delay.as_deref();
        let delay = self.faults.parse("abort-delay", delay, quantity::duration);
        if options.abort_delay.is_some() && !options.abort_on_fail {
            self.faults.add("abort-delay", "it delays --abort-on-fail, which is not there");
        }
        if options.abort_on_fail && options.thresholds.is_empty() {
            self.faults.add("abort-on-fail", "there is no --threshold that could fail");
        }
        let abort_after = options.abort_on_fail.then(|| delay.unwrap_or_default());
        let mut thresholds = Vec::new();
        for text in &options.thresholds {
            let parsed = self.faults.take("thresholds", Threshold::parse(text));
            // Without scenarios there are faults already, and no tags to compare with.
            let Some(threshold) = parsed.filter(|_| !scenarios.is_empty()) else { continue };
            if let Err(words) = check_tags(&threshold, scenarios) {
                self.faults.add("thresholds", words);
            }
            thresholds.push(Threshold { abort_after, ..threshold });
        }
        thresholds
    }

    fn threads(&mut self, threads: Option<usize>) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.unwrap_or_else(|| (cores - 1).clamp(1, THREADS_MAX));
        if !(1..=THREADS_MAX).contains(&threads) {
            self.faults.add("threads", format!("{threads} is not from 1 to {THREADS_MAX}"));
        }
        threads
    }

    /// What holds of scenarios together.
    fn check_sums(&mut self, scenarios: &[Scenario]) {
        let connections: usize = scenarios.iter().map(|s| s.connections.keeping.max()).sum();
        if connections > CONNECTIONS_MAX {
            let words = format!("{connections} over all scenarios, of at most {CONNECTIONS_MAX}");
            self.faults.add("connections", words);
        }
    }

    /// A duration above 0, or `default`.
    fn duration(&mut self, key: &str, text: Option<&str>, default: Duration) -> Duration {
        let duration = self.faults.parse(key, text, quantity::duration).unwrap_or(default);
        // Nothing is waited for at the end by those who say so.
        if duration > PATIENCE_MAX || (duration.is_zero() && key != "graceful-stop") {
            self.faults.add(key, "it must be above 0 and at most 24h");
        }
        duration
    }

    /// A count from 1 to `max`.
    fn count(&mut self, key: &str, text: Option<&str>, max: u64) -> Option<u64> {
        let count = self.faults.parse(key, text, quantity::count)?;
        if (1..=max).contains(&count) {
            return Some(count);
        }
        self.faults.add(key, format!("{count} is not from 1 to {max}"));
        None
    }

    /// A scenario has option `key`, and a use for it or not. What stands at the top of a file need not
    /// be of use to all.
    fn has(&mut self, key: &'static str, is_of_use: bool, why_not: &'static str) {
        self.uses.entry(key).or_insert((false, why_not)).0 |= is_of_use;
    }

    fn note_what_is_of_no_use(&mut self) {
        let uses = std::mem::take(&mut self.uses).into_iter();
        let of_no_use = uses.filter(|(_, (is_of_use, _))| !is_of_use);
        self.notes.extend(of_no_use.map(|(key, (_, why))| format!("--{key} is of no use: {why}")));
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// Tags that are not somebody's to set.
const OWN_TAGS: [&str; 3] = ["scenario", "from", "expected_response"];

/// A threshold that looks at no scenario would hold of nothing.
fn check_tags(threshold: &Threshold, scenarios: &[Scenario]) -> Result<(), String> {
    let has_all = |scenario: &Scenario| {
        threshold.tags.iter().all(|(name, value)| scenario.tags.get(name) == Some(value))
    };
    if scenarios.iter().any(has_all) {
        return Ok(());
    }
    let mut known: Vec<String> = scenarios
        .iter()
        .flat_map(|scenario| &scenario.tags)
        .map(|(name, value)| format!("{name}:{value}"))
        .collect();
    known.sort_unstable();
    known.dedup();
    let asked: Vec<String> = threshold.tags.iter().map(|(n, v)| format!("{n}:{v}")).collect();
    let asked = asked.join(",");
    let hint = hint(&asked, known.iter().map(String::as_str));
    let known = known.join(", ");
    let others = "from:sent and expected_response:true or false for http_req_duration";
    Err(format!("no scenario has `{asked}`{hint}; there are {known} (and {others})"))
}

#[cfg(test)]
mod tests;
