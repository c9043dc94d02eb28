//! Many clients that send a byte now and then (slowhttptest), in the head or in the body: they are
//! ended at their deadlines, and ordinary traffic does not notice them. And many that take no answers.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, socket};
use tempfile::TempDir;

use crate::client::Clients;
use crate::http::{BODY, call, get, post};
use crate::needs::{lacks, until};
use crate::process::{Folder, Server};

const TOOL: &str = "slowhttptest";
/// Connections that drip at once.
const DRIPPING: u64 = 300;
const RESIDENT_MIB_MAX: u64 = 256;

/// Which part of a request comes slowly.
#[derive(Clone, Copy)]
enum Slow {
    Head,
    Body,
}

/// The tool at work; ended with its test.
struct Dripping {
    child: Child,
    folder: TempDir,
}

/// What the tool saw at its end.
struct Seen {
    said: String,
    /// Connections that still stood.
    connected: u64,
}

impl Dripping {
    /// Has all connections send something each second, for `seconds` at most.
    fn start(slow: Slow, address: SocketAddr, seconds: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let said = std::fs::File::create(folder.path().join("said")).expect("a file can be made");
        let count = DRIPPING.to_string();
        let kind: &[&str] = match slow {
            Slow::Head => &["-H"],
            Slow::Body => &["-B", "-f", "application/json"],
        };
        let child = Command::new(TOOL)
            .args(kind)
            .args(["-c", &count, "-r", &count, "-i", "1", "-l", seconds])
            // A probe of its own would not tell more than the clients beside it.
            .args(["-p", "60", "-g", "-o", "report"])
            .args(["-u", &format!("http://{address}/api/usages")])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(said)
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        Self { child, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Waits for its end.
    fn finish(mut self) -> Seen {
        until("slowhttptest ends", || self.has_ended());
        let said = std::fs::read(self.path("said")).expect("it said something");
        let report = std::fs::read_to_string(self.path("report.csv")).expect("it reports");
        let last = report.lines().last().unwrap_or_default();
        let connected = last.split(',').nth(3).and_then(|text| text.parse().ok());
        Seen {
            said: String::from_utf8_lossy(&said).into_owned(),
            connected: connected.unwrap_or_else(|| panic!("no count in {report}")),
        }
    }
}

impl Drop for Dripping {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SHORT: [&str; 4] = ["--header-timeout", "1s", "--body-timeout", "1s"];
const LONG: [&str; 4] = ["--header-timeout", "1h", "--body-timeout", "1h"];

/// Drips beside ordinary traffic: all of that is answered, and every drip is ended by the server.
fn check(slow: Slow, server: &Server) {
    let mut dripping = Dripping::start(slow, server.address, "60");
    until("most of them drip", || server.figure("inhale_connections_open") > DRIPPING / 2);
    let clients = Clients::start(server.address, 4, "100");
    clients.wait_for(100);
    assert!(!dripping.has_ended(), "usages were taken in beside it");
    let seen = dripping.finish();
    let counts = clients.stop();
    assert_eq!(counts.failed.load(Relaxed), 0);
    let acknowledged = counts.acknowledged.load(Relaxed);
    assert_eq!(server.figure("inhale_usages_accepted_total"), acknowledged);
    assert!(seen.said.contains("No open connections left"), "{}", seen.said);
    assert!(server.resident_mib_max() < RESIDENT_MIB_MAX);
    until("only the operator's connection is left", || {
        server.figure("inhale_connections_open") <= 1
    });
}

#[test]
fn heads_that_drip_are_ended_and_harm_nobody() {
    if lacks("heads_that_drip_are_ended_and_harm_nobody", &[TOOL]) {
        return;
    }
    let folder = Folder::new();
    check(Slow::Head, &folder.serve(&SHORT));
}

#[test]
fn bodies_that_drip_are_ended_and_harm_nobody() {
    if lacks("bodies_that_drip_are_ended_and_harm_nobody", &[TOOL]) {
        return;
    }
    let folder = Folder::new();
    let server = folder.serve(&SHORT);
    check(Slow::Body, &server);
    // Each was told.
    let told = r#"http_server_requests_total{method="POST",route="/api/usages",status="408"}"#;
    assert_eq!(server.figure(told), DRIPPING);
}

#[test]
fn more_drips_than_connections_are_bounded_and_pass() {
    if lacks("more_drips_than_connections_are_bounded_and_pass", &[TOOL]) {
        return;
    }
    let folder = Folder::new();
    let server =
        folder.serve(&[&SHORT[..], &["--cores", "1", "--connections-max", "100"]].concat());
    let mut dripping = Dripping::start(Slow::Head, server.address, "60");
    let refused = || server.figure("inhale_connections_refused_total");
    until("the limit is met", || refused() > 0);
    // Who has no place among them is answered at once, and served when they have been ended.
    let mut most = 0;
    until("a usage is accepted", || {
        most = most.max(server.figure("inhale_connections_open"));
        post(server.address, BODY).status == 201
    });
    until("slowhttptest ends", || {
        most = most.max(server.figure("inhale_connections_open"));
        dripping.has_ended()
    });
    // With those that are being refused, and the operator's, of which earlier ones may still be ending.
    assert!((2..=100 + 64 + 4).contains(&most), "{most}");
}

/// The control: without deadlines the drips stay, and where they take all places nobody is served.
#[test]
fn without_deadlines_drips_stay_and_harm() {
    if lacks("without_deadlines_drips_stay_and_harm", &[TOOL]) {
        return;
    }
    for slow in [Slow::Head, Slow::Body] {
        let folder = Folder::new();
        let server = folder.serve(&LONG);
        let seen = Dripping::start(slow, server.address, "3").finish();
        assert!(seen.said.contains("Hit test time limit"), "{}", seen.said);
        assert_eq!(seen.connected, DRIPPING);
    }
    let folder = Folder::new();
    let server = folder.serve(&[&LONG[..], &["--cores", "1", "--connections-max", "100"]].concat());
    let mut dripping = Dripping::start(Slow::Head, server.address, "60");
    until("all places are taken", || server.figure("inhale_connections_open") > 100);
    for _ in 0..20 {
        post(server.address, BODY).expect(503);
    }
    assert!(!dripping.has_ended());
    drop(dripping);
    until("a place is free", || post(server.address, BODY).status == 201);
}

/// Answers that nobody takes have a bounded room: who asks for more is refused, usages are taken in
/// as before, and the room is free again once the others are gone.
#[test]
fn answers_that_nobody_takes_are_bounded() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let text = "x".repeat(2000);
    let line = format!(
        r#"{{"patientId":"p","timestamp":1000,"medication":"m","attributes":{{"a":"{text}"}}}}"#
    );
    let (headers, batch) =
        ("Content-Type: application/x-ndjson\r\n", [line.as_str(); 250].join("\n"));
    for _ in 0..4 {
        call(server.address, "POST", "/api/usages", headers, &batch).expect(201);
    }
    let target = "/api/usages?patientId=p&limit=1000";
    let page_bytes = get(server.address, target).expect(200).body.len() as u64;
    assert!(page_bytes > 2_000_000);
    // The kernel's buffers take a part, and the server has room for some thirty.
    let lazy = || {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        // Before it is connected, else the kernel takes the whole answer in the client's place.
        set_socket_recv_buffer_size(&socket, 4096).expect("it can be set");
        rustix::net::connect(&socket, &server.address).expect("it listens");
        let mut stream = TcpStream::from(socket);
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        stream
    };
    let mut lazies: Vec<_> = (0..20).map(|_| lazy()).collect();
    let mut refused = None;
    for _ in 0..200 {
        lazies.push(lazy());
        let answer = call(server.address, "GET", target, "", "");
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("there is no room for all").expect_problem(503, "overloaded");
    assert!(refused.header("retry-after").is_some());
    assert!(server.figure("inhale_answer_bytes") <= 64 << 20);
    assert!(server.resident_mib_max() < 2 * RESIDENT_MIB_MAX);
    // What is small needs no room, nor do usages.
    let id = post(server.address, &line).id();
    get(server.address, &format!("/api/usages/{id}")).expect(200);
    get(server.address, "/api/usages?patientId=p&limit=10").expect(200);
    drop(lazies);
    until("the room is free", || server.figure("inhale_answer_bytes") == 0);
    get(server.address, target).expect(200);
}
