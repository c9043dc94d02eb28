//! Few file descriptors: connections leave the store its own, and a server without any free goes on.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::Ordering::Relaxed;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::client::Clients;
use crate::http::{BODY, get, post};
use crate::needs::until;
use crate::process::{Folder, Server};

const FEW: &str = "ulimit -n 200 && exec \"$0\" \"$@\"";

#[test]
fn repro_connections_leave_the_journal_its_files() {
    let folder = Folder::new();
    let small = ["--segment-size", "32KiB", "--pending-max", "4KiB", "--disk-reserve", "16MiB"];
    let patient = ["--cores", "1", "--header-timeout", "10min"];
    let words = [&small[..], &patient].concat();
    let started = Server::start_under(&["sh", "-c", FEW], &folder.data(), &folder.log(), &words);
    let server = started.expect("it starts");
    let clients = Clients::start(server.address, 1, "100");
    clients.wait_for(1);
    let held: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).expect("the kernel takes it");
            stream.write_all(b"GET /docs HT").expect("the kernel takes it");
            stream
        })
        .collect();
    until("some are refused", || server.figure("inhale_connections_refused_total") > 0);
    // Half of the descriptors, and the operator who asks.
    until("the refused have left", || server.figure("inhale_connections_open") == 101);
    // Many times what a journal file holds.
    clients.wait_for(3000);
    assert!(server.figure("inhale_journal_segments") > 3);
    assert_eq!(clients.stop().failed.load(Relaxed), 0);
    drop(held);
    server.stop();
    let log = std::fs::read_to_string(folder.log()).expect("there is a log");
    assert!(log.contains("--connections-max") && log.contains("ulimit -n"), "{log}");
}

#[test]
fn repro_a_successor_that_cannot_be_let_in_ends_nobody() {
    let folder = Folder::new();
    let server = folder.serve(&["--cores", "1"]);
    // Each of its threads has what it needs.
    get(server.address, "/docs").expect(200);
    get(server.admin, "/readyz").expect(200);
    let process = i32::try_from(server.id()).ok().and_then(Pid::from_raw);
    let limit = |limit| prlimit(process, Resource::Nofile, limit).expect("it is our child");
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = limit(Rlimit { current: Some(3), maximum });
    std::thread::scope(|scope| {
        let next = scope.spawn(|| folder.serve(&["--takeover"]));
        until("the successor has come", || {
            let log = std::fs::read_to_string(folder.log()).expect("there is a log");
            log.contains("a successor could not be let in")
        });
        limit(before);
        let next = next.join().expect("it takes over once it is let in");
        assert!(server.wait().success());
        post(next.address, BODY).expect(201);
        next.stop();
    });
}
