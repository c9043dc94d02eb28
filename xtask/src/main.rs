//! Chores of this repository: `cargo xtask tidy` holds its arrows and habits as a test.

#![expect(clippy::print_stdout, reason = "a command-line tool's answer")]

mod repository;
mod rules;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use repository::Repository;

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("tidy"), None) => tidy(),
        _ => bail!("usage: cargo xtask tidy"),
    }
}

/// Prints every finding, one a line, and fails if there is any.
fn tidy() -> Result<ExitCode> {
    let repository = Repository::read(root())?;
    let findings = rules::check(&repository)?;
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} files, {} findings", repository.files.len(), findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask lies in the root")
        .expect("the manifest of xtask is one folder below the root")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let repository = Repository::read(root()).expect("the repository is readable");
        let findings = rules::check(&repository).expect("the rules run");
        let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(text.is_empty(), "\n{}", text.join("\n"));
    }

    #[test]
    fn enough_files_are_looked_at() {
        let repository = Repository::read(root()).expect("the repository is readable");
        for path in ["README.md", "run", "xtask/src/main.rs", "crates/journal/Cargo.toml"] {
            assert!(repository.file(path).is_some(), "{path} was not looked at");
        }
    }
}
