//! A connection's socket as hyper reads and writes it. It tells the connection's state when bytes
//! move, so that one sweeper can hold every deadline of a core, and closes with a bounded linger.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use rustix::net::RecvFlags;
use telemetry::{CoreMetrics, Method, Route};
use tokio::net::TcpStream;

use crate::connection::{self, ConnectionState};
use crate::head_refusal;
use crate::problem::{Problem, ProblemKind};

/// Bytes read at most after an answer that did not wait for the whole request.
const LINGER_BYTES_MAX: usize = 32 << 20;

/// The socket and the state to tell.
pub(crate) struct WatchedIo {
    stream: TokioIo<TcpStream>,
    state: Rc<ConnectionState>,
    metrics: Arc<CoreMetrics>,
    discarded: usize,
    /// What is written in place of hyper's refusal of a head, and how much of it is.
    refusal: Option<(Vec<u8>, usize)>,
}

impl WatchedIo {
    pub(crate) fn new(
        stream: TcpStream,
        state: Rc<ConnectionState>,
        metrics: Arc<CoreMetrics>,
    ) -> Self {
        Self { stream: TokioIo::new(stream), state, metrics, discarded: 0, refusal: None }
    }

    /// Writes a refusal that stands for `replaced` bytes of hyper's.
    fn poll_refuse(
        &mut self,
        context: &mut Context<'_>,
        replaced: usize,
    ) -> Poll<io::Result<usize>> {
        while let Some((refusal, written)) = &mut self.refusal {
            if *written == refusal.len() {
                self.refusal = None;
                break;
            }
            match ready!(Pin::new(&mut self.stream).poll_write(context, &refusal[*written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => *written += more,
            }
        }
        Poll::Ready(Ok(replaced))
    }

    /// Answers 503 to a connection that has sent no whole head, as far as the socket takes it at once,
    /// and gives back the error that ends it.
    fn refuse(&mut self) -> io::Error {
        let problem = if self.state.has_no_room() {
            Problem::from(ProblemKind::OVERLOADED).closing()
        } else {
            self.metrics.connection_refused();
            connection::too_many_connections()
        };
        self.metrics.request(Route::Other, Method::Other, problem.kind.status, Duration::ZERO);
        let _ = self.stream.inner().try_write(&head_refusal::whole(&problem));
        io::ErrorKind::ConnectionAborted.into()
    }

    /// Reads and throws away what the sender still sends, up to a bound.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [MaybeUninit::uninit(); 16 * 1024];
        while self.discarded < LINGER_BYTES_MAX {
            let mut buffer = tokio::io::ReadBuf::uninit(&mut scratch);
            let stream = Pin::new(self.stream.inner_mut());
            ready!(tokio::io::AsyncRead::poll_read(stream, context, &mut buffer))?;
            match buffer.filled().len() {
                0 => break,
                read => self.discarded += read,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What a socket's receive buffer holds right now.
#[derive(Debug, PartialEq, Eq)]
enum Waiting {
    Bytes,
    Nothing,
    /// The other side sends no more.
    End,
}

fn waiting(stream: &TcpStream) -> Waiting {
    // The kernel is asked: what the runtime knows is as old as its last look at epoll.
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match rustix::net::recv(stream.as_fd(), &mut [0; 1], flags) {
        Ok((_, 0)) => Waiting::End,
        Ok(_) => Waiting::Bytes,
        Err(rustix::io::Errno::AGAIN) => Waiting::Nothing,
        Err(_) => Waiting::End,
    }
}

impl Read for WatchedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        // SAFETY: nothing but a `ReadBuf` gets to write there, and it never makes a byte uninitialized.
        let mut read = tokio::io::ReadBuf::uninit(unsafe { buffer.as_mut() });
        let stream = Pin::new(self.stream.inner_mut());
        let polled = tokio::io::AsyncRead::poll_read(stream, context, &mut read);
        let bytes = read.filled().len();
        // SAFETY: the socket has initialized and filled so many bytes.
        unsafe { buffer.advance(bytes) };
        if polled.is_ready() {
            self.state.bytes_read(bytes);
        } else if self.state.closes_if_empty() && waiting(self.stream.inner()) == Waiting::Bytes {
            // The runtime will see these bytes when it next looks, and wake the task.
            self.state.stay_open();
        } else if !self.state.may_wait(room) {
            return Poll::Ready(Err(self.refuse()));
        }
        polled
    }
}

impl Write for WatchedIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.refusal.is_none()
            && self.state.awaits_head()
            && let Some((kind, refusal)) = head_refusal::explained(bytes)
        {
            // No service is asked, so it is counted here; how long the head took nobody knows.
            self.metrics.request(Route::Other, Method::Other, kind.status, Duration::ZERO);
            self.refusal = Some((refusal, 0));
        }
        if self.refusal.is_some() {
            return self.poll_refuse(context, bytes.len());
        }
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if polled.is_ready() {
            self.state.bytes_written();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        if polled.is_ready() {
            self.state.flushed();
        }
        polled
    }

    /// Dropping the socket closes it, so there is nothing to do, unless bytes of the request may
    /// still arrive: closing then makes the kernel send a reset, which can overtake the answer. So
    /// the sender is told that nothing more comes, and is read to its end (RFC 9112, section 9.6).
    /// The sweeper bounds the time, a constant the bytes.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.state.is_lingering() {
            if !self.state.is_cut_short() || waiting(self.stream.inner()) == Waiting::End {
                return Poll::Ready(Ok(()));
            }
            self.state.start_lingering();
        }
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        self.poll_discard(context)
    }
}
