//! What the handles, the committer, the housekeeper and the readers of one journal share.
//!
//! Locks are taken in this order: committer, housekeeper, preparing, pending, ledger. Only the
//! pending lock is on the path of an append.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::commit::Committer;
use crate::disk::{Disk, Lock};
use crate::error::{AppendError, Ended};
use crate::format::Batch;
use crate::housekeep::{Housekeeper, Notes};
use crate::ledger::Ledger;
use crate::lookup::Lookups;
use crate::meta::StoreMeta;
use crate::options::Options;
use crate::pending::Pending;
use crate::retain::TrustedClock;
use crate::subscribe::Waiters;

/// Called with every batch once it is durable; see [`Journal::on_commit`](crate::Journal::on_commit).
pub type CommitObserver = Box<dyn Fn(&Arc<Batch>) + Send + Sync>;
/// Called with the time, frames and bytes of every batch; see
/// [`Journal::on_sync`](crate::Journal::on_sync).
pub type SyncObserver = Box<dyn Fn(Duration, u32, usize) + Send + Sync>;

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const POISONED: u8 = 2;

/// Figures that only the committer moves.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) batches: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) sync_last_ns: AtomicU64,
    pub(crate) free_bytes: AtomicU64,
}

pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    pub(crate) meta: StoreMeta,
    pub(crate) epoch: u32,
    pub(crate) salt: u64,
    pub(crate) committer: Mutex<Committer>,
    pub(crate) housekeeper: Mutex<Housekeeper>,
    pub(crate) notes: Mutex<Notes>,
    /// Held while the next segment is being prepared or activated, so that two threads never
    /// prepare the same one.
    pub(crate) preparing: Mutex<()>,
    pub(crate) pending: Mutex<Pending>,
    /// Where the committer's thread sleeps, with the pending lock.
    pub(crate) work: Condvar,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) durable: AtomicU64,
    /// The first sequence of the last batch: everything below was proven durable by it, even to
    /// an open that finds that batch torn.
    pub(crate) proven: AtomicU64,
    pub(crate) first_seq: AtomicU64,
    pub(crate) waiters: Waiters,
    pub(crate) lookups: Mutex<Lookups>,
    pub(crate) projections: Mutex<Vec<(String, Arc<AtomicU64>)>>,
    pub(crate) on_commit: OnceLock<CommitObserver>,
    pub(crate) on_sync: OnceLock<SyncObserver>,
    pub(crate) counters: Counters,
    pub(crate) started: AtomicBool,
    /// Whether the housekeeper's thread has something to do now, and where it sleeps.
    pub(crate) chores_due: Mutex<bool>,
    pub(crate) chores: Condvar,
    pub(crate) lock_file: Mutex<Option<Box<dyn Lock>>>,
    pub(crate) poison_cause: OnceLock<String>,
    pub(crate) end: AtomicU8,
}

/// Locks, whatever a panicking thread left behind: every state behind a lock of this crate is
/// valid between any two statements that can panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The state that `recover::open` has found, with nobody waiting and nothing started.
    pub(crate) fn new(
        (disk, clock, options, meta): (Arc<dyn Disk>, Arc<dyn Clock>, Options, StoreMeta),
        (epoch, salt): (u32, u64),
        committer: Committer,
        pending: Pending,
        ledger: Ledger,
        lock_file: Box<dyn Lock>,
        trusted: TrustedClock,
    ) -> Self {
        let proven = ledger.active().header.first_seq;
        let first_seq = ledger.segments().next().map_or(1, |s| s.header.first_seq);
        let durable = pending.first_seq();
        Self {
            housekeeper: Mutex::new(Housekeeper::default()),
            notes: Mutex::new(Notes { failure: None, clock: trusted }),
            disk,
            clock,
            options,
            meta,
            epoch,
            salt,
            committer: Mutex::new(committer),
            preparing: Mutex::new(()),
            pending: Mutex::new(pending),
            work: Condvar::new(),
            ledger: Mutex::new(ledger),
            durable: AtomicU64::new(durable),
            proven: AtomicU64::new(proven),
            first_seq: AtomicU64::new(first_seq),
            waiters: Waiters::default(),
            lookups: Mutex::new(Lookups::default()),
            projections: Mutex::new(Vec::new()),
            on_commit: OnceLock::new(),
            on_sync: OnceLock::new(),
            counters: Counters::default(),
            started: AtomicBool::new(false),
            chores_due: Mutex::new(false),
            chores: Condvar::new(),
            lock_file: Mutex::new(Some(lock_file)),
            poison_cause: OnceLock::new(),
            end: AtomicU8::new(OPEN),
        }
    }

    pub(crate) fn pending(&self) -> MutexGuard<'_, Pending> {
        lock(&self.pending)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(crate) fn wake_committer(&self) {
        self.work.notify_one();
    }

    pub(crate) fn wake_housekeeper(&self) {
        *lock(&self.chores_due) = true;
        self.chores.notify_one();
    }

    /// How the journal has ended, if it has.
    pub(crate) fn ended(&self) -> Option<Ended> {
        match self.end.load(Ordering::SeqCst) {
            OPEN => None,
            POISONED => Some(Ended::Poisoned),
            _ => Some(Ended::Closed),
        }
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.ended() == Some(Ended::Poisoned)
    }

    /// The first failed write or sync: from here on this process acknowledges nothing. What the
    /// kernel does with the pages after a failed sync is unknown, so nothing is ever retried.
    pub(crate) fn poison(&self, cause: String) {
        // The first cause is the one to be told.
        let _ = self.poison_cause.set(cause);
        self.end.store(POISONED, Ordering::SeqCst);
        self.pending().ended = Some(AppendError::Poisoned);
        self.wake_everybody();
    }

    /// Everything appended is durable and nothing more will be.
    pub(crate) fn set_closed(&self) {
        let _ = self.end.compare_exchange(OPEN, CLOSED, Ordering::SeqCst, Ordering::SeqCst);
        self.wake_everybody();
    }

    fn wake_everybody(&self) {
        self.waiters.wake_all();
        self.work.notify_all();
        self.wake_housekeeper();
    }

    /// Whether the cap on bytes forbids that the segments go on to this number.
    pub(crate) fn is_over_cap(&self, ledger: &Ledger, number: u64) -> bool {
        let wanted = number.saturating_sub(ledger.number_max());
        let after = ledger.bytes() + wanted * self.options.segment_bytes;
        wanted > 0 && self.options.bytes_max.is_some_and(|max| after > max)
    }
}
