//! The durable batches that the index has not taken yet, in memory and bounded.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use journal::{Batch, FrameView};

/// Everything durable from [`Tail::first_seq`] on.
///
/// The committer pushes every batch before the durable position moves; the indexer releases what
/// the index has taken, after the index has it. So whoever looks at the tail first and at the
/// index second can miss nothing: see [`crate::read`].
///
/// While the index works, admission keeps the tail within its bytes. While it does not, nobody
/// releases, yet usages without a key are still accepted: then the tail drops its oldest, and the
/// index takes them from the journal once it works again.
pub(crate) struct Tail {
    inner: Mutex<Inner>,
    arrived: Condvar,
    /// Mirrors of what `inner` holds, for readers that want no lock.
    first_seq: AtomicU64,
    full: AtomicBool,
    bytes_max: usize,
    bytes_admitted: usize,
}

struct Inner {
    batches: VecDeque<Arc<Batch>>,
    first_seq: u64,
    end_seq: u64,
    bytes: usize,
    drops_oldest: bool,
    /// The committer wakes the indexer when the end reaches this.
    wake_at: u64,
    stopped: bool,
}

/// The tail at one moment.
pub(crate) struct View {
    pub(crate) batches: Vec<Arc<Batch>>,
    /// Every frame from here on, up to what was durable, is in the batches.
    pub(crate) first_seq: u64,
}

/// What the indexer got when it asked for the next frames.
pub(crate) enum Next {
    /// Whole batches; the first one may begin before the cursor.
    Run(Vec<Arc<Batch>>),
    /// Nothing has arrived within the time.
    Nothing,
    /// The tail begins behind the cursor: the journal has to be read.
    Behind,
    /// The store is closing, and nothing is left.
    Stopped,
}

impl Tail {
    /// An empty tail, whose first frame will be `first_seq`. It drops its oldest until
    /// [`Tail::meet`] succeeds.
    pub(crate) fn new(first_seq: u64, bytes_max: usize, bytes_admitted: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                batches: VecDeque::new(),
                first_seq,
                end_seq: first_seq,
                bytes: 0,
                drops_oldest: true,
                wake_at: u64::MAX,
                stopped: false,
            }),
            arrived: Condvar::new(),
            first_seq: AtomicU64::new(first_seq),
            full: AtomicBool::new(false),
            bytes_max,
            bytes_admitted,
        }
    }

    /// Locks the tail, even if a thread has panicked while it held it: what can panic there comes
    /// before the first change.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Updates the mirrors; called before the lock is given back.
    fn publish(&self, inner: &Inner) {
        self.first_seq.store(inner.first_seq, Ordering::Release);
        let full = !inner.drops_oldest && inner.bytes >= self.bytes_admitted;
        self.full.store(full, Ordering::Relaxed);
    }

    /// Takes a batch that has become durable.
    pub(crate) fn push(&self, batch: &Arc<Batch>) {
        let mut dropped = Vec::new();
        let mut inner = self.lock();
        assert_eq!(batch.first_seq(), inner.end_seq, "batches arrive in order, without a gap");
        inner.end_seq = batch.end_seq();
        inner.bytes += batch.bytes_len();
        inner.batches.push_back(Arc::clone(batch));
        while inner.drops_oldest && inner.bytes > self.bytes_max {
            let Some(oldest) = inner.batches.pop_front() else { break };
            inner.bytes -= oldest.bytes_len();
            inner.first_seq = oldest.end_seq();
            dropped.push(oldest);
        }
        self.publish(&inner);
        let wake = inner.end_seq >= inner.wake_at;
        drop(inner);
        if wake {
            self.arrived.notify_one();
        }
    }

    /// Whether admission has to refuse.
    pub(crate) fn full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// The oldest sequence of which the tail still knows; whatever was released is below it.
    pub(crate) fn first_seq(&self) -> u64 {
        self.first_seq.load(Ordering::Acquire)
    }

    /// Memory in use.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// The tail as it is now.
    pub(crate) fn view(&self) -> View {
        let inner = self.lock();
        View { batches: inner.batches.iter().map(Arc::clone).collect(), first_seq: inner.first_seq }
    }

    /// The batch that holds the frame `seq`, if it is in the tail.
    pub(crate) fn batch_of(&self, seq: u64) -> Option<Arc<Batch>> {
        let inner = self.lock();
        let at = inner.batches.partition_point(|batch| batch.end_seq() <= seq);
        inner.batches.get(at).filter(|batch| batch.first_seq() <= seq).map(Arc::clone)
    }

    /// Lets go of everything below `cursor`, which the index has.
    pub(crate) fn release(&self, cursor: u64) {
        let mut released = Vec::new();
        let mut inner = self.lock();
        while inner.batches.front().is_some_and(|oldest| oldest.end_seq() <= cursor) {
            let oldest = inner.batches.pop_front().expect("there is an oldest");
            inner.bytes -= oldest.bytes_len();
            released.push(oldest);
        }
        inner.first_seq = inner.first_seq.max(cursor.min(inner.end_seq));
        self.publish(&inner);
        drop(inner);
        // The batches are freed here, outside the lock that the committer needs.
        drop(released);
    }

    /// Whether an index with this cursor and the tail together hold everything; if so, the tail
    /// drops nothing from now on.
    pub(crate) fn meet(&self, cursor: u64) -> bool {
        let mut inner = self.lock();
        let meets = cursor >= inner.first_seq;
        if meets {
            inner.drops_oldest = false;
        }
        self.publish(&inner);
        meets
    }

    /// From now on the tail drops its oldest rather than refuse: the index has failed.
    pub(crate) fn part(&self) {
        let mut inner = self.lock();
        inner.drops_oldest = true;
        self.publish(&inner);
    }

    /// Waits until `usages_max` frames from `cursor` on are there, or `interval` is over, and
    /// hands over what there is, `usages_max` frames or the batch that passes them.
    pub(crate) fn next_run(&self, cursor: u64, usages_max: usize, interval: Duration) -> Next {
        let mut inner = self.lock();
        let enough = cursor.saturating_add(usages_max as u64);
        inner.wake_at = enough;
        let (mut inner, _) = self
            .arrived
            .wait_timeout_while(inner, interval, |inner| {
                inner.end_seq < enough && inner.first_seq <= cursor && !inner.stopped
            })
            .unwrap_or_else(PoisonError::into_inner);
        inner.wake_at = u64::MAX;
        if inner.first_seq > cursor {
            return Next::Behind;
        }
        if inner.end_seq <= cursor {
            return if inner.stopped { Next::Stopped } else { Next::Nothing };
        }
        let run = inner.batches.iter().skip_while(|batch| batch.end_seq() <= cursor);
        let run = run.take_while(|batch| batch.first_seq() < enough).map(Arc::clone).collect();
        Next::Run(run)
    }

    /// Ends every wait. What is left is still handed out, without waiting.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.arrived.notify_all();
    }

    /// Waits for `timeout` or until the store is closing; returns whether it is.
    pub(crate) fn wait_stopped(&self, timeout: Duration) -> bool {
        let waited = self.arrived.wait_timeout_while(self.lock(), timeout, |inner| !inner.stopped);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopped
    }
}

impl View {
    /// The frames from `from` to below `end`, each with its tag if it has one.
    pub(crate) fn frames(
        &self,
        from: u64,
        end: u64,
    ) -> impl Iterator<Item = (Option<u64>, FrameView<'_>)> {
        let batches = self.batches.iter().skip_while(move |batch| batch.end_seq() <= from);
        let batches = batches.take_while(move |batch| batch.first_seq() < end);
        batches.flat_map(move |batch| {
            let tags = batch.tags();
            let frames = batch.frames().enumerate();
            frames
                .map(move |(at, frame)| (tags.get(at).copied(), frame))
                .filter(move |(_, frame)| (from..end).contains(&frame.seq))
        })
    }

    /// Calls `found` with every usage from `from` to below `end` that may carry `tag`.
    ///
    /// Only the tags are looked at, eight bytes a usage, before a frame is touched.
    pub(crate) fn tagged<'a>(
        &'a self,
        from: u64,
        end: u64,
        tag: u64,
        mut found: impl FnMut(FrameView<'a>),
    ) {
        let batches = self.batches.iter().skip_while(|batch| batch.end_seq() <= from);
        for batch in batches.take_while(|batch| batch.first_seq() < end) {
            let within = |seq: u64| (from..end).contains(&seq);
            if batch.tags().is_empty() {
                batch.frames().filter(|frame| within(frame.seq)).for_each(&mut found);
                continue;
            }
            for (seq, _) in (batch.first_seq()..).zip(batch.tags()).filter(|(_, t)| **t == tag) {
                if within(seq) {
                    found(batch.get(seq).expect("a tag stands for a frame of its batch"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(seq: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let kind = journal::FrameKind::Usage;
        let view = FrameView { seq, kind, stream: 0, key_id: 0, payload };
        journal::format::encode_frame(view, &mut out);
        out
    }

    fn batch(first_seq: u64, frames: u64) -> Arc<Batch> {
        let payload: Vec<u8> =
            (first_seq..first_seq + frames).flat_map(|seq| frame(seq, b"usage")).collect();
        Arc::new(Batch::from_payload(first_seq, 0, payload.into()).expect("valid frames"))
    }

    fn tail(bytes_max: usize) -> Tail {
        Tail::new(10, bytes_max, bytes_max)
    }

    fn seqs(tail: &Tail, from: u64, end: u64) -> Vec<u64> {
        tail.view().frames(from, end).map(|(_, frame)| frame.seq).collect()
    }

    #[test]
    fn a_view_holds_what_was_pushed_and_not_released() {
        let tail = tail(1 << 20);
        tail.push(&batch(10, 3));
        tail.push(&batch(13, 4));
        assert_eq!(seqs(&tail, 0, 99), (10..17).collect::<Vec<_>>());
        assert_eq!(seqs(&tail, 12, 15), [12, 13, 14]);
        tail.release(14);
        assert_eq!((tail.first_seq(), tail.view().first_seq), (14, 14));
        assert_eq!(seqs(&tail, 14, 99), [14, 15, 16]);
        assert!(tail.batch_of(12).is_none() && tail.batch_of(17).is_none());
        assert_eq!(tail.batch_of(16).expect("kept").first_seq(), 13);
        tail.release(17);
        assert_eq!((tail.bytes(), tail.first_seq()), (0, 17));
    }

    #[test]
    fn it_drops_its_oldest_until_it_has_met_the_index_and_fills_up_after() {
        let tail = tail(3 * batch(10, 2).bytes_len());
        for first_seq in [10, 12, 14, 16] {
            tail.push(&batch(first_seq, 2));
        }
        assert!(!tail.full());
        assert_eq!(tail.first_seq(), 12);
        assert!(!tail.meet(11), "frame 11 is in neither");
        assert!(tail.meet(12));
        assert!(tail.full());
        tail.push(&batch(18, 2));
        assert_eq!(tail.first_seq(), 12, "nothing is dropped that only the tail has");
        tail.release(16);
        assert!(!tail.full());
    }

    #[test]
    fn a_run_begins_at_the_cursor_and_ends_with_a_batch() {
        fn check(cursor: u64, usages_max: usize, expected: &str) {
            let tail = tail(1 << 20);
            tail.push(&batch(10, 3));
            tail.push(&batch(13, 4));
            tail.push(&batch(17, 1));
            tail.release(11);
            tail.stop();
            let found = match tail.next_run(cursor, usages_max, Duration::ZERO) {
                Next::Run(run) => {
                    let run: Vec<String> = run.iter().map(|b| b.first_seq().to_string()).collect();
                    run.join(" ")
                }
                Next::Nothing => "nothing".into(),
                Next::Behind => "behind".into(),
                Next::Stopped => "stopped".into(),
            };
            assert_eq!(found, expected, "from {cursor}, {usages_max} at most");
        }
        check(11, 1, "10");
        check(11, 2, "10");
        check(11, 3, "10 13");
        check(13, 99, "13 17");
        check(18, 99, "stopped");
        check(10, 99, "behind");
    }
}
