//! The cores: a thread each with a runtime of its own, an accept loop on each of its listeners, and a
//! sweeper that holds its connections' deadlines. Cores share nothing but the control.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use slab::Slab;
use telemetry::Metrics;
use tokio::sync::{Notify, watch};

use crate::clock;
use crate::connection::{self, ConnectionState};
use crate::control::{Control, Drained, Stage};
use crate::log::LogPolicy;
use crate::request::{CoreContext, Service};

/// How often deadlines are looked at: the grain of every deadline.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// The same while draining, when the end is waited for.
const SWEEP_EVERY_DRAINING: Duration = Duration::from_millis(10);
/// Time that accepting is left alone when it failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Threads of a core for what blocks. A service bounds what it hands them.
const BLOCKING_THREADS_MAX: usize = 2;
/// How long an idle connection may hold a place that others wait for.
const IDLE_MAX_WHEN_FULL: Duration = Duration::from_secs(1);
/// Time for emptying a listener's queue before it is closed, however fast it fills.
const QUEUE_EMPTYING_MAX: Duration = Duration::from_millis(100);
/// Time between two log lines about failing accepts.
const ACCEPT_LOG_EVERY: Duration = Duration::from_secs(10);

/// What holds for every connection.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long anything is waited for.
    pub deadlines: Deadlines,
    /// Connections open at once, over all cores. Further ones wait in the listeners' backlog, and
    /// idle ones are closed after a second to make room.
    pub connections_max: usize,
    /// Which requests are logged.
    pub log: LogPolicy,
    /// The name of the threads, of which the core's number is a part.
    pub name: &'static str,
    /// The first core's number among the metrics' cores, for a process that starts cores twice.
    pub core_first: usize,
}

/// How long a connection may stay in each of its phases. Looked at every 100 ms.
#[derive(Debug, Clone)]
pub struct Deadlines {
    /// Time for a head to arrive, from its first byte. The connection is closed then. A head that
    /// began to arrive together with the request before it has `idle` instead.
    pub header: Duration,
    /// Time for a body to arrive, from the first wait for it. Answered with 408.
    pub body: Duration,
    /// Time that a connection may stay without a request, or without taking its answer.
    pub idle: Duration,
    /// Bytes of an answer that have to be taken in each second, from its beginning on and beside
    /// `idle`: a receiver that takes a little now and then would hold its memory for ever.
    pub taken_bytes_per_second_min: u64,
    /// Time for the sender to end after an answer that did not wait for the whole request.
    pub linger: Duration,
}

/// Running cores.
pub struct Cores {
    threads: Vec<JoinHandle<()>>,
    control: Arc<Control>,
}

impl Cores {
    /// What drains them.
    pub fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    /// Waits until all have drained.
    ///
    /// # Panics
    /// When a core's thread panicked.
    pub fn join(self) -> Drained {
        for thread in self.threads {
            thread.join().expect("a core's thread ends by draining");
        }
        self.control.drained()
    }
}

/// Starts one core for each element of `listeners`. `service` is called once on each core's thread,
/// inside its runtime, and may spawn local tasks there.
///
/// # Errors
/// When a thread or a runtime cannot be made, or a listener cannot be used.
pub fn start<S: Service>(
    config: &Config,
    listeners: Vec<Vec<TcpListener>>,
    metrics: &Arc<Metrics>,
    service: impl Fn(CoreContext) -> S + Clone + Send + 'static,
) -> io::Result<Cores> {
    let control = Arc::new(Control::new(config.log));
    let cores = listeners.len().max(1);
    let mut threads = Vec::with_capacity(cores);
    for (number, listeners) in (config.core_first..).zip(listeners) {
        let context = CoreContext { core: number, metrics: metrics.core(number) };
        let (config, control, service) = (config.clone(), Arc::clone(&control), service.clone());
        let connections_max = config.connections_max.div_ceil(cores);
        for listener in &listeners {
            listener.set_nonblocking(true)?;
        }
        let thread = std::thread::Builder::new().name(format!("{}-{number}", config.name)).spawn(
            move || run_core(&config, connections_max, listeners, control, context, service),
        )?;
        threads.push(thread);
    }
    Ok(Cores { threads, control })
}

/// One core, as its connections see it.
pub(crate) struct Core<S> {
    pub(crate) service: S,
    pub(crate) context: CoreContext,
    /// Read anew by the sweeper.
    pub(crate) log: Cell<LogPolicy>,
    control: Arc<Control>,
    deadlines: Deadlines,
    connections_max: usize,
    connections: RefCell<Slab<Rc<ConnectionState>>>,
    connection_ended: Notify,
    /// Coarse time, moved by the sweeper.
    now: Rc<Cell<Duration>>,
    request_ids: Cell<u64>,
    requests: Cell<u64>,
}

impl<S> Core<S> {
    /// Whether each connection's next answer is its last.
    pub(crate) fn closing(&self) -> bool {
        self.control.closing()
    }

    pub(crate) fn next_request_id(&self) -> u64 {
        self.request_ids.replace(self.request_ids.get().wrapping_add(1))
    }

    pub(crate) fn count_request(&self) -> u64 {
        self.requests.replace(self.requests.get() + 1)
    }
}

fn run_core<S: Service>(
    config: &Config,
    connections_max: usize,
    listeners: Vec<TcpListener>,
    control: Arc<Control>,
    context: CoreContext,
    service: impl FnOnce(CoreContext) -> S,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime needs an epoll descriptor and an eventfd, which a starting process has");
    runtime.block_on(async {
        // Ids of different processes and cores start far apart.
        let first_id = RandomState::new().hash_one(context.core);
        let core = Rc::new(Core {
            service: service(context.clone()),
            context,
            log: Cell::new(config.log),
            control,
            deadlines: config.deadlines.clone(),
            connections_max,
            connections: RefCell::new(Slab::new()),
            connection_ended: Notify::new(),
            now: Rc::new(Cell::new(clock::now())),
            request_ids: Cell::new(first_id),
            requests: Cell::new(0),
        });
        let stage = core.control.watch();
        for listener in listeners {
            let listener = tokio::net::TcpListener::from_std(listener)
                .expect("a non-blocking listener can be registered with epoll");
            tokio::task::spawn_local(accept(Rc::clone(&core), listener, stage.clone()));
        }
        sweep(&core, stage).await;
    });
}

/// Accepts until draining starts, with pauses.
async fn accept<S: Service>(
    core: Rc<Core<S>>,
    listener: tokio::net::TcpListener,
    mut stage: watch::Receiver<Stage>,
) {
    let mut logged = None;
    let mut accepting = Some(core.control.accepting());
    loop {
        match *stage.borrow_and_update() {
            Stage::Serving | Stage::Retiring { accepting: true, .. } => {
                accepting.get_or_insert_with(|| core.control.accepting());
            }
            Stage::Retiring { accepting: false, .. } => accepting = None,
            Stage::Draining { .. } => break,
        }
        let full = core.connections.borrow().len() >= core.connections_max;
        if full || accepting.is_none() {
            if full {
                core.context.metrics.accept_paused();
            }
            tokio::select! {
                () = core.connection_ended.notified() => {}
                _ = stage.changed() => {}
            }
            continue;
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stage.changed() => continue,
        };
        match accepted {
            Ok((stream, _)) => spawn_connection(&core, stream),
            Err(error) => {
                core.context.metrics.accept_error();
                if logged.is_none_or(|last| clock::now() - last >= ACCEPT_LOG_EVERY) {
                    logged = Some(clock::now());
                    tracing::warn!(
                        error = error.to_string(),
                        "accepting failed; if descriptors are used up, raise `ulimit -n` or lower --connections-max"
                    );
                }
                if is_exhaustion(&error) {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    // What came after a pause is for the successor, which holds the same socket.
    if accepting.is_none() {
        return;
    }
    // Closing a listener resets what waits in its queue, so the queue is emptied first.
    let start = clock::now();
    while clock::now() - start < QUEUE_EMPTYING_MAX {
        match tokio::time::timeout(Duration::ZERO, listener.accept()).await {
            Ok(Ok((stream, _))) => spawn_connection(&core, stream),
            _ => break,
        }
    }
}

/// Whether accepting failed for want of something that only time brings back. Anything else, such
/// as a connection that ended in the queue, says nothing about the next one (accept(2)).
fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error).is_some_and(|errno| {
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&errno)
    })
}

fn spawn_connection<S: Service>(core: &Rc<Core<S>>, stream: tokio::net::TcpStream) {
    let state = ConnectionState::new(Rc::clone(&core.now));
    let key = core.connections.borrow_mut().insert(Rc::clone(&state));
    core.context.metrics.connection_opened();
    let registered = Registered { core: Rc::clone(core), key };
    tokio::task::spawn_local(async move {
        connection::serve(stream, Rc::clone(&registered.core), state).await;
    });
}

/// A connection's place among its core's; given up also when its task panics.
struct Registered<S> {
    core: Rc<Core<S>>,
    key: usize,
}

impl<S> Drop for Registered<S> {
    fn drop(&mut self) {
        self.core.connections.borrow_mut().remove(self.key);
        self.core.context.metrics.connection_closed();
        self.core.connection_ended.notify_waiters();
    }
}

/// Holds deadlines until the core has drained.
async fn sweep<S>(core: &Rc<Core<S>>, mut stage: watch::Receiver<Stage>) {
    let (mut retire_start, mut drain_start) = (None, None);
    loop {
        core.now.set(clock::now());
        core.log.set(core.control.log());
        let current = *stage.borrow();
        let left = core.connections.borrow().len();
        let mut idle_max = core.deadlines.idle;
        if left >= core.connections_max {
            idle_max = idle_max.min(IDLE_MAX_WHEN_FULL);
        }
        // The grace counts from the start of the stage also for who was idle before.
        let mut shorten = |start: &mut Option<Duration>, grace: Duration| {
            let lasted = core.now.get() - *start.get_or_insert(core.now.get());
            if lasted >= grace {
                idle_max = idle_max.min(grace);
            }
            lasted
        };
        match current {
            Stage::Serving => retire_start = None,
            Stage::Retiring { grace, .. } => drop(shorten(&mut retire_start, grace)),
            Stage::Draining { grace, deadline } => {
                let over = shorten(&mut drain_start, grace) >= deadline;
                if left == 0 && accept_loops_ended(core) || over {
                    core.control.count_cut_off(left);
                    return;
                }
            }
        }
        for (_, connection) in core.connections.borrow().iter() {
            connection.sweep(&core.deadlines, idle_max);
        }
        if drain_start.is_some() {
            tokio::time::sleep(SWEEP_EVERY_DRAINING).await;
        } else {
            tokio::select! {
                () = tokio::time::sleep(SWEEP_EVERY) => {}
                _ = stage.changed() => {}
            }
        }
    }
}

/// Whether nothing but the sweeper and the connections holds the core: each accept loop does.
fn accept_loops_ended<S>(core: &Rc<Core<S>>) -> bool {
    Rc::strong_count(core) == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn accepting_pauses_only_when_something_is_used_up() {
        let check = |errno: Errno, expected: bool| {
            assert_eq!(is_exhaustion(&errno.into()), expected, "{errno:?}");
        };
        check(Errno::MFILE, true);
        check(Errno::NFILE, true);
        check(Errno::NOBUFS, true);
        check(Errno::NOMEM, true);
        check(Errno::CONNABORTED, false);
        check(Errno::PERM, false);
        check(Errno::PROTO, false);
    }
}
