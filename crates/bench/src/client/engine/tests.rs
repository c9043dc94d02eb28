//! The client against the floor, good and bad: what it counts, and what a stall looks like.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::*;
use crate::client::listen;
use crate::floor::Floor;
use crate::requests::{PostShape, Posts};

/// A floor in a thread of its own, ended when dropped.
struct Responder {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Responder {
    fn start(status: u16, stall: Option<(u64, Duration)>) -> Self {
        let listener = listen("127.0.0.1:0").expect("loopback is there");
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let floor = Floor::new(listener, status, stall).unwrap();
        let thread = std::thread::spawn(move || floor.run(|| asked.load(Ordering::Relaxed)));
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("taken here only").join();
        ended.expect("the floor does not panic").expect("the floor does not fail");
    }
}

fn load(responder: &Responder) -> Load {
    Load {
        address: responder.address,
        connections: 4,
        pace: Pace::Closed,
        duration: Duration::from_secs(30),
        warmup: Duration::ZERO,
        requests_max: Some(500),
        connection_per_request: false,
        back_off: None,
    }
}

fn posts(batch: usize, close: bool) -> Requests {
    Requests::Posts(Posts::new(&PostShape {
        path: "/api/usages".to_owned(),
        patients: 1_000,
        zipf: None,
        medications: 3,
        distinct_times: true,
        key_prefix: Some("test-".to_owned()),
        batch,
        first: 0,
        close,
    }))
}

#[test]
fn every_answer_is_counted_once() {
    let responder = Responder::start(201, None);
    let report = run(&load(&responder), posts(1, false)).unwrap();
    assert_eq!((report.sent, report.good, report.usages), (500, 500, 500));
    assert_eq!(report.latency.count, 500);
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn batches_count_their_usages() {
    let responder = Responder::start(201, None);
    let report = run(&load(&responder), posts(1_000, false)).unwrap();
    assert_eq!((report.good, report.usages), (500, 500_000));
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn each_request_may_have_its_own_connection() {
    let responder = Responder::start(201, None);
    let load = Load { connection_per_request: true, ..load(&responder) };
    let report = run(&load, posts(1, true)).unwrap();
    assert_eq!((report.good, report.broken), (500, 0));
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn a_server_that_closes_is_connected_to_again() {
    let responder = Responder::start(201, None);
    let report = run(&load(&responder), posts(1, true)).unwrap();
    assert_eq!((report.good, report.broken), (500, 0));
}

#[test]
fn an_error_is_never_counted_as_accepted() {
    let responder = Responder::start(500, None);
    let report = run(&load(&responder), posts(1, false)).unwrap();
    assert_eq!((report.good, report.usages, report.latency.count), (0, 0, 0));
    assert_eq!(report.other, BTreeMap::from([(500, 500)]));
    assert!(!report.is_clean());
}

#[test]
fn after_a_503_a_connection_rests_and_goes_on() {
    let responder = Responder::start(503, None);
    let back_off = Some(Duration::from_millis(1));
    let report = run(&Load { back_off, ..load(&responder) }, posts(1, false)).unwrap();
    assert_eq!((report.good, report.backed_off), (0, 500));
    assert!(report.other.is_empty());
}

#[test]
fn a_stall_is_charged_for_all_who_came_meanwhile() {
    let stall = Duration::from_millis(300);
    let responder = Responder::start(201, Some((200, stall)));
    let load = Load {
        pace: Pace::PerSecond(1_000.0),
        duration: Duration::from_secs(1),
        requests_max: None,
        ..load(&responder)
    };
    let report = run(&load, posts(1, false)).unwrap();
    assert_eq!((report.good, report.unsent), (1_000, 0));
    // Only four requests were in flight when it stood still. Counted from when they were sent,
    // four answers would be late; counted from when they were due, about 300 are.
    assert!(report.latency.max_ms >= 290.0, "{report}");
    assert!(report.latency.p90_ms >= 190.0, "{report}");
}

#[test]
fn a_server_that_is_gone_ends_the_run() {
    let responder = Responder::start(201, None);
    let load = load(&responder);
    drop(responder);
    run(&load, posts(1, false)).expect_err("nobody listens");
    let load = Load { connection_per_request: true, ..load };
    let report = run(&load, posts(1, true)).unwrap();
    assert!(!report.is_clean());
    assert_eq!(report.good, 0);
}
