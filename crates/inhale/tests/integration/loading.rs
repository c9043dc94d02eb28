//! `inhale load` before the first request: what it would do, and what it refuses.

use std::process::Output;

use crate::program::run;

const URL: &str = "http://127.0.0.1:9/api/usages";

/// What `--plan` says.
#[track_caller]
fn plan(words: &[&str]) -> String {
    let output = run(&[&["load", "--plan"], words].concat(), &[]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it is text")
}

/// Fails unless it was refused with the code for that, on these lines.
#[track_caller]
fn expect_refused(words: &[&str], named: &[&str]) -> Output {
    let output = run(&[&["load"], words].concat(), &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(104), "{output:?}");
    for name in named {
        assert!(said.lines().any(|line| line.contains(name)), "nothing of {name:?} in {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    output
}

#[test]
fn a_url_alone_makes_a_plan() {
    let said = plan(&[URL]);
    for part in [
        "POST to http://127.0.0.1:9 (127.0.0.1:9)",
        "1000 requests in 10s",
        "status is 201",
        "POST /api/usages HTTP/1.1",
        "\"patientId\":\"load-100\"",
        "note: without --rate, 100 requests a second",
    ] {
        assert!(said.contains(part), "nothing of {part:?} in {said}");
    }
}

#[test]
fn flags_stand_over_the_file() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("run.toml");
    let text = "url = \"http://127.0.0.1:9/\"\nseed = 3\n\
                [scenarios.day]\nrate = 100\nduration = \"4s\"\n[scenarios.users]\nvus = 2\n";
    std::fs::write(&file, text).expect("it has room");
    let file = file.to_str().expect("it is text");
    let said = plan(&["-f", file]);
    for part in ["scenario day", "400 requests in 4s", "users: 2 for 10s", "seed 3"] {
        assert!(said.contains(part), "nothing of {part:?} in {said}");
    }
    let said = plan(&["-f", file, "-d", "3s", "--rate", "10", "--seed", "4", URL]);
    assert_eq!(said.matches("30 requests in 3s").count(), 2, "{said}");
    assert_eq!(said.matches("POST /api/usages HTTP/1.1").count(), 2, "{said}");
    assert!(said.contains("seed 4"), "{said}");
}

#[test]
fn what_is_wrong_is_refused_with_its_flag() {
    expect_refused(&[], &["URL: there is none"]);
    expect_refused(&["localhost:3000"], &["URL: `localhost:3000` is no URL"]);
    expect_refused(
        &[URL, "--rate", "x", "--check", "y", "--threshold", "z", "-H", "w"],
        &["--rate: `x`", "--check: `y`", "--threshold: `z`", "--header: `w`"],
    );
    expect_refused(&[URL, "--tag", "x"], &["--tag: `x` is not NAME=VALUE"]);
    expect_refused(&[URL, "--rat", "1"], &["unexpected argument '--rat'", "similar argument"]);
    expect_refused(&["-f", "/nowhere.toml"], &["--file: cannot read /nowhere.toml"]);
    let refused = expect_refused(&["http://user:hunter2@127.0.0.1/"], &["URL: "]);
    assert!(!String::from_utf8_lossy(&refused.stderr).contains("hunter2"), "{refused:?}");
}
