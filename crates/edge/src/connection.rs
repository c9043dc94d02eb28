//! One connection: what it is doing, since when, and the task that serves it.
//!
//! Deadlines cost a request nothing but two stores: a connection notes its phase and the core's
//! coarse time, and the core's sweeper compares them some times a second.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::header::{CONNECTION, HeaderName, HeaderValue};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use telemetry::Method;
use tokio::net::TcpStream;

use crate::clock;
use crate::core::{Core, Deadlines};
use crate::io::WatchedIo;
use crate::log;
use crate::request::{Request, Response, Service, request_id};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of a request's head, and headers in it.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 100;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first byte of a request, or the last byte of an answer to be taken.
    Idle,
    /// The rest of a head.
    Head,
    /// The service.
    Busy,
    /// More of a body.
    Body,
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
    closed: Cell<bool>,
    task: RefCell<Option<Waker>>,
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
            closed: Cell::new(false),
            task: RefCell::new(None),
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
        if self.phase.get() == Phase::Idle {
            self.since.set(self.now.get());
        }
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

    pub(crate) fn body_read(&self, bytes: usize) {
        self.phase.set(Phase::Busy);
        self.received.set(bytes as u64);
    }

    /// Whether the socket is to be read to its end before it is closed.
    pub(crate) fn starts_lingering(&self) -> bool {
        if self.linger.get() && self.phase.get() != Phase::Lingering {
            self.enter(Phase::Lingering);
        }
        self.linger.get()
    }

    /// Whether the sweeper closed it, and no request has begun to arrive since.
    fn is_over(&self) -> bool {
        let over = self.closed.get();
        if over && self.phase.get() == Phase::Busy {
            self.closed.set(false);
            return false;
        }
        over
    }

    fn close(&self) {
        self.closed.set(true);
        if let Some(task) = self.task.borrow().as_ref() {
            task.wake_by_ref();
        }
    }

    /// Ends what has waited too long. `idle_max` is shorter while draining.
    pub(crate) fn sweep(&self, deadlines: &Deadlines, idle_max: Duration) {
        let waited = self.now.get().saturating_sub(self.since.get());
        match self.phase.get() {
            Phase::Idle if waited >= idle_max => self.close(),
            Phase::Head if waited >= deadlines.header => self.close(),
            Phase::Lingering if waited >= deadlines.linger => self.close(),
            Phase::Body if waited >= deadlines.body => {
                self.body_expired.set(true);
                if let Some(waker) = self.body_waker.borrow_mut().take() {
                    waker.wake();
                }
            }
            _ => {}
        }
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve<S: Service>(
    stream: TcpStream,
    core: Rc<Core<S>>,
    state: Rc<ConnectionState>,
) {
    let io = WatchedIo::new(stream, Rc::clone(&state));
    let service = {
        let (core, state) = (Rc::clone(&core), Rc::clone(&state));
        service_fn(move |request| handle(Rc::clone(&core), Rc::clone(&state), request))
    };
    let mut http = hyper::server::conn::http1::Builder::new();
    http.header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .half_close(true)
        .writev(false);
    let mut connection = pin!(http.serve_connection(io, service));
    poll_fn(|context| {
        if state.task.borrow().is_none() {
            state.task.borrow_mut().replace(context.waker().clone());
        }
        // An error is the sender's: it went away, or sent what is no HTTP and was told so.
        let polled = connection.as_mut().poll(context).map(drop);
        // hyper has just read what there was, so an idle connection that is to be closed has no
        // request in its buffer.
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
    let request = Request { head, body, connection: Rc::clone(&state) };
    let mut answer = core.service.call(request).await;
    let unread = unread && state.received.get() == 0;
    let headers = answer.response.headers_mut();
    if answer.close || unread || core.draining() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    state.linger.set(answer.close || unread);
    headers.insert(X_REQUEST_ID, id.clone());
    let took = clock::now().saturating_sub(start);
    let status = answer.response.status().as_u16();
    let sent = answer.response.body().size_hint().exact().unwrap_or(0);
    core.context.metrics.request(answer.route, method, status, took);
    core.context.metrics.bytes(state.received.get(), sent);
    if core.log.wants(status, took, core.count_request()) {
        log::request(core.context.core, &id, method, &answer, took, (state.received.get(), sent));
    }
    state.body_waker.borrow_mut().take();
    state.body_expired.set(false);
    state.enter(Phase::Idle);
    Ok(answer.response)
}
