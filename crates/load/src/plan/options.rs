//! A plan as somebody typed it: text and numbers, each still to be understood. The command line, the
//! scenario file and what a coordinator sends to its agents are all of this form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A whole run, as typed. The names are those of the scenario file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// What every scenario has unless it says otherwise. In a file these stand at the top.
    pub defaults: ScenarioOptions,
    /// By name; without any, the defaults are the one scenario.
    pub scenarios: BTreeMap<String, ScenarioOptions>,
    /// `METRIC: CONDITION`.
    pub thresholds: Vec<String>,
    /// Workers; the machine's cores less one, at least 1, unless told.
    pub threads: Option<usize>,
    /// A duration.
    pub graceful_stop: Option<String>,
    /// End the run as soon as a threshold fails.
    pub abort_on_fail: bool,
    /// A duration: not before this.
    pub abort_delay: Option<String>,
    /// What ids and choices follow from; 0 unless told.
    pub seed: Option<u64>,
}

/// One scenario, as typed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScenarioOptions {
    /// `http://` or `https://`; its path may hold templates.
    pub url: Option<String>,

    /// The open model's rate: `1M/m`, `16700/s`, `100`.
    pub rate: Option<String>,
    /// The most requests a second that the users of a closed model begin together.
    pub rps: Option<String>,
    /// How long requests begin.
    pub duration: Option<String>,
    /// Users of a closed model.
    pub vus: Option<String>,
    /// Requests altogether, or of each user with the executor `per-vu-iterations`.
    pub iterations: Option<String>,
    /// `DURATION:TARGET`, of users or of a rate.
    pub stages: Vec<String>,
    /// k6's name of it, where the rest leaves it open.
    pub executor: Option<String>,
    /// `1s` or `1s..3s` between an answer and its user's next request.
    pub think: Option<String>,
    /// `flat` or `daily`.
    pub shape: Option<String>,
    /// When the scenario begins, after the run's start.
    pub start: Option<String>,
    /// Requests that are later than this are dropped instead of sent.
    pub late_max: Option<String>,

    /// `POST` unless told.
    pub method: Option<String>,
    /// `NAME: VALUE`, values being templates.
    pub headers: Vec<String>,
    /// A template.
    pub body: Option<String>,
    /// A file that holds one.
    pub body_file: Option<String>,
    /// A file of rows, CSV or NDJSON.
    pub data: Option<String>,
    /// The rows themselves.
    pub data_text: Option<String>,
    /// Different patients.
    pub patients: Option<String>,
    /// Usages in a request, as NDJSON.
    pub batch: Option<String>,
    /// A template, such as `{{uuid}}`.
    pub idempotency_key: Option<String>,

    /// Connections at once, over all machines.
    pub connections: Option<String>,
    /// A new connection for each request.
    pub connection_per_user: Option<bool>,
    /// Who closes such a connection first: `client` or `server`.
    pub close: Option<String>,
    /// Speak HTTP/2.
    pub http2: Option<bool>,
    /// Requests at once on a connection of HTTP/2.
    pub streams: Option<String>,
    /// Source addresses: one, `FIRST-LAST`, or a network.
    pub local_ips: Vec<String>,
    /// A duration.
    pub timeout: Option<String>,
    /// A duration.
    pub connect_timeout: Option<String>,

    /// PEM file of authorities, or its content, as of the next two.
    pub ca: Option<String>,
    /// PEM file of a certificate to show.
    pub cert: Option<String>,
    /// PEM file of its key.
    pub key: Option<String>,
    /// Trust any certificate.
    pub insecure_skip_tls_verify: Option<bool>,
    /// A full handshake for each new connection.
    pub no_tls_resume: Option<bool>,

    /// What each answer must be; `none` for nothing.
    pub checks: Vec<String>,
    /// What thresholds may choose the scenario by.
    pub tags: BTreeMap<String, String>,
}

impl Options {
    /// Puts `over`, such as flags, over these, such as a file's: what `over` says holds for every
    /// scenario.
    pub fn overlaid(self, over: &Self) -> Self {
        let scenario =
            |(name, own): (String, ScenarioOptions)| (name, own.overlaid(&over.defaults));
        let mut scenarios: BTreeMap<_, _> = self.scenarios.into_iter().map(scenario).collect();
        scenarios.extend(over.scenarios.clone());
        let or_own = |over: &[String], own: Vec<String>| {
            if over.is_empty() { own } else { over.to_vec() }
        };
        Self {
            defaults: self.defaults.overlaid(&over.defaults),
            scenarios,
            thresholds: or_own(&over.thresholds, self.thresholds),
            threads: over.threads.or(self.threads),
            graceful_stop: over.graceful_stop.clone().or(self.graceful_stop),
            abort_on_fail: over.abort_on_fail || self.abort_on_fail,
            abort_delay: over.abort_delay.clone().or(self.abort_delay),
            seed: over.seed.or(self.seed),
        }
    }
}

/// What cannot stand beside each other: when the first is said above, those behind it, said below, no
/// longer hold. `--vus` over a file's `rate` asks for the closed model instead of it.
const REPLACED: [(&str, &[&str]); 10] = [
    ("rate", &["rps", "vus", "iterations", "stages", "think"]),
    ("rps", &["rate", "shape"]),
    ("shape", &["vus", "iterations", "stages", "think"]),
    ("vus", &["rate", "shape"]),
    ("iterations", &["stages", "shape"]),
    ("stages", &["rate", "vus", "iterations", "duration", "shape"]),
    ("body", &["body-file"]),
    ("body-file", &["body"]),
    ("data", &["data-text"]),
    ("data-text", &["data"]),
];

/// The same for k6's names: what is said above for one model takes a name of the other away.
fn is_of_other_model(executor: &str, is_said: impl Fn(&str) -> bool) -> bool {
    let is_open = executor.ends_with("arrival-rate");
    if is_open {
        is_said("vus") || is_said("think") || is_said("rps")
    } else {
        is_said("rate") || is_said("shape")
    }
}

impl ScenarioOptions {
    /// Puts `over` over these. Lists of it replace lists, but headers and tags are added, so that a
    /// scenario says only what is different about it.
    pub fn overlaid(self, over: &Self) -> Self {
        let (mut below, above) = (members(&self), members(over));
        let is_said = |name: &str| above.get(name).is_some_and(says_something);
        for (said, gone) in REPLACED {
            if is_said(said) {
                below.retain(|name, _| !gone.contains(&name.as_str()));
            }
        }
        // Stages may be of users, whom it caps, or of a rate, which it does not.
        let is_open = over.executor.as_deref().is_some_and(|name| name.ends_with("arrival-rate"));
        if is_open || over.stages.iter().any(|stage| stage.contains('/')) {
            below.remove("rps");
        }
        let executor = self.executor.as_deref().unwrap_or_default();
        if is_said("stages") || is_of_other_model(executor, is_said) {
            below.remove("executor");
        }
        for (name, value) in above {
            if !says_something(&value) {
                continue;
            }
            match (below.get_mut(&name), value) {
                (Some(Value::Array(own)), Value::Array(more)) if name == "headers" => {
                    own.extend(more);
                }
                (Some(Value::Object(own)), Value::Object(more)) => own.extend(more),
                (_, value) => drop(below.insert(name, value)),
            }
        }
        serde_json::from_value(Value::Object(below)).expect("each member is as it was written")
    }
}

use serde_json::Value;

type Members = serde_json::Map<String, Value>;

/// The members that JSON has of `options`, said or not.
pub(super) fn members(options: &impl Serialize) -> Members {
    match serde_json::to_value(options) {
        Ok(Value::Object(members)) => members,
        _ => unreachable!("options are an object, and nothing in them cannot be JSON"),
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(json: Value) -> ScenarioOptions {
        serde_json::from_value(json).expect("options")
    }

    #[test]
    fn layers() {
        use serde_json::json;
        let check = |below: Value, above: Value, expected: Value| {
            let found = scenario(below.clone()).overlaid(&scenario(above.clone()));
            assert_eq!(found, scenario(expected), "{above} over {below}");
        };
        check(json!({ "rate": "1" }), json!({}), json!({ "rate": "1" }));
        check(
            json!({ "rate": "1", "duration": "9s" }),
            json!({ "rate": "2" }),
            json!({ "rate": "2", "duration": "9s" }),
        );
        check(
            json!({ "rate": "1", "shape": "daily", "duration": "9s" }),
            json!({ "vus": "2" }),
            json!({ "vus": "2", "duration": "9s" }),
        );
        check(
            json!({ "vus": "2", "iterations": "3" }),
            json!({ "vus": "4" }),
            json!({ "vus": "4", "iterations": "3" }),
        );
        check(
            json!({ "vus": "2", "stages": ["1s:3"] }),
            json!({ "rate": "4" }),
            json!({ "rate": "4" }),
        );
        check(
            json!({ "duration": "2s", "rate": "1" }),
            json!({ "stages": ["1s:3"] }),
            json!({ "stages": ["1s:3"] }),
        );
        // A file's users who are capped, and its stages from another number of them.
        check(
            json!({ "vus": "2", "duration": "3s" }),
            json!({ "rps": "4" }),
            json!({ "vus": "2", "rps": "4", "duration": "3s" }),
        );
        check(
            json!({ "stages": ["1s:3"], "executor": "ramping-arrival-rate" }),
            json!({ "rps": "2" }),
            json!({ "stages": ["1s:3"], "rps": "2" }),
        );
        let capped = json!({ "vus": "2", "rps": "5" });
        check(capped.clone(), json!({ "stages": ["1s:3/s"] }), json!({ "stages": ["1s:3/s"] }));
        let open = json!({ "stages": ["1s:3"], "executor": "ramping-arrival-rate" });
        check(capped.clone(), open.clone(), open);
        check(capped, json!({ "stages": ["1s:3"] }), json!({ "stages": ["1s:3"], "rps": "5" }));
        check(
            json!({ "stages": ["1s:3"] }),
            json!({ "vus": "2" }),
            json!({ "vus": "2", "stages": ["1s:3"] }),
        );
        check(
            json!({ "rate": "1", "shape": "daily" }),
            json!({ "iterations": "2" }),
            json!({ "rate": "1", "iterations": "2" }),
        );
        let each = "per-vu-iterations";
        check(
            json!({ "executor": each, "vus": "2", "iterations": "3" }),
            json!({ "vus": "4" }),
            json!({ "executor": each, "vus": "4", "iterations": "3" }),
        );
        check(
            json!({ "executor": each, "vus": "2", "iterations": "3" }),
            json!({ "rate": "4" }),
            json!({ "rate": "4" }),
        );
        check(
            json!({ "executor": "constant-arrival-rate", "rate": "2" }),
            json!({ "vus": "4" }),
            json!({ "vus": "4" }),
        );
        check(
            json!({ "body": "x", "headers": ["a: 1"], "tags": { "t": "1" }, "checks": ["none"] }),
            json!({ "body-file": "y", "headers": ["b: 2"], "tags": { "u": "2" } }),
            json!({
                "body-file": "y", "headers": ["a: 1", "b: 2"], "tags": { "t": "1", "u": "2" },
                "checks": ["none"],
            }),
        );
        check(
            json!({ "http2": true, "checks": ["none"] }),
            json!({ "http2": false, "checks": ["status is 200"] }),
            json!({ "http2": false, "checks": ["status is 200"] }),
        );
    }

    /// Each name of [`REPLACED`] is one: a renamed option must not slip out of it.
    #[test]
    fn replaced_names_exist() {
        let known = members(&ScenarioOptions::default());
        for name in REPLACED.iter().flat_map(|(said, gone)| gone.iter().chain([said])) {
            assert!(known.contains_key(*name), "{name}");
        }
    }

    #[test]
    fn flags_stand_over_every_scenario() {
        let file = Options {
            scenarios: [("a", "1"), ("b", "2")]
                .map(|(name, rate)| {
                    let rate = Some(rate.to_owned());
                    (name.to_owned(), ScenarioOptions { rate, ..ScenarioOptions::default() })
                })
                .into(),
            thresholds: vec!["t".to_owned()],
            seed: Some(3),
            ..Options::default()
        };
        let duration = Some("5s".to_owned());
        let flags = Options {
            defaults: ScenarioOptions { duration: duration.clone(), ..ScenarioOptions::default() },
            threads: Some(2),
            ..Options::default()
        };
        let both = file.clone().overlaid(&flags);
        for scenario in both.scenarios.values() {
            assert_eq!(scenario.duration, duration);
        }
        assert_eq!(both.scenarios["b"].rate.as_deref(), Some("2"));
        assert_eq!((both.thresholds, both.threads, both.seed), (file.thresholds, Some(2), Some(3)));
    }
}
