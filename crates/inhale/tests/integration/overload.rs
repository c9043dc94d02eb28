//! More than the server can take: what is over capacity is refused with 503 and `Retry-After`, before
//! its body is read; what is accepted is kept; nothing queues without bound; and it passes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::acknowledged::{Heard, Posting};
use crate::faults::{injecting, start_under};
use crate::http::{BODY, get, post, read_answer, status_is_listed};
use crate::needs::{lacks, until};
use crate::process::{Folder, Server, usages_stored};

/// Far more than a server of these tests needs, far less than what they send it would take.
const RESIDENT_MIB_MAX: u64 = 256;
const CLIENTS: usize = 16;
const EACH: usize = 150;

/// The bytes that may wait for the disk where `SMALL` says so.
const PENDING_BYTES_MAX: u64 = 4 << 10;

/// A disk of which each sync takes ten milliseconds.
const SLOW_DISK: &str = "delay_enter=10000";

/// Has a crowd post to its end. Gives back what it heard, and the most bytes that waited for the disk
/// meanwhile.
fn crowd(server: &Server, each: usize) -> (Heard, u64) {
    let posting = Posting::start(server.address, CLIENTS, each, 1500);
    let mut pending_bytes_max = 0;
    until("the crowd has been answered", || {
        pending_bytes_max = pending_bytes_max.max(server.figure("inhale_journal_pending_bytes"));
        posting.has_ended()
    });
    (posting.finish(), pending_bytes_max)
}

#[test]
fn what_a_slow_disk_does_not_take_is_refused_and_the_rest_is_kept() {
    if lacks("what_a_slow_disk_does_not_take_is_refused_and_the_rest_is_kept", &["strace"]) {
        return;
    }
    let folder = Folder::new();
    let started = start_under(&injecting(SLOW_DISK), &folder.data(), &folder.log());
    let server = started.expect("a slow disk is a disk");
    // Two of these fill what may wait for the disk, and the clients come again at once.
    let (heard, pending_bytes_max) = crowd(&server, EACH);
    assert!(heard.endings.is_empty(), "{:?}", heard.endings);
    assert_eq!(heard.acknowledged.len() + heard.refused, CLIENTS * EACH, "each is answered");
    let acknowledged = heard.acknowledged.len();
    assert!(acknowledged > 0 && heard.refused > acknowledged, "{acknowledged}, {}", heard.refused);
    assert!((1..=PENDING_BYTES_MAX).contains(&pending_bytes_max), "{pending_bytes_max}");
    assert!(server.resident_mib_max() < RESIDENT_MIB_MAX);
    // It passes: nothing of the crowd is left to wait for.
    post(server.address, BODY).expect(201);
    get(server.admin, "/readyz").expect(200);
    assert_eq!(heard.lost(server.address), 0);
    assert_eq!(server.figure("inhale_usages_accepted_total"), acknowledged as u64 + 1);
    server.stop();
    assert_eq!(usages_stored(&folder.data()), acknowledged as u64 + 1);
}

/// The control: the same crowd is within the capacity of a server that may hold more.
#[test]
fn the_same_crowd_finds_room_where_there_is_room() {
    if lacks("the_same_crowd_finds_room_where_there_is_room", &["strace"]) {
        return;
    }
    let folder = Folder::new();
    let prefix = injecting(SLOW_DISK);
    let prefix: Vec<_> = prefix.iter().map(String::as_str).collect();
    let roomy = ["--disk-reserve", "16MiB"];
    let server = Server::start_under(&prefix, &folder.data(), &folder.log(), &roomy);
    let (heard, pending_bytes_max) = crowd(&server.expect("it starts"), 20);
    assert_eq!((heard.refused, heard.acknowledged.len()), (0, CLIENTS * 20));
    assert!(heard.endings.is_empty(), "{:?}", heard.endings);
    assert!(pending_bytes_max > PENDING_BYTES_MAX, "{pending_bytes_max}");
}

/// Sends the head of a post whose body has `length` bytes, and `sent` of them.
pub(crate) fn begin(address: SocketAddr, length: usize, sent: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("it can be set");
    let head = format!(
        "POST /api/usages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    let body = vec![b' '; sent];
    stream.write_all(&[head.as_bytes(), &body].concat()).expect("it reads");
    stream
}

/// A body of which six, with their buffers, leave no room for a seventh in the least that a server may
/// be given.
const LARGE: usize = 300_000;
/// Six of them.
const HELD: u64 = 6 * LARGE as u64;

#[test]
fn a_body_for_which_there_is_no_room_is_refused_unread() {
    let folder = Folder::new();
    let patient = ["--body-timeout", "10min"];
    let server = folder.serve(&[&["--bodies-max", "2MiB"], &patient[..]].concat());
    let holders: Vec<_> = (0..6).map(|_| begin(server.address, LARGE, 1)).collect();
    until("the bodies have their room", || server.figure("inhale_body_bytes") >= HELD);
    // Not one byte of the body is sent.
    let mut refused = begin(server.address, LARGE, 0);
    let answer = read_answer(&mut refused, "POST").expect("it is answered");
    let answer = answer.expect_problem(503, "overloaded");
    assert!(answer.header("retry-after").is_some_and(|text| text.parse::<u32>().is_ok()));
    // One of a declared size that nobody may send is refused for that, whatever room there is.
    let mut refused = begin(server.address, 100 << 20, 0);
    let answer = read_answer(&mut refused, "POST").expect("it is answered");
    answer.expect_problem(413, "too-large");
    // What fits beside them is taken, and what did not once they are gone.
    post(server.address, BODY).expect(201);
    drop(holders);
    until("the room is free", || server.figure("inhale_body_bytes") == 0);
    post(server.address, &format!("{BODY}{}", " ".repeat(LARGE - BODY.len()))).expect(201);

    // The control: with more room nothing is answered before the body has come.
    let folder = Folder::new();
    let server = folder.serve(&patient);
    let _holders: Vec<_> = (0..6).map(|_| begin(server.address, LARGE, 1)).collect();
    until("the bodies have their room", || server.figure("inhale_body_bytes") >= HELD);
    let mut waiting = begin(server.address, LARGE, 0);
    until("it has room too", || server.figure("inhale_body_bytes") >= HELD + LARGE as u64);
    let body = format!("{BODY}{}", " ".repeat(LARGE - BODY.len()));
    waiting.write_all(body.as_bytes()).expect("it reads");
    let mut status = [0; 12];
    waiting.read_exact(&mut status).expect("it is answered");
    assert_eq!(&status, b"HTTP/1.1 201");
}

#[test]
fn repro_connections_over_the_limit_are_answered() {
    let folder = Folder::new();
    let limited =
        folder.serve(&["--cores", "1", "--connections-max", "8", "--header-timeout", "10min"]);
    let hold = |address| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(b"GET /docs HT").expect("it reads");
        stream
    };
    let ask = |address| {
        let mut stream = TcpStream::connect(address).expect("the kernel takes it");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("it can be set");
        let request = b"GET /docs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("the kernel takes it");
        stream
    };
    // One more is the operator's, who reads the figures.
    let open = |server: &Server| server.figure("inhale_connections_open") - 1;
    let held: Vec<_> = (0..8).map(|_| hold(limited.address)).collect();
    until("all are open", || open(&limited) == 8);
    // More than may be open beyond the limit, and all of them at once.
    for mut stream in (0..100).map(|_| ask(limited.address)).collect::<Vec<_>>() {
        let answer = read_answer(&mut stream, "GET").expect("it is answered");
        let answer = answer.expect_problem(503, "overloaded");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(status_is_listed("GET", "/docs", 503), None);
    }
    assert_eq!(limited.figure("inhale_connections_refused_total"), 100);
    until("they have left", || open(&limited) == 8);
    drop(held);
    until("there is a place", || open(&limited) == 0);
    read_answer(&mut ask(limited.address), "GET").expect("it is answered").expect(200);

    // The control: without the limit they are answered beside those that are held.
    let folder = Folder::new();
    let server = folder.serve(&["--cores", "1", "--header-timeout", "10min"]);
    let _held: Vec<_> = (0..8).map(|_| hold(server.address)).collect();
    for mut stream in (0..30).map(|_| ask(server.address)).collect::<Vec<_>>() {
        read_answer(&mut stream, "GET").expect("it is answered").expect(200);
    }
    assert_eq!(server.figure("inhale_connections_refused_total"), 0);
}

/// Operators have a limit of their own, and health checks are answered beyond it.
#[test]
fn health_is_answered_however_many_operators_are_connected() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let hold = || {
        let mut stream = TcpStream::connect(server.admin).expect("it listens");
        stream.write_all(b"GET /metrics HT").expect("it reads");
        stream
    };
    let _held: Vec<_> = (0..256).map(|_| hold()).collect();
    until("all places are taken", || get(server.admin, "/metrics").status == 503);
    for _ in 0..100 {
        get(server.admin, "/healthz").expect(200);
        get(server.admin, "/readyz").expect(200);
    }
}
