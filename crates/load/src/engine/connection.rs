//! One place for a connection, used again when its connection is gone.

use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::flight::NONE;
use super::http1::Reader;
use super::http2::Http2;
use super::poller::{Poller, Token};
use super::wire::Wire;

/// A request that was too long to be written at once leaves a buffer behind; above this it is let go.
const UNSENT_BYTES_KEPT: usize = 4 << 10;

/// A place for a connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) token: Token,
    pub(super) scenario: usize,
    pub(super) state: State,
    /// What its bytes travel on; with HTTP/2 that is in `http2`.
    pub(super) wire: Option<Wire>,
    pub(super) http2: Option<Box<Http2>>,
    /// With HTTP/2, whether it is among those of its pool that can carry more.
    pub(super) listed: bool,
    /// What it carries, or was made for, or [`NONE`].
    pub(super) flight: u32,
    /// The user of a closed model whose own it is, or [`NONE`].
    pub(super) user: u32,
    pub(super) reader: Reader,
    /// When it was last put aside, ready for another request.
    pub(super) idle_ns: u64,
    unsent: Vec<u8>,
    /// How much of `unsent` has been sent meanwhile.
    unsent_from: usize,
    watches_room: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// There is none here.
    Vacant,
    /// Being made.
    Connecting,
    /// Made, and in the handshake of TLS.
    Securing,
    /// Secured, and in the preface of HTTP/2.
    Greeting,
    /// Carries a request, or could.
    Open,
    /// Its answer came, and the server is to close it.
    Closing,
}

impl Connection {
    pub(super) fn vacant(number: u32) -> Self {
        Self {
            token: Token { number, generation: 0 },
            scenario: 0,
            state: State::Vacant,
            wire: None,
            http2: None,
            listed: false,
            flight: NONE,
            user: NONE,
            reader: Reader::default(),
            idle_ns: 0,
            unsent: Vec::new(),
            unsent_from: 0,
            watches_room: false,
        }
    }

    /// Puts a socket in, which is being connected, and watches it.
    pub(super) fn put(
        &mut self,
        scenario: usize,
        user: u32,
        socket: OwnedFd,
        connected: bool,
        poller: &Poller,
    ) -> Result<(), Errno> {
        poller.add(&socket, self.token, !connected)?;
        self.watches_room = !connected;
        self.scenario = scenario;
        self.user = user;
        self.wire = Some(Wire::new(socket));
        self.state = State::Connecting;
        Ok(())
    }

    /// Closes what is here. The place may be used again.
    pub(super) fn clear(&mut self) {
        // Closing the socket also takes it out of the epoll. Events of it that were taken already
        // have the old generation.
        self.wire = None;
        self.http2 = None;
        self.listed = false;
        self.token.generation = self.token.generation.wrapping_add(1);
        self.state = State::Vacant;
        self.flight = NONE;
        self.user = NONE;
        self.reader.reset();
        self.forget_unsent();
    }

    /// Writes a request, or as much as there is room for; the rest follows when there is more.
    pub(super) fn write(&mut self, bytes: &[u8], poller: &Poller) {
        debug_assert!(self.unsent.is_empty(), "one request after the other");
        let Some(wire) = &mut self.wire else { return };
        let sent = wire.write(bytes);
        self.unsent.extend_from_slice(&bytes[sent..]);
        if self.has_unsent() {
            self.watch_room(true, poller);
        }
    }

    /// Writes more of what is left; whether nothing is left now.
    pub(super) fn write_rest(&mut self, poller: &Poller) -> bool {
        let Some(wire) = &mut self.wire else { return true };
        if self.unsent_from < self.unsent.len() {
            self.unsent_from += wire.write(&self.unsent[self.unsent_from..]);
        }
        let all = wire.flush() && self.unsent_from == self.unsent.len();
        if all {
            self.forget_unsent();
        }
        self.watch_room(!all, poller);
        all
    }

    /// Whether there is something left to write.
    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty() || self.wire.as_ref().is_some_and(Wire::has_unsent)
    }

    /// Watches for room to write, or no longer.
    pub(super) fn watch_room(&mut self, room: bool, poller: &Poller) {
        if self.watches_room == room {
            return;
        }
        let changed = if let Some(http2) = &self.http2 {
            poller.change(&http2.line().wire.borrow().socket, self.token, room)
        } else if let Some(wire) = &self.wire {
            poller.change(&wire.socket, self.token, room)
        } else {
            return;
        };
        // Both descriptors are open and the socket is registered, so this can fail for want of kernel
        // memory alone; then the request runs into its timeout.
        self.watches_room = if changed.is_ok() { room } else { self.watches_room };
    }

    /// Says good-bye, where there is a word for it.
    pub(super) fn say_goodbye(&mut self) {
        if let Some(http2) = &self.http2 {
            http2.line().wire.borrow_mut().say_goodbye();
        } else if let Some(wire) = &mut self.wire {
            wire.say_goodbye();
        }
    }

    /// Bytes written and read since this was asked last.
    pub(super) fn take_bytes(&mut self) -> (u64, u64) {
        match (&self.http2, &mut self.wire) {
            (Some(http2), _) => http2.line().wire.borrow_mut().take_bytes(),
            (None, Some(wire)) => wire.take_bytes(),
            (None, None) => (0, 0),
        }
    }

    fn forget_unsent(&mut self) {
        self.unsent.clear();
        self.unsent.shrink_to(UNSENT_BYTES_KEPT);
        self.unsent_from = 0;
    }
}

/// Whether the other side may have ended the connection.
pub(super) fn may_have_ended(flags: EventFlags) -> bool {
    flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR)
}
