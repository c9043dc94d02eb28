//! The rules, one function each: a repository in, findings out. Each has a test beside it that
//! shows it a bad sample, since a rule that finds nothing may also be one that looks at nothing.

mod arrows;
mod licences;
mod links;
mod manifests;
mod modules;
mod spdx;
mod text;

use anyhow::Result;

use crate::repository::{Finding, Repository};

/// Applies every rule.
pub(crate) fn check(repository: &Repository) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for rule in [
        text::purpose_line,
        text::file_length,
        text::leftover_markers,
        text::places_of_one_machine,
        arrows::between_crates,
        manifests::lints_are_inherited,
        manifests::anyhow_stays_in_binaries,
        manifests::expected_files,
        modules::no_dead_files,
        modules::one_integration_binary,
        links::resolve,
        licences::are_allowed,
    ] {
        findings.extend(rule(repository)?);
    }
    Ok(findings)
}

/// Shows a rule one sample and compares the places it complains about.
#[cfg(test)]
fn check_rule(
    rule: fn(&Repository) -> Result<Vec<Finding>>,
    files: &[(&str, &str)],
    expected: &[(&str, usize)],
) {
    let found = rule(&Repository::of(files)).expect("the rule runs");
    let places: Vec<(&str, usize)> = found.iter().map(|f| (f.path.as_str(), f.line)).collect();
    assert_eq!(places, expected, "{found:?}");
}
