//! What an open writes before the journal may be used: at once, or, where only room for it is missing,
//! as soon as there is some. Until then what is proven durable can be read, and nothing is appended.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use crate::commit::Active;
use crate::error::OpenError;
use crate::housekeep::Housekeeper;
use crate::ledger::{Ledger, Segment};
use crate::mark::MarkFile;
use crate::recover;
use crate::shared::{Shared, lock};

/// Rounds between two attempts while the free space does not grow: ten seconds of the thread's.
const PAUSE_ROUNDS: u32 = 20;

/// Where writing goes on.
pub(crate) struct Begun {
    /// The fresh segment, which holds the last batch of the life before.
    pub(crate) active: Active,
    pub(crate) mark_file: MarkFile,
    /// All segments in use, the fresh one last.
    pub(crate) segments: VecDeque<Segment>,
    /// Whether the last frame says that the journal was closed in order.
    pub(crate) closed: bool,
}

/// When a failed attempt to begin is repeated.
#[derive(Default)]
pub(crate) struct Retry {
    free_bytes: u64,
    rounds: u32,
}

impl Shared {
    /// Whether the journal has begun: appends are possible, and all that was read is durable.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Puts to use what an open has written. The last batch of the life before becomes durable as any
    /// other does: those who read from memory get it, then the position moves.
    pub(crate) fn begin(&self, begun: Begun) {
        let Begun { active, mark_file, segments, closed } = begun;
        let mut committer = lock(&self.committer);
        let (header, at) = (active.header.clone(), active.at);
        self.limit.store(mark_file.mark.limit, Ordering::Release);
        lock(&self.marker).begin(mark_file);
        let end = Some((active.file.clone(), at.offset));
        *self.ledger() = Ledger::new(segments, end, at.seq);
        committer.begin(active, closed);
        if let (Some(batch), Some(observer)) = (&*lock(&self.unproven), self.on_commit.get()) {
            observer(batch);
        }
        self.proven.store(header.first_seq, Ordering::SeqCst);
        self.durable.store(at.seq, Ordering::SeqCst);
        {
            let mut pending = self.pending();
            assert_eq!(pending.first_seq(), at.seq, "sequences go on where the journal ends");
            pending.segment = header.number;
            pending.write_at = at.offset;
            pending.write_end = header.segment_bytes;
            pending.begun = true;
        }
        // After the position, or a frame could seem neither unproven nor durable.
        self.begun.store(true, Ordering::Release);
        *lock(&self.unproven) = None;
        self.count_aside();
        self.watch_cap();
        self.waiters.wake_all();
    }

    /// Tries to begin once more if there may be room now. Whether the journal has begun.
    pub(crate) fn begin_late(&self, housekeeper: &mut Housekeeper) -> bool {
        let free_bytes = || self.disk.space().map_or(0, |space| space.free_bytes);
        let free = free_bytes();
        self.counters.free_bytes.store(free, Ordering::Relaxed);
        let retry = &mut housekeeper.begin;
        if free <= retry.free_bytes && retry.rounds > 0 {
            retry.rounds -= 1;
            return false;
        }
        match recover::begin_again(self) {
            Ok(()) => {
                lock(&self.notes).failure = None;
                true
            }
            Err(error) if error.is_shortage() => {
                self.begins_later(&error);
                *retry = Retry { free_bytes: free_bytes(), rounds: PAUSE_ROUNDS };
                false
            }
            Err(error) => {
                self.poison_for(error.to_string());
                false
            }
        }
    }

    /// Says why the journal has not begun.
    pub(crate) fn begins_later(&self, why: &OpenError) {
        lock(&self.notes).failure = Some(why.to_string());
    }
}
