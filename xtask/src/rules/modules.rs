//! Rules about which files a crate is made of: no file that no `mod` reaches, and one integration
//! binary a crate, since each one is linked by itself.

use std::collections::BTreeSet;

use anyhow::Result;

use super::manifests::each_manifest;
use crate::repository::{Finding, Repository};

/// Every Rust file of a crate is reached from one of its roots.
pub(super) fn no_dead_files(repository: &Repository) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (manifest_path, _, _) in each_manifest(repository)? {
        let folder = manifest_path.trim_end_matches("Cargo.toml");
        let files: Vec<&str> = repository
            .ending(".rs")
            .map(|(path, _)| path)
            .filter(|path| path.starts_with(folder))
            .collect();
        let mut reached = BTreeSet::new();
        for root in files.iter().filter(|path| is_root(&path[folder.len()..])) {
            reach(repository, root, true, &mut reached);
        }
        findings.extend(
            files
                .iter()
                .filter(|path| !reached.contains(**path))
                .map(|path| Finding::new(path, 0, "no `mod` reaches this file")),
        );
    }
    Ok(findings)
}

/// Whether cargo builds this file, given by its path within the crate, as a target of its own.
fn is_root(path: &str) -> bool {
    if matches!(path, "build.rs" | "src/lib.rs" | "src/main.rs") {
        return true;
    }
    ["src/bin/", "tests/", "benches/", "examples/"].iter().any(|folder| {
        path.strip_prefix(folder).is_some_and(|rest| {
            !rest.contains('/') || (rest.ends_with("/main.rs") && rest.matches('/').count() == 1)
        })
    })
}

/// Marks `path` and every file that it declares as a module.
fn reach(repository: &Repository, path: &str, root: bool, reached: &mut BTreeSet<String>) {
    let Some(text) = repository.file(path) else { return };
    if !reached.insert(path.to_owned()) {
        return;
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    // The modules of a root and of `mod.rs` lie beside it, those of `noun.rs` in the folder `noun`.
    let inside = if root || name == "mod.rs" {
        folder.to_owned()
    } else {
        path.trim_end_matches(".rs").to_owned()
    };
    for declared in declarations(text) {
        match declared {
            Declared::Module(module) => {
                reach(repository, &format!("{inside}/{module}.rs"), false, reached);
                reach(repository, &format!("{inside}/{module}/mod.rs"), false, reached);
            }
            Declared::Path(relative) => {
                reach(repository, &format!("{folder}/{relative}"), false, reached);
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Declared<'a> {
    Module(&'a str),
    Path(&'a str),
}

/// The modules that a file declares without a body.
fn declarations(text: &str) -> Vec<Declared<'_>> {
    let mut declared = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            declared.extend(rest.split('"').next().map(Declared::Path));
        }
        let item = match line.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => {
                rest.split_once(')').map_or("", |(_, after)| after).trim_start()
            }
            Some(rest) => rest.trim_start(),
            None => line,
        };
        let module = item.strip_prefix("mod ").and_then(|rest| rest.split_once(';'));
        declared.extend(module.map(|(name, _)| Declared::Module(name.trim())));
    }
    declared
}

/// A crate has one integration binary, with modules.
pub(super) fn one_integration_binary(repository: &Repository) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (manifest_path, _, _) in each_manifest(repository)? {
        let tests = manifest_path.replace("Cargo.toml", "tests/");
        let roots: Vec<&str> = repository
            .ending(".rs")
            .map(|(path, _)| path)
            .filter(|path| {
                path.strip_prefix(tests.as_str())
                    .is_some_and(|rest| is_root(&format!("tests/{rest}")))
            })
            .collect();
        findings.extend(
            roots
                .iter()
                .skip(1)
                .map(|path| Finding::new(path, 0, "a second integration binary: make it a module")),
        );
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::super::check_rule;
    use super::*;

    const MANIFEST: (&str, &str) = ("crates/usage/Cargo.toml", "[package]\nname = 'usage'\n");

    #[test]
    fn declarations_of_every_form_are_seen() {
        let text = "mod a;\npub mod b;\npub(crate) mod c;\nmod d {\n}\n    mod e;\n// mod f;\n\
                    #[path = \"../g.rs\"]\nmodule;\nmod h; // why\n";
        let expected = ["a", "b", "c", "e", "h"].map(Declared::Module);
        let (paths, modules): (Vec<_>, Vec<_>) =
            declarations(text).into_iter().partition(|d| matches!(d, Declared::Path(_)));
        assert_eq!(modules, expected);
        assert_eq!(paths, [Declared::Path("../g.rs")]);
    }

    #[test]
    fn a_file_that_nothing_reaches_is_found() {
        check_rule(
            no_dead_files,
            &[
                MANIFEST,
                ("crates/usage/src/lib.rs", "mod id;\nmod time;\n"),
                ("crates/usage/src/id.rs", "mod check;\n"),
                ("crates/usage/src/id/check.rs", ""),
                ("crates/usage/src/id/dead.rs", ""),
                ("crates/usage/src/time/mod.rs", "mod zone;\n"),
                ("crates/usage/src/time/zone.rs", ""),
                ("crates/usage/src/old.rs", ""),
                ("crates/usage/tests/integration/main.rs", "mod decode;\n"),
                ("crates/usage/tests/integration/decode.rs", ""),
                ("crates/usage/tests/integration/lost.rs", ""),
            ],
            &[
                ("crates/usage/src/id/dead.rs", 0),
                ("crates/usage/src/old.rs", 0),
                ("crates/usage/tests/integration/lost.rs", 0),
            ],
        );
    }

    #[test]
    fn a_second_integration_binary_is_found() {
        let first = ("crates/usage/tests/integration/main.rs", "");
        check_rule(one_integration_binary, &[MANIFEST, first], &[]);
        check_rule(
            one_integration_binary,
            &[MANIFEST, first, ("crates/usage/tests/more.rs", "")],
            &[("crates/usage/tests/more.rs", 0)],
        );
    }
}
