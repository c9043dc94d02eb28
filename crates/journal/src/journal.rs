//! The handle to an open journal: what the crates above see.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::commit::Committed;
use crate::disk::Disk;
use crate::error::{AppendError, CommitError, OpenError, ReadError, WaitError};
use crate::format::{Batch, OwnedFrame};
use crate::housekeep::Housekept;
use crate::limits::PROJECTIONS_MAX;
use crate::meta::StoreMeta;
use crate::options::Options;
use crate::pending::Appender;
use crate::reader::Reader;
use crate::recover::{self, Examined};
use crate::shared::{CommitObserver, Shared, SyncObserver, lock};
use crate::status::{Backlog, Recovery, Status};
use crate::subscribe::{self, Subscription};
use crate::threads::Threads;

/// A handle to an open journal; clones share it. Dropping the last handle writes nothing: only
/// [`Journal::close`] does.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

impl Journal {
    /// Opens or creates the journal in `disk`'s directory, recovers it, and begins a new epoch.
    /// Everything that was ever acknowledged is durable again when this returns. No thread is
    /// started.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<(Self, Recovery), OpenError> {
        Self::examine(disk, clock, options)?.open(&[])
    }

    /// The first phase of an opening: takes the lock and finds the journal's end, writing nothing,
    /// so that the caller can compare what it knows before [`Examined::open`] writes.
    pub fn examine(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Examined, OpenError> {
        recover::examine(disk, clock, options)
    }

    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Starts the committer, the housekeeper and the marker, once.
    pub fn start(&self) -> io::Result<Threads> {
        Threads::start(&self.shared)
    }

    /// Writes and syncs what is pending, as one batch, and acknowledges it. The committer's
    /// thread does nothing else.
    pub fn commit_once(&self) -> Result<Committed, CommitError> {
        self.shared.commit_once()
    }

    /// One round of everything that is done in the background. The housekeeper's thread does
    /// nothing else.
    pub fn housekeep_once(&self) -> Housekept {
        self.shared.housekeep_once()
    }

    /// Writes down how far the journal is durable, if that has changed. The marker's thread does
    /// nothing else. Returns whether it was written.
    pub fn mark_once(&self) -> bool {
        self.shared.mark_once()
    }

    /// Sets what the committer calls with every batch after its sync has succeeded and before the
    /// durable position moves.
    ///
    /// # Panics
    /// When it has been set before.
    pub fn on_commit(&self, observer: CommitObserver) {
        let set = self.shared.on_commit.set(observer);
        assert!(set.is_ok(), "on_commit is set once");
    }

    /// Sets what the committer calls after every batch with the time that its write and sync took,
    /// its frames, and its bytes.
    ///
    /// # Panics
    /// When it has been set before.
    pub fn on_sync(&self, observer: SyncObserver) {
        let set = self.shared.on_sync.set(observer);
        assert!(set.is_ok(), "on_sync is set once");
    }

    /// Locks the pending buffer for a moment. Frames appended through one guard stand in one
    /// batch, in order. The committer is woken when the guard is dropped, if it sleeps. Waiting
    /// for durability while holding the guard would wait for ever.
    pub fn appender(&self) -> Result<Appender<'_>, AppendError> {
        Appender::new(&self.shared)
    }

    /// One past the last durable sequence.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.shared.durable.load(Ordering::SeqCst)
    }

    /// Whether appends are possible; see [`Recovery::full`].
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.shared.has_begun()
    }

    /// The last batch of the life before, while the open waits for room to secure it: written once, and
    /// not proven durable. It becomes durable like any other batch.
    #[must_use]
    pub fn unproven(&self) -> Option<Arc<Batch>> {
        if self.shared.has_begun() { None } else { lock(&self.shared.unproven).clone() }
    }

    /// Whether the frame `seq` is in that batch. One that is neither unproven nor below the durable
    /// position, as looked at afterwards, is not stored.
    #[must_use]
    pub fn is_unproven(&self, seq: u64) -> bool {
        self.unproven().is_some_and(|batch| (batch.first_seq()..batch.end_seq()).contains(&seq))
    }

    /// The oldest sequence kept.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.shared.first_seq.load(Ordering::SeqCst)
    }

    /// Who the store is, its secret included.
    #[must_use]
    pub fn meta(&self) -> &StoreMeta {
        &self.shared.meta
    }

    /// A new way to wait for the durable position; one per core.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(self.shared.clone())
    }

    /// Blocks the thread until the frame `seq` is durable.
    pub fn wait_durable(&self, seq: u64, timeout: Duration) -> Result<(), WaitError> {
        subscribe::wait_durable(&self.shared, seq, timeout)
    }

    /// Blocks the thread until everything appended so far is durable: whether the disk answers.
    pub fn settle(&self, timeout: Duration) -> Result<(), WaitError> {
        let next_seq = self.shared.pending().next_seq();
        subscribe::wait_durable(&self.shared, next_seq.saturating_sub(1), timeout)
    }

    /// Reads one durable frame.
    pub fn read(&self, seq: u64) -> Result<OwnedFrame, ReadError> {
        self.shared.read(seq)
    }

    /// A reader of durable batches that begins with the frame `from_seq`.
    #[must_use]
    pub fn reader(&self, from_seq: u64) -> Reader {
        Reader::new(self.shared.clone(), from_seq)
    }

    /// Retention keeps everything at or past the cursor of each registered projection. The cursor
    /// is the lowest sequence that it still needs. The same name again replaces the cursor.
    ///
    /// # Panics
    /// When more than [`PROJECTIONS_MAX`] are registered.
    pub fn register_projection(&self, name: &str, cursor: Arc<AtomicU64>) {
        let mut projections = lock(&self.shared.projections);
        projections.retain(|(registered, _)| registered != name);
        assert!(projections.len() < PROJECTIONS_MAX, "projections are few");
        projections.push((name.to_owned(), cursor));
    }

    /// `wall_ms`, now read from the wall clock; or the latest time that can be believed instead, when
    /// that clock has jumped forward and nobody has confirmed it. By this, and not by the clock
    /// itself, is told what is old enough to be forgotten.
    #[must_use]
    pub fn believed_ms(&self, wall_ms: u64) -> u64 {
        let monotonic = self.shared.clock.monotonic();
        lock(&self.shared.notes).clock.believed_ms(wall_ms, monotonic)
    }

    /// Says that the wall clock is right although it jumped.
    pub fn confirm_clock(&self) {
        self.shared.confirm_clock();
    }

    /// Whether the journal's directory, lock and active segment are where they were opened; if not, the
    /// journal is poisoned. To be asked before files are made beside the journal.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.shared.is_in_place()
    }

    /// What has failed, if the journal is poisoned.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.poison_cause.get().cloned()
    }

    /// How long the disk has kept frames waiting. Takes the appenders' lock: for a look some times a
    /// second, not for every frame.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let now = self.shared.clock.monotonic();
        self.shared.pending().backlog(now)
    }

    /// What the journal tells about itself.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Stops or resumes what is done in the background. To stop waits for the current step, which may
    /// be the compression of a segment; appends and commits go on meanwhile and afterwards.
    pub fn housekeep(&self, on: bool) {
        lock(&self.shared.housekeeper).stopped = !on;
    }

    /// Refuses further appends, commits what is pending, writes a closing frame, and waits for the
    /// housekeeper's current step. The lock is kept until [`Journal::unlock`], for whoever has more
    /// to end before another process may open the journal. Safe to call twice.
    pub fn finish(&self) -> Result<(), CommitError> {
        self.shared.finish()
    }

    /// Duplicates of the descriptors that hold the lock, for
    /// [`RealDisk::adopt_lock`](crate::disk::RealDisk::adopt_lock): as long as one of them is open
    /// anywhere, [`Journal::unlock`] does not free it. None after that.
    ///
    /// # Errors
    /// When no descriptor is free.
    pub fn lock_descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let lock_file = lock(&self.shared.lock_file);
        let descriptors = lock_file.iter().flat_map(|lock| lock.descriptors());
        descriptors.map(|open| open.try_clone_to_owned()).collect()
    }

    /// Lets another process open the journal, after [`Journal::finish`].
    pub fn unlock(&self) {
        *lock(&self.shared.lock_file) = None;
    }

    /// Finishes and unlocks.
    pub fn close(&self) -> Result<(), CommitError> {
        let finished = self.finish();
        self.unlock();
        finished
    }
}

impl Shared {
    fn finish(&self) -> Result<(), CommitError> {
        {
            let mut pending = self.pending();
            pending.ended = pending.ended.or(Some(AppendError::Closed));
        }
        let committed = match self.ended() {
            None => self.commit_closing(),
            Some(crate::Ended::Closed) => Ok(()),
            Some(crate::Ended::Poisoned) => Err(CommitError::Poisoned),
        };
        if committed.is_ok() {
            self.set_closed();
        } else {
            self.poison("closing did not commit everything".to_owned());
        }
        self.mark_end();
        lock(&self.housekeeper).stopped = true;
        committed
    }

    fn status(&self) -> Status {
        let counters = &self.counters;
        let (pending_bytes, no_space) = {
            let pending = self.pending();
            (pending.bytes_len(), pending.is_out_of_space())
        };
        let (segments, segments_compressed, (bytes, bytes_aside), next_ready, epoch) = {
            let ledger = self.ledger();
            let epoch = ledger.segments().last().map_or(0, |newest| newest.header.epoch);
            let bytes = (ledger.bytes(), ledger.aside_bytes);
            (ledger.len(), ledger.compressed(), bytes, ledger.next.is_some(), epoch)
        };
        let (housekeeping_failure, clock_suspect) = {
            let notes = lock(&self.notes);
            (notes.failure.clone(), notes.clock.suspect())
        };
        Status {
            segments,
            segments_compressed,
            bytes,
            bytes_aside,
            first_seq: self.first_seq.load(Ordering::SeqCst),
            durable: self.durable.load(Ordering::SeqCst),
            epoch,
            begun: self.has_begun(),
            unproven_frames: lock(&self.unproven).as_ref().map_or(0, |batch| batch.len()),
            pending_bytes,
            batches: counters.batches.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
            frames: counters.frames.load(Ordering::Relaxed),
            sync_last: Duration::from_nanos(counters.sync_last_ns.load(Ordering::Relaxed)),
            poisoned: self.poison_cause.get().cloned(),
            no_space,
            free_bytes: counters.free_bytes.load(Ordering::Relaxed),
            next_ready,
            housekeeping_failure,
            clock_suspect,
        }
    }
}
