//! The repository's text files as the rules see them: paths from the root, and contents.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Larger files are data, not something a person wrote.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Every text file that belongs to the repository.
#[derive(Debug, Default)]
pub(crate) struct Repository {
    /// Contents by path from the root, with `/` between the parts.
    pub(crate) files: BTreeMap<String, String>,
    /// Paths of what is there but not read as text: folders, binary and large files.
    others: Vec<String>,
    /// What `cargo metadata` said; absent in samples.
    pub(crate) metadata: Option<serde_json::Value>,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Path from the root.
    pub(crate) path: String,
    /// Counted from 1; 0 for the file as a whole.
    pub(crate) line: usize,
    /// What is wrong and what would be right.
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.path, self.message),
            line => write!(out, "{}:{line}: {}", self.path, self.message),
        }
    }
}

impl Repository {
    /// Reads all files below `root` but what `.gitignore` names, and asks cargo for the dependencies.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let ignored = Ignored::parse(&fs::read_to_string(root.join(".gitignore"))?);
        let mut repository = Self { metadata: Some(cargo_metadata(root)?), ..Self::default() };
        repository.walk(root, "", &ignored)?;
        Ok(repository)
    }

    fn walk(&mut self, folder: &Path, prefix: &str, ignored: &Ignored) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if name == ".git" || ignored.covers(&path, &name) {
                continue;
            }
            if kind.is_dir() {
                self.walk(&entry.path(), &format!("{path}/"), ignored)?;
                self.others.push(path);
                continue;
            }
            let text = match entry.metadata() {
                Ok(metadata) if metadata.len() <= FILE_BYTES_MAX => {
                    fs::read(entry.path()).ok().and_then(|bytes| String::from_utf8(bytes).ok())
                }
                _ => None,
            };
            match text {
                Some(text) => _ = self.files.insert(path, text),
                None => self.others.push(path),
            }
        }
        Ok(())
    }

    /// The contents of one file.
    pub(crate) fn file(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether a file or folder of that path is there.
    pub(crate) fn holds(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.is_empty()
            || self.files.contains_key(path)
            || self.others.iter().any(|other| other == path)
    }

    /// Files whose name ends in `suffix`.
    pub(crate) fn ending<'a>(
        &'a self,
        suffix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.files
            .iter()
            .filter(move |(path, _)| path.ends_with(suffix))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

/// The few forms of `.gitignore` that ours uses: `/path` from the root and `name/` anywhere.
struct Ignored {
    paths: Vec<String>,
    names: Vec<String>,
}

impl Ignored {
    fn parse(text: &str) -> Self {
        let lines = || text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        Self {
            paths: lines().filter_map(|l| l.strip_prefix('/')).map(trimmed).collect(),
            names: lines().filter(|l| !l.starts_with('/')).map(trimmed).collect(),
        }
    }

    fn covers(&self, path: &str, name: &str) -> bool {
        self.paths.iter().any(|p| p == path) || self.names.iter().any(|n| n == name)
    }
}

fn trimmed(line: &str) -> String {
    line.trim_end_matches('/').to_owned()
}

/// All dependencies with their licences.
fn cargo_metadata(root: &Path) -> Result<serde_json::Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = std::process::Command::new(cargo)
        .args(["metadata", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    anyhow::ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("cargo metadata gave no JSON")
}

#[cfg(test)]
impl Repository {
    /// A repository made of samples, for the rules' own tests.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect();
        Self { files, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_not_looked_at() {
        let ignored = Ignored::parse("# built\n/target\n__pycache__/\n");
        for (path, name, covered) in [
            ("target", "target", true),
            ("docs/target", "target", false),
            ("loadtest/__pycache__", "__pycache__", true),
            ("src", "src", false),
        ] {
            assert_eq!(ignored.covers(path, name), covered, "{path}");
        }
    }
}
