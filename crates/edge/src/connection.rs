//! One connection: what it is doing, since when, and the task that serves it.
//!
//! Deadlines cost a request nothing but two stores: a connection notes its phase and the core's
//! coarse time, and the core's sweeper compares them some times a second.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::header::{CONNECTION, HeaderName, HeaderValue};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::rt::Write as _;
use hyper::service::service_fn;
use telemetry::{Method, Route};
use tokio::net::TcpStream;

use crate::clock;
use crate::core::{Core, Deadlines};
use crate::hush::Hush;
use crate::io::WatchedIo;
use crate::log;
use crate::problem::{Problem, ProblemKind};
use crate::request::{Answer, Request, Response, Service, request_id};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of a request's head. Headers are bounded by hyper's own 100: naming that number would make it
/// keep them on the heap.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes that are read at once. hyper keeps room for as many for a connection's next request.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an answer that leave its connection open: hyper copies an answer whole, and keeps the room
/// for it as long as the connection lasts. The answer to a batch of a thousand fits, at 58 to 76 bytes
/// an item, so that who sends many keeps the connection.
const KEPT_ANSWER_BYTES_MAX: u64 = 128 * 1024;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first byte of a request.
    Idle,
    /// The rest of a head.
    Head,
    /// The service.
    Busy,
    /// More of a body.
    Body,
    /// The other side to take the answer.
    Answer,
    /// The sender to close, after an answer that did not wait for the whole request.
    Lingering,
}

/// What the connection's task, its socket and the core's sweeper know of each other.
pub(crate) struct ConnectionState {
    phase: Cell<Phase>,
    since: Cell<Duration>,
    /// The core's coarse time.
    now: Rc<Cell<Duration>>,
    received: Cell<u64>,
    body_expired: Cell<bool>,
    body_waker: RefCell<Option<Waker>>,
    /// Whether the rest of a request is to be read and thrown away before the socket is closed.
    linger: Cell<bool>,
    /// The phase that lasted too long, until the task has seen to it.
    overdue: Cell<Option<Phase>>,
    task: RefCell<Option<Arc<Hush>>>,
    /// When the answer began to be sent, and its bytes.
    answer: Cell<(Duration, u64)>,
    /// Let go when the answer is sent.
    held: RefCell<Option<Box<dyn Any>>>,
}

impl ConnectionState {
    pub(crate) fn new(now: Rc<Cell<Duration>>) -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new(Phase::Idle),
            since: Cell::new(now.get()),
            now,
            received: Cell::new(0),
            body_expired: Cell::new(false),
            body_waker: RefCell::new(None),
            linger: Cell::new(false),
            overdue: Cell::new(None),
            task: RefCell::new(None),
            answer: Cell::new((Duration::ZERO, 0)),
            held: RefCell::new(None),
        })
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.now.get());
    }

    pub(crate) fn bytes_read(&self) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    pub(crate) fn bytes_written(&self) {
        if self.phase.get() == Phase::Answer {
            self.since.set(self.now.get());
        }
    }

    /// Notes that all that was to be written is written.
    pub(crate) fn flushed(&self) {
        if self.phase.get() == Phase::Answer {
            self.held.borrow_mut().take();
            self.enter(Phase::Idle);
        }
    }

    fn begin_answer(&self, bytes: u64, held: Option<Box<dyn Any>>) {
        *self.held.borrow_mut() = held;
        self.answer.set((self.now.get(), bytes));
        self.enter(Phase::Answer);
    }

    /// Whether an answer is taken so slowly that no progress helps any more.
    fn is_taken_too_slowly(&self, deadlines: &Deadlines) -> bool {
        if self.phase.get() != Phase::Answer {
            return false;
        }
        let (begun, bytes) = self.answer.get();
        let seconds = bytes / deadlines.taken_bytes_per_second_min.max(1);
        let due = deadlines.idle.saturating_add(Duration::from_secs(seconds));
        self.now.get().saturating_sub(begun) >= due
    }

    pub(crate) fn body_expired(&self) -> bool {
        self.body_expired.get()
    }

    /// Notes that a body is waited for; the time runs from the first wait.
    pub(crate) fn await_body(&self, waker: &Waker) {
        if self.phase.get() != Phase::Body {
            self.enter(Phase::Body);
        }
        self.body_waker.borrow_mut().replace(waker.clone());
    }

    /// Polls a body; see [`Hush::during`].
    pub(crate) fn poll_body<T>(&self, poll: impl FnOnce() -> (Poll<T>, bool)) -> Poll<T> {
        match self.task.borrow().as_ref() {
            Some(hush) => hush.during(poll),
            None => poll().0,
        }
    }

    pub(crate) fn body_read(&self, bytes: usize) {
        self.phase.set(Phase::Busy);
        self.received.set(bytes as u64);
    }

    /// Whether the connection ends in the middle of a request, so that more of it may arrive.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.linger.get() || self.phase.get() == Phase::Head
    }

    /// Whether no request is being answered, so that only a refusal of a head can be written.
    pub(crate) fn awaits_head(&self) -> bool {
        matches!(self.phase.get(), Phase::Idle | Phase::Head)
    }

    pub(crate) fn start_lingering(&self) {
        self.enter(Phase::Lingering);
    }

    pub(crate) fn is_lingering(&self) -> bool {
        self.phase.get() == Phase::Lingering
    }

    /// Whether the connection is to be closed for having been idle, unless a request has come.
    pub(crate) fn closes_if_empty(&self) -> bool {
        self.overdue.get() == Some(Phase::Idle)
    }

    /// Takes the closing back: a request has come.
    pub(crate) fn stay_open(&self) {
        self.overdue.set(None);
    }

    /// Whether a phase lasted too long and still does.
    fn is_over(&self) -> bool {
        self.overdue.take().is_some_and(|phase| phase == self.phase.get())
    }

    /// Ends what has waited too long. `idle_max` is shorter while draining or full.
    pub(crate) fn sweep(&self, deadlines: &Deadlines, idle_max: Duration) {
        let phase = self.phase.get();
        let max = match phase {
            Phase::Idle => idle_max,
            Phase::Head => deadlines.header,
            Phase::Busy => return,
            Phase::Body => deadlines.body,
            Phase::Answer => deadlines.idle,
            Phase::Lingering => deadlines.linger,
        };
        let waited = self.now.get().saturating_sub(self.since.get()) >= max;
        if !waited && !self.is_taken_too_slowly(deadlines) {
            return;
        }
        if phase == Phase::Body {
            self.body_expired.set(true);
            if let Some(waker) = self.body_waker.borrow_mut().take() {
                waker.wake();
            }
            return;
        }
        self.overdue.set(Some(phase));
        if let Some(task) = self.task.borrow().as_ref() {
            task.forward();
        }
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve<S: Service>(
    stream: TcpStream,
    core: Rc<Core<S>>,
    state: Rc<ConnectionState>,
) {
    let io = WatchedIo::new(stream, Rc::clone(&state), Arc::clone(&core.context.metrics));
    let service = {
        let (core, state) = (Rc::clone(&core), Rc::clone(&state));
        service_fn(move |request| handle(Rc::clone(&core), Rc::clone(&state), request))
    };
    let mut http = hyper::server::conn::http1::Builder::new();
    http.header_read_timeout(None)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(READ_BYTES_MAX)
        .half_close(true)
        .writev(false);
    let mut connection = http.serve_connection(io, service);
    let mut served = pin!(async {
        // An error is the sender's: it went away, or sent what is no HTTP and was told so.
        let _ = (&mut connection).await;
        // hyper has seen to the end of the socket, but not of one over which an upgrade was offered,
        // as some clients do in every request.
        let mut io = connection.into_parts().io;
        let _ = poll_fn(|context| Pin::new(&mut io).poll_shutdown(context)).await;
    });
    // A spawned task has one waker for as long as it lives.
    let hush = Hush::new(poll_fn(|context| Poll::Ready(context.waker().clone())).await);
    state.task.borrow_mut().replace(Arc::clone(&hush));
    let waker = Waker::from(hush);
    poll_fn(|_| {
        let polled = served.as_mut().poll(&mut Context::from_waker(&waker));
        // hyper has just asked the socket for a request, which takes the closing of an idle
        // connection back if there is one.
        if polled.is_pending() && state.is_over() { Poll::Ready(()) } else { polled }
    })
    .await;
}

async fn handle<S: Service>(
    core: Rc<Core<S>>,
    state: Rc<ConnectionState>,
    request: http::Request<Incoming>,
) -> Result<Response, Infallible> {
    let start = clock::now();
    state.enter(Phase::Busy);
    state.received.set(0);
    let (head, body) = request.into_parts();
    let method = match head.method {
        http::Method::GET => Method::Get,
        http::Method::POST => Method::Post,
        http::Method::HEAD => Method::Head,
        _ => Method::Other,
    };
    let id = request_id(head.headers.get(X_REQUEST_ID), || core.next_request_id());
    let unread = !body.is_end_stream();
    // A request with both a length and chunks may be read otherwise by a proxy on its way. hyper goes
    // by the chunks and hides the length, so no request with chunks is followed by another one
    // (RFC 9112, section 6.1).
    let chunked = unread && body.size_hint().exact().is_none();
    let request = Request { head, body, connection: Rc::clone(&state) };
    let mut answer = call(&core.service, request).await;
    let cut_short = answer.close || chunked || unread && state.received.get() == 0;
    let sent = answer.response.body().size_hint().exact().unwrap_or(0);
    let last = cut_short || sent > KEPT_ANSWER_BYTES_MAX;
    let headers = answer.response.headers_mut();
    if last || core.closing() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    state.linger.set(last);
    headers.insert(X_REQUEST_ID, id);
    let took = clock::now().saturating_sub(start);
    let status = answer.response.status().as_u16();
    core.context.metrics.request(answer.route, method, status, took);
    core.context.metrics.bytes(state.received.get(), sent);
    if core.log.get().wants(status, took, core.count_request()) {
        log::request(core.context.core, method, &answer, took, (state.received.get(), sent));
    }
    state.body_waker.borrow_mut().take();
    state.body_expired.set(false);
    state.begin_answer(sent, answer.held.take());
    Ok(answer.response)
}

/// The service's answer, or that it failed when it panics: one request's fault must not end the
/// others', nor leave its sender without an answer. The panic hook has logged the place.
async fn call<S: Service>(service: &S, request: Request) -> Answer {
    let mut answer = pin!(service.call(request));
    poll_fn(|context| {
        // What is left half done belongs to this request alone and is dropped with it.
        catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))).unwrap_or_else(|_| {
            let failed = Problem::from(ProblemKind::INTERNAL).closing();
            Poll::Ready(Answer::problem(Route::Other, &failed))
        })
    })
    .await
}
