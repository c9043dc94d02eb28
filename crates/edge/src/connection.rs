//! One connection: what it is doing, since when, and the task that serves it.
//!
//! Deadlines cost a request nothing but two stores: a connection notes its phase and the core's
//! coarse time, and the core's sweeper compares them some times a second.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
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

use crate::access::Visitor;
use crate::budget::Budget;
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
/// Bytes that are read at once, and what hyper's buffer grows to: a whole head, and no more, because
/// hyper keeps the room for the connection's next request.
const READ_BYTES_MAX: usize = HEAD_BYTES_MAX;
/// The least that hyper's buffer for a head has.
const HEAD_BUFFER_BYTES: usize = 8 * 1024;
/// How long a connection beyond the limit may take to show that it is a health check, and to end.
const BEYOND_LIMIT_PATIENCE: Duration = Duration::from_secs(1);
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
    visitor: Visitor,
    /// Bytes of the body, once it was read to its end.
    received: Cell<Option<u64>>,
    body_expired: Cell<bool>,
    body_waker: RefCell<Option<Waker>>,
    /// Whether the rest of a request is to be read and thrown away before the socket is closed.
    linger: Cell<bool>,
    /// The phase that lasted too long, until the task has seen to it.
    overdue: Cell<Option<Phase>>,
    task: RefCell<Option<Arc<Hush>>>,
    /// When the answer began to be sent, and its bytes.
    answer: Cell<(Duration, u64)>,
    /// Given back when the answer is sent.
    held: RefCell<Option<Box<dyn Any>>>,
    /// Whether it has a place within the limit on connections. One that has none is answered once, and
    /// with 503 unless it is a health check.
    within_limit: bool,
    /// Whether it is to be answered with 503 and closed as long as no head has arrived.
    unwanted: Cell<bool>,
    budget: Arc<Budget>,
    /// Bytes of `budget` that what has arrived of a request takes.
    charged: Cell<usize>,
    /// Bytes that came from the socket since the request began, without those of its body.
    buffered: Cell<usize>,
    /// Bytes of its body so far.
    body_bytes: Cell<usize>,
    /// Whether the budget has no room for what has arrived of a body.
    no_room: Cell<bool>,
}

impl ConnectionState {
    /// `local` is the connection's own address.
    pub(crate) fn new(
        now: Rc<Cell<Duration>>,
        local: IpAddr,
        budget: Arc<Budget>,
        within_limit: bool,
    ) -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new(Phase::Idle),
            since: Cell::new(now.get()),
            now,
            visitor: Visitor::new(local),
            received: Cell::new(None),
            body_expired: Cell::new(false),
            body_waker: RefCell::new(None),
            linger: Cell::new(false),
            overdue: Cell::new(None),
            task: RefCell::new(None),
            answer: Cell::new((Duration::ZERO, 0)),
            held: RefCell::new(None),
            within_limit,
            unwanted: Cell::new(false),
            budget,
            charged: Cell::new(0),
            buffered: Cell::new(0),
            body_bytes: Cell::new(0),
            no_room: Cell::new(false),
        })
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.now.get());
    }

    pub(crate) fn bytes_read(&self, bytes: usize) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
            self.buffered.set(0);
            self.body_bytes.set(0);
        }
        self.buffered.set(self.buffered.get() + bytes);
    }

    /// Notes that `bytes` of a body were handed over. The service counts them.
    pub(crate) fn body_bytes_taken(&self, bytes: usize) {
        self.buffered.set(self.buffered.get().saturating_sub(bytes));
        self.body_bytes.set(self.body_bytes.get() + bytes);
    }

    /// Notes that more of a request is waited for, with `room` for it in hyper's buffer. Returns whether
    /// the connection may wait: the budget has to have room for what has arrived, or the newest of many
    /// slow senders leaves. A request that arrives at once never waits and is not counted here.
    ///
    /// What is counted is memory that has been written to: the buffer of the head, which is held as long
    /// as the request is, and what a body has used of the buffer that it passes through.
    pub(crate) fn may_wait(&self, room: usize) -> bool {
        let held = match self.phase.get() {
            Phase::Head | Phase::Body => {
                self.buffered.get().max(HEAD_BUFFER_BYTES) + room.min(self.body_bytes.get())
            }
            Phase::Idle | Phase::Busy | Phase::Answer | Phase::Lingering => 0,
        };
        if !self.charge(held) {
            self.no_room.set(true);
        }
        !(self.awaits_head() && (self.no_room.get() || self.unwanted.get()))
    }

    /// Has the budget cover a head that is worked on, if that needs more than the buffer that every
    /// connection has.
    fn charge_head(&self) -> bool {
        let bytes = self.buffered.get();
        bytes <= HEAD_BUFFER_BYTES || self.charge(bytes)
    }

    /// Has the budget cover `bytes`, if there is room for what that adds.
    fn charge(&self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.charged.get());
        let fits = more == 0 || self.budget.take(more);
        if fits {
            self.charged.set(self.charged.get() + more);
        }
        fits
    }

    /// Whether there is no room for what has arrived of a body.
    pub(crate) fn has_no_room(&self) -> bool {
        self.no_room.get()
    }

    fn give_budget_back(&self) {
        self.budget.give_back(self.charged.take());
    }

    /// Ends a connection beyond the limit, whatever it is doing; with 503 if it has not been answered.
    pub(crate) fn end_now(&self) {
        self.unwanted.set(true);
        if !self.awaits_head() {
            self.overdue.set(Some(self.phase.get()));
        }
        self.wake();
    }

    fn wake(&self) {
        if let Some(task) = self.task.borrow().as_ref() {
            task.forward();
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
        if self.charged.get() > 0 {
            self.give_budget_back();
        }
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
        self.received.set(Some(bytes as u64));
    }

    /// Whether the connection ends in the middle of a request, so that more of it may arrive and is waited
    /// for. One that has to leave makes room at once.
    pub(crate) fn is_cut_short(&self) -> bool {
        !self.unwanted.get() && (self.linger.get() || self.phase.get() == Phase::Head)
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

    /// Ends what has waited too long. `idle_max` is shorter while draining or nearly full. Returns
    /// whether an idle connection ends.
    pub(crate) fn sweep(&self, deadlines: &Deadlines, idle_max: Duration) -> bool {
        let phase = self.phase.get();
        let mut max = match phase {
            Phase::Idle => idle_max,
            Phase::Head => deadlines.header,
            Phase::Busy => return false,
            Phase::Body => deadlines.body,
            Phase::Answer => deadlines.idle,
            Phase::Lingering => deadlines.linger,
        };
        if !self.within_limit {
            max = max.min(BEYOND_LIMIT_PATIENCE);
        }
        let waited = self.now.get().saturating_sub(self.since.get()) >= max;
        if !waited && !self.is_taken_too_slowly(deadlines) {
            return false;
        }
        if phase == Phase::Body {
            self.body_expired.set(true);
            if let Some(waker) = self.body_waker.borrow_mut().take() {
                waker.wake();
            }
        } else if self.within_limit {
            self.overdue.set(Some(phase));
            self.wake();
        } else {
            self.end_now();
        }
        phase == Phase::Idle && self.within_limit
    }
}

impl Drop for ConnectionState {
    fn drop(&mut self) {
        self.give_budget_back();
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
    state.received.set(None);
    let (head, body) = request.into_parts();
    let method = match head.method {
        http::Method::GET => Method::Get,
        http::Method::POST => Method::Post,
        http::Method::HEAD => Method::Head,
        _ => Method::Other,
    };
    let id = request_id(head.headers.get(X_REQUEST_ID), || core.next_request_id());
    let unread = !body.is_end_stream();
    let mut answer = if !state.within_limit && !core.service.admits_always(head.uri.path()) {
        core.context.metrics.connection_refused();
        Answer::problem(Route::Other, &too_many_connections())
    } else if !state.charge_head() {
        Answer::problem(Route::Other, &Problem::from(ProblemKind::OVERLOADED).closing())
    } else {
        match core.access.check(&head, &state.visitor) {
            Ok(()) => {
                let request = Request { head, body, connection: Rc::clone(&state) };
                call(&core.service, request).await
            }
            Err(refused) => Answer::problem(Route::Other, &refused),
        }
    };
    let received = state.received.get();
    let close = answer.close || !state.within_limit;
    let cut_short = close || unread && received.is_none();
    let sent = match method {
        Method::Head => 0,
        _ => answer.response.body().size_hint().exact().unwrap_or(0),
    };
    let last = cut_short || sent > KEPT_ANSWER_BYTES_MAX;
    let headers = answer.response.headers_mut();
    if last || core.closing() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    state.linger.set(last);
    headers.insert(X_REQUEST_ID, id);
    let took = clock::now().saturating_sub(start);
    let status = answer.response.status().as_u16();
    let received = received.unwrap_or(0);
    core.context.metrics.request(answer.route, method, status, took);
    core.context.metrics.bytes(received, sent);
    if core.log.get().wants(status, took, core.count_request(status)) {
        log::request(core.context.core, method, &answer, took, (received, sent));
    }
    state.body_waker.borrow_mut().take();
    state.body_expired.set(false);
    state.no_room.set(false);
    state.begin_answer(sent, answer.held.take());
    Ok(answer.response)
}

/// The answer to a connection that has no place.
pub(crate) fn too_many_connections() -> Problem {
    Problem::from(ProblemKind::OVERLOADED)
        .detail("as many connections as the server may have (--connections-max) are open")
        .closing()
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
