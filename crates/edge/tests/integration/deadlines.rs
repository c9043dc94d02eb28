//! Slow and silent clients are let go, each by the deadline that is meant for it, while others are
//! served.

use std::time::Duration;

use edge::{Config, Deadlines};

use crate::harness::{LARGE_BYTES, Site};
use crate::raw::{Answer, End, PATIENCE, Raw};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(600);

/// Sends `bytes` to a server that has one deadline short and all others long, and gives back what
/// came of it. The same bytes sent to a server with all deadlines long must be waited for: else the
/// test would pass whatever ended the connection.
fn ended_by(shorten: impl Fn(&mut Config), bytes: &[u8]) -> Vec<Answer> {
    let patient = Site::with(|config| all(config, LONG));
    let strict = Site::with(|config| {
        all(config, LONG);
        shorten(config);
    });
    let mut waited_for = Raw::connect(patient.address);
    let mut let_go = Raw::connect(strict.address);
    waited_for.send(bytes);
    let_go.send(bytes);
    let (answers, end) = let_go.answers_to_the_end();
    assert_eq!(end, End::Closed);
    for answer in &answers {
        if answer.status == 200 {
            assert_eq!(waited_for.answer().status, 200);
        }
    }
    assert!(waited_for.is_quiet(), "the control is still waited for");
    strict.assert_unharmed();
    answers
}

fn all(config: &mut Config, duration: Duration) {
    config.deadlines = Deadlines {
        header: duration,
        body: duration,
        idle: duration,
        taken_bytes_per_second_min: 1,
        linger: duration,
    };
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

#[test]
fn a_head_must_arrive_in_time() {
    let answers = ended_by(|config| config.deadlines.header = SHORT, b"GET /ok HTTP/1.1\r\nHo");
    assert!(answers.iter().all(|answer| answer.status == 408), "{answers:?}");
}

#[test]
fn a_second_head_must_arrive_in_time() {
    let site = Site::with(|config| {
        all(config, LONG);
        config.deadlines.header = SHORT;
    });
    let mut client = Raw::connect(site.address);
    client.send("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    client.send("GET /ok HTTP/1.1\r\nHo");
    assert_eq!(client.answers_to_the_end(), (Vec::new(), End::Closed));
}

#[test]
fn a_body_must_arrive_in_time() {
    let answers = ended_by(
        |config| config.deadlines.body = SHORT,
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab",
    );
    assert_eq!(statuses(&answers), [408]);
    assert!(answers[0].closes());
}

#[test]
fn a_silent_connection_is_closed() {
    assert_eq!(ended_by(|config| config.deadlines.idle = SHORT, b""), []);
}

#[test]
fn a_connection_that_went_silent_is_closed() {
    let answers =
        ended_by(|config| config.deadlines.idle = SHORT, b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(statuses(&answers), [200]);
}

#[test]
fn dripping_does_not_buy_time() {
    let site = Site::with(|config| {
        all(config, LONG);
        config.deadlines.header = SHORT;
        config.deadlines.body = SHORT;
    });
    let mut head = Raw::connect(site.address);
    head.send("GET /ok HTTP/1.1\r\n");
    head.drip_until_end(b"X: y\r\n");

    let mut body = Raw::connect(site.address);
    body.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    body.drip_until_end(b"x");
    site.assert_unharmed();
}

#[test]
fn who_takes_no_answers_is_let_go() {
    let site = Site::with(|config| {
        all(config, LONG);
        config.deadlines.idle = SHORT;
    });
    let mut client = Raw::connect(site.address);
    let request = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    // Sending stalls once both sides' buffers are full, and ends when the server lets go.
    while client.try_send(&request).is_ok() {}
    site.assert_unharmed();
}

#[test]
fn sipping_does_not_buy_time() {
    let taken = |pace: u64| {
        let site = Site::with(|config| {
            all(config, LONG);
            config.deadlines.idle = PATIENCE / 20;
            config.deadlines.taken_bytes_per_second_min = pace;
        });
        let mut client = Raw::connect(site.address);
        client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
        client.sip_until_end()
    };
    assert!(taken(u64::MAX) < LARGE_BYTES, "it was let go in the middle");
    // The control: who is allowed to be slow gets all of it.
    assert!(taken(1) > LARGE_BYTES);
}

#[test]
fn a_large_answer_ends_its_connection() {
    let site = Site::start();
    let mut client = Raw::connect(site.address);
    client.send("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!client.answer().closes());
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\nGET /ok HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.answer();
    assert!(answer.closes() && answer.body.len() == LARGE_BYTES);
    // What was sent after it is not answered, and costs nobody the answer before it.
    assert_eq!(client.answers_to_the_end(), (Vec::new(), End::Closed));
}

#[test]
fn a_service_at_work_has_no_deadline() {
    let site = Site::with(|config| all(config, SHORT));
    let mut busy = Raw::connect(site.address);
    busy.send("POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
    site.wait_for_held(1);
    // A second connection is swept after the first one's time would have been over.
    let mut idle = Raw::connect(site.address);
    assert_eq!(idle.answers_to_the_end(), (Vec::new(), End::Closed));
    site.release();
    assert_eq!(busy.answer().status, 201);
}

#[test]
fn many_slow_clients_do_not_delay_a_quick_one() {
    let site = Site::with(|config| all(config, LONG));
    let slow: Vec<_> = (0..200)
        .map(|number| {
            let mut client = Raw::connect(site.address);
            match number % 3 {
                0 => client.send("GET /ok HT"),
                1 => client.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na"),
                _ => client.send(""),
            };
            client
        })
        .collect();
    (0..100).for_each(|_| site.assert_unharmed());
    assert_eq!(slow.len(), 200, "they are connected until here");
}
