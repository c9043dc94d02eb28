//! What happens at the bounds: connections, descriptors, and a service that fails.

use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;

use edge::Budget;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::harness::Site;
use crate::raw::{End, Raw};

const GET: &str = "GET /ok HTTP/1.1\r\nHost: a\r\n\r\n";
const LATER: &str = "POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";

/// A server whose one core takes two connections, on two addresses.
fn narrow_site() -> (Site, std::net::SocketAddr) {
    let texts = ["127.0.0.1:0".to_owned(), "127.0.0.1:0".to_owned()];
    let listeners = edge::listen::bind(&texts, 1).expect("free ports");
    let second = listeners[0][1].local_addr().expect("it is bound");
    (Site::on(listeners, |config| config.connections_max = 2), second)
}

/// The narrow site with both places taken by requests that are being worked on.
fn full_site() -> (Site, std::net::SocketAddr, Vec<Raw>) {
    let (site, second) = narrow_site();
    let mut working: Vec<_> = (0..2).map(|_| Raw::connect(site.address)).collect();
    for client in &mut working {
        client.send(LATER);
    }
    site.wait_for_held(2);
    (site, second, working)
}

#[track_caller]
fn assert_refused(client: &mut Raw) {
    let answer = client.answer();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.closes());
    assert!(String::from_utf8_lossy(&answer.body).contains("--connections-max"));
    assert_eq!(client.answers_to_the_end(), (Vec::new(), End::Closed));
}

#[test]
fn repro_who_is_one_too_many_is_answered() {
    let (site, second_address, mut working) = full_site();
    let posts = ["POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nab", GET];
    for address in [site.address, second_address] {
        for request in posts {
            let mut client = Raw::connect(address);
            client.send(request);
            assert_refused(&mut client);
        }
    }
    assert!(site.metrics.expose().contains("inhale_connections_refused_total 4\n"));
    site.release();
    for client in &mut working {
        assert_eq!(client.answer().status, 201);
    }
    drop(working);
    site.wait_for_connections(0);
    site.assert_unharmed();

    // The control: within the limit the same are served.
    let site = Site::start();
    let mut held: Vec<_> = (0..2).map(|_| Raw::connect(site.address)).collect();
    for client in &mut held {
        client.send("GET /ok HT");
    }
    let mut client = Raw::connect(site.address);
    client.send(GET);
    let answer = client.answer();
    assert_eq!((answer.status, answer.closes()), (200, false));
}

#[test]
fn health_is_answered_however_many_are_connected() {
    const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let (site, _, _working) = full_site();
    // More than may be open beyond the limit; those that say nothing leave first.
    let mut silent: Vec<_> = (0..200).map(|_| Raw::connect(site.address)).collect();
    let mut client = Raw::connect(site.address);
    client.send(HEALTH);
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.closes());
    assert!(site.metrics.connections() <= 2 + 64 + 1, "{}", site.metrics.connections());
    // Silence, and a head that never ends, are ended by the server, and told why.
    assert_refused(silent.last_mut().expect("there are some"));
    assert_refused(&mut silent[0]);
    let mut slow = Raw::connect(site.address);
    slow.send("GET /ok HT");
    assert_refused(&mut slow);
    // A second request is not answered: the place is for a health check alone.
    let mut twice = Raw::connect(site.address);
    twice.send([HEALTH, HEALTH].concat());
    assert_eq!(twice.answers_to_the_end().0.len(), 1);
}

#[test]
fn idle_connections_make_room() {
    let (site, _) = narrow_site();
    let mut idle: Vec<_> = (0..2).map(|_| Raw::connect(site.address)).collect();
    for client in &mut idle {
        client.send(GET);
        assert_eq!(client.answer().status, 200);
    }
    site.wait_until(|| {
        let mut client = Raw::connect(site.address);
        client.send(GET);
        client.answer().status == 200
    });
}

#[test]
fn repro_a_core_that_panics_does_not_go_unnoticed() {
    let site = Site::start();
    site.assert_unharmed();
    assert_eq!(site.control().failed_core(), None);
    site.fail_core(1);
    site.wait_until(|| site.control().failed_core() == Some(1));
    // The other one ends in order.
    site.drain(std::time::Duration::ZERO, crate::raw::PATIENCE);
    site.join();
}

/// Accept loops, and what a service spawns beside them, are tasks of the thread, which survives their
/// panic.
#[test]
fn a_task_that_panics_fails_its_core() {
    let site = Site::spawning(|context| context.spawn(async { panic!("asked to") }));
    site.wait_until(|| site.control().failed_core().is_some());
}

#[test]
fn a_panic_is_a_500_of_one_request() {
    let site = Site::start();
    let mut beside = Raw::connect(site.address);
    beside.send(GET);
    beside.answer();
    let mut client = Raw::connect(site.address);
    client.send("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status, 500);
    assert!(answer.closes());
    assert!(!String::from_utf8_lossy(&answer.body).contains("asked to"));
    assert_eq!(client.answers_to_the_end(), (Vec::new(), End::Closed));
    beside.send(GET);
    assert_eq!(beside.answer().status, 200);
    site.assert_unharmed();
}

/// Runs in a process of its own, whose limit does not bother other tests.
#[test]
fn used_up_descriptors_are_waited_for() {
    const CHILD: &str = "EDGE_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(CHILD).is_none() {
        let child = Command::new(std::env::current_exe().expect("this test has a file"))
            .args(["--exact", "limits::used_up_descriptors_are_waited_for", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    let (site, _) = narrow_site();
    site.assert_unharmed();
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).expect("lower is allowed");
    let mut sockets = Vec::new();
    while let Ok(socket) = Socket::new(Domain::IPV4, Type::STREAM, None) {
        sockets.push(socket);
    }
    // The kernel takes this connection; the server has no descriptor left for it.
    let client = sockets.pop().expect("64 descriptors leave some free");
    client.connect(&site.address.into()).expect("the kernel takes it");
    site.wait_until(|| !site.metrics.expose().contains("inhale_accept_errors_total 0\n"));
    drop(sockets);
    let mut client = Raw::from(TcpStream::from(client));
    client.send(GET);
    assert_eq!(client.answer().status, 200, "it was not lost");
    site.assert_unharmed();
}

/// Sends the beginning of a request to a server with a budget of `bytes_max` again and again, until one is
/// refused or there are `count` of them; says how many the server still waits for.
fn waited_for(bytes_max: usize, count: usize, beginning: &[u8]) -> usize {
    let budget = Arc::new(Budget::new(bytes_max));
    let site = Site::with(|config| config.budget = Arc::clone(&budget));
    let mut waiting = Vec::new();
    for _ in 0..count {
        let before = budget.bytes();
        let mut client = Raw::connect(site.address);
        client.send(beginning);
        let refused = || site.metrics.expose().contains("status=\"503\"");
        site.wait_until(|| refused() || budget.bytes() >= before + beginning.len() / 2);
        if refused() {
            let (answers, end) = client.answers_to_the_end();
            assert_eq!((answers[0].status, end), (503, End::Closed));
            assert!(answers[0].header("retry-after").is_some());
            break;
        }
        waiting.push(client);
    }
    assert!(budget.bytes() <= bytes_max);
    assert!(waiting.iter_mut().all(Raw::is_quiet), "the others are waited for");
    // A request that comes at once needs no budget.
    site.assert_unharmed();
    let waited_for = waiting.len();
    drop(waiting);
    site.wait_until(|| budget.bytes() == 0);
    waited_for
}

#[test]
fn repro_heads_that_do_not_end_have_a_budget() {
    let head = format!("GET /ok HTTP/1.1\r\nX: {}", "x".repeat(15 << 10));
    let waiting = waited_for(160 << 10, 20, head.as_bytes());
    assert!((5..=10).contains(&waiting), "{waiting}");
    assert_eq!(waited_for(1 << 20, 20, head.as_bytes()), 20, "the control");
}

#[test]
fn large_heads_that_are_worked_on_have_a_budget() {
    let head = format!(
        "POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nX: {}\r\n\r\nab",
        "x".repeat(15 << 10)
    );
    let check = |bytes_max: usize, expected: usize| {
        let budget = Arc::new(Budget::new(bytes_max));
        let site = Site::with(|config| config.budget = Arc::clone(&budget));
        let mut clients: Vec<_> = (0..20).map(|_| Raw::connect(site.address)).collect();
        for client in &mut clients {
            client.send(&head);
        }
        site.wait_for_held(expected);
        let refused = format!("route=\"other\",status=\"503\"}} {}\n", 20 - expected);
        site.wait_until(|| expected == 20 || site.metrics.expose().contains(&refused));
        site.release();
        let statuses: Vec<_> = clients.iter_mut().map(|client| client.answer().status).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), expected);
        site.wait_until(|| budget.bytes() == 0);
    };
    check(1 << 20, 20);
    check(100 << 10, 6);
}

#[test]
fn repro_chunks_that_do_not_end_have_a_budget() {
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let head = "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let beginning = [head, &chunk].concat();
    // This service keeps bodies without a budget; what is left are the buffers around them.
    let waiting = waited_for(320 << 10, 20, beginning.as_bytes());
    assert!((10..=14).contains(&waiting), "{waiting}");
    assert_eq!(waited_for(2 << 20, 20, beginning.as_bytes()), 20, "the control");
}
