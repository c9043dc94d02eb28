//! The index at one moment, for reads.

use std::sync::Arc;

use fjall::{Iter, Readable};
use usage::{Instant, UsageId};

use super::partition::Partition;
use super::rows::{ROW, parse_number, parse_place, patient_prefix, place};
use super::{DAY_MS, IndexError};

/// The index at one moment. Short-lived: while it exists, nothing it sees is removed from disk.
pub struct Snapshot {
    cursor: u64,
    pub(super) rows: fjall::Snapshot,
    /// Oldest first.
    pub(super) partitions: Vec<Arc<Partition>>,
}

/// A usage in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedUsage {
    /// When it happened.
    pub instant: Instant,
    /// Its sequence.
    pub seq: u64,
    /// The record.
    pub payload: fjall::UserValue,
}

impl Snapshot {
    pub(super) fn new(cursor: u64, rows: fjall::Snapshot, partitions: Vec<Arc<Partition>>) -> Self {
        Self { cursor, rows, partitions }
    }

    /// Every usage below is in the snapshot; some at or above it may be, too.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The newest usage that used a key and was received on the day of `oldest_ms` (milliseconds
    /// since 1970) or later.
    pub fn key(&self, id: UsageId, oldest_ms: u64) -> Result<Option<u64>, IndexError> {
        let mut key = [ROW; 17];
        key[1..].copy_from_slice(&id.to_bytes());
        let oldest_day = oldest_ms / DAY_MS;
        let mut newest = None;
        // All days and not just the newest that has it: the wall clock may have gone back.
        for partition in self.partitions.iter().filter(|partition| partition.day() >= oldest_day) {
            let Some(keys) = partition.keys() else { continue };
            let seq = self.rows.get(keys, key)?.map(|value| parse_number(&value));
            newest = newest.max(seq);
        }
        Ok(newest)
    }

    /// A patient's usages with sequences below `seq_below`, newest first by (instant, sequence),
    /// from `from` to below `to`, after the place `before` in that order.
    pub fn history(
        &self,
        patient_id: &str,
        from: Option<Instant>,
        to: Option<Instant>,
        before: Option<(Instant, u64)>,
        seq_below: u64,
    ) -> History {
        let mut prefix = Vec::new();
        patient_prefix(patient_id.as_bytes(), &mut prefix);
        let from = from.unwrap_or(Instant::MIN);
        // The first place to show is the first one after both bounds.
        let mut begin = prefix.clone();
        match (to, before) {
            (Some(to), Some(before)) if before.0 < to => place(before.0, before.1, &mut begin),
            // Nothing has the highest sequence, so this is before all usages of that instant, and
            // behind all later ones.
            (Some(to), _) => place(to, 0, &mut begin),
            (None, Some(before)) => place(before.0, before.1, &mut begin),
            (None, None) => {}
        }
        let latest = match (to, before) {
            (None, None) => Instant::MAX,
            (Some(to), None) => to,
            (None, Some(before)) => before.0,
            (Some(to), Some(before)) => to.min(before.0),
        };
        let overlaps = |partition: &&Arc<Partition>| {
            let extent = partition.extent();
            extent.last >= from && extent.first <= latest
        };
        let mut unopened: Vec<(Instant, Arc<Partition>)> = self
            .partitions
            .iter()
            .filter(overlaps)
            .map(|partition| (partition.extent().last.min(latest), Arc::clone(partition)))
            .collect();
        unopened.sort_by_key(|(last, _)| *last);
        History {
            rows: self.rows.clone(),
            prefix,
            begin,
            from,
            to,
            before,
            seq_below,
            unopened,
            open: Vec::new(),
            failed: false,
        }
    }
}

/// A patient's usages, newest first; see [`Snapshot::history`].
///
/// Merges the partitions, each opened only when the usages before it are through: most pages are
/// answered by one or two.
pub struct History {
    rows: fjall::Snapshot,
    prefix: Vec<u8>,
    begin: Vec<u8>,
    from: Instant,
    to: Option<Instant>,
    before: Option<(Instant, u64)>,
    seq_below: u64,
    /// By their last instants, ascending.
    unopened: Vec<(Instant, Arc<Partition>)>,
    open: Vec<(IndexedUsage, Iter)>,
    failed: bool,
}

impl History {
    /// The next row of a partition that is to be shown.
    fn advance(&self, iter: &mut Iter) -> Result<Option<IndexedUsage>, IndexError> {
        for row in iter {
            let (key, payload) = row.into_inner()?;
            if !key.starts_with(&self.prefix) {
                return Ok(None);
            }
            let (instant, seq) = parse_place(&key)?;
            if instant < self.from {
                return Ok(None);
            }
            let shown = seq < self.seq_below
                && self.to.is_none_or(|to| instant < to)
                && self.before.is_none_or(|before| (instant, seq) < before);
            if shown {
                return Ok(Some(IndexedUsage { instant, seq, payload }));
            }
        }
        Ok(None)
    }

    /// Opens every partition that may hold something newer than what is open.
    fn open_partitions(&mut self) -> Result<(), IndexError> {
        while let Some((last, _)) = self.unopened.last() {
            let newest = self.open.iter().map(|(usage, _)| usage.instant).max();
            if newest.is_some_and(|newest| newest > *last) {
                break;
            }
            let (_, partition) = self.unopened.pop().expect("there is a last");
            let mut iter = self.rows.range(&partition.usages, self.begin.as_slice()..);
            if let Some(first) = self.advance(&mut iter)? {
                self.open.push((first, iter));
            }
        }
        Ok(())
    }

    fn try_next(&mut self) -> Result<Option<IndexedUsage>, IndexError> {
        self.open_partitions()?;
        let newest = |(usage, _): &(IndexedUsage, Iter)| (usage.instant, usage.seq);
        let Some(at) = (0..self.open.len()).max_by_key(|at| newest(&self.open[*at])) else {
            return Ok(None);
        };
        let (usage, mut iter) = self.open.swap_remove(at);
        if let Some(following) = self.advance(&mut iter)? {
            self.open.push((following, iter));
        }
        Ok(Some(usage))
    }
}

impl Iterator for History {
    type Item = Result<IndexedUsage, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.try_next();
        self.failed = next.is_err();
        next.transpose()
    }
}
