//! The threads of a running journal: the committer, the housekeeper and the marker. All they do is
//! wait, and call the steps that a simulation calls by hand.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{CommitError, WaitError};
use crate::pace::{Pace, pace};
use crate::pending::Sleep;
use crate::shared::{Shared, lock};
use crate::subscribe::wait_durable;

/// How long the committer waits before it asks again for a segment that there was no room for.
const RETRY: Duration = Duration::from_millis(50);
/// How often the housekeeper looks at the free space and at what has expired.
const ROUND: Duration = Duration::from_millis(500);
/// What the housekeeper adds to its niceness.
const NICENESS: i32 = 10;
/// The kernel may be late by so much in ending a gathering; its default is 50 µs.
const TIMER_SLACK_NS: u64 = 1_000;

/// The running threads; see [`Journal::start`](crate::Journal::start).
#[derive(Debug)]
pub struct Threads {
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        if shared.started.swap(true, Ordering::SeqCst) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the journal is running"));
        }
        let committer = spawn("committer", shared, commit_until_ended)?;
        let housekeeper = spawn("housekeeper", shared, housekeep_until_ended)?;
        let marker = spawn("marker", shared, mark_until_ended)?;
        Ok(Self { handles: vec![committer, housekeeper, marker] })
    }

    /// Waits for the threads to end, which they do once the journal is closed or poisoned.
    ///
    /// # Panics
    /// When one of them has panicked.
    pub fn join(self) {
        for handle in self.handles {
            if let Err(panic) = handle.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn spawn(name: &str, shared: &Arc<Shared>, run: fn(&Shared)) -> io::Result<JoinHandle<()>> {
    let shared = shared.clone();
    thread::Builder::new().name(format!("journal-{name}")).spawn(move || {
        // A thread that panics must not leave the journal silently without it.
        let guard = PoisonOnPanic(&shared);
        run(&shared);
        drop(guard);
    })
}

struct PoisonOnPanic<'a>(&'a Shared);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.poison("a thread of the journal has panicked".to_owned());
        }
    }
}

fn commit_until_ended(shared: &Shared) {
    if let Some(slack) = std::num::NonZeroU64::new(TIMER_SLACK_NS) {
        // Only precision is lost when the kernel refuses.
        let _ = rustix::thread::set_current_timer_slack(Some(slack));
    }
    while wait_for_work(shared) {
        // A batch that met a full disk is no longer pending, but somebody waits for it: it is tried
        // until there is room or the journal has ended.
        loop {
            match shared.commit_once() {
                Ok(_) => break,
                Err(CommitError::NoSpace) => wait_to_retry(shared),
                Err(CommitError::Poisoned) => return,
            }
            if shared.ended().is_some() {
                return;
            }
        }
    }
}

/// Sleeps until a batch should be taken. `false` when the journal has ended.
fn wait_for_work(shared: &Shared) -> bool {
    let mut pending = shared.pending();
    loop {
        if shared.ended().is_some() {
            return false;
        }
        let now = shared.clock.monotonic();
        match pace(pending.load(now), shared.options.spacing) {
            Pace::Now => {
                pending.sleep = Sleep::Awake;
                return true;
            }
            Pace::Idle => {
                pending.sleep = Sleep::Idle;
                pending = shared.work.wait(pending).unwrap_or_else(PoisonError::into_inner);
            }
            Pace::Gather(rest) => {
                pending.sleep = Sleep::Gathering;
                let woken = shared.work.wait_timeout(pending, rest);
                pending = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

fn wait_to_retry(shared: &Shared) {
    let pending = shared.pending();
    drop(shared.work.wait_timeout(pending, RETRY));
}

/// At once when the first usage arrives, then every second while more do.
fn mark_until_ended(shared: &Shared) {
    const IDLE: Duration = Duration::from_secs(3600);
    while shared.ended().is_none() {
        shared.mark_once();
        shared.rest_from_marking();
        while wait_durable(shared, shared.marked(), IDLE) == Err(WaitError::TimedOut) {}
    }
}

fn housekeep_until_ended(shared: &Shared) {
    // Compression has time; those who answer requests have not. Linux keeps niceness per thread.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
    while shared.ended().is_none() {
        shared.housekeep_once();
        let mut due = lock(&shared.chores_due);
        if !*due {
            let woken = shared.chores.wait_timeout(due, ROUND);
            due = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        *due = false;
    }
}
