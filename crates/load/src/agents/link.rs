//! One connection between a coordinator and an agent: messages in JSON, each behind its length in
//! four bytes, over TLS. Nothing on it waits without end: a message has a size it may have and a time
//! in which it is whole, whatever trickles in meanwhile.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::Connection;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::secret::Binding;
use super::tls;
use crate::clock::now_ns;
use crate::limits::{ALIVE_EVERY, BYTES_PER_SECOND_MIN, MESSAGE_TIME, SILENCE_MAX};

/// A message's length stands before it.
const LENGTH_BYTES: usize = 4;
/// What is kept of memory that a large message needed.
const KEPT_BYTES: usize = 1 << 20;

/// A connection of either end.
#[derive(Debug)]
pub(super) struct Link {
    socket: TcpStream,
    tls: Connection,
    /// What came and was not taken yet.
    inbox: Vec<u8>,
    /// When the first byte in it came.
    begun_ns: u64,
    heard_ns: u64,
    said_ns: u64,
    /// Whether the other end takes nothing any more. What it had said before is still to be read.
    mute: bool,
}

/// What is wrong with a link; after any of these it is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the connection was closed")]
    Closed,
    #[error("the connection failed: {0}")]
    Broken(#[from] io::Error),
    #[error("TLS failed: {0}")]
    Tls(#[from] rustls::Error),
    #[error("nothing was heard for {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error("a message did not come to its end in time")]
    Slow,
    #[error("a message of {bytes} bytes, where at most {bytes_max} are allowed")]
    Large { bytes: usize, bytes_max: usize },
    #[error("a message that cannot be understood: {0}")]
    Garbage(String),
}

impl Link {
    /// Over this socket, once both ends have shaken hands, which they must have done `within`.
    pub(super) fn establish(
        socket: TcpStream,
        tls: Connection,
        within: Duration,
    ) -> Result<Self, LinkError> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let now_ns = now_ns();
        let mut link = Self {
            socket,
            tls,
            inbox: Vec::new(),
            begun_ns: now_ns,
            heard_ns: now_ns,
            said_ns: now_ns,
            mute: false,
        };
        let until_ns = now_ns + nanoseconds(within);
        while link.tls.is_handshaking() {
            link.flush(until_ns)?;
            if link.tls.is_handshaking() && !link.read_tls(until_ns)? {
                return Err(LinkError::Slow);
            }
        }
        link.flush(until_ns)?;
        Ok(link)
    }

    /// What is particular to this connection.
    pub(super) fn binding(&self) -> Result<Binding, LinkError> {
        Ok(tls::binding(&self.tls)?)
    }

    /// When something was last heard.
    pub(super) fn heard_ns(&self) -> u64 {
        self.heard_ns
    }

    /// Whether it is time to say that this end is alive.
    pub(super) fn owes_a_word(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.said_ns) >= nanoseconds(ALIVE_EVERY)
    }

    /// Fails when the other end was not heard for too long.
    pub(super) fn hear_from(&self, now_ns: u64) -> Result<(), LinkError> {
        let silence_ns = now_ns.saturating_sub(self.heard_ns);
        if silence_ns > nanoseconds(SILENCE_MAX) { Err(LinkError::Silent) } else { Ok(()) }
    }

    /// Sends a message. When the other end takes nothing any more, that is no error here: reading
    /// tells it, after what the other end has said last.
    pub(super) fn send<T: Serialize>(&mut self, message: &T) -> Result<(), LinkError> {
        let encoded = serde_json::to_vec(message)
            .map_err(|error| LinkError::Broken(io::Error::other(error)))?;
        self.send_encoded(&encoded)
    }

    /// Sends a message that was encoded before.
    pub(super) fn send_encoded(&mut self, message: &[u8]) -> Result<(), LinkError> {
        let length = u32::try_from(message.len())
            .map_err(|_| LinkError::Large { bytes: message.len(), bytes_max: u32::MAX as usize })?;
        if self.mute {
            return Ok(());
        }
        let begun_ns = now_ns();
        let until_ns = begun_ns + time_for(message.len());
        let mut written = self.write(&length.to_be_bytes(), until_ns);
        if written.is_ok() {
            written = self.write(message, until_ns);
        }
        match written {
            Err(LinkError::Broken(_)) => self.mute = true,
            written => written?,
        }
        self.said_ns = now_ns();
        self.was_busy_since(begun_ns);
        Ok(())
    }

    /// This end did not listen since then, so that time is not the other end's silence.
    pub(super) fn was_busy_since(&mut self, since_ns: u64) {
        let busy_ns = now_ns().saturating_sub(since_ns);
        self.heard_ns += busy_ns;
        self.begun_ns += busy_ns;
    }

    /// The next message, of at most `bytes_max`, or `None` when none is whole by `until_ns`.
    pub(super) fn receive<T: DeserializeOwned>(
        &mut self,
        bytes_max: usize,
        until_ns: u64,
    ) -> Result<Option<T>, LinkError> {
        loop {
            if let Some(length) = self.whole(bytes_max)? {
                let message = &self.inbox[LENGTH_BYTES..LENGTH_BYTES + length];
                let parsed = serde_json::from_slice(message)
                    .map_err(|error| LinkError::Garbage(error.to_string()))?;
                self.inbox.drain(..LENGTH_BYTES + length);
                self.inbox.shrink_to(KEPT_BYTES);
                self.begun_ns = now_ns();
                return Ok(Some(parsed));
            }
            if !self.read(until_ns)? {
                return Ok(None);
            }
        }
    }

    /// Sends bytes as they are, behind a length when that is not 0. Returns how many bytes they were.
    #[cfg(test)]
    pub(super) fn trickle(&mut self, bytes: &[u8], length: usize) -> usize {
        let until_ns = now_ns() + nanoseconds(MESSAGE_TIME);
        if length > 0 {
            let length = u32::try_from(length).unwrap();
            self.write(&length.to_be_bytes(), until_ns).unwrap();
        }
        self.write(bytes, until_ns).unwrap();
        bytes.len()
    }

    /// Ends the connection so that the other end hears everything that was said to it: closing a
    /// socket that still holds something unread would tear down what is under way to the other end.
    /// So this end falls silent first, and waits until the other one has gone, or for a message's time.
    pub(super) fn close(mut self) {
        let until_ns = now_ns() + nanoseconds(MESSAGE_TIME);
        self.tls.send_close_notify();
        // Who has gone before cannot be told, and need not.
        if self.flush(until_ns).is_err() || self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let mut unread = [0; 16 << 10];
        while let Ok(true) = self.wait(PollFlags::IN, until_ns) {
            match self.socket.read(&mut unread) {
                Ok(1..) => {}
                Err(error) if may_try_again(&error) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// The length of the message that is whole, if one is.
    fn whole(&self, bytes_max: usize) -> Result<Option<usize>, LinkError> {
        let Some(length) = self.inbox.first_chunk::<LENGTH_BYTES>() else {
            return self.still_in_time(0);
        };
        let bytes = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if bytes > bytes_max {
            return Err(LinkError::Large { bytes, bytes_max });
        }
        if self.inbox.len() >= LENGTH_BYTES + bytes {
            return Ok(Some(bytes));
        }
        self.still_in_time(bytes)
    }

    fn still_in_time(&self, bytes: usize) -> Result<Option<usize>, LinkError> {
        let late = !self.inbox.is_empty() && now_ns() > self.begun_ns + time_for(bytes);
        if late { Err(LinkError::Slow) } else { Ok(None) }
    }

    /// Reads some of what was said; `false` when there is nothing by `until_ns`.
    fn read(&mut self, until_ns: u64) -> Result<bool, LinkError> {
        let mut piece = [0; 16 << 10];
        loop {
            match self.tls.reader().read(&mut piece) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(read) => {
                    self.heard_ns = now_ns();
                    if self.inbox.is_empty() {
                        self.begun_ns = self.heard_ns;
                    }
                    self.inbox.extend_from_slice(&piece[..read]);
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(LinkError::Closed);
                }
                Err(error) => return Err(error.into()),
            }
            if !self.read_tls(until_ns)? {
                return Ok(false);
            }
        }
    }

    /// Reads some of what TLS carries; `false` when there is nothing by `until_ns`.
    fn read_tls(&mut self, until_ns: u64) -> Result<bool, LinkError> {
        loop {
            if !self.wait(PollFlags::IN, until_ns)? {
                return Ok(false);
            }
            match self.tls.read_tls(&mut self.socket) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(_) => break,
                Err(error) if may_try_again(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let processed = self.tls.process_new_packets();
        // What TLS has to say to it, an alert above all, is worth a try and no more: an end that no
        // longer listens may still have said something before.
        let _ = self.flush(until_ns.max(now_ns() + nanoseconds(ALIVE_EVERY)));
        processed?;
        Ok(true)
    }

    fn write(&mut self, mut bytes: &[u8], until_ns: u64) -> Result<(), LinkError> {
        while !bytes.is_empty() {
            // TLS takes no more than its buffer holds.
            let taken = self.tls.writer().write(bytes)?;
            bytes = &bytes[taken..];
            self.flush(until_ns)?;
        }
        Ok(())
    }

    /// Hands the kernel what TLS has written.
    fn flush(&mut self, until_ns: u64) -> Result<(), LinkError> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !self.wait(PollFlags::OUT, until_ns)? {
                        return Err(LinkError::Slow);
                    }
                }
                Err(error) if may_try_again(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits for the socket; `false` when the time is over.
    fn wait(&self, flags: PollFlags, until_ns: u64) -> io::Result<bool> {
        wait_for(&self.socket, flags, until_ns)
    }
}

/// Waits until `socket` is ready for `flags`, or has failed; `false` when the time is over.
pub(super) fn wait_for(
    socket: &impl std::os::fd::AsFd,
    flags: PollFlags,
    until_ns: u64,
) -> io::Result<bool> {
    loop {
        let left_ns = until_ns.saturating_sub(now_ns());
        let left = Duration::from_nanos(left_ns);
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(socket, flags)], Some(&left)) {
            Ok(0) if left_ns == 0 => return Ok(false),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// In nanoseconds, however long.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// How long a message of so many bytes may take.
fn time_for(bytes: usize) -> u64 {
    let seconds = Duration::from_secs(bytes as u64 / BYTES_PER_SECOND_MIN);
    nanoseconds(MESSAGE_TIME + seconds)
}

fn may_try_again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
