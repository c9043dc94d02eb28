//! Just enough of HTTP for a scraper: a thread that answers one connection after the other, each within
//! a deadline and then closed. Others wait in the kernel's queue.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::clock;

use super::Page;
use super::exposition::CONTENT_TYPE;

/// From accepting a connection to closing it.
const CONNECTION_NS_MAX: u64 = 2_000_000_000;
/// Of a request; its body, if any, is not read.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// When a connection cannot be accepted, as for want of descriptors.
const PAUSE_MS: u64 = 100;

/// The thread; dropping this ends it.
pub(super) struct Server {
    over: Arc<OwnedFd>,
    answering: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(listener: TcpListener, page: Arc<Page>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let over = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let ending = Arc::clone(&over);
        let run = move || answer_all(&listener, &ending, &page);
        let answering = thread::Builder::new().name("metrics".to_owned()).spawn(run)?;
        Ok(Self { over, answering: Some(answering) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let told = rustix::io::write(&self.over, &1u64.to_ne_bytes());
        if let (Ok(_), Some(answering)) = (told, self.answering.take()) {
            let _ = answering.join();
        }
    }
}

/// Until told that it is over.
fn answer_all(listener: &TcpListener, over: &OwnedFd, page: &Page) {
    loop {
        let mut events = [PollFd::new(over, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
        if poll(&mut events, None).is_err() {
            continue;
        }
        if !events[0].revents().is_empty() {
            return;
        }
        match listener.accept() {
            // Whoever goes away before its answer is no failure of ours.
            Ok((stream, _)) => drop(answer(&stream, page)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => thread::park_timeout(Duration::from_millis(PAUSE_MS)),
        }
    }
}

fn answer(mut stream: &TcpStream, page: &Page) -> io::Result<()> {
    let deadline_ns = clock::now_ns() + CONNECTION_NS_MAX;
    stream.set_nonblocking(false)?;
    let head = read_head(stream, deadline_ns)?;
    let answer = answer_to(&head, page);
    let mut rest = answer.as_bytes();
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(deadline_ns)?))?;
        let written = stream.write(rest)?;
        rest = &rest[written..];
    }
    stream.shutdown(std::net::Shutdown::Write)
}

/// Up to the empty line, or as much as is allowed.
fn read_head(mut stream: &TcpStream, deadline_ns: u64) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES_MAX);
    let mut part = [0; 1 << 10];
    while head.len() < HEAD_BYTES_MAX && !head.windows(4).any(|window| window == b"\r\n\r\n") {
        stream.set_read_timeout(Some(left(deadline_ns)?))?;
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&part[..read]);
    }
    Ok(head)
}

fn left(deadline_ns: u64) -> io::Result<Duration> {
    match deadline_ns.saturating_sub(clock::now_ns()) {
        0 => Err(io::ErrorKind::TimedOut.into()),
        left_ns => Ok(Duration::from_nanos(left_ns)),
    }
}

fn answer_to(head: &[u8], page: &Page) -> String {
    let first = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = first.split(|byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let is_http = words.next().is_some_and(|version| version.starts_with(b"HTTP/1."));
    let (status, body) = match (method, path) {
        _ if !is_http => ("400 Bad Request", Arc::from("not a request of HTTP/1\n")),
        (b"GET" | b"HEAD", b"/metrics" | b"/") => ("200 OK", page.get()),
        (b"GET" | b"HEAD", _) => ("404 Not Found", Arc::from("see /metrics\n")),
        _ => ("405 Method Not Allowed\r\nAllow: GET, HEAD", Arc::from("only GET and HEAD\n")),
    };
    let length = body.len();
    let body = if method == b"HEAD" { "" } else { &*body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, begins: &str, ends: &str) {
        let page = Page::default();
        page.set("x 1\n".to_owned());
        let answer = answer_to(head.as_bytes(), &page);
        assert!(answer.starts_with(begins) && answer.ends_with(ends), "{head:?}: {answer}");
    }

    #[test]
    fn requests_have_their_answers() {
        check("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200", "\r\n\r\nx 1\n");
        check("GET /metrics?a=b HTTP/1.0\r\n\r\n", "HTTP/1.1 200", "x 1\n");
        check("HEAD /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200", "Connection: close\r\n\r\n");
        check("GET /secret HTTP/1.1\r\n\r\n", "HTTP/1.1 404", "see /metrics\n");
        check("POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405", "only GET and HEAD\n");
        for nonsense in ["", "\r\n\r\n", "GET /metrics\r\n\r\n", "\0\0\0 \0 \0"] {
            check(nonsense, "HTTP/1.1 400", "not a request of HTTP/1\n");
        }
    }
}
