//! Retiring and draining: how serving ends without cutting anybody off.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::log::LogPolicy;

/// What the cores are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Accept and answer.
    Serving,
    /// Answer each connection's next request as its last; close what stays idle for the grace,
    /// counted from the start of retiring. Accept as before, or not at all.
    Retiring { grace: Duration, accepting: bool },
    /// Accept no more; answer each connection's next request as its last; close what stays idle for
    /// the grace; give up at the deadline. Both are counted from the start of draining.
    Draining { grace: Duration, deadline: Duration },
}

/// How draining ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still busy at the deadline and were cut off.
    pub cut_off: u64,
}

/// Held by whoever owns the sockets and signals.
#[derive(Debug)]
pub struct Control {
    stage: watch::Sender<Stage>,
    /// Whether each connection's next answer is its last.
    closing: AtomicBool,
    log: Mutex<LogPolicy>,
    /// Accept loops that may still accept a connection.
    accepting: AtomicUsize,
    cut_off: AtomicU64,
    failed_core: OnceLock<usize>,
}

impl Control {
    pub(crate) fn new(log: LogPolicy) -> Self {
        Self {
            stage: watch::Sender::new(Stage::Serving),
            closing: AtomicBool::new(false),
            log: Mutex::new(log),
            accepting: AtomicUsize::new(0),
            cut_off: AtomicU64::new(0),
            failed_core: OnceLock::new(),
        }
    }

    /// Changes which requests are logged, within some tenths of a second.
    pub fn set_log(&self, policy: LogPolicy) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    pub(crate) fn log(&self) -> LogPolicy {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on accepting, but has clients give up the connections that they have: each connection's
    /// next request is answered with `Connection: close`, and one that stays idle for `grace` is
    /// closed. [`Control::resume`] takes it back.
    pub fn retire(&self, grace: Duration) {
        self.change(Stage::Retiring { grace, accepting: true });
    }

    /// Accepts no more after [`Control::retire`]; connections wait in the listeners' queues.
    pub fn pause(&self) {
        let stage = *self.stage.borrow();
        if let Stage::Retiring { grace, .. } = stage {
            self.change(Stage::Retiring { grace, accepting: false });
        }
    }

    /// Whether the cores have noticed that they are to accept no more.
    pub fn is_paused(&self) -> bool {
        self.accepting.load(Ordering::SeqCst) == 0
    }

    /// Serves as before [`Control::retire`].
    pub fn resume(&self) {
        self.change(Stage::Serving);
    }

    fn change(&self, stage: Stage) {
        self.closing.store(stage != Stage::Serving, Ordering::Relaxed);
        self.stage.send_replace(stage);
    }

    /// Starts draining; returns at once. [`Cores::join`](crate::Cores::join) waits for the end.
    ///
    /// No request fails for it: a keep-alive connection's next request is still answered, with
    /// `Connection: close`, and only a connection that stays idle for `grace` is closed. What is
    /// busy at `deadline` is cut off and counted.
    pub fn drain(&self, grace: Duration, deadline: Duration) {
        self.change(Stage::Draining { grace, deadline });
    }

    pub(crate) fn closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Counts an accept loop until the value is dropped.
    pub(crate) fn accepting(&self) -> Accepting<'_> {
        self.accepting.fetch_add(1, Ordering::SeqCst);
        Accepting(self)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    pub(crate) fn count_cut_off(&self, connections: usize) {
        self.cut_off.fetch_add(connections as u64, Ordering::Relaxed);
    }

    /// The number of the first core that has lost its thread, or a task that it cannot do without, to a
    /// panic. Its connections hang, so the process should end.
    pub fn failed_core(&self) -> Option<usize> {
        self.failed_core.get().copied()
    }

    pub(crate) fn drained(&self) -> Drained {
        Drained { cut_off: self.cut_off.load(Ordering::Relaxed) }
    }
}

/// Marks a core as failed when whatever owns this ends by a panic.
pub(crate) struct FailOnPanic {
    pub(crate) control: Arc<Control>,
    pub(crate) core: usize,
}

impl Drop for FailOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The first one counts.
            let _ = self.control.failed_core.set(self.core);
        }
    }
}

/// An accept loop at work.
pub(crate) struct Accepting<'a>(&'a Control);

impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        self.0.accepting.fetch_sub(1, Ordering::SeqCst);
    }
}
