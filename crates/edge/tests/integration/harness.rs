//! A server with a service made for tests, on free ports, that ends with its test.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use edge::{
    Access, Answer, Budget, Config, Control, CoreContext, Cores, Deadlines, Drained, LogPolicy,
    Problem, ProblemKind, Request, Service,
};
use http_body_util::Full;
use telemetry::{Metrics, Route};
use tokio::sync::watch;

use crate::raw::{PATIENCE, Raw};

/// Bytes that `/read` takes.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes that `/large` answers, more than the buffers between server and client take.
pub(crate) const LARGE_BYTES: usize = 16 << 20;

/// A running server.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    control: Arc<Control>,
    cores: Option<Cores>,
    gate: Arc<Gate>,
}

/// Where `/later` waits.
struct Gate {
    held: Mutex<usize>,
    arrived: Condvar,
    open: watch::Sender<bool>,
    /// The core whose next tick panics; `usize::MAX` for none.
    failing_core: AtomicUsize,
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let listeners = edge::listen::bind(&["127.0.0.1:0".to_owned()], 2).expect("a free port");
        Self::on(listeners, configure)
    }

    /// A server whose cores each begin with `spawn`.
    pub(crate) fn spawning(spawn: impl Fn(&CoreContext) + Clone + Send + 'static) -> Self {
        let listeners = edge::listen::bind(&["127.0.0.1:0".to_owned()], 2).expect("a free port");
        Self::beginning(listeners, |_| {}, spawn)
    }

    pub(crate) fn on(
        listeners: Vec<Vec<std::net::TcpListener>>,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        Self::beginning(listeners, configure, |_| {})
    }

    fn beginning(
        listeners: Vec<Vec<std::net::TcpListener>>,
        configure: impl FnOnce(&mut Config),
        spawn: impl Fn(&CoreContext) + Clone + Send + 'static,
    ) -> Self {
        let mut config = Config {
            deadlines: Deadlines {
                header: PATIENCE * 10,
                body: PATIENCE * 10,
                idle: PATIENCE * 10,
                taken_bytes_per_second_min: 1,
                linger: PATIENCE / 2,
            },
            connections_max: 10_000,
            budget: Arc::new(Budget::new(1 << 30)),
            log: LogPolicy { sample: 0, slow: Duration::MAX },
            access: Arc::new(access()),
            name: "test",
            core_first: 0,
        };
        configure(&mut config);
        let address = listeners[0][0].local_addr().expect("it is bound");
        let metrics = Metrics::new(listeners.len());
        let gate = Arc::new(Gate {
            held: Mutex::new(0),
            arrived: Condvar::new(),
            open: watch::Sender::new(false),
            failing_core: AtomicUsize::new(usize::MAX),
        });
        let for_service = Arc::clone(&gate);
        let service = move |context: CoreContext| {
            spawn(&context);
            TestService { gate: Arc::clone(&for_service), core: context.core }
        };
        let cores = edge::start(&config, listeners, &metrics, service).expect("cores start");
        Self { address, metrics, control: cores.control(), cores: Some(cores), gate }
    }

    /// Waits until `count` requests to `/later` are being worked on.
    pub(crate) fn wait_for_held(&self, count: usize) {
        let held = self.gate.held.lock().expect("no holder panics");
        let (held, waited) = self
            .gate
            .arrived
            .wait_timeout_while(held, PATIENCE, |held| *held < count)
            .expect("no holder panics");
        assert!(!waited.timed_out(), "{held} of {count} requests arrived");
    }

    pub(crate) fn wait_for_connections(&self, open: u64) {
        self.wait_until(|| self.metrics.connections() == open);
    }

    /// Waits for a condition that nobody signals.
    pub(crate) fn wait_until(&self, condition: impl Fn() -> bool) {
        let pause = Duration::from_millis(1);
        let mut pauses = PATIENCE.as_millis() / pause.as_millis();
        while !condition() {
            pauses = pauses.checked_sub(1).expect("the condition is met in time");
            std::thread::sleep(pause);
        }
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// Has a core's thread panic.
    pub(crate) fn fail_core(&self, core: usize) {
        self.gate.failing_core.store(core, Ordering::Relaxed);
    }

    /// Has every request to `/later` answered, from now on.
    pub(crate) fn release(&self) {
        self.gate.open.send_replace(true);
    }

    /// Has a well-behaved client served on a connection of its own.
    pub(crate) fn assert_unharmed(&self) {
        let mut client = Raw::connect(self.address);
        for _ in 0..2 {
            client.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
            assert_eq!(client.answer().status, 201);
        }
    }
    pub(crate) fn drain(&self, grace: Duration, deadline: Duration) {
        self.control.drain(grace, deadline);
    }

    /// Waits for the end of draining.
    pub(crate) fn join(mut self) -> Drained {
        self.cores.take().expect("it is joined once").join()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(cores) = self.cores.take() {
            self.control.drain(Duration::ZERO, Duration::ZERO);
            if !std::thread::panicking() {
                cores.join();
            }
        }
    }
}

/// Requests are for the host `a`, as the shortest there is.
fn access() -> Access {
    Access { hosts: vec!["a".parse().expect("a host")], ..Access::default() }
}

struct TestService {
    gate: Arc<Gate>,
    core: usize,
}

impl Service for TestService {
    async fn call(&self, mut request: Request) -> Answer {
        match request.head.uri.path() {
            "/ok" | "/healthz" => answer(200, Bytes::from_static(b"ok")),
            "/large" => answer(200, Bytes::from_static(&[b'x'; LARGE_BYTES])),
            "/read" => match request.read_body(BODY_BYTES_MAX).await {
                Ok(body) => answer(201, Bytes::from(body.len().to_string())),
                Err(error) => Answer::problem(Route::Other, &error.problem()),
            },
            "/later" => {
                if let Err(error) = request.read_body(BODY_BYTES_MAX).await {
                    return Answer::problem(Route::Other, &error.problem());
                }
                *self.gate.held.lock().expect("no holder panics") += 1;
                self.gate.arrived.notify_all();
                let mut open = self.gate.open.subscribe();
                open.wait_for(|open| *open).await.expect("the gate outlives its server");
                answer(201, Bytes::from_static(b"later"))
            }
            "/panic" => panic!("asked to"),
            "/refuse" => refuse(ProblemKind::TOO_LARGE),
            "/overloaded" => refuse(ProblemKind::OVERLOADED),
            _ => Answer::problem(Route::Other, &ProblemKind::NOT_FOUND.into()),
        }
    }

    fn tick(&self) {
        assert_ne!(self.gate.failing_core.load(Ordering::Relaxed), self.core, "asked to");
    }

    fn admits_always(&self, path: &str) -> bool {
        path == "/healthz"
    }
}

fn answer(status: u16, body: Bytes) -> Answer {
    let mut response = edge::Response::new(Full::new(body));
    *response.status_mut() = http::StatusCode::from_u16(status).expect("it is a status");
    Answer::new(Route::Other, response)
}

fn refuse(kind: &'static ProblemKind) -> Answer {
    Answer::problem(Route::Other, &Problem::from(kind).closing())
}
