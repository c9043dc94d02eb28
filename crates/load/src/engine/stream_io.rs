//! A wire as `h2` wants to read and write it: with the traits of tokio, of which nothing else is used.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::measure::Failure;

use super::wire::{Read, Wire};

/// A wire that `h2` and whoever watches the socket share.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) wire: RefCell<Wire>,
    /// Whether there was no room to write since the last beginning.
    blocked: Cell<bool>,
}

/// The end of it that `h2` has.
#[derive(Debug)]
pub(super) struct LineIo(pub(super) Rc<Line>);

impl Line {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire: RefCell::new(wire), blocked: Cell::new(false) }
    }

    /// `h2` is about to be polled.
    pub(super) fn begin(&self) {
        self.blocked.set(false);
    }

    /// Whether there was no room to write.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// Writes what TLS has kept; whether there is room for more.
    fn flush(&self) -> bool {
        let room = self.wire.borrow_mut().flush();
        if !room {
            self.blocked.set(true);
        }
        room
    }
}

// The socket is watched by the worker, so nobody need be woken from here.
impl AsyncRead for LineIo {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.0.wire.borrow_mut().read(buffer.initialize_unfilled());
        match read {
            Read::Nothing => Poll::Pending,
            // What HTTP/2 was in the middle of says whether that was too early.
            Read::End | Read::Cut => Poll::Ready(Ok(())),
            Read::Bytes(bytes) => {
                buffer.advance(bytes);
                Poll::Ready(Ok(()))
            }
            Read::Failed(Failure::Tls) => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            Read::Failed(_) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl AsyncWrite for LineIo {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.0.flush() {
            return Poll::Pending;
        }
        match self.0.wire.borrow_mut().write(bytes) {
            0 if !bytes.is_empty() => {
                self.0.blocked.set(true);
                Poll::Pending
            }
            sent => Poll::Ready(Ok(sent)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.flush() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What an error of `h2` is called.
pub(super) fn failure_of(error: &h2::Error) -> Failure {
    if let Some(io) = error.get_io() {
        return match io.kind() {
            io::ErrorKind::InvalidData => Failure::Tls,
            io::ErrorKind::ConnectionReset => Failure::Reset,
            // The server's end came before that of its answers.
            _ => Failure::ClosedEarly,
        };
    }
    match (error.is_remote(), error.is_go_away()) {
        (true, true) => Failure::ClosedEarly,
        (true, false) => Failure::Reset,
        // What came broke the rules.
        (false, _) => Failure::Garbage,
    }
}
