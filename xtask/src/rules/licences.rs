//! Licences of everything that is linked in, held against the list in `deny.toml`.

use anyhow::{Context as _, Result};
use serde_json::Value;
use toml::Table;

use super::spdx;
use crate::repository::{Finding, Repository};

const POLICY: &str = "deny.toml";

/// Every dependency can be had under a licence that `deny.toml` allows.
pub(super) fn are_allowed(repository: &Repository) -> Result<Vec<Finding>> {
    let Some(metadata) = &repository.metadata else { return Ok(Vec::new()) };
    let policy: Table = repository.file(POLICY).context("deny.toml is missing")?.parse()?;
    let allowed: Vec<&str> = policy
        .get("licenses")
        .and_then(|licenses| licenses.get("allow")?.as_array())
        .context("deny.toml has no list licenses.allow")?
        .iter()
        .filter_map(toml::Value::as_str)
        .collect();
    let packages =
        metadata.get("packages").and_then(Value::as_array).context("cargo metadata: packages")?;
    Ok(packages
        .iter()
        .filter_map(|package| {
            let name = package.get("name").and_then(Value::as_str).unwrap_or("?");
            let license = package.get("license").and_then(Value::as_str).unwrap_or("");
            (!spdx::is_met(license, &allowed)).then(|| {
                Finding::new(
                    POLICY,
                    0,
                    format!("{name} is under `{license}`, which is not allowed"),
                )
            })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(license: &Value, findings: usize) {
        let policy = "[licenses]\nallow = ['MIT', 'Apache-2.0']\n";
        let mut repository = Repository::of(&[(POLICY, policy)]);
        repository.metadata =
            Some(serde_json::json!({ "packages": [{ "name": "x", "license": license }] }));
        assert_eq!(are_allowed(&repository).expect("runs").len(), findings, "{license}");
    }

    #[test]
    fn a_licence_that_is_not_allowed_is_found() {
        check(&"MIT OR Apache-2.0".into(), 0);
        check(&"GPL-3.0-only".into(), 1);
        check(&Value::Null, 1);
    }
}
