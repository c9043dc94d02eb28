//! What happens at the bounds: connections, descriptors, and a service that fails.

use std::net::TcpStream;
use std::process::Command;

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

#[test]
fn who_is_one_too_many_waits_for_a_place() {
    let (site, _) = narrow_site();
    let mut working: Vec<_> = (0..2).map(|_| Raw::connect(site.address)).collect();
    for client in &mut working {
        client.send(LATER);
    }
    site.wait_for_held(2);
    let mut waiting: Vec<_> = (0..3).map(|_| Raw::connect(site.address)).collect();
    for client in &mut waiting {
        client.send(GET);
    }
    assert_eq!(site.metrics.connections(), 2);
    site.release();
    for client in &mut working {
        assert_eq!(client.answer().status, 201);
    }
    // The places of those who went idle are given to those who wait, whom nobody reset.
    for client in &mut waiting {
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn a_listener_does_not_starve_beside_another() {
    let (site, second_address) = narrow_site();
    let hold = |address, open| {
        let mut client = Raw::connect(address);
        client.send("GET /ok HT");
        site.wait_for_connections(open);
        client
    };
    let first = hold(site.address, 1);
    // Now the second listener is full and waits, and then the first, each in its turn.
    let second = hold(second_address, 2);
    let _third = hold(site.address, 3);
    let mut waiting = Raw::connect(second_address);
    waiting.send(GET);
    drop(first);
    site.wait_for_connections(2);
    drop(second);
    // The place is free for either listener, and it is the second that has somebody waiting.
    assert_eq!(waiting.answer().status, 200);
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
