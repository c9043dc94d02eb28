//! The part that makes requests happen when they are due and times what comes back. Each worker is a
//! thread with an epoll of its own; workers share nothing that they write to but the receipts and, for
//! shared iterations, one counter.

mod carry;
mod chunked;
mod closed;
mod connection;
mod course;
mod deadlines;
mod flight;
mod handover;
mod handshake;
mod http1;
mod http2;
mod iterations;
mod multiplex;
mod open;
mod poller;
mod pool;
mod population;
mod press;
mod scrutiny;
mod socket;
mod stream_io;
mod tls;
mod trust;
mod wakes;
mod wire;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::measure::Interval;
use crate::plan::{Lane, Plan, Scenario};
use crate::receipts::Receipts;

use course::{Course, Shared};
use handover::{Handover, INTERVALS};
pub(crate) use handshake::handshake;
pub use trust::TlsError;
use worker::{Control, Worker, WorkerError};

/// Why a run could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system gave no thread.
    #[error("cannot start a worker: {0}")]
    Thread(#[source] io::Error),
    /// A scenario's target wants TLS, which cannot be spoken as the plan says.
    #[error("scenario `{scenario}`: {why}")]
    Tls {
        /// Its name.
        scenario: String,
        /// Why not.
        why: TlsError,
    },
}

/// Why a run ended that should not have.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A worker could not go on.
    #[error("worker {worker}: {why}")]
    Worker {
        /// Its number on this machine.
        worker: usize,
        /// In words.
        why: String,
    },
    /// A worker panicked, which is a fault of ours.
    #[error("worker {worker} panicked")]
    Panicked {
        /// Its number on this machine.
        worker: usize,
    },
}

/// What a run has to tell.
#[derive(Debug)]
pub enum Next {
    /// A worker's measurements.
    Interval(Box<Interval>),
    /// Nothing yet.
    Nothing,
    /// Nothing any more: every worker has ended.
    Ended,
}

/// A run under way.
#[derive(Debug)]
pub struct Running {
    workers: Vec<JoinHandle<Result<(), WorkerError>>>,
    measured: Receiver<Box<Interval>>,
    /// For each worker the way back for its intervals.
    spare: Vec<SyncSender<Box<Interval>>>,
    control: Arc<Control>,
}

/// Starts the part of `plan` that machine number `machine` out of `machines` has. `start_ns` is the
/// instant of [`crate::clock::now_ns`] that the run starts at, which may lie ahead.
///
/// # Errors
/// When the system does not give what a worker needs.
pub fn start(
    plan: Arc<Plan>,
    machine: u64,
    machines: u64,
    start_ns: u64,
    receipts: Option<Arc<Receipts>>,
) -> Result<Running, StartError> {
    let threads = plan.threads as u64;
    let shared = |scenario: &Scenario| {
        Shared::new(scenario, machine, machines, threads)
            .map_err(|why| StartError::Tls { scenario: scenario.name.clone(), why })
    };
    let shared: Vec<Shared> = plan.scenarios.iter().map(shared).collect::<Result<_, _>>()?;
    let control = Arc::new(Control::default());
    // Room for every interval there is and the last of each worker, so that nobody ever waits.
    let (out, measured) = sync_channel(plan.threads * (INTERVALS + 1));
    let mut running = Running { workers: Vec::new(), measured, spare: Vec::new(), control };
    let lanes = Lane::of_machine(machine, machines, threads);
    for (worker, lane) in lanes.enumerate() {
        let (give_back, spare) = sync_channel(INTERVALS);
        running.spare.push(give_back);
        let part = Part {
            worker,
            lane,
            plan: Arc::clone(&plan),
            shared: shared.clone(),
            start_ns,
            receipts: receipts.clone(),
            control: Arc::clone(&running.control),
        };
        let out = out.clone();
        let spawned = thread::Builder::new()
            .name(format!("load-{worker}"))
            .spawn(move || part.run(out, spare));
        match spawned {
            Ok(handle) => running.workers.push(handle),
            Err(error) => {
                running.stop_now();
                return Err(StartError::Thread(error));
            }
        }
    }
    Ok(running)
}

/// How many of `iterations` that `users` share are done by machine `machine` out of `machines`.
pub(crate) fn shared_iterations_of(
    iterations: u64,
    users: u64,
    machine: u64,
    machines: u64,
    threads: u64,
) -> u64 {
    iterations::Heap::new(iterations, users, machine, machines, threads).share()
}

impl Running {
    /// What comes next, waiting for it at most so long.
    pub fn next(&self, wait: Duration) -> Next {
        match self.measured.recv_timeout(wait) {
            Ok(interval) => Next::Interval(interval),
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::Ended,
        }
    }

    /// Gives an interval back to its worker, which goes on in it.
    pub fn give_back(&self, mut interval: Box<Interval>) {
        interval.clear();
        // A worker that has ended wants it no more.
        let _ = self.spare[interval.worker].try_send(interval);
    }

    /// No new request is begun; those under way have the graceful stop.
    pub fn stop(&self) {
        self.control.stop();
    }

    /// What is under way is given up.
    pub fn stop_now(&self) {
        self.control.stop_now();
    }

    /// Workers go on until this instant of [`crate::clock::now_ns`] and then give up what is under
    /// way, unless they are given more time before. So a process that was stopped sends nothing when it
    /// goes on and nobody waits for it any more.
    pub fn go_on_until(&self, until_ns: u64) {
        self.control.go_on_until(until_ns);
    }

    /// Waits until every worker has ended. Whoever asks for [`Next`] until [`Next::Ended`] has
    /// everything that was measured.
    ///
    /// # Errors
    /// When a worker could not go on; the others have then been stopped.
    pub fn join(self) -> Result<(), EngineError> {
        let mut result = Ok(());
        for (worker, handle) in self.workers.into_iter().enumerate() {
            let ended = match handle.join() {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(EngineError::Worker { worker, why: error.to_string() }),
                Err(_panic) => Err(EngineError::Panicked { worker }),
            };
            result = result.and(ended);
        }
        result
    }
}

/// What a worker's thread is given.
struct Part {
    worker: usize,
    lane: Lane,
    plan: Arc<Plan>,
    shared: Vec<Shared>,
    start_ns: u64,
    receipts: Option<Arc<Receipts>>,
    control: Arc<Control>,
}

impl Part {
    fn run(
        self,
        out: SyncSender<Box<Interval>>,
        spare: Receiver<Box<Interval>>,
    ) -> Result<(), WorkerError> {
        let alarm = Alarm(&self.control);
        let plan = &*self.plan;
        let with_receipts = self.receipts.is_some();
        let courses = plan.scenarios.iter().zip(&self.shared).map(|(scenario, shared)| {
            let (lane, grace) = (self.lane, plan.graceful_stop);
            Course::new(scenario, shared, lane, self.start_ns, grace, with_receipts)
        });
        let handover = Handover::new(self.worker, &plan.shape(), self.start_ns, out, spare);
        let control = Arc::clone(&self.control);
        let worker = Worker::new(
            self.worker,
            plan,
            courses.collect(),
            handover,
            self.receipts,
            control,
            self.start_ns,
        );
        worker?.run()?;
        std::mem::forget(alarm);
        Ok(())
    }
}

/// Stops the other workers when one ends before its time.
struct Alarm<'a>(&'a Control);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.stop_now();
    }
}
