//! Links in Markdown: what they point at within the repository exists, headings included.

use anyhow::Result;

use crate::repository::{Finding, Repository};

/// Every relative link leads to a file, and to a heading of it where one is named.
pub(super) fn resolve(repository: &Repository) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (path, text) in repository.ending(".md") {
        for (line, target) in targets(text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let destination = if file.is_empty() { path.to_owned() } else { join(path, file) };
            if !repository.holds(&destination) {
                findings.push(Finding::new(path, line, format!("`{target}` leads nowhere")));
            } else if !heading.is_empty()
                && let Some(there) = repository.file(&destination)
                && destination.ends_with(".md")
                && !headings(there).iter().any(|known| known == heading)
            {
                findings.push(Finding::new(path, line, format!("`{target}`: no such heading")));
            }
        }
    }
    Ok(findings)
}

/// Line numbers and targets of the inline links outside code.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (index, line) in prose(text) {
        // Between backquotes stands code: every other piece.
        for piece in line.split('`').step_by(2) {
            for rest in piece.split("](").skip(1) {
                found.extend(rest.split([')', ' ']).next().map(|target| (index + 1, target)));
            }
        }
        // A link's text may itself be code: [`name`](target).
        for rest in line.split("`](").skip(1) {
            found.extend(rest.split([')', ' ']).next().map(|target| (index + 1, target)));
        }
    }
    found.dedup();
    found
}

/// The lines that are not in a fenced block.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The anchors that a page's headings get: lower case, spaces to hyphens, punctuation dropped.
fn headings(text: &str) -> Vec<String> {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// The path that `relative` means in the file `from`.
fn join(from: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::check_rule;
    use super::*;

    #[test]
    fn a_link_to_nowhere_is_found() {
        let page = "# Title\n[a](docs/b.md) [c](docs/none.md)\n[`d`](gone.md)\n`[e](code.md)`\n\
                    ```\n[f](fenced.md)\n```\n[g](https://example.org/x) [h](docs/b.md#two-words)\n\
                    [i](docs/b.md#three) [j](#title) [k](#other)\n";
        check_rule(
            resolve,
            &[("README.md", page), ("docs/b.md", "# B\n## Two words!\n[up](../README.md)\n")],
            &[("README.md", 2), ("README.md", 3), ("README.md", 9), ("README.md", 9)],
        );
    }
}
