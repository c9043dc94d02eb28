//! HTTP/2 (RFC 9113) on one connection: the `h2` crate, polled by hand when the socket has something,
//! since there is no runtime. Streams are numbered places, used again when theirs is over.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::Request;

use crate::limits::ANSWER_HEAD_BYTES_MAX;
use crate::measure::{Ended, Failure};
use crate::receipts::Ids;

use super::scrutiny::{Scrutiny, keep};
use super::stream_io::{Line, LineIo, failure_of};
use super::wakes::Wakes;
use super::wire::Wire;

/// What the other side may send before it is told that we took it: enough that its answers never wait
/// for us.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 24;

type Greeting = Pin<Box<dyn Future<Output = Result<Ends, h2::Error>>>>;
type Ends = (SendRequest<Bytes>, Connection<LineIo, Bytes>);

/// One connection of HTTP/2.
pub(super) struct Http2 {
    line: Rc<Line>,
    phase: Phase,
    streams: Vec<Stream>,
    /// Places without a stream.
    vacant: Vec<u32>,
    /// As many streams as the plan says, at most.
    streams_max: usize,
    wakes: Wakes,
}

enum Phase {
    /// The preface is being written.
    Greeting(Greeting),
    Open(Box<Ends>),
    Over,
}

/// A place for a stream.
struct Stream {
    flight: u32,
    state: State,
    /// Kept so that a stream can be given up, and to send what of a body had no room.
    sending: Option<SendStream<Bytes>>,
    status: u16,
    passed: u32,
    body: Vec<u8>,
}

enum State {
    Vacant,
    Head(ResponseFuture),
    Body(RecvStream),
}

/// What has happened to a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happening {
    /// The head of its answer is there.
    Head { flight: u32 },
    /// It has ended.
    Ended { flight: u32, ended: Ended, passed: u32 },
}

impl Http2 {
    /// On a connection that stands.
    pub(super) fn new(wire: Wire, streams_max: usize) -> Self {
        let line = Rc::new(Line::new(wire));
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(u32::try_from(ANSWER_HEAD_BYTES_MAX).expect("a few kilobytes"))
            // Until the server has said how many it allows, one is safe.
            .initial_max_send_streams(1);
        let io = LineIo(Rc::clone(&line));
        let greeting = Box::pin(async move { builder.handshake(io).await });
        Self {
            line,
            phase: Phase::Greeting(greeting),
            streams: Vec::new(),
            vacant: Vec::new(),
            streams_max,
            wakes: Wakes::default(),
        }
    }

    /// Whether one more request can be sent now.
    pub(super) fn has_room(&mut self) -> bool {
        let in_flight = self.in_flight();
        let Phase::Open(ends) = &mut self.phase else { return false };
        let max = self.streams_max.min(ends.0.current_max_send_streams());
        let mut context = Context::from_waker(self.wakes.connection());
        in_flight < max && matches!(ends.0.poll_ready(&mut context), Poll::Ready(Ok(())))
    }

    /// Whether it is of no more use: over, or about to be, with nothing under way.
    pub(super) fn is_over(&mut self) -> bool {
        let idle = self.in_flight() == 0;
        let mut context = Context::from_waker(self.wakes.connection());
        match &mut self.phase {
            Phase::Greeting(_) => false,
            Phase::Open(ends) => {
                idle && matches!(ends.0.poll_ready(&mut context), Poll::Ready(Err(_)))
            }
            Phase::Over => true,
        }
    }

    /// Streams under way.
    pub(super) fn in_flight(&self) -> usize {
        self.streams.len() - self.vacant.len()
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Takes the preface as far as it goes; whether requests can be sent.
    pub(super) fn greet(&mut self) -> Result<bool, Failure> {
        if let Phase::Greeting(greeting) = &mut self.phase {
            let mut context = Context::from_waker(self.wakes.connection());
            self.line.begin();
            match greeting.as_mut().poll(&mut context) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(error)) => return Err(failure_of(&error)),
                Poll::Ready(Ok(ends)) => self.phase = Phase::Open(Box::new(ends)),
            }
        }
        Ok(true)
    }

    /// Begins a request, which [`Self::turn`] sends; the number of its stream.
    pub(super) fn begin(
        &mut self,
        request: Request<()>,
        body: &[u8],
        flight: u32,
    ) -> Result<u32, Failure> {
        let Phase::Open(ends) = &mut self.phase else { return Err(Failure::ClosedEarly) };
        let ended = body.is_empty();
        let sent = ends.0.send_request(request, ended);
        let (head, mut sending) = sent.map_err(|error| failure_of(&error))?;
        if !ended {
            // What has no room in the window is kept, and bounded by the request's own bound.
            let sent = sending.send_data(Bytes::copy_from_slice(body), true);
            sent.map_err(|error| failure_of(&error))?;
        }
        let number = self.vacant.pop().unwrap_or_else(|| {
            let number = u32::try_from(self.streams.len()).expect("streams have a bound");
            self.streams.push(Stream::vacant());
            number
        });
        let stream = &mut self.streams[number as usize];
        stream.flight = flight;
        stream.state = State::Head(head);
        stream.sending = Some(sending);
        // It has to be polled once, to say whom to wake.
        self.wakes.wake(number);
        Ok(number)
    }

    /// Gives a stream up, whose flight is ended by whoever calls.
    pub(super) fn give_up(&mut self, number: u32) {
        let stream = &mut self.streams[number as usize];
        if let Some(sending) = &mut stream.sending {
            sending.send_reset(Reason::CANCEL);
        }
        stream.clear();
        self.vacant.push(number);
    }

    /// Writes and reads what can be, and appends what came of it to `happenings`.
    pub(super) fn turn(
        &mut self,
        scrutiny: &Scrutiny,
        ids: &mut Ids,
        happenings: &mut Vec<Happening>,
    ) {
        self.line.begin();
        loop {
            let Phase::Open(ends) = &mut self.phase else { return };
            self.wakes.connection_polled();
            let mut context = Context::from_waker(self.wakes.connection());
            let over = match pin!(&mut ends.1).poll(&mut context) {
                Poll::Pending => None,
                Poll::Ready(Ok(())) => Some(Failure::ClosedEarly),
                Poll::Ready(Err(error)) => Some(failure_of(&error)),
            };
            while let Some(number) = self.wakes.next() {
                self.take(number, scrutiny, ids, happenings);
            }
            if let Some(failure) = over {
                self.end(failure, scrutiny, ids, happenings);
                return;
            }
            // What streams did may have given the connection something to write.
            if !self.wakes.is_connection_woken() {
                return;
            }
        }
    }

    /// The connection is over; what was complete before that is taken, and the rest has failed.
    fn end(
        &mut self,
        failure: Failure,
        scrutiny: &Scrutiny,
        ids: &mut Ids,
        happenings: &mut Vec<Happening>,
    ) {
        self.phase = Phase::Over;
        for number in 0..self.streams.len() {
            let number = u32::try_from(number).expect("streams have a bound");
            self.take(number, scrutiny, ids, happenings);
            let stream = &self.streams[number as usize];
            if !matches!(stream.state, State::Vacant) {
                let (flight, ended) = (stream.flight, Ended::Failed(failure));
                happenings.push(Happening::Ended { flight, ended, passed: 0 });
                self.streams[number as usize].clear();
                self.vacant.push(number);
            }
        }
    }

    /// Takes what a stream has.
    fn take(
        &mut self,
        number: u32,
        scrutiny: &Scrutiny,
        ids: &mut Ids,
        happenings: &mut Vec<Happening>,
    ) {
        let waker = self.wakes.of(number);
        let mut context = Context::from_waker(&waker);
        let stream = &mut self.streams[number as usize];
        let flight = stream.flight;
        let ended = loop {
            match &mut stream.state {
                State::Vacant => return,
                State::Head(head) => match pin!(head).poll(&mut context) {
                    Poll::Pending => return,
                    Poll::Ready(Err(error)) => break Err(failure_of(&error)),
                    Poll::Ready(Ok(answer)) => {
                        happenings.push(Happening::Head { flight });
                        stream.take_head(answer, scrutiny);
                    }
                },
                State::Body(body) => match body.poll_data(&mut context) {
                    Poll::Pending => return,
                    Poll::Ready(Some(Err(error))) => break Err(failure_of(&error)),
                    Poll::Ready(None) => break Ok(()),
                    Poll::Ready(Some(Ok(part))) => {
                        // The window opens again; an error here is one of the stream, told next.
                        let _ = body.flow_control().release_capacity(part.len());
                        if scrutiny.keeps_body(stream.status) {
                            keep(&mut stream.body, &part);
                        }
                    }
                },
            }
        };
        let (ended, passed) = match ended {
            Ok(()) => {
                let passed = stream.passed | scrutiny.of_body(stream.status, &stream.body);
                if scrutiny.keeps_ids(stream.status) {
                    ids.take(&stream.body);
                }
                (Ended::Answered(stream.status), passed)
            }
            Err(failure) => (Ended::Failed(failure), 0),
        };
        happenings.push(Happening::Ended { flight, ended, passed });
        stream.clear();
        self.vacant.push(number);
    }
}

impl Stream {
    fn vacant() -> Self {
        Self {
            flight: 0,
            state: State::Vacant,
            sending: None,
            status: 0,
            passed: 0,
            body: Vec::new(),
        }
    }

    fn take_head(&mut self, answer: http::Response<RecvStream>, scrutiny: &Scrutiny) {
        let (head, body) = answer.into_parts();
        self.status = head.status.as_u16();
        self.passed = if scrutiny.needs_headers() {
            let headers: Vec<(&str, &[u8])> = head
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_bytes()))
                .collect();
            scrutiny.of_head(self.status, &headers)
        } else {
            scrutiny.of_head(self.status, &[])
        };
        self.state = State::Body(body);
    }

    fn clear(&mut self) {
        *self = Self { body: std::mem::take(&mut self.body), ..Self::vacant() };
        self.body.clear();
        self.body.shrink_to(super::http1::BUFFER_BYTES_KEPT);
    }
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Http2").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}
