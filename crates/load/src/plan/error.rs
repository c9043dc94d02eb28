//! What is wrong with options: everything at once, each with the name of what to change.

use std::fmt;

/// Why options make no plan. Shown, it has a line for each fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    faults: Vec<PlanFault>,
}

/// One thing to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanFault {
    /// The key of the scenario file, which is the flag's name but for an `s` at the end of lists.
    pub key: String,
    /// The scenario, where it has a name.
    pub scenario: Option<String>,
    /// What is wrong with it.
    pub words: String,
}

/// Lists: a flag gives one item, a key all of them.
const LISTS: [&str; 5] = ["stages", "headers", "checks", "tags", "thresholds"];

impl PlanError {
    /// `faults` must not be empty.
    pub(super) fn new(faults: Vec<PlanFault>) -> Self {
        debug_assert!(!faults.is_empty(), "an error without a fault");
        Self { faults }
    }

    /// What is wrong.
    pub fn faults(&self) -> &[PlanFault] {
        &self.faults
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.faults.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PlanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            // It has no dashes where it is typed, and scenarios are in files alone.
            "url" => f.write_str("URL"),
            "scenarios" => f.write_str("scenarios"),
            key if LISTS.contains(&key) => write!(f, "--{}", &key[..key.len() - 1]),
            key => write!(f, "--{key}"),
        }?;
        write!(f, ": {}", self.words)?;
        match &self.scenario {
            Some(scenario) => write!(f, " (scenario `{scenario}`)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PlanError {}

/// Where faults are gathered while one scenario, or what belongs to none, is looked at.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) scenario: Option<String>,
    pub(super) all: Vec<PlanFault>,
}

impl Faults {
    /// Adds a fault. What is wrong in the same way in several scenarios is said once.
    pub(super) fn add(&mut self, key: &str, words: impl Into<String>) {
        let (key, words) = (key.to_owned(), words.into());
        if !self.all.iter().any(|fault| fault.key == key && fault.words == words) {
            self.all.push(PlanFault { key, scenario: self.scenario.clone(), words });
        }
    }

    /// The value of a key, or `None` and a fault.
    pub(super) fn take<T>(&mut self, key: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|words| self.add(key, words)).ok()
    }

    /// What `parse` makes of an option, if it is set and in order.
    pub(super) fn parse<T>(
        &mut self,
        key: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        text.and_then(|text| self.take(key, parse(text)))
    }

    /// `Ok` without faults.
    pub(super) fn done(self) -> Result<(), PlanError> {
        if self.all.is_empty() { Ok(()) } else { Err(PlanError::new(self.all)) }
    }
}
