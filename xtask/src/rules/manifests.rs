//! Rules about manifests, and about which files a repository of ours has.

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use crate::repository::{Finding, Repository};

/// Path, crate name and contents of every crate's manifest; the root's and fuzz's are none of them.
pub(super) fn each_manifest(repository: &Repository) -> Result<Vec<(&str, String, Table)>> {
    let mut manifests = Vec::new();
    for (path, text) in repository.ending("Cargo.toml") {
        let of_a_crate = path == "xtask/Cargo.toml" || path.starts_with("crates/");
        if !of_a_crate {
            continue;
        }
        let manifest: Table = text.parse().with_context(|| path.to_owned())?;
        let name = manifest
            .get("package")
            .and_then(|package| package.get("name"))
            .and_then(Value::as_str)
            .with_context(|| format!("{path} names no package"))?
            .to_owned();
        manifests.push((path, name, manifest));
    }
    Ok(manifests)
}

/// The packages that a manifest depends on in any way, under their own names.
pub(super) fn dependencies(manifest: &Table) -> Vec<String> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets.into_iter().flat_map(|t| t.values()).filter_map(Value::as_table);
    let mut names = Vec::new();
    for holder in std::iter::once(manifest).chain(targets) {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = holder.get(kind).and_then(Value::as_table) else { continue };
            for (key, value) in table {
                let package = value.get("package").and_then(Value::as_str);
                names.push(package.unwrap_or(key).to_owned());
            }
        }
    }
    names
}

/// Every crate takes the workspace's lints.
pub(super) fn lints_are_inherited(repository: &Repository) -> Result<Vec<Finding>> {
    Ok(each_manifest(repository)?
        .into_iter()
        .filter(|(_, _, manifest)| {
            let inherited = manifest.get("lints").and_then(|lints| lints.get("workspace"));
            inherited.and_then(Value::as_bool) != Some(true)
        })
        .map(|(path, _, _)| Finding::new(path, 0, "`[lints] workspace = true` is missing"))
        .collect())
}

/// Libraries name their errors; only what talks to a person may use anyhow.
pub(super) fn anyhow_stays_in_binaries(repository: &Repository) -> Result<Vec<Finding>> {
    Ok(each_manifest(repository)?
        .into_iter()
        .filter(|(_, name, _)| !matches!(name.as_str(), "inhale" | "bench" | "xtask"))
        .filter(|(_, _, manifest)| dependencies(manifest).iter().any(|name| name == "anyhow"))
        .map(|(path, _, _)| Finding::new(path, 0, "anyhow in a library: name the error"))
        .collect())
}

/// What a reader looks for.
const EXPECTED: [&str; 12] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "docs/format.md",
    "docs/adr/0001-one-journal-many-projections.md",
    "Cargo.lock",
    "run",
    "test",
    ".ci/run",
];

/// What a reader looks for is there.
pub(super) fn expected_files(repository: &Repository) -> Result<Vec<Finding>> {
    Ok(EXPECTED
        .iter()
        .filter(|path| repository.file(path).is_none_or(|text| text.trim().is_empty()))
        .map(|path| Finding::new(path, 0, "is missing or empty"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::check_rule;
    use super::*;

    const PATH: &str = "crates/usage/Cargo.toml";

    #[test]
    fn a_crate_without_the_lints_is_found() {
        let package = "[package]\nname = 'usage'\n";
        check_rule(lints_are_inherited, &[(PATH, package)], &[(PATH, 0)]);
        let off = format!("{package}[lints]\nworkspace = false\n");
        check_rule(lints_are_inherited, &[(PATH, &off)], &[(PATH, 0)]);
        let on = format!("{package}[lints]\nworkspace = true\n");
        check_rule(lints_are_inherited, &[(PATH, &on)], &[]);
    }

    #[test]
    fn anyhow_in_a_library_is_found() {
        let library = "[package]\nname = 'usage'\n[dependencies]\nanyhow = '1'\n";
        check_rule(anyhow_stays_in_binaries, &[(PATH, library)], &[(PATH, 0)]);
        let binary = library.replace("usage", "inhale");
        check_rule(anyhow_stays_in_binaries, &[("crates/inhale/Cargo.toml", &binary)], &[]);
    }

    #[test]
    fn a_missing_or_empty_file_is_found() {
        let all: Vec<(&str, &str)> = EXPECTED.iter().map(|path| (*path, "text")).collect();
        check_rule(expected_files, &all, &[]);
        check_rule(expected_files, &all[1..], &[("README.md", 0)]);
        let mut emptied = all;
        emptied[3].1 = "\n";
        check_rule(expected_files, &emptied, &[("CHANGELOG.md", 0)]);
    }
}
