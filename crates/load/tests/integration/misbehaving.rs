//! Servers that do what no server should: each is reported as what it is, and nothing hangs.

use std::io::{self, Write as _};
use std::time::Duration;

use load::limits::ANSWER_HEAD_BYTES_MAX;
use load::measure::{Failure, Trend};
use load::plan::{Keeping, Scenario};

use crate::plans::{Ran, plan, rate, run, scenario, users};
use crate::server::{Peer, Server};

/// Ten requests to a server that behaves like `serve`.
fn ten(serve: fn(&mut Peer) -> io::Result<()>, change: impl Fn(&mut Scenario)) -> Ran {
    let server = Server::start(serve);
    let mut scenario = scenario(server.address, rate(200.0, 50));
    change(&mut scenario);
    let ran = run(plan(scenario));
    assert_eq!(ran.counts().started, 10);
    ran
}

/// That all ten fail so, on connections that are kept and on new ones, by arrivals and by users.
fn fails(serve: fn(&mut Peer) -> io::Result<()>, failure: Failure) {
    // Whoever does answer may take its time, on a busy machine.
    let short = |scenario: &mut Scenario| {
        if failure == Failure::Timeout {
            scenario.timeout = Duration::from_millis(150);
        }
    };
    let ran = ten(serve, short);
    assert_eq!(ran.failures(), [(failure, 10)]);
    // What was sent took its time, whether or not it was answered.
    let from_sent = ran.totals.scenarios[0].trend(Trend::DurationFromSent);
    assert_eq!(from_sent.len(), 10, "{failure:?}");
    let per_request = ten(serve, |scenario| {
        short(scenario);
        scenario.connections.keeping = Keeping::PerRequest { max: 20, server_closes: true };
    });
    assert_eq!(per_request.failures(), [(failure, 10)]);
    let server = Server::start(serve);
    let mut scenario = scenario(server.address, users(2, 100, 10));
    short(&mut scenario);
    let closed = run(plan(scenario));
    assert_eq!(closed.failures(), [(failure, closed.counts().started)]);
    assert!(closed.counts().started >= 2);
}

#[test]
fn a_server_that_never_answers() {
    fails(Peer::wait_for_end, Failure::Timeout);
}

#[test]
fn repro_who_waits_for_a_connection_has_it_when_a_request_times_out() {
    // All are due at once and on one connection at a time, which nothing but timeouts frees. Were each
    // timeout seen at the next tick, the last would be cut off by the end.
    let server = Server::start(Peer::wait_for_end);
    let mut scenario = scenario(server.address, rate(10_000.0, 1));
    scenario.connections.keeping = Keeping::Alive { max: 1 };
    scenario.timeout = Duration::from_millis(20);
    let mut plan = plan(scenario);
    plan.graceful_stop = Duration::from_millis(1_500);
    assert_eq!(run(plan).failures(), [(Failure::Timeout, 10)]);
}

#[test]
fn a_server_that_resets() {
    fn serve(peer: &mut Peer) -> io::Result<()> {
        peer.request()?;
        peer.reset()
    }
    fails(serve, Failure::Reset);
}

#[test]
fn a_server_that_closes_before_its_answer() {
    fn serve(peer: &mut Peer) -> io::Result<()> {
        peer.request()?;
        peer.close()
    }
    fails(serve, Failure::ClosedEarly);
}

#[test]
fn a_server_that_closes_within_its_answer() {
    fn serve(peer: &mut Peer) -> io::Result<()> {
        peer.request()?;
        peer.stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\nhalf")?;
        peer.close()
    }
    fails(serve, Failure::ClosedEarly);
}

#[test]
fn a_server_that_stops_within_its_answer() {
    fn serve(peer: &mut Peer) -> io::Result<()> {
        peer.request()?;
        peer.stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Le")?;
        peer.wait_for_end()
    }
    fails(serve, Failure::Timeout);
}

#[test]
fn a_server_that_speaks_something_else() {
    fn serve(peer: &mut Peer) -> io::Result<()> {
        peer.stream.write_all(b"220 mail.example ESMTP\r\n")?;
        peer.wait_for_end()
    }
    fails(serve, Failure::Garbage);
}

#[test]
fn a_server_that_says_more_than_its_answer() {
    fn serve(peer: &mut Peer) -> io::Result<()> {
        peer.request()?;
        peer.stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}!")?;
        peer.wait_for_end()
    }
    fails(serve, Failure::Garbage);
}

#[test]
fn a_head_without_end() {
    fn serve(peer: &mut Peer) -> io::Result<()> {
        peer.request()?;
        peer.stream.write_all(b"HTTP/1.1 201 Created\r\nX: ")?;
        peer.stream.write_all(&vec![b'x'; ANSWER_HEAD_BYTES_MAX + 1])?;
        peer.wait_for_end()
    }
    fails(serve, Failure::Garbage);
}

#[test]
fn nobody_there() {
    let server = Server::friendly();
    let address = server.address;
    drop(server);
    let ran = run(plan(scenario(address, rate(200.0, 50))));
    assert_eq!(ran.failures(), [(Failure::Refused, 10)]);
    assert_eq!(ran.counts().connections, 0);
    assert!(ran.totals.scenarios[0].trend(Trend::DurationFromSent).is_empty(), "none was sent");
}

#[test]
fn a_connection_that_is_never_made() {
    // A listener with a full queue lets the kernel drop whoever comes next.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let fill = |_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
    let _filling: Vec<_> = (0..4).map_while(fill).collect();
    let mut scenario = scenario(address, rate(200.0, 50));
    scenario.connect_timeout = Duration::from_millis(150);
    let ran = run(plan(scenario));
    assert_eq!(ran.failures(), [(Failure::ConnectTimeout, 10)]);
}

#[test]
fn an_answer_of_ten_megabytes() {
    const BODY: usize = 10 << 20;
    fn serve(peer: &mut Peer) -> io::Result<()> {
        while let Some(request) = peer.request()? {
            let head = format!("HTTP/1.1 201 Created\r\nContent-Length: {BODY}\r\n\r\n");
            peer.answer(&request, head.as_bytes())?;
            peer.stream.write_all(&vec![b'x'; BODY])?;
        }
        Ok(())
    }
    let ran = ten(serve, |scenario| scenario.checks.push(load::plan::Check::Body("xxx".into())));
    assert_eq!(ran.statuses(), [(201, 10)]);
    assert_eq!(ran.counts().checks_passed, [10, 10]);
    assert!(ran.counts().bytes_received > 10 * BODY as u64);
}

#[test]
fn answers_that_are_odd_but_right() {
    fn interim(peer: &mut Peer) -> io::Result<()> {
        while let Some(request) = peer.request()? {
            peer.stream
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n")?;
            peer.answer(&request, crate::server::CREATED)?;
        }
        Ok(())
    }
    fn chunked(peer: &mut Peer) -> io::Result<()> {
        while let Some(request) = peer.request()? {
            let head = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n";
            peer.answer(&request, head)?;
            peer.stream.write_all(b"1\r\n}\r\n0\r\n\r\n")?;
        }
        Ok(())
    }
    fn until_close(peer: &mut Peer) -> io::Result<()> {
        let request = peer.request()?.expect("one");
        peer.answer(&request, b"HTTP/1.0 201 Created\r\n\r\n{}")?;
        peer.close()
    }
    for serve in [interim, chunked, until_close] {
        let ran = ten(serve, |scenario| {
            let (pointer, value) = (String::new(), Some(serde_json::json!({})));
            let whole = load::plan::Check::Json { pointer, value };
            // What is in chunks is `{}` as well.
            scenario.checks.push(whole);
        });
        assert_eq!((ran.statuses(), ran.failures()), (vec![(201, 10)], vec![]));
        assert_eq!(ran.counts().checks_passed, [10, 10]);
    }
}

#[test]
fn no_descriptor_is_the_generators_own_want() {
    // In a process of its own, since the limit is of a process.
    const INNER: &str = "LOAD_TEST_WITHOUT_DESCRIPTORS";
    if std::env::var_os(INNER).is_none() {
        let ended = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "misbehaving::no_descriptor_is_the_generators_own_want"])
            .env(INNER, "1")
            .output()
            .unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        return;
    }
    // The kernel takes connections for a listener that nobody looks at.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let of_few = plan(scenario(listener.local_addr().unwrap(), rate(200.0, 50)));
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = Some(64);
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let mut taken: Vec<_> = std::iter::from_fn(|| listener.try_clone().ok()).collect();
    // A worker's epoll and timer need two, and nothing is left for a connection.
    taken.truncate(taken.len() - 2);
    assert_eq!(run(of_few).failures(), [(Failure::NoSocket, 10)]);
}
