//! What bytes travel on: a socket that does not block, with or without TLS.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::measure::Failure;

use super::tls::Session;

/// A socket, and TLS if it is spoken.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) socket: OwnedFd,
    pub(super) tls: Option<Box<Session>>,
    sent_bytes: u64,
    received_bytes: u64,
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Bytes(usize),
    Nothing,
    End,
    /// The end, without TLS having said so: somebody between may have cut it off.
    Cut,
    Failed(Failure),
}

impl Wire {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, tls: None, sent_bytes: 0, received_bytes: 0 }
    }

    /// Reads into `buffer`.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Read {
        if let Some(tls) = &mut self.tls {
            return tls.read(buffer, &self.socket);
        }
        match recv(&self.socket, buffer, RecvFlags::empty()) {
            Ok((_, 0)) => Read::End,
            Ok((_, bytes)) => {
                self.received_bytes += bytes as u64;
                Read::Bytes(bytes)
            }
            Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
            Err(_) => Read::Failed(Failure::Reset),
        }
    }

    /// Writes what there is room for, and returns how much that was. TLS takes all, and keeps what
    /// there is no room for until [`Self::flush`]. A broken connection takes all, too: reading tells
    /// better what became of it, for an answer may have come before.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        if let Some(tls) = &mut self.tls {
            tls.write(bytes, &self.socket);
            return bytes.len();
        }
        match send(&self.socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => {
                self.sent_bytes += sent as u64;
                sent
            }
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => bytes.len(),
        }
    }

    /// Writes what TLS has kept; whether nothing is left.
    pub(super) fn flush(&mut self) -> bool {
        self.tls.as_mut().is_none_or(|tls| tls.flush(&self.socket))
    }

    /// Whether TLS has kept something.
    pub(super) fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_unsent())
    }

    /// Whether it is still there, as far as this side knows: nothing has come, not even its end.
    pub(super) fn is_quiet(&self) -> bool {
        let read = recv(&self.socket, &mut [0], RecvFlags::PEEK);
        matches!(read, Err(Errno::AGAIN | Errno::INTR))
    }

    /// Bytes written and read since this was asked last, those of TLS included.
    pub(super) fn take_bytes(&mut self) -> (u64, u64) {
        let own = (std::mem::take(&mut self.sent_bytes), std::mem::take(&mut self.received_bytes));
        let tls = self.tls.as_mut().map_or((0, 0), |tls| tls.take_bytes());
        (own.0 + tls.0, own.1 + tls.1)
    }

    /// Says good-bye in TLS, as far as there is room for it.
    pub(super) fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.say_goodbye(&self.socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        ours.set_nonblocking(true).unwrap();
        (Wire::new(ours.into()), listener.accept().unwrap().0)
    }

    /// Waits until something can be read, be it the end.
    fn wait(wire: &Wire) {
        let mut polled = [rustix::event::PollFd::new(&wire.socket, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut polled, None).unwrap();
    }

    #[test]
    fn an_end_or_a_word_is_not_quiet() {
        let (mut wire, mut theirs) = pair();
        assert!(wire.is_quiet());
        theirs.write_all(b"x").unwrap();
        wait(&wire);
        assert!(!wire.is_quiet());
        assert_eq!(wire.read(&mut [0; 9]), Read::Bytes(1), "it was only looked at");
        assert_eq!(wire.read(&mut [0; 9]), Read::Nothing);
        theirs.shutdown(Shutdown::Write).unwrap();
        wait(&wire);
        assert!(!wire.is_quiet());
        assert_eq!((wire.read(&mut [0; 9]), wire.take_bytes()), (Read::End, (0, 1)));
    }

    #[test]
    fn what_has_no_room_is_told() {
        let (mut wire, _theirs) = pair();
        let bytes = vec![0; 1 << 20];
        let mut sent = 0;
        // The kernel's buffers are full some time.
        loop {
            match wire.write(&bytes) {
                0 => break,
                more => sent += more as u64,
            }
        }
        assert_eq!(wire.take_bytes(), (sent, 0));
    }
}
