//! The committer: one write and one sync for everything that is pending, and the one place where
//! durability is acknowledged.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::disk::File;
use crate::error::CommitError;
use crate::format::{
    BATCH_HEADER_BYTES, BatchHeader, HEADER_PAGE_BYTES, SegmentHeader, SegmentKind,
};
use crate::ledger::Segment;
use crate::pending::Gathered;
use crate::prepare::{Prepared, prepare};
use crate::scan::Expected;
use crate::shared::{Shared, lock};

/// What a call of [`Journal::commit_once`](crate::Journal::commit_once) did.
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

/// The committer's own state, behind its lock.
#[derive(Default)]
pub(crate) struct Committer {
    /// There from when the journal has begun; nothing is pending before.
    active: Option<Active>,
    spare: Gathered,
    /// A batch that was taken but not written, because no segment could be had for it.
    held: Option<Gathered>,
    /// Whether the last frame written says that the journal was closed in order.
    closed_last: bool,
    /// Set by close: the directory may belong to another process from then on.
    closed: bool,
}

/// The segment that is written to.
pub(crate) struct Active {
    pub(crate) header: Arc<SegmentHeader>,
    pub(crate) file: Arc<dyn File>,
    /// Where the next batch goes.
    pub(crate) at: Expected,
}

impl Committer {
    pub(crate) fn begin(&mut self, active: Active, closed_last: bool) {
        self.active = Some(active);
        self.closed_last = closed_last;
    }

    fn active(&mut self) -> &mut Active {
        self.active.as_mut().expect("appends are refused until the journal has begun")
    }
}

/// Writes the header page of a prepared segment and syncs it; only then may a batch be written.
pub(crate) fn activate(prepared: Prepared, header: SegmentHeader) -> io::Result<Active> {
    let file: Arc<dyn File> = Arc::from(prepared.file);
    file.write_all_at(&header.encode()[..], 0)?;
    file.sync_data()?;
    let at = Expected::first(&header);
    Ok(Active { header: Arc::new(header), file, at })
}

impl Shared {
    /// One step: commits what is pending.
    pub(crate) fn commit_once(&self) -> Result<Committed, CommitError> {
        let mut committer = lock(&self.committer);
        self.commit(&mut committer)
    }

    fn commit(&self, committer: &mut Committer) -> Result<Committed, CommitError> {
        if self.is_poisoned() {
            return Err(CommitError::Poisoned);
        }
        if committer.closed || committer.active.is_none() {
            return Ok(Committed::Nothing);
        }
        let taken = committer.held.take().or_else(|| self.take_pending(committer));
        let Some(mut batch) = taken else { return Ok(Committed::Nothing) };
        let active = committer.active();
        let end = active.at.offset + batch.bytes_len() as u64;
        let full = end > active.header.segment_bytes;
        let ready = self
            .reserve(batch.next_seq())
            .and_then(|()| if full { self.rotate(committer, batch.first_seq()) } else { Ok(()) });
        if let Err(error) = ready {
            committer.held = Some(batch);
            return Err(error);
        }
        let header = self.write(committer.active(), &mut batch)?;
        committer.closed_last = false;
        let active = committer.active();
        active.at = active.at.after(&header);
        let offset = active.at.offset;
        self.acknowledge(offset, &batch, &header);
        committer.spare = batch;
        Ok(Committed::Batch { frames: header.frames, durable: header.end_seq() })
    }

    fn take_pending(&self, committer: &mut Committer) -> Option<Gathered> {
        let now = self.clock.monotonic();
        let mut pending = self.pending();
        if pending.is_empty() {
            return None;
        }
        let taken = pending.take(std::mem::take(&mut committer.spare), now);
        // Where the batch after this one will go decides what appenders may still be promised.
        let active = committer.active();
        let (at, end) = (active.at.offset, active.header.segment_bytes);
        let bytes = taken.bytes_len() as u64;
        if at + bytes <= end {
            pending.write_at = crate::format::align_batch(at + bytes);
        } else {
            let ledger = self.ledger();
            pending.write_at = crate::format::align_batch(HEADER_PAGE_BYTES as u64 + bytes);
            pending.write_end = self.options.segment_bytes;
            // The segment that is ready will be used up by this very batch.
            pending.segment = active.header.number + 1;
            pending.next_blocked = self.is_over_cap(&ledger, pending.segment + 1);
        }
        Some(taken)
    }

    /// One write, one sync, and a look whether a later open will find what was written. The first
    /// failure of any poisons the journal.
    fn write(&self, active: &Active, batch: &mut Gathered) -> Result<BatchHeader, CommitError> {
        let payload = batch.payload();
        let header = BatchHeader {
            salt: active.header.salt,
            epoch: active.header.epoch,
            frames: batch.frames(),
            first_seq: batch.first_seq(),
            bytes: u32::try_from(payload.len()).expect("the pending budget is below 4 GiB"),
            payload_crc: crc32c::crc32c(payload),
            prev_chain: active.at.chain,
            committed_ms: self.clock.wall_ms(),
        };
        assert_eq!(header.first_seq, active.at.seq, "batches follow each other without a gap");
        let bytes = batch.seal(header.encode());
        let begun = self.clock.monotonic();
        let written = active
            .file
            .write_all_at(bytes, active.at.offset)
            .and_then(|()| active.file.sync_data());
        if let Err(error) = written {
            let segment = active.header.number;
            self.poison_for(format!("writing a batch to segment {segment}: {error}"));
            return Err(CommitError::Poisoned);
        }
        if !self.is_in_place() {
            return Err(CommitError::Poisoned);
        }
        let took = self.clock.monotonic().saturating_sub(begun);
        self.count(took, &header);
        Ok(header)
    }

    fn count(&self, took: Duration, header: &BatchHeader) {
        let counters = &self.counters;
        counters.batches.fetch_add(1, Ordering::Relaxed);
        counters.syncs.fetch_add(1, Ordering::Relaxed);
        counters.frames.fetch_add(u64::from(header.frames), Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        counters.sync_last_ns.store(nanos, Ordering::Relaxed);
        if let Some(observer) = self.on_sync.get() {
            observer(took, header.frames, BATCH_HEADER_BYTES + header.bytes as usize);
        }
    }

    /// The batch is on disk: those who read from memory get it, then the position moves, then
    /// those who wait are woken. Nothing else in this crate moves the position.
    fn acknowledge(&self, offset: u64, batch: &Gathered, header: &BatchHeader) {
        self.ledger().advance(offset);
        if let Some(observer) = self.on_commit.get() {
            observer(&Arc::new(batch.to_batch(header.committed_ms)));
        }
        self.proven.store(header.first_seq, Ordering::SeqCst);
        let before = self.durable.swap(header.end_seq(), Ordering::SeqCst);
        assert_eq!(before, header.first_seq, "the durable position moves batch by batch");
        self.waiters.wake_all();
        let now = self.clock.monotonic();
        self.pending().written(now);
    }

    /// Makes the next segment the active one, preparing it here and now if the housekeeper has
    /// not: slow, but correct.
    fn rotate(&self, committer: &mut Committer, first_seq: u64) -> Result<(), CommitError> {
        let _preparing = lock(&self.preparing);
        let ready = self.ledger().next.take();
        let before = committer.active().header.clone();
        let number = before.number + 1;
        let prepared = match ready {
            Some(prepared) => prepared,
            None => prepare(&*self.disk, number, self.options.segment_bytes)
                .map_err(|error| self.not_prepared(number, &error))?,
        };
        assert_eq!(prepared.number, number, "segments are prepared one ahead");
        let header = SegmentHeader {
            kind: SegmentKind::Raw,
            store_id: self.meta.store_id,
            store_number: self.meta.store_number,
            number,
            previous: before.number,
            source: before.number,
            epoch: before.epoch,
            salt: before.salt,
            first_seq,
            created_ms: self.clock.wall_ms(),
            segment_bytes: prepared.bytes,
        };
        match activate(prepared, header) {
            Ok(active) => {
                self.counters.syncs.fetch_add(1, Ordering::Relaxed);
                let file_bytes = active.header.segment_bytes;
                let segment = Segment { header: active.header.clone(), file_bytes };
                self.ledger().activate(segment, active.file.clone(), active.at.offset);
                committer.active = Some(active);
                self.wake_housekeeper();
                Ok(())
            }
            Err(error) => {
                self.poison_for(format!("activating segment {number}: {error}"));
                Err(CommitError::Poisoned)
            }
        }
    }

    /// Commits everything, then a closing frame, which proves the last batch durable to the next
    /// open. Appends have been refused before, and nothing is written afterwards.
    pub(crate) fn commit_closing(&self) -> Result<(), CommitError> {
        let mut committer = lock(&self.committer);
        while self.commit(&mut committer)? != Committed::Nothing {}
        if !committer.closed_last && !committer.closed && committer.active.is_some() {
            let now = self.clock.monotonic();
            self.pending().append_closed(now);
            match self.commit(&mut committer) {
                // Every usage is durable; only the proof of it could not be added.
                Ok(_) | Err(CommitError::NoSpace) => {}
                Err(poisoned) => return Err(poisoned),
            }
        }
        committer.closed = true;
        Ok(())
    }
}
