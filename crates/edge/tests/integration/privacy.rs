//! What the log says of requests, and what it never says. Runs in processes of its own, whose
//! standard error is the log.

use std::process::Command;
use std::sync::Arc;

use edge::{Access, LogPolicy};

use crate::harness::Site;
use crate::raw::Raw;

const CHILD: &str = "EDGE_TEST_LOGGING";
const CANARY: &str = "Canary-d41d8cd98f";

/// Has `test` run again in a process of its own, and gives back what it logged. `None` in that process.
fn log_of(test: &str, mode: &str) -> Option<Vec<String>> {
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let child = Command::new(std::env::current_exe().expect("this test has a file"))
        .args(["--exact", test])
        .env(CHILD, mode)
        .output()
        .expect("it runs");
    let log = String::from_utf8_lossy(&child.stderr).into_owned();
    assert!(child.status.success(), "{}{log}", String::from_utf8_lossy(&child.stdout));
    Some(log.lines().map(str::to_owned).collect())
}

/// Sends the canary in every part of a request that a sender can fill.
fn send_canaries(site: &Site) {
    let head =
        format!("HTTP/1.1\r\nHost: {CANARY}\r\nCookie: {CANARY}\r\nX-Request-Id: id-1234\r\n");
    let body = format!("Content-Length: {}\r\n\r\n{CANARY}", CANARY.len());
    for line in ["GET /ok?a=", "GET /", "POST /panic?", "POST /refuse?", "POST /read?", "PATCH /"] {
        let mut client = Raw::connect(site.address);
        client.send(format!("{line}{CANARY} {head}{body}"));
        client.answer();
    }
    for refused in [
        format!("Host: not-{CANARY}\r\n"),
        format!("Host: {CANARY}\r\nOrigin: http://not-{CANARY}\r\n"),
    ] {
        let mut client = Raw::connect(site.address);
        client.send(format!("GET /ok HTTP/1.1\r\n{refused}\r\n"));
        client.answer();
    }
    for broken in ["G@T /", "GET /ok HTTP/1.1\r\nX ", "POST /read HTTP/1.1\r\nContent-Length: "] {
        let mut client = Raw::connect(site.address);
        client.send(format!("{broken}{CANARY}\r\n\r\n"));
        client.answers_to_the_end();
    }
}

#[test]
fn the_log_holds_nothing_that_was_sent() {
    let Some(log) = log_of("privacy::the_log_holds_nothing_that_was_sent", "send") else {
        let writer = telemetry::logs::start(
            tracing::level_filters::LevelFilter::TRACE,
            telemetry::logs::Format::Json,
        );
        let site = Site::with(|config| {
            config.log = LogPolicy { sample: 1, ..config.log };
            let hosts = vec![CANARY.parse().expect("a host")];
            config.access = Arc::new(Access { hosts, ..Access::default() });
        });
        send_canaries(&site);
        drop(site);
        drop(writer);
        return;
    };
    let requests: Vec<_> =
        log.iter().filter(|line| line.contains(r#""message":"request""#)).collect();
    assert_eq!(requests.len(), 8, "one line for each request that was one: {log:#?}");
    for line in &log {
        assert!(line.starts_with('{') && line.ends_with('}'), "no JSON object: {line}");
        assert!(!line.contains(CANARY), "{line}");
        assert!(!line.contains("127.0.0.1"), "{line}");
        assert!(!line.contains("asked to"), "a panic's message: {line}");
    }
    let has = |parts: &[&str]| {
        let found = log.iter().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "no line with {parts:?} in {log:#?}");
    };
    has(&[r#""message":"panic""#, "harness.rs"]);
    has(&[r#""status":500"#, r#""problem":"internal""#, r#""level":"ERROR""#, "id-1234"]);
    has(&[r#""status":404"#, r#""problem":"not-found""#, r#""route":"other""#]);
    has(&[r#""status":421"#, r#""problem":"misdirected-request""#]);
    has(&[r#""status":403"#, r#""problem":"cross-origin""#]);
    has(&[r#""status":413"#, r#""problem":"too-large""#]);
    has(&[r#""status":201"#, r#""method":"POST""#, r#""duration_ms":"#, r#""level":"INFO""#]);
}

/// The control: what is logged is seen, so the test above would see a canary.
#[test]
fn a_canary_that_is_logged_is_found() {
    let Some(log) = log_of("privacy::a_canary_that_is_logged_is_found", "leak") else {
        let writer = telemetry::logs::start(
            tracing::level_filters::LevelFilter::INFO,
            telemetry::logs::Format::Json,
        );
        tracing::info!(patient = CANARY, "leaked");
        drop(writer);
        return;
    };
    assert!(log.iter().any(|line| line.contains(CANARY)), "{log:#?}");
}
