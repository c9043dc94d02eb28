//! Feeds the index: in runs from the tail, or from the journal's files while it is too far behind;
//! opens it anew when it has failed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use journal::{Batch, FrameKind, Reader};
use usage::record;

use crate::index::{Index, IndexEntry, IndexError};
use crate::key_search::key_oldest_ms;
use crate::slot::{Failure, Owner, Stuck, open_index, remove_index};
use crate::store::Shared;
use crate::tail::Next;

/// The first pause before a failed index is tried again; it doubles from one time to the next.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// So many failures that may be the fault of the index's files, without [`RUNS_TO_FORGIVE`] in
/// between, mean that they are; they are removed then, and made again from the journal. If failures
/// go on, the files were not the cause: each further removal takes twice as many.
const FAILURES_BEFORE_REBUILD: u32 = 3;

/// After so many runs in a row a failure before them is forgotten. Not after the first: where only
/// reads fail, runs succeed in between.
const RUNS_TO_FORGIVE: u32 = 64;

/// Bytes of frames in a run at most, so that large usages do not make a run of any size.
const RUN_BYTES_MAX: usize = 16 << 20;

/// Runs between two looks at what else there is to do for the index.
const RUNS_PER_UPKEEP: u64 = 16;

/// What feeds the index. The thread that runs it, or whoever steps it by hand, owns it meanwhile.
#[derive(Default)]
pub(crate) struct Indexer {
    /// While the tail does not reach back to the index's cursor.
    reader: Option<Reader>,
    failures: u32,
    /// Times that the index was removed for them.
    rebuilds: u32,
    runs_since_failure: u32,
    /// Times in a row that something else was at fault: the journal could not be read, somebody else
    /// had the index open, or this process was short of something.
    hindered: u32,
    /// Whether the present failure has been counted.
    failing: bool,
    upkeep_first_seq: u64,
}

/// What a step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The index has taken a run.
    Applied,
    /// There was nothing to take.
    Idle,
    /// The index has failed or could not be opened, or the journal could not be read for it.
    Failed,
    /// The store is closing and everything that could be taken has been.
    Stopped,
}

impl Indexer {
    /// `open_first`: whether the index is still to be opened.
    pub(crate) fn new(open_first: bool) -> Self {
        // As if a failure had been counted and waited out.
        Self { failing: open_first, ..Self::default() }
    }

    /// Works until the store closes.
    pub(crate) fn run(&mut self, shared: &Shared) {
        loop {
            // The library asserts much. What it panics at is a failure like any other, or nobody
            // would take runs from the tail any more. The panic hook has logged the place.
            let step =
                catch_unwind(AssertUnwindSafe(|| self.step(shared, shared.config.run.interval)));
            let step = step.unwrap_or_else(|_| {
                shared.slot.fail(Failure::of_files("the indexer has panicked"));
                self.failed(shared, true)
            });
            match step {
                Step::Applied | Step::Idle => {}
                Step::Failed => {
                    let times = self.failures.max(self.hindered);
                    let doubled = 2u32.saturating_pow(times.saturating_sub(1));
                    let pause = BACKOFF_MIN.saturating_mul(doubled).min(BACKOFF_MAX);
                    if shared.tail.wait_stopped(pause) {
                        return;
                    }
                }
                Step::Stopped => return,
            }
        }
    }

    /// Takes one run, waiting for it for up to `patience` if there is not enough for a full one.
    pub(crate) fn step(&mut self, shared: &Shared, patience: Duration) -> Step {
        if !shared.config.index_enabled {
            return Step::Stopped;
        }
        let index = match shared.slot.get() {
            Ok(index) => index,
            Err(failure) => return self.reopen(shared, &failure),
        };
        let cursor = index.cursor();
        shared.projection.store(cursor, Ordering::Release);
        let result = if shared.tail.meet(cursor) {
            self.reader = None;
            if !shared.journal.has_begun() {
                // The index would meet the full disk as well. Reads need no run: nothing is appended.
                let stopped = shared.tail.wait_stopped(patience);
                return if stopped { Step::Stopped } else { Step::Idle };
            }
            match shared.tail.next_run(cursor, shared.config.run.usages_max, patience) {
                Next::Run(run) => self.apply(shared, &index, &run),
                Next::Nothing => index.rest().map(|_| Step::Idle),
                Next::Behind => Ok(Step::Idle),
                Next::Stopped => index.write_manifest().map(|()| Step::Stopped),
            }
        } else if shared.tail.wait_stopped(Duration::ZERO) {
            Ok(Step::Stopped)
        } else {
            self.apply_from_journal(shared, &index, cursor)
        };
        result.unwrap_or_else(|error| {
            drop(index);
            shared.slot.fail(&error);
            self.failed(shared, error.blames_files())
        })
    }

    fn failed(&mut self, shared: &Shared, blames_files: bool) -> Step {
        let times = if blames_files { &mut self.failures } else { &mut self.hindered };
        *times = times.saturating_add(1);
        self.runs_since_failure = 0;
        self.failing = true;
        self.reader = None;
        shared.tail.part();
        Step::Failed
    }

    fn reopen(&mut self, shared: &Shared, failure: &Failure) -> Step {
        shared.slot.let_go();
        if !self.failing {
            // Somebody who reads has found it; it counts, and is waited out, like any other.
            return self.failed(shared, failure.blames_files);
        }
        if !shared.journal.is_in_place() {
            return Step::Stopped;
        }
        match self.open(shared, &failure.why) {
            Ok(index) => {
                tracing::info!(cursor = index.cursor(), "the index is open");
                self.failing = false;
                self.hindered = 0;
                shared.slot.put(index);
                Step::Idle
            }
            Err(error) => {
                shared.slot.still_failed(&error);
                if matches!(error, IndexError::Locked) {
                    // Nothing announces that the other side has closed it, so the pause does not grow.
                    self.hindered = 0;
                }
                self.failed(shared, error.blames_files())
            }
        }
    }

    fn open(&mut self, shared: &Shared, why: &str) -> Result<Index, IndexError> {
        let doubled = 2u32.saturating_pow(self.rebuilds);
        let given_up = self.failures >= FAILURES_BEFORE_REBUILD.saturating_mul(doubled);
        if given_up {
            tracing::error!(failures = self.failures, why, "the index is rebuilt from the journal");
            remove_index(&shared.config.index_dir())?;
            self.rebuilds += 1;
        }
        let store_id = shared.journal.meta().store_id;
        let owner = Owner { store_id, repairs: shared.recovery.repairs };
        let kept = shared.journal.first_seq()..shared.journal.durable();
        let index = open_index(&shared.config.index_dir(), &shared.config.index, owner, kept)?;
        shared.remember_keys(&index)?;
        let why = || format!("it failed {} times: {why}", self.failures);
        Ok(if given_up { index.rebuilt_because(why()) } else { index })
    }

    fn apply_from_journal(
        &mut self,
        shared: &Shared,
        index: &Index,
        cursor: u64,
    ) -> Result<Step, IndexError> {
        let kept_from = shared.journal.first_seq();
        if cursor < kept_from {
            index.advance(kept_from)?;
            return Ok(Step::Applied);
        }
        let reader = self.reader.get_or_insert_with(|| shared.journal.reader(cursor));
        if reader.next_seq() != cursor {
            reader.seek(cursor);
        }
        match read_run(reader, shared.config.run.usages_max) {
            Ok(run) if run.is_empty() => Ok(Step::Idle),
            Ok(run) => {
                self.hindered = 0;
                shared.slot.goes_on();
                self.apply(shared, index, &run)
            }
            // Retention has overtaken the reader; the next step begins at what is kept.
            Err(journal::ReadError::Expired) => Ok(Step::Idle),
            Err(error) => {
                // The index is whole, only it cannot go on: nothing is skipped silently.
                self.hindered = self.hindered.saturating_add(1);
                self.reader = None;
                let why = format!("reading the journal for the index: {error}");
                let damage = error.damage();
                if let Some(place) = &damage {
                    shared.damages.found(place.clone());
                }
                shared.slot.cannot_go_on(Stuck { why, damage });
                Ok(Step::Failed)
            }
        }
    }

    fn apply(
        &mut self,
        shared: &Shared,
        index: &Index,
        run: &[Arc<Batch>],
    ) -> Result<Step, IndexError> {
        // The library makes folders by their paths: none in the place of a store that was removed.
        if !shared.journal.is_in_place() {
            return Ok(Step::Stopped);
        }
        let usages = apply_run(index, run)?;
        let cursor = index.cursor();
        // In this order: the tail's beginning moves before a claim is released, and both only
        // after the index has the run. `crate::append` and `crate::read` depend on it.
        shared.tail.release(cursor);
        shared.release_claims(run, cursor);
        shared.projection.store(cursor, Ordering::Release);
        shared.index_usages.fetch_add(usages, Ordering::Relaxed);
        let runs = shared.index_runs.fetch_add(1, Ordering::Relaxed);
        self.runs_since_failure = self.runs_since_failure.saturating_add(1);
        if self.runs_since_failure >= RUNS_TO_FORGIVE {
            (self.failures, self.rebuilds) = (0, 0);
        }
        if runs.is_multiple_of(RUNS_PER_UPKEEP) {
            self.upkeep(shared, index)?;
        }
        Ok(Step::Applied)
    }

    /// What the index needs now and then.
    fn upkeep(&mut self, shared: &Shared, index: &Index) -> Result<(), IndexError> {
        index.upkeep()?;
        shared.remember_keys(index)?;
        let first_seq = shared.journal.first_seq();
        if first_seq > self.upkeep_first_seq && index.expire(first_seq)? {
            self.upkeep_first_seq = first_seq;
        }
        Ok(())
    }
}

impl Shared {
    fn remember_keys(&self, index: &Index) -> Result<(), IndexError> {
        index.remember_keys(key_oldest_ms(&self.journal, &self.config, self.clock.wall_ms()))
    }

    /// Forgets the keys of frames below `cursor`, which the index has.
    fn release_claims(&self, run: &[Arc<Batch>], cursor: u64) {
        // Whoever has appended a keyed frame still holds its lock if it has not claimed it yet, so
        // an empty map, looked at under each lock, has nothing to release.
        if self.claims.len() == 0 {
            return;
        }
        for frame in run.iter().flat_map(|batch| batch.frames()) {
            if frame.kind != FrameKind::Usage || frame.seq >= cursor {
                continue;
            }
            if let Ok(record::Peek { key: Some(key), .. }) = record::peek(frame.payload) {
                self.claims.release(key, frame.seq);
            }
        }
    }
}

/// Reads batches until there are `usages_max` frames, or no more durable ones.
pub(crate) fn read_run(
    reader: &mut Reader,
    usages_max: usize,
) -> Result<Vec<Arc<Batch>>, journal::ReadError> {
    let (mut run, mut frames, mut bytes) = (Vec::new(), 0, 0);
    while frames < usages_max && bytes < RUN_BYTES_MAX {
        match reader.next_batch() {
            Ok(Some(batch)) => {
                frames += batch.len();
                bytes += batch.bytes_len();
                run.push(Arc::new(batch));
            }
            Ok(None) => break,
            // What was read before is good; the error comes again.
            Err(_) if !run.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(run)
}

/// Has the index take a run; returns how many usages there were. Frames that it has already are
/// passed over.
pub(crate) fn apply_run(index: &Index, run: &[Arc<Batch>]) -> Result<u64, IndexError> {
    let cursor = index.cursor();
    let frames = run.iter().flat_map(|batch| batch.frames());
    let entries: Vec<IndexEntry<'_>> = frames
        .filter(|frame| frame.seq >= cursor && frame.kind == FrameKind::Usage)
        .map(|frame| IndexEntry { seq: frame.seq, payload: frame.payload })
        .collect();
    if !entries.is_empty() {
        index.apply(&entries)?;
    }
    // Past frames that are no usages.
    if let Some(end) = run.last().map(|last| last.end_seq()).filter(|end| *end > index.cursor()) {
        index.advance(end)?;
    }
    Ok(entries.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Store, SystemClock};

    #[test]
    fn repro_an_index_that_keeps_failing_is_not_removed_each_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = Config::new(dir.path());
        config.journal.reserve_bytes = 0;
        let store = Store::open(config, Arc::new(SystemClock::new())).expect("opens");
        let shared = &*store.shared;
        let mark = shared.config.index_dir().join("mark");
        let mut indexer = Indexer::default();
        let mut removed_after = Vec::new();
        for failures in 1..=24 {
            std::fs::write(&mark, "of this index").expect("written");
            shared.slot.fail(Failure::of_files("a test"));
            assert_eq!(indexer.step(shared, Duration::ZERO), Step::Failed);
            assert_eq!(indexer.step(shared, Duration::ZERO), Step::Idle, "it is open again");
            if !mark.exists() {
                removed_after.push(failures);
            }
        }
        assert_eq!(removed_after, [3, 6, 12, 24]);
        // The control: once it has worked for long enough, the next failures count anew.
        (indexer.failures, indexer.rebuilds) = (0, 0);
        std::fs::write(&mark, "of this index").expect("written");
        for _ in 0..3 {
            shared.slot.fail(Failure::of_files("a test"));
            while indexer.step(shared, Duration::ZERO) == Step::Failed {}
        }
        assert!(!mark.exists());
    }
}
