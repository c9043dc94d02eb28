//! Draining: how serving ends without cutting anybody off.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

/// What the cores are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Accept and answer.
    Serving,
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
    draining: AtomicBool,
    cut_off: AtomicU64,
    failed_core: OnceLock<usize>,
}

impl Control {
    pub(crate) fn new() -> Self {
        Self {
            stage: watch::Sender::new(Stage::Serving),
            draining: AtomicBool::new(false),
            cut_off: AtomicU64::new(0),
            failed_core: OnceLock::new(),
        }
    }

    /// Starts draining; returns at once. [`Cores::join`](crate::Cores::join) waits for the end.
    ///
    /// No request fails for it: a keep-alive connection's next request is still answered, with
    /// `Connection: close`, and only a connection that stays idle for `grace` is closed. What is
    /// busy at `deadline` is cut off and counted.
    pub fn drain(&self, grace: Duration, deadline: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        self.stage.send_replace(Stage::Draining { grace, deadline });
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
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
