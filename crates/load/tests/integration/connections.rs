//! Connections that are kept, and new ones for each request.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use load::measure::Trend;
use load::plan::{Check, Keeping, LocalAddresses};
use load::receipts::Receipts;

use crate::plans::{plan, rate, run, run_with_receipts, scenario};
use crate::server::{CREATED, Server};

#[test]
fn the_server_closes_first_when_it_is_to() {
    let server = Server::start(|peer| {
        let request = peer.request()?.expect("one request");
        assert!(request.head.contains("\r\nConnection: close\r\n"), "{}", request.head);
        peer.answer(&request, CREATED)?;
        peer.close()
    });
    let mut scenario = scenario(server.address, rate(500.0, 200));
    scenario.connections.keeping = Keeping::PerRequest { max: 50, server_closes: true };
    let ran = run(plan(scenario));
    assert_eq!((ran.statuses(), server.accepted()), (vec![(201, 100)], 100));
    assert_eq!(ran.counts().connections, 100);
    assert!(ran.percentile(Trend::Connecting, 0.0) > 0.0, "each has connected");
}

/// Each took its place among the connections for as long as a request may take.
#[test]
fn repro_a_server_that_does_not_close_is_not_waited_for_long() {
    let server = Server::friendly();
    let mut scenario = scenario(server.address, rate(100.0, 50));
    scenario.connections.keeping = Keeping::PerRequest { max: 1, server_closes: true };
    let ran = run(plan(scenario));
    assert_eq!((ran.statuses(), server.accepted()), (vec![(201, 5)], 5));
    // The last is closed with the run.
    assert_eq!((ran.counts().left_open, ran.counts().connections), (4, 5));
    assert!(ran.totals.until_ns < 5_000_000_000, "{} ns", ran.totals.until_ns);
}

#[test]
fn the_generator_closes_first_when_it_is_to() {
    let server = Server::start(|peer| {
        let request = peer.request()?.expect("one request");
        assert!(!request.head.contains("Connection:"), "{}", request.head);
        peer.answer(&request, CREATED)?;
        assert!(peer.request()?.is_none(), "the other side closes");
        Ok(())
    });
    let mut scenario = scenario(server.address, rate(500.0, 200));
    scenario.connections.keeping = Keeping::PerRequest { max: 50, server_closes: false };
    let ran = run(plan(scenario));
    assert_eq!((ran.statuses(), server.accepted()), (vec![(201, 100)], 100));
}

#[test]
fn sources_are_used_in_turn() {
    let server = Server::friendly();
    let mut scenario = scenario(server.address, rate(400.0, 100));
    scenario.connections.keeping = Keeping::PerRequest { max: 50, server_closes: false };
    let locals = ["127.0.0.2", "127.0.0.3", "::1", "127.0.0.4"];
    let locals: Vec<IpAddr> = locals.iter().map(|l| l.parse().unwrap()).collect();
    scenario.connections.local = LocalAddresses::Of(locals);
    let ran = run(plan(scenario));
    assert_eq!(ran.statuses(), [(201, 40)]);
    let mut counts = BTreeMap::<String, usize>::new();
    for source in server.sources() {
        *counts.entry(source.ip().to_string()).or_default() += 1;
    }
    // Those of the other family are passed over for the one behind them.
    let expected = [("127.0.0.2", 10), ("127.0.0.3", 10), ("127.0.0.4", 20)];
    assert_eq!(counts, expected.map(|(ip, count)| (ip.to_owned(), count)).into());
}

#[test]
fn a_connection_that_the_server_closed_is_replaced_unnoticed() {
    // Every third answer is the last of its connection, without a word about it.
    let server = Server::start(|peer| {
        for number in 0..3 {
            let Some(request) = peer.request()? else { return Ok(()) };
            // The last answer and the end are one segment, so that no request can come between.
            rustix::net::sockopt::set_tcp_cork(&peer.stream, number == 2)?;
            peer.answer(&request, CREATED)?;
        }
        peer.close()
    });
    let ran = run(plan(scenario(server.address, rate(50.0, 400))));
    assert_eq!((ran.statuses(), ran.failures()), (vec![(201, 20)], vec![]));
    assert!(server.accepted() >= 7, "{}", server.accepted());
}

#[test]
fn an_answer_that_says_close_is_believed() {
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            let answer = b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
            peer.answer(&request, answer)?;
        }
        Ok(())
    });
    let ran = run(plan(scenario(server.address, rate(100.0, 100))));
    assert_eq!((ran.statuses(), server.accepted()), (vec![(201, 10)], 10));
}

#[test]
fn checks_look_at_status_headers_and_body() {
    let turn = AtomicUsize::new(0);
    let server = Server::start(move |peer| {
        while let Some(request) = peer.request()? {
            let answer: &[u8] = match turn.fetch_add(1, Ordering::Relaxed) % 4 {
                0 => b"HTTP/1.1 201 Created\r\nDurability: fsync\r\nContent-Length: 8\r\n\r\n{\"id\":1}",
                1 => b"HTTP/1.1 201 Created\r\nDurability: none\r\nContent-Length: 8\r\n\r\n{\"id\":1}",
                2 => b"HTTP/1.1 201 Created\r\nDurability: fsync\r\nContent-Length: 8\r\n\r\n{\"id\":2}",
                _ => b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
            };
            peer.answer(&request, answer)?;
        }
        Ok(())
    });
    let mut scenario = scenario(server.address, rate(400.0, 100));
    scenario.checks = vec![
        Check::Status(201),
        Check::Header { name: "durability".into(), value: Some("fsync".into()) },
        Check::Json { pointer: "/id".into(), value: Some(1.into()) },
        Check::Body("2".into()),
    ];
    let ran = run(plan(scenario));
    assert_eq!(ran.statuses(), [(201, 30), (503, 10)]);
    assert_eq!(ran.counts().checks_passed, [30, 20, 20, 10]);
    assert_eq!(ran.counts().failed, 10);
}

#[test]
fn acknowledged_ids_are_written_down() {
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            let id = format!("0193591e-0000-7000-8000-{:012}", request.number);
            let status = if request.number.is_multiple_of(2) { "201 Created" } else { "503 Busy" };
            let body = format!("{{\"id\":\"{id}\"}}");
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
            peer.answer(&request, format!("{head}{body}").as_bytes())?;
        }
        Ok(())
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ids");
    let receipts = Receipts::create(&file).unwrap();
    run_with_receipts(plan(scenario(server.address, rate(500.0, 100))), receipts);
    let mut ids: Vec<_> =
        std::fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
    ids.sort_unstable();
    let expected: Vec<_> =
        (0..25).map(|n| format!("0193591e-0000-7000-8000-{:012}", 2 * n)).collect();
    assert_eq!(ids, expected);
}
