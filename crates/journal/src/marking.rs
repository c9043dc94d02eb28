//! Keeping the file `mark` up to date while the journal runs.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::CommitError;
use crate::mark::{Mark, MarkFile};
use crate::shared::{Shared, lock};

/// Least time between two marks that only the durable position asks for.
pub(crate) const MARK_ROUND: Duration = Duration::from_secs(1);

/// Who writes the mark, behind a lock of its own.
#[derive(Default)]
pub(crate) struct Marker {
    /// There from when the journal has begun.
    file: Option<MarkFile>,
    /// Set by close: the directory may belong to another process from then on.
    stopped: bool,
}

impl Marker {
    pub(crate) fn begin(&mut self, file: MarkFile) {
        self.file = Some(file);
    }

    fn mark(&self) -> Option<Mark> {
        self.file.as_ref().map(|file| file.mark)
    }
}

impl Shared {
    /// Writes the mark if the durable position has moved since the last one, and raises the limit
    /// when half of what was reserved is used. Returns whether it was written.
    pub(crate) fn mark_once(&self) -> bool {
        let mut marker = lock(&self.marker);
        if marker.stopped || self.is_poisoned() {
            return false;
        }
        let Some(old) = marker.mark() else { return false };
        let durable = self.durable.load(Ordering::SeqCst);
        let ahead = self.options.mark_ahead;
        let low = old.limit < durable.saturating_add(ahead / 2);
        let limit = if low { durable.saturating_add(ahead) } else { old.limit };
        if durable == old.durable && limit == old.limit {
            return false;
        }
        match self.write_mark(&mut marker, durable, limit) {
            Ok(()) => true,
            // The file still says something that is true; the next round tries again.
            Err(error) => {
                lock(&self.notes).failure = Some(format!("writing the file `mark`: {error}"));
                false
            }
        }
    }

    /// Lets the committer write frames below `end_seq`. Nearly always a comparison: the limit is
    /// raised long before it is reached.
    pub(crate) fn reserve(&self, end_seq: u64) -> Result<(), CommitError> {
        if end_seq <= self.limit.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut marker = lock(&self.marker);
        if marker.mark().is_some_and(|mark| end_seq <= mark.limit) {
            return Ok(());
        }
        let durable = self.durable.load(Ordering::SeqCst);
        let limit = end_seq.saturating_add(self.options.mark_ahead);
        let written = self.write_mark(&mut marker, durable, limit);
        drop(marker);
        written.map_err(|error| self.short_of(format!("writing the file `mark`: {error}"), &error))
    }

    /// The last mark of this life: after a clean stop nothing follows what is durable.
    pub(crate) fn mark_end(&self) {
        let mut marker = lock(&self.marker);
        if !std::mem::replace(&mut marker.stopped, true) && !self.is_poisoned() {
            let durable = self.durable.load(Ordering::SeqCst);
            if let Err(error) = self.write_mark(&mut marker, durable, durable) {
                // Every usage is durable all the same; what the file says of them is true.
                lock(&self.notes).failure = Some(format!("writing the file `mark`: {error}"));
            }
        }
        self.marking.notify_all();
    }

    /// Sleeps for a round, or until the journal has ended.
    pub(crate) fn rest_from_marking(&self) {
        let marker = lock(&self.marker);
        if self.ended().is_none() {
            drop(self.marking.wait_timeout(marker, MARK_ROUND).map_err(PoisonError::into_inner));
        }
    }

    /// The durable position of the last mark.
    pub(crate) fn marked(&self) -> u64 {
        lock(&self.marker).mark().map_or(0, |mark| mark.durable)
    }

    fn write_mark(&self, marker: &mut Marker, durable: u64, limit: u64) -> io::Result<()> {
        let written_ms = self.clock.wall_ms();
        let Some(file) = &mut marker.file else { return Ok(()) };
        let mark = Mark { durable, limit, written_ms, ..file.mark };
        file.write(&*self.disk, mark)?;
        self.limit.store(limit, Ordering::Release);
        Ok(())
    }
}
