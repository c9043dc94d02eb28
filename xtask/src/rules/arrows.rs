//! The arrows between crates: who may depend on whom, and on nobody else.

use anyhow::Result;

use super::manifests::{dependencies, each_manifest};
use crate::repository::{Finding, Repository};

/// Each crate with those of ours that it may name. A crate that is missing here has no place yet:
/// give it one, here and in ARCHITECTURE.md.
const ALLOWED: [(&str, &[&str]); 10] = [
    ("usage", &[]),
    ("journal", &[]),
    ("telemetry", &[]),
    ("store", &["journal", "usage"]),
    ("edge", &["telemetry"]),
    ("server", &["edge", "store", "usage", "telemetry"]),
    ("load", &["usage"]),
    ("inhale", &["server", "load", "edge", "store", "journal", "usage", "telemetry"]),
    ("bench", &[]),
    ("xtask", &[]),
];

/// Crates depend downwards only, in code and in tests.
pub(super) fn between_crates(repository: &Repository) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (path, name, manifest) in each_manifest(repository)? {
        let Some((_, allowed)) = ALLOWED.iter().find(|(crate_name, _)| *crate_name == name) else {
            findings.push(Finding::new(
                path,
                0,
                format!("crate {name} has no place in the arrows"),
            ));
            continue;
        };
        for dependency in dependencies(&manifest) {
            let ours = ALLOWED.iter().any(|(crate_name, _)| *crate_name == dependency);
            if ours && !allowed.contains(&dependency.as_str()) {
                findings.push(Finding::new(path, 0, format!("{name} → {dependency} is no arrow")));
            }
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::super::check_rule;
    use super::*;

    const USAGE: &str = "crates/usage/Cargo.toml";

    #[test]
    fn an_arrow_upwards_is_found() {
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let manifest =
                format!("[package]\nname = 'usage'\n[{table}]\nstore.workspace = true\n");
            check_rule(between_crates, &[(USAGE, &manifest)], &[(USAGE, 0)]);
        }
        let renamed = "[package]\nname='usage'\n[dependencies]\nx = { package = 'store', path='' }";
        check_rule(between_crates, &[(USAGE, renamed)], &[(USAGE, 0)]);
        let target = "[package]\nname='usage'\n[target.'cfg(unix)'.dependencies]\nstore = {}";
        check_rule(between_crates, &[(USAGE, target)], &[(USAGE, 0)]);
    }

    #[test]
    fn an_arrow_downwards_is_right() {
        let store = "[package]\nname = 'store'\n[dependencies]\njournal = {}\nfjall = '3'\n";
        check_rule(between_crates, &[("crates/store/Cargo.toml", store)], &[]);
    }

    #[test]
    fn a_crate_without_a_place_is_found() {
        let path = "crates/gateway/Cargo.toml";
        check_rule(between_crates, &[(path, "[package]\nname = 'gateway'\n")], &[(path, 0)]);
    }

    #[test]
    fn arrows_have_no_circle() {
        // Each crate may only name ones that stand before it, but for the leaves at the end.
        for (index, (name, allowed)) in ALLOWED.iter().enumerate() {
            for other in *allowed {
                let before = ALLOWED[..index].iter().any(|(earlier, _)| earlier == other);
                assert!(before, "{name} → {other}");
            }
        }
    }
}
