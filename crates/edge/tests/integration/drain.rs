//! Ending and upgrading without cutting anybody off.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::{LARGE_BYTES, Site};
use crate::raw::{End, PATIENCE, Raw};

const SHORT: Duration = Duration::from_millis(300);
const POST: &str = "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";

#[test]
fn what_is_being_worked_on_is_finished() {
    let site = Site::start();
    let mut client = Raw::connect(site.address);
    client.send("POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
    site.wait_for_held(1);
    site.drain(Duration::ZERO, PATIENCE);
    site.release();
    let answer = client.answer();
    assert_eq!(answer.status, 201);
    assert!(answer.closes());
    assert_eq!(client.answers_to_the_end(), (Vec::new(), End::Closed));
    assert_eq!(site.join().cut_off, 0);
}

#[test]
fn an_idle_connection_may_send_one_more_request() {
    let site = Site::start();
    let mut client = Raw::connect(site.address);
    client.send(POST);
    assert!(!client.answer().closes());
    site.drain(PATIENCE, PATIENCE);
    client.send(POST);
    let answer = client.answer();
    assert_eq!(answer.status, 201);
    assert!(answer.closes());
    assert_eq!(client.answers_to_the_end(), (Vec::new(), End::Closed));
    assert_eq!(site.join().cut_off, 0, "nobody waited for the grace to pass");
}

#[test]
fn who_was_idle_for_long_has_the_whole_grace_too() {
    let site = Site::start();
    let mut client = Raw::connect(site.address);
    client.send(POST);
    client.answer();
    // Idle for longer than the grace before draining starts, by the server's own account.
    let strict = Site::with(|config| config.deadlines.idle = SHORT * 3);
    Raw::connect(strict.address).answers_to_the_end();
    site.drain(SHORT * 2, PATIENCE);
    let timer = Site::with(|config| config.deadlines.idle = SHORT / 3);
    Raw::connect(timer.address).answers_to_the_end();
    client.send(POST);
    assert_eq!(client.answer().status, 201);
}

#[test]
fn who_stays_idle_is_closed_after_the_grace() {
    let site = Site::start();
    let mut clients: Vec<_> = (0..3).map(|_| Raw::connect(site.address)).collect();
    clients[0].send(POST);
    clients[0].answer();
    site.drain(SHORT, PATIENCE);
    for client in &mut clients {
        assert_eq!(client.answers_to_the_end(), (Vec::new(), End::Closed));
    }
    assert_eq!(site.join().cut_off, 0);
}

#[test]
fn what_is_busy_at_the_deadline_is_cut_off_and_counted() {
    let site = Site::start();
    let mut clients: Vec<_> = (0..2).map(|_| Raw::connect(site.address)).collect();
    for client in &mut clients {
        client.send("POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
    }
    site.wait_for_held(2);
    site.drain(Duration::ZERO, SHORT);
    assert_eq!(site.join().cut_off, 2);
    for client in &mut clients {
        assert_eq!(client.answers_to_the_end().0, []);
    }
}

#[test]
fn a_long_answer_is_not_cut_by_the_grace() {
    let site = Site::start();
    let mut slow = Raw::connect(site.address);
    slow.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    // The answer is on its way, and waits for this client to read it.
    slow.wait_for_some();
    let mut idle = Raw::connect(site.address);
    idle.send(POST);
    idle.answer();
    site.drain(SHORT, PATIENCE);
    // When the idle one has been closed, the grace is over.
    assert_eq!(idle.answers_to_the_end(), (Vec::new(), End::Closed));
    let (answers, end) = slow.answers_to_the_end();
    assert_eq!(answers.len(), 1);
    assert!(answers.iter().all(|answer| answer.body.len() == LARGE_BYTES), "each came whole");
    assert_eq!(end, End::Closed);
    assert_eq!(site.join().cut_off, 0);
}

#[test]
fn draining_at_once_ends() {
    for _ in 0..20 {
        let site = Site::start();
        site.drain(Duration::ZERO, PATIENCE * 10);
        let (ended, end) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || ended.send(site.join()));
        let drained = end.recv_timeout(PATIENCE).expect("it ends long before the deadline");
        assert_eq!(drained.cut_off, 0);
    }
}

#[test]
fn a_retiring_server_goes_on_and_may_stay() {
    let site = Site::start();
    let mut idle = Raw::connect(site.address);
    let mut kept = Raw::connect(site.address);
    for client in [&mut idle, &mut kept] {
        client.send(POST);
        assert!(!client.answer().closes());
    }
    site.control().retire(SHORT);
    kept.send(POST);
    assert!(kept.answer().closes(), "each answer is its connection's last");
    let mut new = Raw::connect(site.address);
    new.send(POST);
    assert!(new.answer().closes(), "new connections are still accepted");
    assert_eq!(idle.answers_to_the_end(), (Vec::new(), End::Closed), "after the grace");

    site.control().pause();
    site.wait_until(|| site.control().is_paused());
    let mut waiting = Raw::connect(site.address);
    waiting.send(POST);
    site.wait_for_connections(0);
    site.control().resume();
    let answer = waiting.answer();
    assert_eq!((answer.status, answer.closes()), (201, false), "it waited in the queue");
    assert!(!site.control().is_paused());

    // What came during a pause is left to the process that holds the same sockets.
    site.control().retire(SHORT);
    site.control().pause();
    site.wait_until(|| site.control().is_paused());
    let mut waiting = Raw::connect(site.address);
    waiting.send(POST);
    site.drain(Duration::ZERO, PATIENCE);
    assert_eq!(site.join().cut_off, 0);
    assert_eq!(
        waiting.answers_to_the_end(),
        (Vec::new(), End::Reset),
        "nobody else holds them here"
    );
}

#[test]
fn an_upgrade_under_load_fails_no_request() {
    assert_eq!(failures_in_upgrade(SHORT, PATIENCE), 0);
}

/// The control: without draining the same clients do fail.
#[test]
fn an_upgrade_without_draining_fails_requests() {
    assert!(failures_in_upgrade(Duration::ZERO, Duration::ZERO) > 0);
}

/// Has clients post without pause while one server hands its sockets to the next. Each opens a new
/// connection when told to; one that gets no answer to a request has failed, and is counted.
fn failures_in_upgrade(grace: Duration, deadline: Duration) -> usize {
    let listeners = edge::listen::bind(&["127.0.0.1:0".to_owned()], 2).expect("a free port");
    let (old_end, new_end) = UnixStream::pair().expect("a pair of sockets");
    let sockets: Vec<_> = listeners.iter().flatten().map(std::os::fd::AsFd::as_fd).collect();
    edge::handover::send_descriptors(&old_end, &sockets).expect("they are sent");
    let count = sockets.len();
    let old = Site::on(listeners, |_| {});
    let address = old.address;

    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut client = Raw::connect(address);
                    // Half of them open a connection for every request.
                    let requests = if number % 2 == 0 { u64::MAX } else { 1 };
                    for _ in 0..requests {
                        client.send(POST);
                        let answer = client.answer();
                        assert_eq!(answer.status, 201);
                        answered.fetch_add(1, Ordering::Relaxed);
                        if answer.closes() || stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    let wait_for_more = |more: u64| {
        let target = answered.load(Ordering::Relaxed) + more;
        while answered.load(Ordering::Relaxed) < target
            && !clients.iter().all(|client| client.is_finished())
        {
            std::thread::yield_now();
        }
    };

    wait_for_more(500);
    old.drain(grace, deadline);
    old.join();
    let sockets = edge::handover::receive_descriptors(&new_end, count).expect("they were sent");
    let listeners =
        sockets.into_iter().map(|socket| vec![std::net::TcpListener::from(socket)]).collect();
    let new = Site::on(listeners, |_| {});
    wait_for_more(500);
    stop.store(true, Ordering::Relaxed);
    let failed = clients.into_iter().filter_map(|client| client.join().err()).count();
    drop(new);
    failed
}
