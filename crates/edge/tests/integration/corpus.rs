//! Bytes that no well-behaved client sends. Each is answered with a 4xx or has its connection
//! closed; none gets a 5xx, hangs, smuggles a second request, or harms a client beside it.

use crate::harness::Site;
use crate::raw::{End, PATIENCE, Raw};

/// What may come of a case.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// Answers of 4xx, or none, and then the end of the connection.
    Refused,
    /// These answers, and the server closes.
    AnsweredAndClosed(&'static [u16]),
    /// These answers, after which the connection would go on, had the client not ended it.
    Answered(&'static [u16]),
}
use Expected::{Answered, AnsweredAndClosed, Refused};

fn check(site: &Site, name: &str, bytes: &[u8], expected: Expected) {
    let mut client = Raw::connect(site.address);
    client.send(bytes);
    if let Answered(_) = expected {
        // Without this the server would rightly wait for the next request.
        client.finish();
    }
    let (answers, end) = client.answers_to_the_end();
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    match expected {
        Refused => {
            let refused = statuses.iter().all(|status| (400..500).contains(status));
            assert!(refused && statuses.len() <= 1, "{name}: {statuses:?}");
        }
        AnsweredAndClosed(wanted) | Answered(wanted) => assert_eq!(statuses, wanted, "{name}"),
    }
    for answer in answers.iter().filter(|answer| answer.status >= 400) {
        let media_type = answer.header("content-type");
        assert_eq!(media_type, Some("application/problem+json"), "{name}: {answer:?}");
    }
    assert_eq!(end, End::Closed, "{name}: the answer must not be lost to a reset");
}

fn with_headers(count: usize) -> Vec<u8> {
    let mut request = b"GET /ok HTTP/1.1\r\nHost: a\r\n".to_vec();
    (0..count).for_each(|number| request.extend(format!("X-{number}: 1\r\n").bytes()));
    request.extend(b"\r\n");
    request
}

fn with_header_bytes(bytes: usize) -> Vec<u8> {
    [b"GET /ok HTTP/1.1\r\nHost: a\r\nX: ".as_slice(), &vec![b'x'; bytes], b"\r\n\r\n"].concat()
}

#[test]
fn broken_framing_is_refused() {
    let site = Site::start();
    let check = |name, bytes: &[u8], expected| check(&site, name, bytes, expected);
    // Read by the chunks, and what follows is never taken for a request (RFC 9112, section 6.1).
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    check(
        "length, then chunked",
        format!("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n{smuggled}").as_bytes(),
        AnsweredAndClosed(&[201]),
    );
    check(
        "chunked, then length",
        format!("POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n1\r\na\r\n0\r\n\r\n{smuggled}").as_bytes(),
        AnsweredAndClosed(&[201]),
    );
    check(
        "two lengths",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        Refused,
    );
    check(
        "a list of lengths",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\nab",
        Refused,
    );
    check(
        "a signed length",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
        Refused,
    );
    check(
        "a negative length",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\na",
        Refused,
    );
    check(
        "a length beyond 64 bits",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        Refused,
    );
    check(
        "a coding after chunked",
        b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        Refused,
    );
    check(
        "an unknown coding",
        b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        Refused,
    );
    check(
        "chunked in HTTP/1.0",
        b"POST /read HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    );
    check("a chunk's size is no number", b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n", Refused);
    check("a chunk's size overflows", b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nab\r\n0\r\n\r\n", Refused);
    check("a chunk longer than its size", b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabcdef\r\n0\r\n\r\n", Refused);
    check(
        "bare LFs after a chunk's size",
        b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
        Refused,
    );
    check("a bare CR in a value", b"GET /ok HTTP/1.1\r\nHost: a\rb\r\n\r\n", Refused);
    check("a folded line", b"GET /ok HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", Refused);
    check(
        "a space before the colon",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\na",
        Refused,
    );
    check("a NUL in a value", b"GET /ok HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", Refused);
    check("a line without a colon", b"GET /ok HTTP/1.1\r\nHost: a\r\nhello\r\n\r\n", Refused);
    site.assert_unharmed();
}

#[test]
fn broken_request_lines_are_refused() {
    let site = Site::start();
    let check = |name, bytes: &[u8], expected| check(&site, name, bytes, expected);
    check("no HTTP at all", b"hello, is this a printer?\r\n\r\n", Refused);
    check(
        "TLS",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
        Refused,
    );
    check("HTTP/2 from the start", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refused);
    check("a method that is no token", b"G@T /ok HTTP/1.1\r\nHost: a\r\n\r\n", Refused);
    check("a version of the future", b"GET /ok HTTP/9.9\r\nHost: a\r\n\r\n", Refused);
    check("no version", b"GET /ok\r\n\r\n", Refused);
    check("two spaces", b"GET  /ok HTTP/1.1\r\nHost: a\r\n\r\n", Refused);
    check("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", Refused);
    check("a target that is no URI", b"GET /a<b\"{} HTTP/1.1\r\nHost: a\r\n\r\n", Refused);
    check("CONNECT", b"CONNECT other.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", Answered(&[421]));
    check(
        "a target of 100 kB",
        &[b"GET /".as_slice(), &[b'x'; 100_000], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat(),
        Refused,
    );
    check("an endless request line", &[b'x'; 1 << 20], Refused);
    check("nothing at all", b"", Answered(&[]));
    check("half a head, and gone", b"GET /ok HT", Answered(&[]));
    site.assert_unharmed();
}

#[test]
fn heads_have_bounds() {
    let site = Site::start();
    let check = |name, bytes: &[u8], expected| check(&site, name, bytes, expected);
    check("50 headers", &with_headers(50), Answered(&[200]));
    check("101 headers", &with_headers(101), AnsweredAndClosed(&[431]));
    check("10,000 headers", &with_headers(10_000), AnsweredAndClosed(&[431]));
    check("8 kB of a header", &with_header_bytes(8_000), Answered(&[200]));
    check("17 kB of a header", &with_header_bytes(17_000), AnsweredAndClosed(&[431]));
    check("10 MB of a header", &with_header_bytes(10 << 20), AnsweredAndClosed(&[431]));
    check("no head", b"no head\r\n\r\n", AnsweredAndClosed(&[400]));
    site.assert_unharmed();
    // No service is asked about them, yet a flood of them is to be seen.
    let counted = |status: u16| {
        let line = format!(
            r#"http_server_requests_total{{method="other",route="other",status="{status}"}} "#
        );
        let metrics = site.metrics.expose();
        let found = metrics.lines().find_map(|text| text.strip_prefix(&line)?.parse::<u64>().ok());
        found.unwrap_or(0)
    };
    assert_eq!((counted(400), counted(431)), (1, 4), "{}", site.metrics.expose());
}

#[test]
fn unusual_and_right_is_answered() {
    let site = Site::start();
    let check = |name, bytes: &[u8], expected| check(&site, name, bytes, expected);
    check("HTTP/1.0 closes", b"GET /ok HTTP/1.0\r\n\r\n", AnsweredAndClosed(&[200]));
    check(
        "close is obeyed",
        b"GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        AnsweredAndClosed(&[200]),
    );
    check("an absolute target", b"GET http://a/ok HTTP/1.1\r\nHost: a\r\n\r\n", Answered(&[200]));
    check("empty lines before", b"\r\n\r\nGET /ok HTTP/1.1\r\nHost: a\r\n\r\n", Answered(&[200]));
    // A single LF may be taken for the end of a line (RFC 9112, section 2.2).
    check("bare LFs in a head", b"GET /ok HTTP/1.1\nHost: a\n\n", Answered(&[200]));
    check("a body in pieces", b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n2\r\nbc\r\n0\r\nT: 1\r\n\r\n", Answered(&[201]));
    check(
        "a length said twice alike",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        Answered(&[201]),
    );
    check(
        "no body",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        Answered(&[201]),
    );
    let three = b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab".repeat(3);
    check("three in a row", &three, Answered(&[201, 201, 201]));
    check(
        "a hundred in a row",
        &b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100),
        Answered(&[200; 100]),
    );
    check(
        "half a body, and gone",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab",
        Answered(&[400]),
    );
    site.assert_unharmed();
}

/// As every `PostAsJsonAsync` of .NET sends it.
#[test]
fn repro_a_body_in_pieces_keeps_its_connection() {
    let site = Site::start();
    let mut client = Raw::connect(site.address);
    let mut exchange = |request: &[u8], status: u16| {
        client.send(request);
        let answer = client.answer();
        assert_eq!((answer.status, answer.closes()), (status, false), "{answer:?}");
    };
    let head = "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["2\r\nab\r\n0\r\n\r\n", "0\r\n\r\n", "1\r\na\r\n1\r\nb\r\n0\r\nT: 1\r\n\r\n"] {
        exchange(format!("{head}{body}").as_bytes(), 201);
        exchange(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n", 200);
        exchange(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", 201);
    }
    // Two in one packet.
    let two = format!("{head}0\r\n\r\n{head}0\r\n\r\n");
    exchange(two.as_bytes(), 201);
    exchange(b"", 201);
}

/// However the head of a request with both a length and chunks arrives, none follows it.
#[test]
fn a_length_beside_chunks_ends_the_connection_however_it_arrives() {
    let site = Site::start();
    let before = "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";
    let head = "POST /read HTTP/1.1\r\nHost: a\r\n";
    let (length, chunks) = ("CONTENT-LENGTH:5\r\n", "Transfer-Encoding: chunked\r\n");
    for both in [format!("{length}{chunks}"), format!("{chunks}{length}")] {
        let request = format!("{before}{head}{both}\r\n0\r\n\r\n");
        for split in (0..request.len()).step_by(5) {
            let mut client = Raw::connect(site.address);
            client.send(&request[..split]);
            if split >= before.len() {
                assert_eq!(client.answer().status, 201);
            }
            // Together, for what arrives after the connection was closed is answered with a reset.
            client.send(format!("{}GET /ok HTTP/1.1\r\nHost: a\r\n\r\n", &request[split..]));
            let (answers, end) = client.answers_to_the_end();
            let last = answers.last().expect("it is answered");
            assert_eq!((last.status, last.closes(), end), (201, true, End::Closed), "{split}");
        }
    }
}

#[test]
fn one_byte_at_a_time_is_understood() {
    let site = Site::start();
    let mut client = Raw::connect(site.address);
    for byte in b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" {
        client.send([*byte]);
    }
    assert_eq!(client.answer().status, 201);
}

#[test]
fn who_half_closes_after_the_request_gets_the_answer() {
    let site =
        Site::on(edge::listen::bind(&["127.0.0.1:0".to_owned()], 1).expect("a port"), |_| {});
    let mut client = Raw::connect(site.address);
    client.send("POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
    site.wait_for_held(1);
    client.finish();
    // The one core has seen the end of the stream when it has served others that came later.
    (0..3).for_each(|_| site.assert_unharmed());
    site.release();
    let (answers, end) = client.answers_to_the_end();
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [201]);
    assert_eq!(end, End::Closed);
}

#[test]
fn a_body_is_asked_for_only_when_it_is_wanted() {
    let site = Site::start();
    let head = "HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    let mut wanted = Raw::connect(site.address);
    wanted.send(format!("POST /read {head}"));
    assert_eq!(wanted.answer().status, 100);
    wanted.send("abc");
    assert_eq!(wanted.answer().status, 201);

    let mut refused = Raw::connect(site.address);
    refused.send(format!("POST /refuse {head}"));
    let answer = refused.answer();
    assert_eq!(answer.status, 413, "the refusal comes without a 100 before it");
    assert!(answer.closes());
}

#[test]
fn a_refusal_is_read_whole_by_who_is_still_sending() {
    check_refusals("");
}

/// As some clients do with every request, unless they are told not to.
#[test]
fn repro_a_refusal_is_read_whole_by_who_offers_http2() {
    check_refusals(
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    );
}

fn check_refusals(headers: &str) {
    let site = Site::start();
    for (path, status) in [("/refuse", 413), ("/read", 413), ("/overloaded", 503)] {
        let mut client = Raw::connect(site.address);
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {}\r\n\r\n",
            10 << 20
        ));
        let piece = vec![b'x'; 64 * 1024];
        for sent in 0..160 {
            assert_eq!(client.try_send(&piece), Ok(()), "{path}: cut off after {sent} pieces");
        }
        let (answers, end) = client.answers_to_the_end();
        assert_eq!(answers.len(), 1, "{path}");
        assert_eq!(answers[0].status, status, "{path}");
        assert!(answers[0].closes(), "{path}");
        assert!(!answers[0].body.is_empty(), "{path}: the problem's details came too");
        assert_eq!(end, End::Closed, "{path}");
    }
}

#[test]
fn bodies_in_pieces_have_bounds_too() {
    let site = Site::start();
    let mut client = Raw::connect(site.address);
    client.send("POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let piece = [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat();
    for _ in 0..40 {
        client.send(&piece);
    }
    let (answers, end) = client.answers_to_the_end();
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [413]);
    assert_eq!(end, End::Closed);
    assert!(PATIENCE.as_secs() > 2, "the lingering close is shorter than what a test calls a hang");
}
