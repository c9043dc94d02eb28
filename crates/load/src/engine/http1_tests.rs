//! Whatever a server may send, in whatever pieces.

use proptest::prelude::*;

use super::*;
use crate::plan::Check;

/// What became of what a server sent: a status and the body, waiting for more, or no answer.
#[derive(Debug, Clone, PartialEq)]
enum Came {
    Answer { status: u16, close: bool, body: Vec<u8> },
    Part,
    Garbage,
}

fn take(pieces: &[&[u8]], to_head_request: bool, ends: bool) -> Came {
    let scrutiny = Scrutiny::new(&[Check::Body(String::new())], false);
    let mut reader = Reader::default();
    reader.expect(to_head_request);
    let mut whole = None;
    for piece in pieces {
        match reader.take(piece, &scrutiny) {
            Ok(found) => whole = whole.or(found),
            Err(Garbage) => return Came::Garbage,
        }
    }
    if ends && whole.is_none() {
        whole = reader.take_end();
    }
    match whole {
        None => Came::Part,
        Some(Whole { status, close, .. }) => {
            Came::Answer { status, close, body: reader.body().to_vec() }
        }
    }
}

/// Checks in one piece, and cut anywhere.
fn check(sent: &str, expected: &Came) {
    let sent = sent.as_bytes();
    for cut in 0..sent.len() {
        let (one, two) = sent.split_at(cut);
        assert_eq!(take(&[one, two], false, false), *expected, "cut at {cut}");
    }
}

fn answer(status: u16, close: bool, body: &str) -> Came {
    Came::Answer { status, close, body: body.as_bytes().to_vec() }
}

#[test]
fn bodies_end_where_they_say() {
    check("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok", &answer(201, false, "ok"));
    check("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n", &answer(201, false, ""));
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        &answer(200, false, "ok"),
    );
    check("HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", &answer(204, false, ""));
    check("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", &answer(304, false, ""));
    check("HTTP/1.1 200\r\nContent-Length: 9\r\n\r\nok", &Came::Part);
}

#[test]
fn a_head_request_has_no_body() {
    let sent = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(take(&[sent], true, false), answer(200, false, ""));
    assert_eq!(take(&[sent], false, false), Came::Part);
}

#[test]
fn interim_answers_are_passed_over() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let last = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok";
    check(&format!("HTTP/1.1 100 Continue\r\n\r\n{early}{last}"), &answer(201, false, "ok"));
    let endless = early.repeat(ANSWER_HEAD_BYTES_MAX / early.len() + 1);
    assert_eq!(take(&[endless.as_bytes()], false, false), Came::Garbage);
}

#[test]
fn a_connection_closes_when_it_says_so() {
    check(
        "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n",
        &answer(200, true, ""),
    );
    check("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", &answer(200, true, ""));
    check(
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        &answer(200, false, ""),
    );
    let open = b"HTTP/1.0 200 OK\r\n\r\nall of it";
    assert_eq!(take(&[open], false, false), Came::Part);
    assert_eq!(take(&[open], false, true), answer(200, true, "all of it"));
    assert_eq!(take(&[b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"], false, true), Came::Part);
}

#[test]
fn garbage_is_called_so() {
    for sent in [
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 xyz\r\n\r\n",
        "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ] {
        assert_eq!(take(&[sent.as_bytes()], false, false), Came::Garbage, "{sent:?}");
    }
    let mut endless = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
    endless.resize(ANSWER_HEAD_BYTES_MAX + 1, b'x');
    assert_eq!(take(&[&endless], false, false), Came::Garbage);
}

#[test]
fn what_comes_unasked_is_garbage() {
    let mut reader = Reader::default();
    let scrutiny = Scrutiny::new(&[], false);
    assert_eq!(reader.take(b"HTTP/1.1 408 \r\n\r\n", &scrutiny), Err(Garbage));
}

#[test]
fn memory_does_not_follow_the_body() {
    let mut reader = Reader::default();
    let keeping = Scrutiny::new(&[Check::Body("x".into())], false);
    reader.expect(false);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 10 << 20);
    assert_eq!(reader.take(head.as_bytes(), &keeping), Ok(None));
    let part = vec![b'x'; 1 << 20];
    for number in 0..10 {
        let came = reader.take(&part, &keeping).expect("it is a body");
        assert_eq!(came.is_some(), number == 9);
    }
    assert_eq!(reader.body().len(), crate::limits::ANSWER_KEPT_BYTES_MAX);
    reader.expect(false);
    assert!(reader.body.capacity() <= BUFFER_BYTES_KEPT);
}

proptest! {
    #[test]
    fn nothing_panics_wherever_it_is_cut(
        head in "(HTTP/1.[01] [0-9]{3} \r\n((content-length|transfer-encoding|connection): (chunked|close|[0-9]{1,2}|[a-z0-9, ]{0,9})\r\n){0,3}(\r\n)?){0,2}",
        tail in prop::collection::vec(any::<u8>(), 0..60),
        cut in 0usize..200,
    ) {
        let mut sent = head.into_bytes();
        sent.extend_from_slice(&tail);
        let (one, two) = sent.split_at(cut.min(sent.len()));
        prop_assert_eq!(take(&[one, two], false, true), take(&[&sent], false, true));
    }
}
