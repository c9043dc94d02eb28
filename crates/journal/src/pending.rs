//! The pending buffer: where frames gather, already in the form in which they are written, until
//! the committer takes them all as one batch.

use std::sync::MutexGuard;
use std::time::Duration;

use crate::error::AppendError;
use crate::format::{
    BATCH_HEADER_BYTES, Batch, FRAME_HEADER_BYTES, FrameKind, begin_frame, finish_frame,
};
use crate::pace::Load;
use crate::shared::Shared;
use crate::status::Backlog;

/// A batch in the making. The front of `bytes` is kept free for the batch header, so that one
/// write takes both.
#[derive(Default)]
pub(crate) struct Gathered {
    bytes: Vec<u8>,
    offsets: Vec<u32>,
    tags: Vec<u64>,
    first_seq: u64,
}

impl Gathered {
    /// Empties the buffers, keeping their memory, for frames from `first_seq` on.
    pub(crate) fn reset(&mut self, first_seq: u64) {
        self.bytes.clear();
        self.bytes.resize(BATCH_HEADER_BYTES, 0);
        self.offsets.clear();
        self.tags.clear();
        self.first_seq = first_seq;
    }

    pub(crate) fn first_seq(&self) -> u64 {
        self.first_seq
    }

    pub(crate) fn frames(&self) -> u32 {
        u32::try_from(self.offsets.len()).expect("the pending budget bounds the frames")
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.first_seq + self.offsets.len() as u64
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[BATCH_HEADER_BYTES..]
    }

    /// Puts the header in front of the payload.
    pub(crate) fn seal(&mut self, header: [u8; BATCH_HEADER_BYTES]) -> &[u8] {
        self.bytes[..BATCH_HEADER_BYTES].copy_from_slice(&header);
        &self.bytes
    }

    /// An immutable copy of exact size for those who read it from memory.
    pub(crate) fn to_batch(&self, committed_ms: u64) -> Batch {
        let Self { offsets, tags, first_seq, .. } = self;
        Batch::from_committed(*first_seq, committed_ms, self.payload(), offsets, tags)
    }

    /// Bytes with the header.
    pub(crate) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }
}

/// What the committer's thread is doing, so that appenders wake it only when it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// At work, or not running.
    Awake,
    /// Asleep until something is appended.
    Idle,
    /// Gathering: asleep until the spacing is over or the buffer is half full.
    Gathering,
}

/// The state behind the appenders' lock.
pub(crate) struct Pending {
    gathered: Gathered,
    appends: u32,
    appends_before: u32,
    taken_at: Option<Duration>,
    /// When the first frame of the pending batch was appended, and the first frame of the batch that is
    /// being written.
    waiting_since: Option<Duration>,
    writing_since: Option<Duration>,
    /// When a batch last became durable.
    durable_at: Duration,
    bytes_max: usize,
    /// The segment that the next batch will go to if it fits, where in it the batch will start, and
    /// where that segment ends.
    pub(crate) segment: u64,
    pub(crate) write_at: u64,
    pub(crate) write_end: u64,
    /// The segment after it may not be created: appends have to fit.
    pub(crate) next_blocked: bool,
    /// The disk's reserve is reached: no appends at all.
    pub(crate) no_space: bool,
    /// Whether the open found room for what it writes: no appends before.
    pub(crate) begun: bool,
    pub(crate) ended: Option<AppendError>,
    pub(crate) sleep: Sleep,
}

impl Pending {
    pub(crate) fn new(first_seq: u64, bytes_max: usize) -> Self {
        let mut gathered = Gathered::default();
        gathered.reset(first_seq);
        Self {
            gathered,
            appends: 0,
            appends_before: 0,
            taken_at: None,
            waiting_since: None,
            writing_since: None,
            durable_at: Duration::ZERO,
            bytes_max,
            segment: 0,
            write_at: 0,
            write_end: 0,
            next_blocked: false,
            no_space: false,
            begun: false,
            ended: None,
            sleep: Sleep::Awake,
        }
    }

    /// The sequence of the first frame that waits, or of the next one.
    pub(crate) fn first_seq(&self) -> u64 {
        self.gathered.first_seq
    }

    /// The sequence of the next frame.
    pub(crate) fn next_seq(&self) -> u64 {
        self.gathered.next_seq()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.gathered.offsets.is_empty()
    }

    /// Whether even the smallest frame would be refused for want of space.
    pub(crate) fn is_out_of_space(&self) -> bool {
        let end = self.write_at + (self.gathered.bytes_len() + FRAME_HEADER_BYTES) as u64;
        self.no_space || !self.begun || (self.next_blocked && end > self.write_end)
    }

    /// Bytes of frames that wait.
    pub(crate) fn bytes_len(&self) -> usize {
        self.gathered.payload().len()
    }

    /// What `pace` decides on.
    pub(crate) fn load(&self, now: Duration) -> Load {
        Load {
            appends: self.appends,
            appends_before: self.appends_before,
            half_full: self.half_full(),
            since_last: self.taken_at.map(|at| now.saturating_sub(at)),
        }
    }

    /// Swaps the gathered frames for the empty buffers in `spare`.
    pub(crate) fn take(&mut self, mut spare: Gathered, now: Duration) -> Gathered {
        spare.reset(self.gathered.next_seq());
        self.appends_before = std::mem::take(&mut self.appends);
        self.taken_at = Some(now);
        self.writing_since = self.waiting_since.take();
        std::mem::replace(&mut self.gathered, spare)
    }

    /// Notes that the batch taken last is durable.
    pub(crate) fn written(&mut self, now: Duration) {
        self.writing_since = None;
        self.durable_at = now;
    }

    /// How long the disk has kept frames waiting.
    pub(crate) fn backlog(&self, now: Duration) -> Backlog {
        let Some(oldest) = self.writing_since.or(self.waiting_since) else {
            return Backlog::default();
        };
        Backlog {
            oldest: now.saturating_sub(oldest),
            stalled: now.saturating_sub(oldest.max(self.durable_at)),
        }
    }

    /// Appends the frame that says that the journal was closed in order, if there is room for it.
    pub(crate) fn append_closed(&mut self, now: Duration) {
        let seq = self.gathered.next_seq();
        let start = begin_frame(&mut self.gathered.bytes);
        if self.overflow().is_some() {
            self.gathered.bytes.truncate(start);
            return;
        }
        finish_frame(&mut self.gathered.bytes, start, FrameKind::Closed, 0, 0, seq);
        self.note(start, 0);
        self.waiting_since.get_or_insert(now);
        self.appends += 1;
    }

    fn half_full(&self) -> bool {
        self.bytes_len() >= self.bytes_max / 2
    }

    fn refusal(&self) -> Option<AppendError> {
        self.ended.or_else(|| (self.no_space || !self.begun).then_some(AppendError::NoSpace))
    }

    fn note(&mut self, start: usize, tag: u64) {
        let offset = start - BATCH_HEADER_BYTES;
        self.gathered.offsets.push(u32::try_from(offset).expect("the budget is below 4 GiB"));
        self.gathered.tags.push(tag);
    }

    /// Why a frame that would end the buffer at `bytes_len` cannot be accepted.
    fn overflow(&self) -> Option<AppendError> {
        if self.bytes_len() > self.bytes_max {
            return Some(AppendError::Full);
        }
        let end = self.write_at + self.gathered.bytes_len() as u64;
        (self.next_blocked && end > self.write_end).then_some(AppendError::NoSpace)
    }
}

/// Takes an unfinished frame out again when encoding it panics, so that the lock never guards half
/// a frame.
struct Unfinished<'a> {
    pending: &'a mut Pending,
    start: usize,
    keep: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.keep {
            self.pending.gathered.bytes.truncate(self.start);
        }
    }
}

/// Holds the pending buffer's lock; see [`Journal::appender`](crate::Journal::appender).
pub struct Appender<'a> {
    shared: &'a Shared,
    pending: Option<MutexGuard<'a, Pending>>,
    appended: bool,
}

impl<'a> Appender<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Result<Self, AppendError> {
        let pending = shared.pending();
        match pending.refusal() {
            Some(refusal) => Err(refusal),
            None => Ok(Self { shared, pending: Some(pending), appended: false }),
        }
    }

    /// Appends one frame: `encode` gets its sequence and writes the payload to the end of the
    /// buffer, touching nothing before. `tag` stays in memory, beside the batch. Returns the
    /// sequence; after an error nothing was appended and the guard can go on.
    pub fn append(
        &mut self,
        kind: FrameKind,
        tag: u64,
        encode: impl FnOnce(u64, &mut Vec<u8>),
    ) -> Result<u64, AppendError> {
        let pending = self.pending.as_mut().expect("taken only by drop");
        let seq = pending.gathered.next_seq();
        let start = begin_frame(&mut pending.gathered.bytes);
        let mut frame = Unfinished { pending, start, keep: false };
        encode(seq, &mut frame.pending.gathered.bytes);
        if let Some(refusal) = frame.pending.overflow() {
            return Err(refusal);
        }
        finish_frame(&mut frame.pending.gathered.bytes, start, kind, 0, 0, seq);
        frame.pending.note(start, tag);
        // The clock is read for the first frame of each batch only.
        let clock = &self.shared.clock;
        frame.pending.waiting_since.get_or_insert_with(|| clock.monotonic());
        frame.keep = true;
        self.appended = true;
        Ok(seq)
    }
}

impl Drop for Appender<'_> {
    fn drop(&mut self) {
        let Some(mut pending) = self.pending.take() else { return };
        if !self.appended {
            return;
        }
        pending.appends += 1;
        let wake = match pending.sleep {
            Sleep::Awake => false,
            Sleep::Idle => true,
            Sleep::Gathering => pending.half_full(),
        };
        if wake {
            pending.sleep = Sleep::Awake;
            // Let go first, or the committer would wake only to wait for this lock.
            drop(pending);
            self.shared.wake_committer();
        }
    }
}
