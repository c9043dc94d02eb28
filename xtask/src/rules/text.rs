//! Rules about the text of a file: its first line, its length, what must not stand in it.

use anyhow::Result;

use crate::repository::{Finding, Repository};

/// A file is one noun; past this it is several.
const LINES_MAX: usize = 600;

/// Every Rust file opens with what it is for.
pub(super) fn purpose_line(repository: &Repository) -> Result<Vec<Finding>> {
    Ok(repository
        .ending(".rs")
        .filter(|(_, text)| {
            text.lines().next().and_then(|line| line.strip_prefix("//! ")).is_none_or(str::is_empty)
        })
        .map(|(path, _)| Finding::new(path, 1, "the first line is not a `//!` purpose"))
        .collect())
}

/// No Rust file is longer than one noun needs.
pub(super) fn file_length(repository: &Repository) -> Result<Vec<Finding>> {
    Ok(repository
        .ending(".rs")
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| {
            Finding::new(path, 0, format!("{lines} lines, more than {LINES_MAX}: split it"))
        })
        .collect())
}

/// What marks work as unfinished, in code. Spelled in halves, so that this file holds none.
const MARKERS: [&str; 8] = [
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("TO", "DO"),
    concat!("#[ign", "ore"),
    concat!("allow(dead", "_code"),
    concat!("allow(un", "used"),
];

/// Nothing unfinished is left behind.
pub(super) fn leftover_markers(repository: &Repository) -> Result<Vec<Finding>> {
    Ok(find_words(repository.ending(".rs"), &MARKERS, "is a leftover: finish it or explain it"))
}

/// Places that exist on one person's machine or network, and hosts that package clients choose.
const PLACES: [&str; 12] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("../sha", "red"),
    concat!("index.cra", "tes.io"),
    concat!("static.cra", "tes.io"),
    concat!("static.rust", "-lang.org"),
    concat!("pypi", ".org"),
    concat!("pythonho", "sted.org"),
    concat!("registry.npm", "js.org"),
    concat!("deb.deb", "ian.org"),
];

/// Nothing that only holds on the machine where it was written.
pub(super) fn places_of_one_machine(repository: &Repository) -> Result<Vec<Finding>> {
    let written = repository.ending("").filter(|(path, _)| {
        let name = path.rsplit('/').next().unwrap_or(path);
        // Lock files are written by package clients, which record where they asked.
        !matches!(name, "Cargo.lock" | "package-lock.json")
    });
    Ok(find_words(written, &PLACES, "is a place on one machine or network"))
}

fn find_words<'a>(
    files: impl Iterator<Item = (&'a str, &'a str)>,
    words: &[&str],
    why: &str,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in files {
        for (index, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| stands_in(line, word)) {
                findings.push(Finding::new(path, index + 1, format!("`{word}` {why}")));
            }
        }
    }
    findings
}

/// Whether `word` stands in `line` by itself, and not as a part of a longer one of its kind.
fn stands_in(line: &str, word: &str) -> bool {
    let of_letters = word.chars().all(char::is_alphabetic);
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !of_letters || ![before, after].into_iter().flatten().any(char::is_alphabetic)
    })
}

#[cfg(test)]
mod tests {
    use super::super::check_rule;
    use super::*;

    #[test]
    fn a_file_without_a_purpose_is_found() {
        check_rule(
            purpose_line,
            &[
                ("good.rs", "//! Says why.\n"),
                ("bad.rs", "use std::fmt;\n"),
                ("blank.rs", "//! \n"),
                ("empty.rs", ""),
                ("other.md", "# A title\n"),
            ],
            &[("bad.rs", 1), ("blank.rs", 1), ("empty.rs", 1)],
        );
    }

    #[test]
    fn a_long_file_is_found() {
        let at_most = "x\n".repeat(LINES_MAX);
        let longer = "x\n".repeat(LINES_MAX + 1);
        check_rule(file_length, &[("a.rs", &at_most), ("b.rs", &longer)], &[("b.rs", 0)]);
    }

    #[test]
    fn each_marker_is_found() {
        for marker in MARKERS {
            let sample = format!("//! Sample.\nfn f() {{}}\n// {marker}\n");
            check_rule(leftover_markers, &[("a.rs", &sample)], &[("a.rs", 3)]);
        }
    }

    #[test]
    fn part_of_a_longer_word_is_no_marker() {
        let sample = concat!("//! An escape: \\uXX", "XX.\n");
        check_rule(leftover_markers, &[("a.rs", sample)], &[]);
    }

    #[test]
    fn each_place_is_found() {
        for place in PLACES {
            let sample = format!("a\nsee {place} for more\n");
            check_rule(places_of_one_machine, &[("README.md", &sample)], &[("README.md", 2)]);
            check_rule(places_of_one_machine, &[("Cargo.lock", &sample)], &[]);
        }
    }
}
