//! The journal's public face.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::disk::Disk;
use crate::*;

/// A handle to an open journal; clones share it. Dropping the last handle writes nothing: only
/// [`Journal::close`] does.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<()>,
}

/// What a call of [`Journal::commit_once`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Nothing was pending.
    Nothing,
    /// One batch is durable.
    Batch {
        /// How many frames it holds.
        frames: u32,
        /// The durable position after it.
        durable: u64,
    },
}

/// What a call of [`Journal::housekeep_once`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Housekept {
    /// Whether the next segment was prepared.
    pub prepared: bool,
    /// The segment that was compressed, if one was.
    pub compressed: Option<u64>,
    /// How many segments retention has removed.
    pub removed: usize,
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
        let _ = (disk, clock, options);
        todo!()
    }
    /// Starts the committer and the housekeeper, once.
    pub fn start(&self) -> io::Result<Threads> {
        todo!()
    }
    /// Writes and syncs what is pending, as one batch, and acknowledges it.
    pub fn commit_once(&self) -> Result<Committed, CommitError> {
        todo!()
    }
    /// One round of everything that is done in the background.
    pub fn housekeep_once(&self) -> Housekept {
        todo!()
    }
    /// Sets what the committer calls with every batch after its sync has succeeded and before the
    /// durable position moves. At most once, before [`Journal::start`].
    pub fn on_commit(&self, observer: Box<dyn Fn(&Arc<Batch>) + Send + Sync>) {
        let _ = observer;
        todo!()
    }
    /// Sets what the committer calls after every batch with the time its write and sync took, its
    /// frames, and its bytes. At most once, before [`Journal::start`].
    pub fn on_sync(&self, observer: Box<dyn Fn(Duration, u32, usize) + Send + Sync>) {
        let _ = observer;
        todo!()
    }
    /// Locks the pending buffer for a moment. Frames appended through one guard stand in one
    /// batch, in order.
    pub fn appender(&self) -> Result<Appender<'_>, AppendError> {
        todo!()
    }
    /// One past the last durable sequence.
    #[must_use]
    pub fn durable(&self) -> u64 {
        todo!()
    }
    /// The oldest sequence kept.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        todo!()
    }
    /// Who the store is.
    #[must_use]
    pub fn meta(&self) -> &StoreMeta {
        todo!()
    }
    /// A new way to wait for the durable position; one per core.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        todo!()
    }
    /// Blocks the thread until the frame `seq` is durable.
    pub fn wait_durable(&self, seq: u64, timeout: Duration) -> Result<(), WaitError> {
        let _ = (seq, timeout);
        todo!()
    }
    /// Reads one durable frame.
    pub fn read(&self, seq: u64) -> Result<OwnedFrame, ReadError> {
        let _ = seq;
        todo!()
    }
    /// A reader of durable batches that begins with the frame `from_seq`.
    #[must_use]
    pub fn reader(&self, from_seq: u64) -> Reader {
        let _ = from_seq;
        todo!()
    }
    /// Retention keeps everything at or past the cursor of each registered projection. The cursor
    /// is the lowest sequence it still needs.
    pub fn register_projection(&self, name: &str, cursor: Arc<AtomicU64>) {
        let _ = (name, cursor);
        todo!()
    }
    /// Tells retention that the wall clock is right although it jumped.
    pub fn confirm_clock(&self) {
        todo!()
    }
    /// What the journal tells about itself.
    #[must_use]
    pub fn status(&self) -> Status {
        todo!()
    }
    /// Refuses further appends, commits what is pending, writes a closing frame, releases the
    /// lock. Safe to call twice.
    pub fn close(&self) -> Result<(), CommitError> {
        let _ = &self.shared;
        todo!()
    }
}

/// Holds the pending buffer's lock; see [`Journal::appender`].
pub struct Appender<'a> {
    journal: PhantomData<&'a Journal>,
}

impl Appender<'_> {
    /// Appends one frame: `encode` gets its sequence and writes the payload to the end of the
    /// buffer. `tag` stays in memory, beside the batch.
    pub fn append(
        &mut self,
        kind: FrameKind,
        tag: u64,
        encode: impl FnOnce(u64, &mut Vec<u8>),
    ) -> Result<u64, AppendError> {
        let _ = (kind, tag, encode, self.journal);
        todo!()
    }
}

/// A way to wait for the durable position without a thread; see [`Journal::subscribe`].
pub struct Subscription {
    shared: Arc<()>,
}

impl Subscription {
    /// Ready with the durable position once it is above `beyond`; otherwise `cx` is woken when the
    /// next batch is durable or the journal has ended.
    pub fn poll_durable(&mut self, cx: &mut Context<'_>, beyond: u64) -> Poll<Result<u64, Ended>> {
        let _ = (cx, beyond, &self.shared);
        todo!()
    }
}

/// A tailing reader; see [`Journal::reader`].
pub struct Reader {
    shared: Arc<()>,
}

impl Reader {
    /// The next durable batch, or `None` when there is none yet. After an error the next call
    /// tries the same place again.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, ReadError> {
        let _ = &self.shared;
        todo!()
    }
    /// The sequence that the next batch begins with.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        todo!()
    }
    /// Goes on at `seq`.
    pub fn seek(&mut self, seq: u64) {
        let _ = seq;
        todo!()
    }
}

/// The running threads; see [`Journal::start`].
pub struct Threads {
    handles: Vec<std::thread::JoinHandle<()>>,
}

impl Threads {
    /// Waits for both threads to end, which they do once the journal is closed or poisoned.
    pub fn join(self) {
        drop(self.handles);
        todo!()
    }
}
