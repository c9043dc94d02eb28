//! `inhale load` as somebody runs it, against a real server: what it writes, how it ends, and several
//! machines. The load is of users who wait for their answers: arrivals at a rate may be late where
//! somebody else uses this machine, and the run is INVALID then.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use load::outcome::exit;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::needs::until;
use crate::process::{Folder, PROGRAM, Server};
use crate::program::run;

const ACCEPTED: &str = "inhale_usages_accepted_total";
const SECRET: (&str, &str) = ("INHALE_LOAD_SECRET", "a secret of this test alone");

/// The words that load `server`, and these.
fn words(server: &Server, more: &[&str]) -> Vec<String> {
    let url = format!("http://{}/api/usages", server.address);
    let metrics = format!("http://{}/metrics", server.admin);
    let first = ["load", &url, "--metrics-url", &metrics, "--quiet", "--threads", "1"];
    first.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

fn load(server: &Server, more: &[&str]) -> Output {
    let words = words(server, more);
    run(&words.iter().map(String::as_str).collect::<Vec<_>>(), &[])
}

/// What it printed. Fails unless it ended so.
#[track_caller]
fn printed(output: Output, code: u8) -> String {
    assert_eq!(output.status.code(), Some(code.into()), "{output:?}");
    String::from_utf8(output.stdout).expect("it is text")
}

fn started(words: &[String]) -> Child {
    Command::new(PROGRAM)
        .args(words)
        .env_clear()
        .env(SECRET.0, SECRET.1)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// What a child said and how it ended, once it has.
fn ended(mut child: Child) -> Output {
    until("the load ends", || child.try_wait().expect("it is our child").is_some());
    child.wait_with_output().expect("its streams can be read")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("it was written")
}

#[test]
fn a_run_is_told_in_every_form() {
    let (folder, notes) = (Folder::new(), tempfile::tempdir().expect("a folder can be made"));
    let server = folder.serve(&[]);
    let path = |name: &str| notes.path().join(name);
    let flag = |name: &str| path(name).to_str().expect("it is text").to_owned();
    let (html, summary, receipts) = (flag("r.html"), flag("s.json"), flag("ids"));
    let (json, csv) = (format!("json={}", flag("p.json")), format!("csv={}", flag("p.csv")));
    let output = load(
        &server,
        &[
            "-u",
            "2",
            "-i",
            "400",
            "--html",
            &html,
            "--summary-export",
            &summary,
            "--receipts",
            &receipts,
            "--out",
            &json,
            "--out",
            &csv,
            "-t",
            "check_failure_rate: rate<0.01",
            "-H",
            "X-Of-Nobody: secret-7321",
        ],
    );
    let said = printed(output, exit::PASSED);
    assert_eq!(server.figure(ACCEPTED), 400);
    for part in ["✓ 'rate<0.01'", "checks_succeeded...: 100.00% 400 out of 400", "counted=400"] {
        assert!(said.contains(part), "nothing of {part:?} in {said}");
    }
    let summary: Value = serde_json::from_str(&text(&path("s.json"))).expect("it is JSON");
    assert_eq!(summary.pointer("/metrics/http_reqs/count"), Some(&400.into()));
    assert_eq!(text(&path("ids")).lines().count(), 400);
    assert!(text(&path("r.html")).contains("<svg"), "a page has plots");
    assert!(text(&path("p.csv")).lines().count() > 1, "and a table has rows");
    for line in text(&path("p.json")).lines() {
        serde_json::from_str::<Value>(line).expect("each line is JSON");
    }
    for told in ["r.html", "s.json"] {
        assert!(!text(&path(told)).contains("secret-7321"), "{told} tells what a header holds");
    }

    // The record of an earlier run is not written over, and nothing is sent.
    let output = load(&server, &["-u", "2", "-i", "400", "--receipts", &receipts]);
    assert_eq!(output.status.code(), Some(exit::CONFIGURATION.into()), "{output:?}");
    assert_eq!(server.figure(ACCEPTED), 400);
    server.stop();
}

#[test]
fn a_threshold_that_does_not_hold_is_an_exit_code() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let output = load(&server, &["-u", "2", "-i", "200", "-t", "http_req_duration: max<0.001ms"]);
    let said = printed(output, exit::THRESHOLDS);
    assert!(said.contains("✗ 'max<0.001ms'"), "{said}");
    let output = load(&server, &["-u", "2", "-i", "50", "--check", "status is 200"]);
    // Not one request met its check.
    let said = printed(output, exit::THRESHOLDS);
    assert!(said.contains("✗ status is 200"), "{said}");
    assert_eq!(server.figure(ACCEPTED), 250, "both sent all that was asked of them");
    server.stop();
}

/// Threads without a request ran for next to no time, of which what they took to begin was a thousandfold.
#[test]
fn repro_more_threads_than_requests_are_no_overload() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    for _ in 0..5 {
        let url = format!("http://{}/api/usages", server.address);
        let words = ["load", &url, "--quiet", "--metrics-url", "none", "-i", "1", "--threads", "4"];
        let said = printed(run(&words, &[]), exit::PASSED);
        assert!(said.contains("1 out of 1"), "{said}");
    }
    server.stop();
}

#[test]
fn repro_what_cannot_be_written_is_an_exit_code() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let few = ["-u", "1", "-i", "5"];
    for (flag, value) in [
        ("-o", "json=/dev/full"),
        ("-o", "csv=/dev/full"),
        ("--html", "/dev/full"),
        ("--summary-export", "/dev/full"),
    ] {
        let output = load(&server, &[&few[..], &[flag, value]].concat());
        assert_eq!(output.status.code(), Some(exit::NOT_WRITTEN.into()), "{output:?}");
        let said = String::from_utf8(output.stderr).expect("it is text");
        assert!(said.contains("/dev/full") && said.contains("No space left"), "{flag}: {said}");
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
    let words = words(&server, &few);
    let child = Command::new(PROGRAM).args(&words).stdout(full).stderr(Stdio::piped()).spawn();
    let output = ended(child.expect("it starts"));
    let said = String::from_utf8(output.stderr).expect("it is text");
    assert_eq!(output.status.code(), Some(exit::NOT_WRITTEN.into()), "{said}");
    assert!(said.contains("standard output"), "{said}");
    assert_eq!(server.figure(ACCEPTED), 25, "all of them ran");
    printed(
        load(&server, &[&few[..], &["--html", "/dev/null", "-o", "csv=/dev/null"]].concat()),
        0,
    );
    server.stop();
}

#[test]
fn repro_two_outputs_of_one_file_are_refused() {
    let notes = tempfile::tempdir().expect("a folder can be made");
    let folder = notes.path().to_str().expect("it is text");
    std::fs::create_dir(notes.path().join("inner")).expect("a folder can be made");
    let [file, same] = ["figures", "inner/../figures"].map(|name| format!("{folder}/{name}"));
    let points = format!("csv={file}");
    for (first, path, second, other) in [
        ("--summary-export", &file, "-o", &points),
        ("--summary-export", &file, "--receipts", &same),
        ("--html", &same, "--summary-export", &file),
    ] {
        let url = "http://127.0.0.1:1/api/usages";
        let output = run(&["load", url, "--quiet", first, path, second, other], &[]);
        let said = String::from_utf8(output.stderr).expect("it is text");
        assert_eq!(output.status.code(), Some(exit::CONFIGURATION.into()), "{said}");
        assert!(said.contains(&format!("{first} writes there")), "{said}");
    }
}

/// It was looked up again and again.
#[test]
fn repro_an_agent_of_no_address_is_refused() {
    for join in ["foo", "foo:", ":x", "foo:99999"] {
        let output = run(&["load", "agent", "--join", join], &[SECRET]);
        let said = String::from_utf8(output.stderr).expect("it is text");
        assert_eq!(output.status.code(), Some(exit::CONFIGURATION.into()), "{said}");
        assert!(said.contains("--join") && said.contains("HOST:PORT"), "{said}");
    }
}

#[test]
fn nobody_there_is_told_before_anything_is_sent() {
    let notes = tempfile::tempdir().expect("a folder can be made");
    let path = |name: &str| notes.path().join(name).to_str().expect("it is text").to_owned();
    let (html, receipts) = (path("r.html"), path("ids"));
    let url = "http://127.0.0.1:1/api/usages";
    let output = run(&["load", url, "--quiet", "--html", &html, "--receipts", &receipts], &[]);
    assert_eq!(output.status.code(), Some(exit::CONFIGURATION.into()));
    let left = std::fs::read_dir(notes.path()).expect("it is there").count();
    assert_eq!(left, 0, "what was not sent leaves no files that the next run stumbles over");
    let said = String::from_utf8(output.stderr).expect("it is text");
    assert!(said.contains("Nobody listens on 127.0.0.1:1"), "{said}");
}

#[test]
fn an_interrupted_run_still_accounts_for_every_201() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let child = started(&words(&server, &["-u", "2", "-d", "60s", "--json"]));
    until("some usages are stored", || server.figure(ACCEPTED) > 20);
    kill_process(Pid::from_child(&child), Signal::INT).expect("it has not been waited for");
    let said = printed(ended(child), exit::INTERRUPTED);
    let told: Value = serde_json::from_str(&said).expect("it is JSON");
    assert_eq!(told.pointer("/inhale/reconciliation/agrees"), Some(&true.into()), "{told}");
    let sent = told.pointer("/metrics/http_reqs/count").and_then(Value::as_u64);
    assert_eq!(sent, Some(server.figure(ACCEPTED)));
    server.stop();
}

#[test]
fn agents_share_a_run_to_the_last_request() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = port.local_addr().expect("it is bound").to_string();
    drop(port);
    let more = ["-u", "4", "-i", "601", "--json", "--agents", "2", "--agents-listen", &address];
    let coordinator = started(&words(&server, &more));
    let agent = || started(&["load", "agent", "--join", &address].map(str::to_owned));
    let agents = [agent(), agent()];
    let output = ended(coordinator);
    for agent in agents {
        printed(ended(agent), exit::PASSED);
    }
    let said = printed(output, exit::PASSED);
    assert_eq!(server.figure(ACCEPTED), 601, "{said}");
    server.stop();
}
