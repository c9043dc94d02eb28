//! What the journal tells about itself.

use std::time::Duration;

/// A snapshot of the journal's state, cheap enough to take at every scrape.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Segments in use, the active one included.
    pub segments: usize,
    /// How many of them are compressed.
    pub segments_compressed: usize,
    /// Bytes of all segment files, the prepared one and those set aside included.
    pub bytes: u64,
    /// Bytes of the files that were set aside.
    pub bytes_aside: u64,
    /// The oldest sequence kept.
    pub first_seq: u64,
    /// One past the last durable sequence.
    pub durable: u64,
    /// Counts the openings of the store.
    pub epoch: u32,
    /// Whether the journal has begun. Until the disk has room for what an open writes, nothing can be
    /// appended.
    pub begun: bool,
    /// Frames of the life before that wait for room to be secured; see
    /// [`Journal::unproven`](crate::Journal::unproven).
    pub unproven_frames: usize,
    /// Bytes waiting for the next write.
    pub pending_bytes: usize,
    /// Batches committed since the open.
    pub batches: u64,
    /// Syncs of the journal since the open.
    pub syncs: u64,
    /// Frames committed since the open.
    pub frames: u64,
    /// Time spent in the last batch's write and sync.
    pub sync_last: Duration,
    /// What has failed, if the journal is poisoned.
    pub poisoned: Option<String>,
    /// Whether appends are refused for want of space, or of what a new segment's file takes.
    pub no_space: bool,
    /// Free bytes of the file system when last looked at.
    pub free_bytes: u64,
    /// Whether the next segment stands ready.
    pub next_ready: bool,
    /// The last failure that stopped nothing for good: of compression, of retention, or to prepare
    /// the next segment because space, descriptors or memory were short.
    pub housekeeping_failure: Option<String>,
    /// Set while the wall clock is not trusted and retention is held back.
    pub clock_suspect: Option<ClockSuspect>,
}

/// How long the disk has kept appended frames waiting. Zero while none waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Age of the oldest frame that is not durable yet.
    pub oldest: Duration,
    /// Time in which no batch has become durable although that frame waited. It begins anew with each
    /// batch, so it tells a disk that is stuck from one that is slow.
    pub stalled: Duration,
}

/// Why the wall clock is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockSuspect {
    /// The time that was expected, milliseconds since the Unix epoch; 0 if nobody knows any.
    pub expected_ms: u64,
    /// The time that the wall clock shows.
    pub wall_ms: u64,
}

/// What opening a journal found and did.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Whether the store was created by this open.
    pub created: bool,
    /// Whether the last frame says that the journal was closed in order.
    pub clean: bool,
    /// The epoch that has begun.
    pub epoch: u32,
    /// Segments in use.
    pub segments: usize,
    /// The oldest sequence kept.
    pub first_seq: u64,
    /// One past the last durable sequence.
    pub durable: u64,
    /// Frames copied into the new segment because nothing later proved them durable.
    pub frames_secured: u32,
    /// Why nothing can be appended yet: the disk has no room for what an open writes. It is tried
    /// again in the background.
    pub full: Option<String>,
    /// The torn tail that was cut, if there was one.
    pub cut: Option<Cut>,
    /// Bytes read to find the end.
    pub bytes_scanned: u64,
    /// How long it took.
    pub took: Duration,
    /// Changes with every repair: what was made from the journal before it, an index say, may hold
    /// frames that are lost now.
    pub repairs: u64,
}

/// A torn tail: bytes after the last whole batch, with nothing valid among or after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment's number.
    pub segment: u64,
    /// Where the torn bytes begin.
    pub offset: u64,
    /// How many there were, up to the last one that was not zero.
    pub bytes: u64,
}
