//! What the tests share: a journal with small segments in a temporary directory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use journal::disk::Disk;
use journal::{Clock, Committed, FrameKind, Journal, OpenError, Options, Recovery};

/// Small enough that a few appends rotate.
pub(crate) const SEGMENT_BYTES: u64 = 16 << 10;

pub(crate) fn options() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        pending_bytes_max: 8 << 10,
        reserve_bytes: 0,
        compress_level: None,
        seed: Some(1),
        ..Options::default()
    }
}

/// A clock that moves when it is told to.
#[derive(Default)]
pub(crate) struct ManualClock {
    pub(crate) wall_ms: AtomicU64,
    pub(crate) elapsed_ms: AtomicU64,
}

impl ManualClock {
    pub(crate) fn new() -> Arc<Self> {
        let clock = Self::default();
        clock.wall_ms.store(1_478_009_511_000, Ordering::SeqCst);
        Arc::new(clock)
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
}

pub(crate) fn try_open(
    disk: Arc<dyn Disk>,
    options: Options,
) -> Result<(Journal, Recovery), OpenError> {
    Journal::open(disk, ManualClock::new(), options)
}

pub(crate) fn open<D: Disk + 'static>(disk: &Arc<D>) -> (Journal, Recovery) {
    try_open(disk.clone(), options()).expect("the journal opens")
}

/// Appends the payloads through one guard. Returns the first sequence.
pub(crate) fn append(journal: &Journal, payloads: &[&[u8]]) -> u64 {
    let mut appender = journal.appender().expect("appends are admitted");
    let mut first = None;
    for payload in payloads {
        let seq = appender
            .append(FrameKind::Usage, 7, |_, out| out.extend_from_slice(payload))
            .expect("there is room");
        first.get_or_insert(seq);
    }
    first.expect("at least one payload")
}

/// Appends one batch and commits it.
pub(crate) fn commit(journal: &Journal, payloads: &[&[u8]]) -> u64 {
    let first = append(journal, payloads);
    assert!(matches!(journal.commit_once(), Ok(Committed::Batch { .. })));
    first
}

/// The usages of a journal as a reader from `seq` on gives them.
pub(crate) fn usages(journal: &Journal, seq: u64) -> Vec<(u64, Vec<u8>)> {
    let mut reader = journal.reader(seq);
    let mut found = Vec::new();
    while let Some(batch) = reader.next_batch().expect("readable") {
        for frame in batch.frames().filter(|frame| frame.kind == FrameKind::Usage) {
            found.push((frame.seq, frame.payload.to_vec()));
        }
    }
    found
}
