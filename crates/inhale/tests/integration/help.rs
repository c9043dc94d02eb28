//! What `--help` says, word by word, so that every change of it is seen by whoever reviews.
//! `INHALE_BLESS=1 cargo test -p inhale help` writes what it says now.

use std::path::{Path, PathBuf};

use crate::program::run;

const COMMANDS: [(&str, &[&str]); 13] = [
    ("inhale", &[]),
    ("serve", &["serve"]),
    ("config", &["config"]),
    ("prove", &["prove"]),
    ("load", &["load"]),
    ("load-verify", &["load", "verify"]),
    ("load-agent", &["load", "agent"]),
    ("doctor", &["doctor"]),
    ("journal", &["journal"]),
    ("journal-check", &["journal", "check"]),
    ("journal-repair", &["journal", "repair"]),
    ("journal-discard", &["journal", "discard"]),
    ("journal-rebuild", &["journal", "rebuild"]),
];

fn help_of(words: &[&str]) -> String {
    let output = run(&[words, &["--help"]].concat(), &[]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it is text")
}

fn snapshot(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(format!("{name}.txt"))
}

/// The first line that differs, if any does.
fn difference<'a>(stored: &'a str, said: &'a str) -> Option<(usize, &'a str, &'a str)> {
    let count = stored.lines().count().max(said.lines().count());
    let line = |text: &'a str, at: usize| text.lines().nth(at).unwrap_or("(nothing)");
    (0..count)
        .map(|at| (at + 1, line(stored, at), line(said, at)))
        .find(|(_, stored, said)| stored != said)
}

/// Flags and subcommands of which nothing is said.
fn unexplained(help: &str) -> Vec<&str> {
    let lines: Vec<_> = help.lines().collect();
    let depth = |line: &str| line.len() - line.trim_start().len();
    // Examples too have words with a dash, but stand elsewhere.
    let is_flag = |line: &&str| [2, 6].contains(&depth(line)) && line.trim_start().starts_with('-');
    let explained = |at: usize| {
        lines[at].trim_start().contains("  ")
            || lines.get(at + 1).is_some_and(|next| {
                !next.trim().is_empty() && depth(next) > depth(lines[at]) && !is_flag(next)
            })
    };
    let flags = (0..lines.len()).filter(|&at| is_flag(&lines[at]));
    flags.filter(|&at| !explained(at)).map(|at| lines[at]).collect()
}

#[test]
fn help_says_what_is_stored() {
    for (name, words) in COMMANDS {
        let (path, said) = (snapshot(name), help_of(words));
        if std::env::var_os("INHALE_BLESS").is_some() {
            std::fs::write(&path, &said).expect("the snapshot can be written");
        }
        let stored = std::fs::read_to_string(&path).expect("it is stored");
        let differs = difference(&stored, &said);
        assert_eq!(
            differs, None,
            "{name} (line, stored, said); INHALE_BLESS=1 stores what it says"
        );
        assert_eq!(unexplained(&said), Vec::<&str>::new(), "{name}");
    }
}

#[test]
fn every_subcommand_is_stored() {
    for (name, words) in COMMANDS {
        let help = help_of(words);
        let Some((_, list)) = help.split_once("\nCommands:\n") else { continue };
        let list = list.lines().take_while(|line| !line.is_empty());
        // Indented further are only lines that go on.
        let list = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        for subcommand in list.filter_map(|line| line.split_whitespace().next()) {
            let known = |(_, known): &(&str, &[&str])| **known == [words, &[subcommand]].concat();
            assert!(subcommand == "help" || COMMANDS.iter().any(known), "{name} {subcommand}");
        }
    }
}

/// The control: a changed line and a flag without a word are seen.
#[test]
fn a_change_is_noticed() {
    let said = help_of(&["serve"]);
    assert_eq!(difference(&said, &said), None);
    assert!(difference(&said.replacen("127.0.0.1", "0.0.0.0", 1), &said).is_some());
    assert!(difference(&format!("{said}more\n"), &said).is_some());
    assert_eq!(unexplained("Options:\n      --one <N>\n      --two  Says"), ["      --one <N>"]);
    assert_eq!(unexplained("Options:\n  -o, --one <N>\n          Says\n"), Vec::<&str>::new());
}

#[test]
fn the_version_is_that_of_the_manifest() {
    let expected = format!("inhale {}\n", env!("CARGO_PKG_VERSION"));
    for flag in ["--version", "-V"] {
        let output = run(&[flag], &[]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
}
