//! The index at one moment, and the questions it answers.

use std::sync::Arc;

use fjall::{Database, Keyspace, Readable as _};
use usage::{Instant, UsageId};

use super::counts::{QUARTER_SECONDS, quarter_key, read_row};
use super::history::{History, IndexedUsage, Wanted};
use super::key_filter::KeyFilter;
use super::part::{Meta, Part};
use super::rows::{OWN_ROW, key_patient, keyed, read_place, read_seq, read_usage_value};
use super::{IndexError, peek};

/// What all snapshots of one moment share.
pub(super) struct View {
    pub(super) fjall: fjall::Snapshot,
    pub(super) parts: Vec<PartView>,
    cursor: u64,
    counts_cursor: u64,
}

/// A part at that moment.
pub(super) struct PartView {
    pub(super) meta: Meta,
    pub(super) usages: Keyspace,
    keys: Keyspace,
    key_filter: Option<Arc<KeyFilter>>,
    counts: Keyspace,
}

impl PartView {
    /// `false` if no usage of this part at this moment has the key.
    fn may_hold_key(&self, id: UsageId) -> bool {
        self.meta.keys_cursor > 0
            && self.key_filter.as_ref().is_none_or(|filter| filter.may_hold(id))
    }
}

impl View {
    pub(super) fn new(database: &Database, parts: &[Part], cursor: u64) -> Self {
        let counts_cursor = parts.last().map_or(cursor, |part| part.counts_cursor().max(cursor));
        let parts = parts
            .iter()
            .map(|part| PartView {
                meta: part.meta(),
                usages: part.usages.clone(),
                keys: part.keys.clone(),
                key_filter: part.key_filter.clone(),
                counts: part.counts.clone(),
            })
            .collect();
        Self { fjall: database.snapshot(), parts, cursor, counts_cursor }
    }
}

/// The index after some whole run. Cheap to have; keep it no longer than a query takes.
pub struct Snapshot {
    view: Arc<View>,
    /// Usages below are not counted.
    kept_from: u64,
}

impl Snapshot {
    pub(super) fn new(view: Arc<View>) -> Self {
        Self { view, kept_from: 0 }
    }

    /// Leaves usages below `first_seq`, the oldest that the journal keeps, out of the counts. The
    /// part in which it lies, whose counts hold both kinds, is counted row by row from then on.
    #[must_use]
    pub fn kept_from(self, first_seq: u64) -> Self {
        Self { kept_from: first_seq, ..self }
    }

    /// Exactly the usages below this sequence are seen.
    pub fn cursor(&self) -> u64 {
        self.view.cursor
    }

    /// Exactly the usages below this sequence are in the counts: after a crash between two
    /// keyspaces of a run, and until that run is applied again, more than are in the rest.
    pub fn counts_cursor(&self) -> u64 {
        match self.view.parts.len().checked_sub(1) {
            Some(last) if self.is_cut(last) => self.view.cursor,
            _ => self.view.counts_cursor,
        }
    }

    /// A patient's usages, newest first by (instant, sequence): not before `from`, before `to`,
    /// older than `before`, and of those only the ones below the sequence `seq_below`.
    pub fn history<'a>(
        &'a self,
        patient_id: &'a str,
        from: Option<Instant>,
        to: Option<Instant>,
        before: Option<(Instant, u64)>,
        seq_below: u64,
    ) -> impl Iterator<Item = Result<IndexedUsage, IndexError>> + 'a {
        let patient = patient_id.as_bytes();
        History::new(&self.view, Wanted { patient, from, to, before, seq_below })
    }

    /// The sequence that was stored last under a keyed id and received at `oldest_ms` or later.
    /// Parts that ended before are not looked into; in those that are, older keys may be found.
    pub fn key(&self, id: UsageId, oldest_ms: u64) -> Result<Option<u64>, IndexError> {
        let key = keyed(id);
        for part in self.view.parts.iter().rev() {
            if part.meta.received_ms_max < oldest_ms || !part.may_hold_key(id) {
                continue;
            }
            if let Some(value) = self.view.fjall.get(&part.keys, key)? {
                let seq = read_seq(&value)?;
                // One that is not yet in this moment's usages is found in the tail.
                if seq < self.view.cursor {
                    return Ok(Some(seq));
                }
            }
        }
        Ok(None)
    }

    /// Counts usages not before `from` and before `to`, each exactly. Calls `each` with an instant
    /// of the quarter of an hour in question, a medication and a count, in no particular order, as
    /// long as it returns `true`. Quarters that the bounds cut through are counted row by row.
    pub fn counts(
        &self,
        from: Option<Instant>,
        to: Option<Instant>,
        each: &mut dyn FnMut(Instant, &[u8], u64) -> bool,
    ) -> Result<(), IndexError> {
        let first_whole = from.map(ceil_quarter);
        let end_whole = to.map(|to| to.seconds().div_euclid(QUARTER_SECONDS));
        for (at, part) in self.view.parts.iter().enumerate() {
            if part.meta.cursor <= self.kept_from {
                continue;
            }
            if from.is_some_and(|from| part.meta.last < from)
                || to.is_some_and(|to| part.meta.first >= to)
            {
                continue;
            }
            if self.is_cut(at) {
                let within = |instant: Instant| {
                    from.is_none_or(|from| instant >= from) && to.is_none_or(|to| instant < to)
                };
                if !self.row_by_row(part, &within, each)? {
                    return Ok(());
                }
                continue;
            }
            let cut = |bound: Instant| {
                let quarter = bound.seconds().div_euclid(QUARTER_SECONDS);
                let begins = bound.nanos() == 0 && bound.seconds() == quarter * QUARTER_SECONDS;
                let (start, end) = (quarter * QUARTER_SECONDS, (quarter + 1) * QUARTER_SECONDS);
                !begins && part.meta.last.seconds() >= start && part.meta.first.seconds() < end
            };
            if !self.whole_quarters(part, first_whole, end_whole, each)? {
                return Ok(());
            }
            if from.is_some_and(cut) || to.is_some_and(cut) {
                let in_cut_quarter = |instant: Instant| {
                    let quarter = instant.seconds().div_euclid(QUARTER_SECONDS);
                    from.is_none_or(|from| instant >= from)
                        && to.is_none_or(|to| instant < to)
                        && (first_whole.is_some_and(|first| quarter < first)
                            || end_whole.is_some_and(|end| quarter >= end))
                };
                if !self.row_by_row(part, &in_cut_quarter, each)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether what is kept begins within this part, as far as can be told: where a part begins is
    /// known by the end of the one before it.
    fn is_cut(&self, at: usize) -> bool {
        let begins = at.checked_sub(1).map_or(1, |before| self.view.parts[before].meta.cursor);
        begins < self.kept_from
    }

    fn whole_quarters(
        &self,
        part: &PartView,
        first: Option<i64>,
        end: Option<i64>,
        each: &mut dyn FnMut(Instant, &[u8], u64) -> bool,
    ) -> Result<bool, IndexError> {
        let floor = |instant: Instant| instant.seconds().div_euclid(QUARTER_SECONDS);
        let first = first.unwrap_or_else(|| floor(part.meta.first));
        let end = end.unwrap_or_else(|| floor(part.meta.last) + 1);
        if first >= end {
            return Ok(true);
        }
        for row in self.view.fjall.range(&part.counts, quarter_key(first)..quarter_key(end)) {
            let (key, value) = row.into_inner()?;
            let count = read_row(&key, &value)?;
            let start = Instant::from_parts(count.quarter * QUARTER_SECONDS, 0)
                .ok_or(IndexError::Damaged("a count's quarter is out of range"))?;
            if !each(start, &count.medication, count.count) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn row_by_row(
        &self,
        part: &PartView,
        wanted: &dyn Fn(Instant) -> bool,
        each: &mut dyn FnMut(Instant, &[u8], u64) -> bool,
    ) -> Result<bool, IndexError> {
        let after_own_row = [OWN_ROW[0] + 1];
        for row in self.view.fjall.range(&part.usages, after_own_row..) {
            let (key, value) = row.into_inner()?;
            let (instant, seq) = read_place(&key)?;
            if seq >= self.kept_from && wanted(instant) {
                let payload = read_usage_value(&value, key_patient(&key)?)?;
                if !each(instant, peek(&payload)?.medication, 1) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// The first quarter that begins at or after `instant`.
fn ceil_quarter(instant: Instant) -> i64 {
    let seconds = instant.seconds() + i64::from(instant.nanos() > 0);
    -(-seconds).div_euclid(QUARTER_SECONDS)
}
