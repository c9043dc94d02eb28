//! `inhale doctor` on the machine at hand: what it finds, and that its commands fix.

use std::process::{Command, Output};

use serde_json::Value;

use crate::process::PROGRAM;
use crate::program::{expect_refused, run};

/// Runs it after `setup`, for so few connections and so low a rate that little is asked of the machine.
fn doctor_after(setup: &str) -> (Option<i32>, Vec<Value>) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let script =
        format!("{setup}\nexec \"$0\" doctor --json --connections 200 --rate 1/s --data \"$1\"");
    let output: Output = Command::new("sh")
        .args(["-c", &script, PROGRAM])
        .arg(folder.path().join("data"))
        .output()
        .expect("it runs");
    let said: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no JSON ({error}): {output:?}"));
    (output.status.code(), said["findings"].as_array().expect("a list").clone())
}

fn finding<'a>(findings: &'a [Value], what: &str) -> &'a Value {
    let found = findings.iter().find(|finding| finding["what"] == what);
    found.unwrap_or_else(|| panic!("no {what} in {findings:?}"))
}

/// Everything is looked at, everything that is short has a command, and the exit code says whether
/// anything is too short.
#[track_caller]
fn check_whole(code: Option<i32>, findings: &[Value]) {
    for what in [
        "file descriptors",
        "listen backlog",
        "port range",
        "disk sync",
        "file system",
        "free space",
        "clock",
    ] {
        finding(findings, what);
    }
    for finding in findings {
        let verdict = finding["verdict"].as_str().expect("it has one");
        assert!(["good", "warn", "bad"].contains(&verdict), "{finding}");
        assert!(finding["found"].as_str().is_some_and(|found| !found.is_empty()), "{finding}");
        if verdict != "good" {
            assert!(finding["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{finding}");
            assert!(finding["wanted"].as_str().is_some_and(|why| !why.is_empty()), "{finding}");
        }
    }
    let bad = findings.iter().any(|finding| finding["verdict"] == "bad");
    assert_eq!(code, Some(i32::from(bad)), "{findings:?}");
}

#[test]
fn a_lowered_limit_is_found_and_its_command_fixes_it() {
    let (code, findings) = doctor_after("ulimit -n 190");
    check_whole(code, &findings);
    let found = finding(&findings, "file descriptors");
    assert_eq!(found["verdict"], "bad");
    let fix = found["fix"].as_str().expect("it has one");
    assert!(fix.starts_with("ulimit -n 1700 "), "{fix}");
    assert_eq!(code, Some(1));
    // The control: what that very command sets is enough.
    let (code, findings) = doctor_after(fix);
    check_whole(code, &findings);
    assert_eq!(finding(&findings, "file descriptors")["verdict"], "good");
    // In between the server serves, if fewer.
    let (code, findings) = doctor_after("ulimit -n 1699");
    check_whole(code, &findings);
    assert_eq!(finding(&findings, "file descriptors")["verdict"], "warn");
}

#[test]
fn repro_a_limit_that_the_server_raises_itself_is_no_shortage() {
    let (code, findings) = doctor_after("ulimit -Sn 256");
    check_whole(code, &findings);
    assert_eq!(finding(&findings, "file descriptors")["verdict"], "good");
}

#[test]
fn what_cannot_be_looked_at_is_an_error() {
    expect_refused(&run(&["doctor", "--rate", "fast"], &[]), &["--rate", "fast"]);
    expect_refused(&run(&["doctor", "--data", "/proc/none"], &[]), &["--data", "/proc"]);
}
