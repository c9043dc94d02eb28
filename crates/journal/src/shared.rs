//! What the handles, the committer, the housekeeper and the readers of one journal share.
//!
//! The order of locks: housekeeper, committer, preparing, marker, pending, ledger. Only the
//! pending lock is on the path of an append.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::commit::Committer;
use crate::disk::{Disk, Lock, check_same};
use crate::error::{AppendError, Ended};
use crate::format::Batch;
use crate::housekeep::{Housekeeper, Notes};
use crate::ledger::Ledger;
use crate::lookup::Lookups;
use crate::marking::Marker;
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
    pub(crate) committer: Mutex<Committer>,
    pub(crate) housekeeper: Mutex<Housekeeper>,
    pub(crate) notes: Mutex<Notes>,
    /// Held while the next segment is being prepared or activated, so that two threads never
    /// prepare the same one.
    pub(crate) preparing: Mutex<()>,
    pub(crate) marker: Mutex<Marker>,
    /// Where the marker's thread sleeps, with the marker lock.
    pub(crate) marking: Condvar,
    /// No frame with this sequence or a later one may be written yet.
    pub(crate) limit: AtomicU64,
    pub(crate) pending: Mutex<Pending>,
    /// Where the committer's thread sleeps, with the pending lock.
    pub(crate) work: Condvar,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) durable: AtomicU64,
    /// The first sequence of the last batch: everything below was proven durable by it, even to
    /// an open that finds that batch torn.
    pub(crate) proven: AtomicU64,
    pub(crate) first_seq: AtomicU64,
    /// The last batch of the life before, until it is secured: none of it is durable yet.
    pub(crate) unproven: Mutex<Option<Arc<Batch>>>,
    /// Whether appends are possible; see [`crate::begin`].
    pub(crate) begun: AtomicBool,
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
    /// The state that an open has found before it writes, with nobody waiting and nothing started.
    pub(crate) fn new(
        (disk, clock, options, meta): (Arc<dyn Disk>, Arc<dyn Clock>, Options, StoreMeta),
        pending: Pending,
        ledger: Ledger,
        (durable, unproven): (u64, Option<Arc<Batch>>),
        lock_file: Option<Box<dyn Lock>>,
        trusted: TrustedClock,
    ) -> Self {
        let first_seq = ledger.segments().next().map_or(durable, |s| s.header.first_seq);
        Self {
            housekeeper: Mutex::new(Housekeeper::default()),
            notes: Mutex::new(Notes { failure: None, clock: trusted }),
            disk,
            clock,
            options,
            meta,
            committer: Mutex::default(),
            preparing: Mutex::new(()),
            limit: AtomicU64::new(0),
            marker: Mutex::default(),
            marking: Condvar::new(),
            pending: Mutex::new(pending),
            work: Condvar::new(),
            ledger: Mutex::new(ledger),
            durable: AtomicU64::new(durable),
            proven: AtomicU64::new(durable),
            unproven: Mutex::new(unproven),
            begun: AtomicBool::new(false),
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
            lock_file: Mutex::new(lock_file),
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

    /// Fails, saying what has happened, when the directory, its lock or the active segment is no
    /// longer where the next open would look for it. What is written all the same, nobody finds.
    fn check_in_place(&self) -> io::Result<()> {
        if let Some(held) = &*lock(&self.lock_file) {
            held.check_in_place()?;
        }
        let active = self.ledger().active();
        let Some((header, file)) = active else { return Ok(()) };
        let name = header.file_name();
        check_same(self.disk.identity(&name), file.identity()?, &format!("the file {name}"))
    }

    /// Whether everything is in place; if not, the journal is poisoned.
    pub(crate) fn is_in_place(&self) -> bool {
        let displaced =
            self.check_in_place().map_err(|displaced| self.poison(displaced.to_string()));
        displaced.is_ok()
    }

    /// Poisons the journal because of `failure`, or of what has brought it about: in a directory that
    /// was removed, say, no segment can be made.
    pub(crate) fn poison_for(&self, failure: String) {
        let cause = self.check_in_place().err().map_or(failure, |displaced| displaced.to_string());
        self.poison(cause);
    }

    /// Everything appended is durable and nothing more will be.
    pub(crate) fn set_closed(&self) {
        let _ = self.end.compare_exchange(OPEN, CLOSED, Ordering::SeqCst, Ordering::SeqCst);
        self.wake_everybody();
    }

    fn wake_everybody(&self) {
        self.waiters.wake_all();
        self.work.notify_all();
        self.marking.notify_all();
        self.wake_housekeeper();
    }

    /// Whether the cap on bytes forbids that the segments go on to this number.
    pub(crate) fn is_over_cap(&self, ledger: &Ledger, number: u64) -> bool {
        let wanted = number.saturating_sub(ledger.number_max());
        let after = ledger.bytes() + wanted * self.options.segment_bytes;
        wanted > 0 && self.options.bytes_max.is_some_and(|max| after > max)
    }
}
