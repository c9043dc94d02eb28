//! Ending and upgrading a server that is in full use.

use std::sync::atomic::Ordering::Relaxed;

use rustix::process::Signal;

use crate::client::Clients;
use crate::http::{BODY, post};
use crate::process::{Folder, Server, usages_stored};

const PATIENT: &str = "Canary-9b74c989";

#[test]
fn upgrades_under_load_fail_no_request_and_lose_nothing() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let mut server = Server::start(&data, &log, &[]);
    let clients = Clients::start(server.address, 8, PATIENT);
    for _ in 0..2 {
        clients.wait_for(300);
        let next = Server::start(&data, &log, &["--takeover"]);
        assert_eq!(next.address, server.address, "the very same sockets");
        assert!(std::mem::replace(&mut server, next).wait().success());
    }
    clients.wait_for(300);
    let counts = clients.stop();
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert_eq!(counts.failed.load(Relaxed), 0);
    assert_eq!(usages_stored(&data), counts.acknowledged.load(Relaxed), "each is stored once");

    let log = std::fs::read_to_string(log).expect("there is a log");
    assert!(log.contains(r#""route":"/api/usages""#), "requests were logged");
    assert!(!log.contains(PATIENT), "and no patient was");
}

#[test]
fn sigterm_under_load_cuts_no_answer_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let server = Server::start(&data, &log, &["--shutdown-delay", "0s"]);
    let clients = Clients::start(server.address, 8, PATIENT);
    clients.wait_for(300);
    server.signal(Signal::TERM);
    let status = server.wait();
    let counts = clients.stop();
    assert!(status.success(), "{status}");
    // Without a successor the last requests find nobody; each that was taken was answered.
    assert_eq!(counts.cut_off.load(Relaxed), 0);
    assert_eq!(usages_stored(&data), counts.acknowledged.load(Relaxed));
}

/// The control: a server that is killed does cut requests off, and the clients notice.
#[test]
fn a_kill_fails_requests_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let server = Server::start(&data, &log, &[]);
    let clients = Clients::start(server.address, 8, PATIENT);
    clients.wait_for(300);
    server.signal(Signal::KILL);
    server.wait();
    let counts = clients.stop();
    assert!(counts.cut_off.load(Relaxed) > 0);
    // The journal is repaired by the next start, before it is counted.
    let server = Server::start(&data, &log, &[]);
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert!(usages_stored(&data) >= counts.acknowledged.load(Relaxed));
}

#[test]
fn a_successor_that_cannot_serve_leaves_the_old_server_serving() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let refused = |settings: &[&str], named: &str| {
        let words = [&["--takeover"], settings].concat();
        let started = Server::start_under(&[], &folder.data(), &folder.log(), &words);
        assert!(started.is_err_and(|status| !status.success()), "{settings:?}");
        let log = std::fs::read_to_string(folder.log()).expect("there is a log");
        assert!(log.contains(named), "{settings:?}: {log}");
        post(server.address, BODY).expect(201);
    };
    refused(&["--tail-max", "1KiB"], "(--tail-max) is");
    refused(&["--segment-size", "1KiB"], "(--segment-size) is");
    refused(&["--cores", "100000"], "--cores");
    refused(&["--store-number", "3"], "--store-number 0");
    // The control: with right settings it does take over.
    let next = Server::start(&folder.data(), &folder.log(), &["--takeover"]);
    assert!(server.wait().success());
    post(next.address, BODY).expect(201);
    next.stop();
}

#[test]
fn a_successor_asks_before_it_serves_strangers() {
    let folder = Folder::new();
    let server = folder.serve(&["--listen", "0.0.0.0:0", "--allow-anonymous"]);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    let words = ["--takeover"];
    let started = Server::start_under(&[], &folder.data(), &folder.log(), &words);
    assert!(started.is_err(), "the sockets it would inherit reach beyond this machine");
    let log = std::fs::read_to_string(folder.log()).expect("there is a log");
    assert!(log.contains("--allow-anonymous"), "{log}");
    post(address, BODY).expect(201);
    let words = ["--takeover", "--allow-anonymous"];
    let next = Server::start(&folder.data(), &folder.log(), &words);
    assert!(server.wait().success());
    post(address, BODY).expect(201);
    next.stop();
}
