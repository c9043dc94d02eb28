//! The cores: a thread each with a runtime of its own, an accept loop on each of its listeners, and a
//! sweeper that holds its connections' deadlines. Cores share nothing but the control.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use slab::Slab;
use telemetry::Metrics;
use tokio::sync::watch;

use crate::access::Access;
use crate::budget::Budget;
use crate::clock;
use crate::connection::{self, ConnectionState};
use crate::control::{Control, Drained, FailOnPanic, Stage};
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
/// How long an idle connection may hold a place that others need.
const IDLE_MAX_WHEN_FULL: Duration = Duration::from_secs(1);
/// Connections beyond the limit, over all cores: each is read only far enough to tell a health check
/// from anything else.
const BEYOND_LIMIT_MAX: usize = 64;
/// The same for a core, however many cores there are.
const BEYOND_LIMIT_MIN: usize = 4;
/// Time for emptying a listener's queue before it is closed, however fast it fills.
const QUEUE_EMPTYING_MAX: Duration = Duration::from_millis(100);
/// Time between two log lines about failing accepts.
const ACCEPT_LOG_EVERY: Duration = Duration::from_secs(10);

/// What holds for every connection.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long anything is waited for.
    pub deadlines: Deadlines,
    /// Connections open at once, over all cores. Further ones get 503, unless they send what
    /// [`Service::admits_always`]. As the limit comes near, those that have been idle for a second are
    /// closed to make room.
    pub connections_max: usize,
    /// The memory for requests that have not arrived whole. The service takes its bodies from it too.
    pub budget: Arc<Budget>,
    /// Which requests are logged.
    pub log: LogPolicy,
    /// Which hosts and origins requests may name.
    pub access: Arc<Access>,
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

    /// Waits until all have drained. A thread that panicked has ended too; [`Control::failed_core`]
    /// names its core.
    pub fn join(self) -> Drained {
        for thread in self.threads {
            let _ = thread.join();
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
    let limit = Arc::new(Limit::new(config.connections_max, listeners.len()));
    let mut threads = Vec::with_capacity(listeners.len());
    for (number, listeners) in (config.core_first..).zip(listeners) {
        let control = Arc::clone(&control);
        let context = CoreContext { core: number, metrics: metrics.core(number), control };
        let (config, limit, service) = (config.clone(), Arc::clone(&limit), service.clone());
        for listener in &listeners {
            listener.set_nonblocking(true)?;
        }
        let thread = std::thread::Builder::new()
            .name(format!("{}-{number}", config.name))
            .spawn(move || run_core(&config, limit, listeners, context, service))?;
        threads.push(thread);
    }
    Ok(Cores { threads, control })
}

/// The limit on connections, over all cores.
struct Limit {
    open: AtomicUsize,
    max: usize,
    cores: usize,
}

impl Limit {
    fn new(max: usize, cores: usize) -> Self {
        Self { open: AtomicUsize::new(0), max, cores: cores.max(1) }
    }

    /// Takes a place, if there is one.
    fn take(&self) -> bool {
        let more = |open| (open < self.max).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many idle connections a core should close, so that a sixteenth of the places, or one at
    /// least, stays free for new ones.
    fn excess_of_core(&self) -> usize {
        let kept = (self.max - self.max / 16).min(self.max.saturating_sub(1));
        self.open.load(Ordering::Relaxed).saturating_sub(kept).div_ceil(self.cores)
    }

    /// How many connections beyond the limit a core may have.
    fn beyond_max_of_core(&self) -> usize {
        (BEYOND_LIMIT_MAX / self.cores).max(BEYOND_LIMIT_MIN)
    }
}

/// One core, as its connections see it.
pub(crate) struct Core<S> {
    pub(crate) service: S,
    pub(crate) context: CoreContext,
    /// Read anew by the sweeper.
    pub(crate) log: Cell<LogPolicy>,
    pub(crate) access: Arc<Access>,
    pub(crate) budget: Arc<Budget>,
    deadlines: Deadlines,
    limit: Arc<Limit>,
    connections: RefCell<Slab<Rc<ConnectionState>>>,
    /// Keys of the connections beyond the limit, the oldest first.
    beyond_limit: RefCell<VecDeque<usize>>,
    /// Coarse time, moved by the sweeper.
    now: Rc<Cell<Duration>>,
    request_ids: Cell<u64>,
    requests: Cell<u64>,
    refused: Cell<u64>,
}

impl<S> Core<S> {
    /// Whether each connection's next answer is its last.
    pub(crate) fn closing(&self) -> bool {
        self.context.control.closing()
    }

    pub(crate) fn next_request_id(&self) -> u64 {
        self.request_ids.replace(self.request_ids.get().wrapping_add(1))
    }

    /// Counts an answered request and returns how many like it there were before: refused ones (4xx) are
    /// counted by themselves.
    pub(crate) fn count_request(&self, status: u16) -> u64 {
        let count = if (400..500).contains(&status) { &self.refused } else { &self.requests };
        count.replace(count.get() + 1)
    }
}

fn run_core<S: Service>(
    config: &Config,
    limit: Arc<Limit>,
    listeners: Vec<TcpListener>,
    context: CoreContext,
    service: impl FnOnce(CoreContext) -> S,
) {
    let _guard = FailOnPanic { control: Arc::clone(&context.control), core: context.core };
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
            access: Arc::clone(&config.access),
            budget: Arc::clone(&config.budget),
            deadlines: config.deadlines.clone(),
            limit,
            connections: RefCell::new(Slab::new()),
            beyond_limit: RefCell::default(),
            now: Rc::new(Cell::new(clock::now())),
            request_ids: Cell::new(first_id),
            requests: Cell::new(0),
            refused: Cell::new(0),
        });
        let stage = core.context.control.watch();
        for listener in listeners {
            let listener = tokio::net::TcpListener::from_std(listener)
                .expect("a non-blocking listener can be registered with epoll");
            core.context.spawn(accept(Rc::clone(&core), listener, stage.clone()));
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
    let bound = listener.local_addr().ok().map(|bound| bound.ip());
    let control = &core.context.control;
    let mut accepting = Some(control.accepting());
    loop {
        match *stage.borrow_and_update() {
            Stage::Serving | Stage::Retiring { accepting: true, .. } => {
                accepting.get_or_insert_with(|| control.accepting());
            }
            Stage::Retiring { accepting: false, .. } => accepting = None,
            Stage::Draining { .. } => break,
        }
        if accepting.is_none() {
            let _ = stage.changed().await;
            continue;
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stage.changed() => continue,
        };
        match accepted {
            Ok((stream, _)) if core.limit.take() => spawn_connection(&core, stream, bound, true),
            Ok((stream, _)) => {
                spawn_connection(&core, stream, bound, false);
                // The connection that leaves for it must be gone before the next one is accepted.
                tokio::task::yield_now().await;
            }
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
            // What waited before the end is served, whatever the limit.
            Ok(Ok((stream, _))) => {
                core.limit.open.fetch_add(1, Ordering::Relaxed);
                spawn_connection(&core, stream, bound, true);
            }
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

/// Has a connection of the listener on `bound` served. One that has no place within the limit makes the oldest of its kind leave
/// when there are too many of them.
fn spawn_connection<S: Service>(
    core: &Rc<Core<S>>,
    stream: tokio::net::TcpStream,
    bound: Option<IpAddr>,
    within_limit: bool,
) {
    // Only a listener on all addresses does not tell that of its connections.
    let local = bound.filter(|bound| !bound.is_unspecified()).or_else(|| {
        // One that has no address any more has no request either.
        stream.local_addr().ok().map(|local| local.ip())
    });
    let local = local.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let budget = Arc::clone(&core.budget);
    let state = ConnectionState::new(Rc::clone(&core.now), local, budget, within_limit);
    let key = core.connections.borrow_mut().insert(Rc::clone(&state));
    core.context.metrics.connection_opened();
    if !within_limit {
        let mut beyond = core.beyond_limit.borrow_mut();
        if beyond.len() >= core.limit.beyond_max_of_core()
            && let Some(oldest) = beyond.pop_front()
            && let Some(oldest) = core.connections.borrow().get(oldest)
        {
            oldest.end_now();
        }
        beyond.push_back(key);
    }
    let registered = Registered { core: Rc::clone(core), key, within_limit };
    tokio::task::spawn_local(async move {
        connection::serve(stream, Rc::clone(&registered.core), state).await;
    });
}

/// A connection's place among its core's; given up also when its task panics.
struct Registered<S> {
    core: Rc<Core<S>>,
    key: usize,
    within_limit: bool,
}

impl<S> Drop for Registered<S> {
    fn drop(&mut self) {
        self.core.connections.borrow_mut().remove(self.key);
        self.core.context.metrics.connection_closed();
        if self.within_limit {
            self.core.limit.give_back();
        } else {
            self.core.beyond_limit.borrow_mut().retain(|key| *key != self.key);
        }
    }
}

/// Holds deadlines until the core has drained.
async fn sweep<S: Service>(core: &Rc<Core<S>>, mut stage: watch::Receiver<Stage>) {
    let (mut retire_start, mut drain_start) = (None, None);
    loop {
        core.now.set(clock::now());
        core.log.set(core.context.control.log());
        core.service.tick();
        let current = *stage.borrow();
        let left = core.connections.borrow().len();
        let mut idle_max = core.deadlines.idle;
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
                    core.context.control.count_cut_off(left);
                    return;
                }
            }
        }
        let mut excess = core.limit.excess_of_core();
        let idle_max_of_excess = idle_max.min(IDLE_MAX_WHEN_FULL);
        for (_, connection) in core.connections.borrow().iter() {
            let idle_max = if excess > 0 { idle_max_of_excess } else { idle_max };
            if connection.sweep(&core.deadlines, idle_max) {
                excess = excess.saturating_sub(1);
            }
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
