//! Requests that do not end take memory within a budget, whether it is their heads or their bodies that
//! do not. The control has a budget that is never used up.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http::{BODY, post};
use crate::needs::until;
use crate::process::{Folder, Server};

const CONNECTIONS: usize = 2000;
/// Connections for which a budget of 2 MiB has room, at most.
const OPEN_MAX: usize = 200;

/// Opens a connection and sends `beginning`; nothing if the server refuses to read it.
fn begin(address: SocketAddr, beginning: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(beginning).ok()?;
    stream.set_nonblocking(true).expect("it can be set");
    Some(stream)
}

fn is_waited_for(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// How much memory grew by, in MiB, when many clients sent `beginning`, of which at most `open_max` are
/// waited for; and how many were in the end.
fn growth(budget: &str, open_max: usize, beginning: &[u8]) -> (u64, usize) {
    // For this process' ends of the connections.
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("it may be raised");
    let patient = ["--header-timeout", "10min", "--body-timeout", "10min"];
    let folder = Folder::new();
    let server: Server = folder.serve(&[&["--bodies-max", budget], &patient[..]].concat());
    post(server.address, BODY).expect(201);
    let before = server.resident_mib_max();
    let mut waiting = Vec::new();
    for number in 0..CONNECTIONS {
        waiting.extend(begin(server.address, beginning));
        // Who is refused leaves, as a client does.
        if number % 100 == 99 {
            until("those without room have left", || {
                waiting.retain_mut(is_waited_for);
                waiting.len() <= open_max
            });
        }
    }
    // Usages that come at once are accepted beside them.
    post(server.address, BODY).expect(201);
    (server.resident_mib_max() - before, waiting.len())
}

/// The budget is a part of the growth. Connections take memory beside it, some 24 KiB each, those that are
/// refused included until they have left.
#[track_caller]
fn check(growth_mib_max: u64, beginning: &[u8]) {
    let (grown, waiting) = growth("2MiB", OPEN_MAX, beginning);
    assert!(grown < growth_mib_max, "{grown} MiB, {waiting} connections");
    let (grown, waiting) = growth("4GiB", CONNECTIONS, beginning);
    assert!(grown > 2 * growth_mib_max, "the control: {grown} MiB");
    assert_eq!(waiting, CONNECTIONS, "the control");
}

#[test]
fn repro_heads_that_do_not_end_have_a_budget() {
    let head = format!("GET /docs HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(15 << 10));
    check(24, head.as_bytes());
}

#[test]
fn repro_chunks_that_do_not_end_have_a_budget() {
    let head = "POST /api/usages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    check(48, [head, &chunk, &chunk, &chunk].concat().as_bytes());
}
