//! Where a server listens, who is refused, and how it stops.

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::http::{BODY, get, post, read_answer};
use crate::needs::until;
use crate::program::{Started, expect_refused, run};

const FREE: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

/// A store's folder.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder can be made"))
    }

    fn data(&self) -> String {
        self.0.path().join("data").to_str().expect("it is text").to_owned()
    }

    fn start(&self, words: &[&str]) -> Started {
        Started::start(self.0.path(), "server", &[words, &["--data", &self.data()]].concat())
    }

    /// Fails unless `inhale serve` refuses these words and names each of `named`.
    #[track_caller]
    fn check_refused(&self, words: &[&str], named: &[&str]) {
        let output = run(&[&["serve", "--data", &self.data()], words].concat(), &[]);
        expect_refused(&output, named);
    }
}

#[test]
fn the_default_is_both_addresses_of_this_machine_and_no_other() {
    let output = run(&["config"], &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("\nlisten = [\"localhost:3000\"]"), "{said}");
    assert!(said.contains("\nadmin-listen = [\"localhost:3001\"]"), "{said}");

    // The same host on a port that is free.
    let place = Place::new();
    let server = place.start(&["--listen", "localhost:0", "--admin-listen", "localhost:0"]);
    for port in [server.address.port(), server.admin.port()] {
        for host in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
            let reached = TcpStream::connect(SocketAddr::new(host, port));
            assert!(reached.is_ok(), "{host}: {reached:?}");
        }
        // Listening on all addresses would be reached here.
        let other = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port));
        assert!(TcpStream::connect(other).is_err());
    }
    post(SocketAddr::from((Ipv6Addr::LOCALHOST, server.address.port())), BODY).expect(201);
}

#[test]
fn strangers_are_let_in_only_when_asked_for() {
    let place = Place::new();
    let flag = ["--allow-anonymous"];
    place.check_refused(&["--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0"], &flag);
    place.check_refused(&["--listen", "127.0.0.1:0", "--admin-listen", "[::]:0"], &flag);
    place.check_refused(&[&FREE[..], &["--listen", "0.0.0.0:0"]].concat(), &flag);
    assert!(!std::path::Path::new(&place.data()).exists(), "a refusal makes no store");
    let words = ["--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0", "--allow-anonymous"];
    let server = place.start(&words);
    let beside = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), server.address.port()));
    post(beside, BODY).expect(201);
}

#[test]
fn repro_settings_that_serve_nobody_or_keep_nothing_are_refused() {
    let place = Place::new();
    for (flag, value) in [
        ("--connections-max", "0"),
        ("--bodies-max", "2047KiB"),
        ("--retain", "0s"),
        ("--key-window", "0s"),
        ("--stuck-after", "0s"),
        ("--commit-timeout", "0s"),
        ("--header-timeout", "0s"),
        ("--body-timeout", "0s"),
        ("--idle-timeout", "0s"),
    ] {
        place.check_refused(&[&FREE[..], &[flag, value]].concat(), &[flag]);
    }
    let file = place.0.path().join("inhale.toml");
    for name in ["listen", "admin-listen"] {
        std::fs::write(&file, format!("[serve]\n{name} = []\n")).expect("it has room");
        let words = ["--config", file.to_str().expect("it is text")];
        place.check_refused(&words, &[&format!("--{name}")]);
    }
    // The control: the least that is taken serves.
    let least = ["--connections-max", "1", "--bodies-max", "2MiB"];
    let server = place.start(&[&FREE[..], &least].concat());
    post(server.address, BODY).expect(201);
}

/// The address of a Unix socket has 108 bytes, and a successor asks at one in the store's folder.
#[test]
fn repro_a_store_with_a_long_path_is_served() {
    let place = Place::new();
    let data = format!("{}/{}", place.data(), "d".repeat(100));
    let words = [&FREE[..], &["--data", &data]].concat();
    let server = Started::start(place.0.path(), "server", &words);
    post(server.address, BODY).expect(201);
    server.signal(Signal::TERM);
    let (status, said) = server.wait();
    assert!(status.success(), "{said}");
    assert!(said.contains("--takeover") && said.contains("shorter --data"), "{said}");
}

#[test]
fn what_is_taken_is_named() {
    let place = Place::new();
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let taken = holder.local_addr().expect("it has one").to_string();
    place.check_refused(
        &["--listen", &taken, "--admin-listen", "127.0.0.1:0"],
        &["--listen", &taken, "in use"],
    );
    place.check_refused(
        &["--listen", "127.0.0.1:0", "--admin-listen", &taken],
        &["--admin-listen", &taken, "in use"],
    );
    place.check_refused(&["--listen", "nonsense"], &["--listen", "`nonsense`", "HOST:PORT"]);
    let unknown = "no.such.host.invalid:1";
    place.check_refused(&["--listen", unknown], &["--listen", unknown, "not known"]);

    // Also when it is another server of the same user, whose sockets may be shared.
    let server = place.start(&FREE);
    let theirs = server.address.to_string();
    let other = Place::new();
    other.check_refused(
        &["--listen", &theirs, "--admin-listen", "127.0.0.1:0"],
        &["--listen", &theirs, "in use"],
    );
    place.check_refused(&FREE, &[&place.data()]);
    post(server.address, BODY).expect(201);
    // The control: what was taken can be had once it is free.
    server.signal(Signal::TERM);
    assert!(server.wait().0.success());
    let next = place.start(&["--listen", &theirs, "--admin-listen", "127.0.0.1:0"]);
    assert_eq!(next.address.to_string(), theirs);
}

#[test]
fn sigterm_says_so_first_then_closes_then_finishes() {
    let place = Place::new();
    let server =
        place.start(&[&FREE[..], &["--shutdown-delay", "3s", "--body-timeout", "60s"]].concat());
    let (address, admin) = (server.address, server.admin);
    until("it is ready", || get(admin, "/readyz").status == 200);
    let mut in_flight = TcpStream::connect(address).expect("it listens");
    let (first, rest) = BODY.split_at(20);
    let head = format!(
        "POST /api/usages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{first}",
        BODY.len()
    );
    in_flight.write_all(head.as_bytes()).expect("it reads");
    // The server has begun with that request: one that was sent later is answered.
    post(address, BODY).expect(201);

    server.signal(Signal::TERM);
    until("it says that it ends", || get(admin, "/readyz").status == 503);
    // Load balancers have not noticed yet.
    post(address, BODY).expect(201);
    until("it no longer listens", || TcpStream::connect(address).is_err());
    in_flight.write_all(rest.as_bytes()).expect("it still reads");
    let answer = read_answer(&mut in_flight, "POST").expect("it is answered in whole");
    let id = answer.id();
    let (status, said) = server.wait();
    assert_eq!(status.code(), Some(0), "{said}");

    let server = place.start(&FREE);
    get(server.address, &format!("/api/usages/{id}")).expect(200);
    server.signal(Signal::INT);
    assert_eq!(server.wait().0.code(), Some(0));
}

/// The control: who does not finish in time is not waited for, and the server says so.
#[test]
fn a_request_that_does_not_finish_is_cut_off_at_the_deadline() {
    let place = Place::new();
    let words = ["--shutdown-timeout", "200ms", "--body-timeout", "60s"];
    let server = place.start(&[&FREE[..], &words].concat());
    let mut in_flight = TcpStream::connect(server.address).expect("it listens");
    let head = "POST /api/usages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
    in_flight.write_all(head.as_bytes()).expect("it reads");
    post(server.address, BODY).expect(201);
    server.signal(Signal::TERM);
    let (status, said) = server.wait();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("--shutdown-timeout"), "{said}");
    assert!(read_answer(&mut in_flight, "POST").is_err());
}
