//! Receipts held against a server of the test's own.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;
use crate::clock::now_ns;

/// What a request to `/slow/…` takes.
const SLOW: Duration = Duration::from_millis(300);

fn options() -> VerifyOptions {
    VerifyOptions { connections: 3, patience: Duration::from_secs(20), ..VerifyOptions::default() }
}

fn id(number: usize) -> String {
    format!("0193591e-0000-7000-8000-{number:012}")
}

fn file(ids: impl Iterator<Item = String>, rest: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    for id in ids {
        writeln!(file, "{id}").expect("it has room");
    }
    write!(file, "{rest}").expect("it has room");
    file
}

/// A server that has these ids, answers the first `busy` requests with 503, and others with 404.
fn server(ids: impl Iterator<Item = String>, busy: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/api/usages", listener.local_addr().expect("it is bound"));
    let ids: Arc<HashSet<String>> = Arc::new(ids.collect());
    let requests = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (ids, requests) = (Arc::clone(&ids), Arc::clone(&requests));
            std::thread::spawn(move || {
                let _ = serve(&stream, &ids, busy, &requests);
            });
        }
    });
    url
}

fn serve(
    mut stream: &TcpStream,
    ids: &HashSet<String>,
    busy: usize,
    requests: &AtomicUsize,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line)?;
        }
        let path = first.split(' ').nth(1).unwrap_or_default();
        let id = path.strip_prefix("/api/usages/").unwrap_or_default();
        let (status, body) = match requests.fetch_add(1, Relaxed) < busy {
            true if path.starts_with("/slow/") => {
                std::thread::sleep(SLOW);
                (503, String::new())
            }
            true => (503, String::new()),
            false if path.starts_with("/else/") => (200, "<html>".to_owned()),
            false if path.starts_with("/closed/") => (403, String::new()),
            false if path.starts_with("/slow/") => {
                std::thread::sleep(SLOW);
                (200, format!(r#"{{"id":"{id}"}}"#))
            }
            false if ids.contains(id) => (200, format!(r#"{{"id":"{id}"}}"#)),
            false => (404, String::new()),
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes())?;
    }
}

fn verified(file: &tempfile::NamedTempFile, url: &str) -> Result<Verified, VerifyError> {
    verify(file.path(), url, &options(), &mut |_| {})
}

#[test]
fn all_are_found() {
    let all = || (0..1_000).map(id);
    let mut seen = Vec::new();
    let found =
        verify(file(all(), "").path(), &server(all(), 0), &options(), &mut |at| seen.push(at));
    let found = found.expect("it can be asked");
    assert_eq!(found.lines(), ["1000 acknowledged, 1000 found, 0 lost"]);
    assert_eq!(found.exit_code(), 0);
    assert_eq!(seen, [Progress { asked: 1_000, bytes: 37_000, bytes_total: 37_000 }]);
}

#[test]
fn what_is_missing_is_listed_in_order_and_fails() {
    let url = server((0..1_000).filter(|n| n % 50 != 7).map(id), 0);
    let found = verified(&file((0..1_000).map(id), ""), &url).expect("it can be asked");
    let lines = found.lines();
    assert_eq!(lines.last().expect("a line"), "1000 acknowledged, 980 found, 20 lost");
    assert_eq!(lines[0], format!("lost: {} (line 8)", id(7)));
    assert_eq!(lines[9], format!("lost: {} (line 458)", id(457)));
    assert_eq!(lines[10], "and 10 more");
    assert_eq!(found.exit_code(), exit::UNRECONCILED);
}

#[test]
fn a_torn_last_line_is_told_of() {
    let url = server((0..3).map(id), 0);
    let found = verified(&file((0..3).map(id), "0193591e-00"), &url).expect("it can be asked");
    assert_eq!(found.torn, Some(4));
    assert!(found.lines()[0].starts_with("line 4 was cut off"), "{found:?}");
    assert_eq!(found.exit_code(), 0);
    // Whole but for its end of line, it counts.
    let found = verified(&file((0..2).map(id), &id(2)), &url).expect("it can be asked");
    assert_eq!((found.acknowledged, found.torn), (3, None));
}

#[test]
fn a_server_that_is_not_ready_is_asked_again() {
    let url = server((0..10).map(id), 5);
    let found = verified(&file((0..10).map(id), ""), &url).expect("it can be asked");
    assert_eq!(found.lost(), 0, "{found:?}");
}

#[test]
fn repro_asking_for_many_spends_no_patience() {
    let url = server(std::iter::empty(), 1).replace("/api/usages", "/slow");
    let options = VerifyOptions { patience: SLOW / 2, ..options() };
    let found = verify(file((0..3).map(id), "").path(), &url, &options, &mut |_| {});
    assert_eq!(found.expect("one 503 is no end").lost(), 0);
}

#[test]
fn repro_more_may_be_missing_when_they_are_listed() {
    let first_lost = (1..=3).map(|line| (line, id(0))).collect();
    let found = Verified { acknowledged: 10, found: 9, first_lost, torn: None };
    assert_eq!(found.lines().len(), 4, "{found:?}");
    assert_eq!(found.exit_code(), exit::UNRECONCILED);
}

#[test]
fn a_server_that_is_not_there_is_no_loss() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", gone.local_addr().expect("it is bound"));
    drop(gone);
    let options = VerifyOptions { patience: Duration::ZERO, ..options() };
    let begun_ns = now_ns();
    let found = verify(file((0..10_000).map(id), "").path(), &url, &options, &mut |_| {});
    let error = found.expect_err("nobody listens").to_string();
    assert!(error.contains("cannot be asked: connection refused"), "{error}");
    let took_ns = now_ns() - begun_ns;
    assert!(took_ns < 5_000_000_000, "{took_ns} ns of no patience");
}

#[test]
fn another_url_is_no_loss() {
    let url = server(std::iter::once("index.html".to_owned()), 0);
    let options = VerifyOptions { patience: Duration::from_secs(3_600), ..options() };
    let check = |url: &str, words: &str| {
        let found = verify(file((0..10).map(id), "").path(), url, &options, &mut |_| {});
        let error = found.expect_err("it is another").to_string();
        assert!(error.contains(words), "{error}");
    };
    // The server answers 200 to `/else/…` with a page, and 403 to `/closed/…`.
    check(&url.replace("/api/usages", "/else"), "no receipts; is it the URL");
    check(&url.replace("/api/usages", "/closed"), "cannot be asked: status 403");
    check("localhost", "http");
}

#[test]
fn repro_where_nothing_is_found_the_url_is_doubted() {
    let check = |server: String, doubted: bool| {
        let found = verified(&file((0..10).map(id), ""), &server).expect("it can be asked");
        assert_eq!(found.exit_code(), exit::UNRECONCILED);
        let lines = found.lines();
        assert_eq!(lines.iter().any(|line| line.contains("is this the URL")), doubted, "{lines:?}");
    };
    check(server(std::iter::empty(), 0), true);
    check(server((0..1).map(id), 0), false);
}

#[test]
fn another_file_is_refused() {
    let other = verified(&file((0..0).map(id), "hello\n"), "http://127.0.0.1:1");
    assert!(matches!(other, Err(VerifyError::NotAnId(1))), "{other:?}");
    let empty = verified(&file((0..0).map(id), ""), "http://127.0.0.1:1");
    assert!(matches!(empty, Err(VerifyError::Empty)), "{empty:?}");
}
