//! The floor: one thread, one epoll, a head that is parsed, a body that is read, nothing stored, and
//! a 201 that is always the same. No server of HTTP over these sockets costs much less.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

use crate::answer::{HeadError, parse_head};
use crate::client::listen;

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
const EVENTS_MAX: usize = 512;
/// The mark of the listener among the connections' numbers.
const LISTENER: u64 = u64::MAX;

/// What the floor answers and where.
#[derive(Args, Debug, Clone)]
pub(crate) struct FloorFlags {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:3000")]
    listen: String,

    /// Status of every answer; anything but 201 is for trying out what measures it
    #[arg(long, value_name = "STATUS", default_value = "201")]
    status: u16,

    /// Stand still once, after this many answers; for trying out what measures it
    #[arg(long, value_name = "N", requires = "stall_for")]
    stall_after: Option<u64>,

    /// For how long to stand still
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "stall_after")]
    stall_for: Option<Duration>,
}

/// Listens, says where on standard output, and answers until the process is killed.
pub(crate) fn serve(flags: &FloorFlags) -> Result<()> {
    let listener = listen(&flags.listen)?;
    println!("listening on {}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let stall = flags.stall_after.zip(flags.stall_for);
    Floor::new(listener, flags.status, stall)?.run(|| false)
}

/// A responder with its connections.
pub(crate) struct Floor {
    listener: TcpListener,
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    answer: Vec<u8>,
    answer_close: Vec<u8>,
    stall: Option<(u64, Duration)>,
    answered: u64,
    read: Box<[u8]>,
    write: Vec<u8>,
}

struct Connection {
    socket: OwnedFd,
    /// The start of a head whose end has not come yet.
    partial: Vec<u8>,
    /// Bytes of a body that have not come yet.
    body_left: usize,
    /// The connection's last request was answered in part: the body is still to come.
    answer_owed: Option<bool>,
    /// What the socket did not take yet.
    unsent: Vec<u8>,
    closing: bool,
    answered: u64,
}

impl Floor {
    pub(crate) fn new(
        listener: TcpListener,
        status: u16,
        stall: Option<(u64, Duration)>,
    ) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self {
            listener,
            epoll,
            connections: Vec::new(),
            free: Vec::new(),
            answer: fixed_answer(status, false),
            answer_close: fixed_answer(status, true),
            stall,
            answered: 0,
            read: vec![0; READ_BYTES].into_boxed_slice(),
            write: Vec::with_capacity(64 << 10),
        })
    }

    /// Answers until `stop` says so; it is asked about every 100 ms while idle.
    pub(crate) fn run(mut self, stop: impl Fn() -> bool) -> Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        let patience = rustix::time::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        loop {
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&patience),
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("waiting for events"),
            }
            if events.is_empty() && stop() {
                return Ok(());
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept_all()?,
                    number => {
                        let number = usize::try_from(number).expect("it came from a usize");
                        self.on_event(number, event.flags);
                    }
                }
            }
        }
    }

    fn accept_all(&mut self) -> Result<()> {
        loop {
            match accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => {
                    let number = self.free.pop().unwrap_or_else(|| {
                        self.connections.push(None);
                        self.connections.len() - 1
                    });
                    let data = EventData::new_u64(number as u64);
                    epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
                    self.connections[number] = Some(Connection::new(socket));
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => return Err(error).context("accepting a connection"),
            }
        }
    }

    fn on_event(&mut self, number: usize, flags: EventFlags) {
        let Some(connection) = self.connections[number].as_mut() else { return };
        let mut open = true;
        if flags.contains(EventFlags::OUT) {
            let unsent = std::mem::take(&mut connection.unsent);
            open = connection.send(&self.epoll, number, &unsent);
        } else if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            open = match recv(&connection.socket, &mut *self.read, RecvFlags::empty()) {
                Ok((_, 0)) => false,
                Ok((_, count)) => {
                    self.write.clear();
                    let answers = [self.answer.as_slice(), self.answer_close.as_slice()];
                    let before = connection.answered;
                    let read = connection.read(&self.read[..count], answers, &mut self.write);
                    self.answered += connection.answered - before;
                    if let Some((after, time)) = self.stall
                        && self.answered >= after
                    {
                        self.stall = None;
                        std::thread::sleep(time);
                    }
                    let sent =
                        self.write.is_empty() || connection.send(&self.epoll, number, &self.write);
                    read.is_ok() && sent
                }
                Err(Errno::AGAIN | Errno::INTR) => true,
                Err(_) => false,
            };
        }
        if !open || (connection.closing && connection.unsent.is_empty()) {
            // Closing the socket takes it out of the epoll as well.
            self.connections[number] = None;
            self.free.push(number);
        }
    }
}

impl Connection {
    fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            partial: Vec::new(),
            body_left: 0,
            answer_owed: None,
            unsent: Vec::new(),
            closing: false,
            answered: 0,
        }
    }

    /// Takes what came in and appends an answer for each request that is whole.
    fn read(
        &mut self,
        came: &[u8],
        answers: [&[u8]; 2],
        out: &mut Vec<u8>,
    ) -> Result<(), HeadError> {
        if self.partial.is_empty() {
            let used = self.take_requests(came, answers, out)?;
            self.partial.extend_from_slice(&came[used..]);
        } else {
            let mut all = std::mem::take(&mut self.partial);
            all.extend_from_slice(came);
            let used = self.take_requests(&all, answers, out)?;
            all.drain(..used);
            self.partial = all;
        }
        Ok(())
    }

    /// Returns how many bytes belong to what is whole; a body need not be kept, so it counts at once.
    fn take_requests(
        &mut self,
        bytes: &[u8],
        answers: [&[u8]; 2],
        out: &mut Vec<u8>,
    ) -> Result<usize, HeadError> {
        let mut used = 0;
        while !self.closing {
            let skipped = self.body_left.min(bytes.len() - used);
            used += skipped;
            self.body_left -= skipped;
            if self.body_left > 0 {
                break;
            }
            if let Some(close) = self.answer_owed.take() {
                out.extend_from_slice(answers[usize::from(close)]);
                self.closing = close;
                self.answered += 1;
                continue;
            }
            let Some(head) = parse_head(&bytes[used..])? else { break };
            used += head.head_bytes;
            self.body_left = head.body_bytes;
            self.answer_owed = Some(head.close);
        }
        Ok(if self.closing { bytes.len() } else { used })
    }

    /// Returns whether the connection is still good.
    fn send(&mut self, epoll: &OwnedFd, number: usize, bytes: &[u8]) -> bool {
        let waited = !self.unsent.is_empty();
        let sent = if waited {
            0
        } else {
            match send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => count,
                Err(Errno::AGAIN) => 0,
                Err(_) => return false,
            }
        };
        self.unsent.extend_from_slice(&bytes[sent..]);
        // While answers wait nothing is read, so that they cannot pile up.
        let wanted = if self.unsent.is_empty() { EventFlags::IN } else { EventFlags::OUT };
        let changed = !self.unsent.is_empty() || bytes.is_empty();
        !changed
            || epoll::modify(epoll, &self.socket, EventData::new_u64(number as u64), wanted).is_ok()
    }
}

/// As many bytes as inhale's own answer has, headers included.
fn fixed_answer(status: u16, close: bool) -> Vec<u8> {
    let id = "0193591e-0000-7000-8000-000000000000";
    let body = format!("{{\"id\":\"{id}\"}}");
    let reason = if status == 201 { "Created" } else { "Answer" };
    let connection = if close { "connection: close\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n\
         location: /api/usages/{id}\r\ndurability: fsync\r\nx-request-id: cf259fcdf721f3ef\r\n{connection}\
         content-length: {}\r\ndate: Tue, 01 Nov 2016 14:11:51 GMT\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &[u8] = b"A";
    const C: &[u8] = b"C";

    /// Feeds pieces to a connection and compares what it answers after each.
    fn check(pieces: &[&str], expected: &[&str]) {
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut connection = Connection::new(socket.into());
        for (piece, expected) in pieces.iter().zip(expected) {
            let mut out = Vec::new();
            connection.read(piece.as_bytes(), [A, C], &mut out).expect("the head is good");
            assert_eq!(std::str::from_utf8(&out).unwrap(), *expected, "after {piece:?}");
        }
    }

    #[test]
    fn an_answer_comes_when_the_body_is_whole() {
        let post = "POST /api/usages HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
        check(&[&format!("{post}body")], &["A"]);
        check(&[post, "bo", "dy"], &["", "", "A"]);
        check(
            &["POST / HT", "TP/1.1\r\nContent-Le", "ngth: 2\r\n\r", "\n{", "}"],
            &["", "", "", "", "A"],
        );
        check(&["GET / HTTP/1.1\r\n\r\n"], &["A"]);
    }

    #[test]
    fn requests_in_a_row_are_answered_in_a_row() {
        let one = "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
        check(&[&one.repeat(3), &format!("{one}POST / HT")], &["AAA", "A"]);
    }

    #[test]
    fn a_connection_that_is_to_close_answers_no_more() {
        let one = "POST / HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        check(&[&one.repeat(2), one], &["C", ""]);
    }
}
