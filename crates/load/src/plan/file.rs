//! The scenario file: TOML in which the run's options and what all scenarios share stand at the top,
//! and each scenario in a table of its own.
//!
//! ```toml
//! url = "http://localhost:3000/api/usages"
//! thresholds = ["http_req_duration: p(95)<5ms"]
//!
//! [scenarios.day]
//! rate = "1M/m"
//! duration = "60s"
//! shape = "daily"
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::error::{Faults, PlanError};
use super::nearest::hint;
use super::options::members;
use super::{Options, ScenarioOptions};
use crate::limits::{DATA_BYTES_MAX, FILE_BYTES_MAX, PEM_BYTES_MAX, REQUEST_BYTES_MAX};

/// The key under which faults of the file itself are told: the flag that names it.
const FILE: &str = "file";

/// Flags of the command line that a file has no key for: what differs from run to run and machine to
/// machine.
pub const FLAGS_ALONE: [&str; 16] = [
    "abort-on-agent-loss",
    "agents",
    "agents-listen",
    "agents-secret-file",
    "agents-timeout",
    "html",
    "json",
    "metrics-listen",
    "metrics-url",
    "out",
    "plan",
    "quiet",
    "receipts",
    "summary-export",
    "summary-trend-stats",
    "verbose",
];

impl Options {
    /// Reads a scenario file. Files that it names are looked for beside it.
    ///
    /// # Errors
    /// When it cannot be read, or as [`Self::from_toml`] has them.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let mut faults = Faults::default();
        let text = faults.take(FILE, read_text(path, FILE_BYTES_MAX));
        let Some(text) = text else { return Err(PlanError::new(faults.all)) };
        let mut options = Self::from_toml(&text)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let scenarios = options.scenarios.values_mut();
        for scenario in scenarios.chain([&mut options.defaults]) {
            let ScenarioOptions { body_file, data, ca, cert, key, .. } = scenario;
            for file in [body_file, data, ca, cert, key].into_iter().flatten() {
                if !is_pem(file) {
                    *file = folder.join(&*file).to_string_lossy().into_owned();
                }
            }
        }
        Ok(options)
    }

    /// Understands a scenario file's text.
    ///
    /// # Errors
    /// Every unknown key, with the one that may have been meant, and every value of a wrong kind.
    pub fn from_toml(text: &str) -> Result<Self, PlanError> {
        let mut faults = Faults::default();
        let parsed = toml::from_str::<Map<String, Value>>(text)
            .map_err(|error| error.to_string().trim_end().to_owned());
        let mut top = faults.take(FILE, parsed).unwrap_or_default();
        let mut scenarios = BTreeMap::new();
        match top.remove("scenarios") {
            None => {}
            Some(Value::Object(tables)) => {
                for (name, table) in tables {
                    faults.scenario = Some(name.clone());
                    let Value::Object(table) = table else {
                        faults.add("scenarios", format!("write it as a table: [scenarios.{name}]"));
                        continue;
                    };
                    let own = scenario(table, &mut faults);
                    scenarios.insert(name, own);
                }
                faults.scenario = None;
            }
            Some(_) => faults.add("scenarios", "each is a table: [scenarios.NAME]"),
        }
        let run_keys = run_keys();
        let (of_run, of_scenarios): (Map<_, _>, Map<_, _>) =
            top.into_iter().partition(|(key, _)| run_keys.contains(key));
        let mut run = members(&Self::default());
        set(&mut run, of_run, &[], &mut faults, &|members| {
            serde_json::from_value::<Self>(members).map(drop)
        });
        let run: Self = serde_json::from_value(Value::Object(run)).expect("each was tried");
        let defaults = scenario(of_scenarios, &mut faults);
        faults.done().map(|()| Self { defaults, scenarios, ..run })
    }

    /// These with the content of the files that they name in the place of the names: what other
    /// machines can be sent.
    ///
    /// # Errors
    /// When a file cannot be read or is too large.
    pub fn embed_files(&self) -> Result<Self, PlanError> {
        let mut faults = Faults::default();
        let options = self.embedded(&mut faults);
        faults.done().map(|()| options)
    }

    /// The same as far as it goes.
    pub(super) fn embedded(&self, faults: &mut Faults) -> Self {
        let mut options = self.clone();
        let names = options.scenarios.iter_mut().map(|(name, own)| (Some(name.clone()), own));
        for (name, scenario) in names.chain([(None, &mut options.defaults)]) {
            faults.scenario = name;
            scenario.embed(faults);
        }
        faults.scenario = None;
        options
    }
}

impl ScenarioOptions {
    fn embed(&mut self, faults: &mut Faults) {
        if self.body.is_some() && self.body_file.is_some() {
            faults.add("body-file", "there is a --body already");
        }
        if self.data.is_some() && self.data_text.is_some() {
            faults.add("data", "there is a `data-text` already");
        }
        let files = [
            ("body-file", self.body_file.take(), &mut self.body, REQUEST_BYTES_MAX),
            ("data", self.data.take(), &mut self.data_text, DATA_BYTES_MAX),
        ];
        for (key, file, into, bytes_max) in files {
            let Some(file) = file else { continue };
            if let Some(text) = faults.take(key, read_text(Path::new(&file), bytes_max)) {
                // A last line that is ended has no row behind it; a body is sent byte for byte.
                let text =
                    if key == "data" { text.strip_suffix('\n').unwrap_or(&text) } else { &text };
                *into = Some(text.to_owned());
            }
        }
        for (key, named, what) in [
            ("ca", &mut self.ca, "CERTIFICATE-----"),
            ("cert", &mut self.cert, "CERTIFICATE-----"),
            ("key", &mut self.key, "PRIVATE KEY-----"),
        ] {
            let Some(file) = named.take_if(|named| !is_pem(named)) else { continue };
            *named = faults.take(key, read_pem(Path::new(&file), what)).or(Some(file));
        }
    }
}

/// Whether a value is the content of a PEM file (RFC 7468), and not its name.
pub(crate) fn is_pem(value: &str) -> bool {
    value.contains("-----BEGIN ")
}

fn read_pem(path: &Path, what: &str) -> Result<String, String> {
    let text = read_text(path, PEM_BYTES_MAX)?;
    if is_pem(&text) && text.contains(what) {
        return Ok(text);
    }
    let what = what.trim_end_matches('-').to_ascii_lowercase();
    Err(format!("{} holds no {what} in PEM", path.display()))
}

fn read_text(path: &Path, bytes_max: usize) -> Result<String, String> {
    let shown = path.display();
    let told = |error: std::io::Error| format!("cannot read {shown}: {error}");
    let mut text = String::new();
    // What is no file may have no end.
    let file = File::open(path).map_err(told)?;
    file.take(bytes_max as u64 + 1).read_to_string(&mut text).map_err(told)?;
    if text.len() > bytes_max {
        return Err(format!("{shown} has more than the {bytes_max} bytes that are read"));
    }
    Ok(text)
}

/// The keys of a run beside those of its scenarios.
fn run_keys() -> Vec<String> {
    let all = members(&Options::default()).into_iter().map(|(key, _)| key);
    all.filter(|key| key != "defaults" && key != "scenarios").collect()
}

fn scenario(table: Map<String, Value>, faults: &mut Faults) -> ScenarioOptions {
    let mut all = members(&ScenarioOptions::default());
    let beside = if faults.scenario.is_none() { run_keys() } else { Vec::new() };
    set(&mut all, table, &beside, faults, &|members| {
        serde_json::from_value::<ScenarioOptions>(members).map(drop)
    });
    serde_json::from_value(Value::Object(all)).expect("each was tried")
}

/// Sets the members of `all` from `table`. A value is tried as it is, then as the text or the list
/// that it may stand for, so that `rate = 100` and `checks = "status is 200"` are understood.
fn set(
    all: &mut Map<String, Value>,
    table: Map<String, Value>,
    beside: &[String],
    faults: &mut Faults,
    fits: &dyn Fn(Value) -> serde_json::Result<()>,
) {
    for (key, value) in table {
        if !all.contains_key(&key) {
            let words = unknown(&key, all.keys().chain(beside), faults.scenario.is_some());
            faults.add(FILE, words);
            continue;
        }
        let alone = |value: &Value| {
            fits(Value::Object([(key.clone(), value.clone())].into_iter().collect()))
        };
        let fitting =
            std::iter::once(value.clone()).chain(readings(&value)).find(|v| alone(v).is_ok());
        match (fitting, alone(&value)) {
            (Some(fitting), _) => drop(all.insert(key, fitting)),
            (None, wrong) => {
                let words = wrong.err().map_or_else(String::new, |error| error.to_string());
                faults.add(&key, words);
            }
        }
    }
}

fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a String>, in_scenario: bool) -> String {
    if in_scenario && run_keys().iter().any(|of_run| of_run == key) {
        return format!("`{key}` is of the whole run, and stands at the top of the file");
    }
    if FLAGS_ALONE.contains(&key) {
        return format!("`{key}` is no key of a file: say --{key} beside --file");
    }
    format!("there is no key `{key}`{}", hint(key, known.map(String::as_str)))
}

/// What else a value may stand for.
fn readings(value: &Value) -> Vec<Value> {
    let text = |value: &Value| match value {
        Value::Number(number) => Value::String(number.to_string()),
        other => other.clone(),
    };
    match value {
        Value::Number(_) => vec![text(value)],
        Value::String(_) => vec![Value::Array(vec![value.clone()])],
        Value::Array(items) => vec![Value::Array(items.iter().map(text).collect())],
        // Headers as a table; tags whose values are numbers.
        Value::Object(members) => {
            let line = |(name, value): (&String, &Value)| match text(value) {
                Value::String(value) => Value::String(format!("{name}: {value}")),
                other => other,
            };
            let texts = members.iter().map(|(name, value)| (name.clone(), text(value)));
            vec![Value::Object(texts.collect()), Value::Array(members.iter().map(line).collect())]
        }
        Value::Null | Value::Bool(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
