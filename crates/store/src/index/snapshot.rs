//! The index at one moment, and the questions it answers.

use std::ops::Range;
use std::sync::Arc;

use fjall::{Database, Keyspace, Readable as _};
use usage::{Instant, UsageId};

use super::IndexError;
use super::counting::KeptCounts;
use super::history::{History, IndexedUsage, Wanted};
use super::key_filter::KeyFilter;
use super::part::{Meta, Part};
use super::rows::{keyed, patient_prefix, place, read_seq, read_usage_value};

/// What all snapshots of one moment share.
pub(super) struct View {
    pub(super) fjall: fjall::Snapshot,
    pub(super) parts: Vec<PartView>,
    cursor: u64,
    counts_cursor: u64,
    pub(super) kept_counts: Arc<KeptCounts>,
}

/// A part at that moment.
pub(super) struct PartView {
    pub(super) meta: Meta,
    /// The last receipt in it and in all parts before it.
    received_ms_max: u64,
    pub(super) usages: Keyspace,
    keys: Keyspace,
    key_filter: Option<Arc<KeyFilter>>,
    pub(super) counts: Keyspace,
}

impl PartView {
    /// `false` if no usage of this part at this moment has the key.
    fn may_hold_key(&self, id: UsageId) -> bool {
        self.meta.keys_cursor > 0
            && self.key_filter.as_ref().is_none_or(|filter| filter.may_hold(id))
    }
}

impl View {
    pub(super) fn new(
        database: &Database,
        parts: &[Part],
        cursor: u64,
        kept_counts: Arc<KeptCounts>,
    ) -> Self {
        let counts_cursor = parts.last().map_or(cursor, |part| part.counts_cursor().max(cursor));
        let mut received_ms_max = 0;
        let parts = parts
            .iter()
            .map(|part| {
                let meta = known(part);
                received_ms_max = meta.received_ms_max.max(received_ms_max);
                PartView {
                    meta,
                    received_ms_max,
                    usages: part.usages.clone(),
                    keys: part.keys.clone(),
                    key_filter: part.key_filter.clone(),
                    counts: part.counts.clone(),
                }
            })
            .collect();
        Self { fjall: database.snapshot(), parts, cursor, counts_cursor, kept_counts }
    }
}

/// What a part knows of itself. Where its counts are ahead, those may be of any time: the first and
/// last instants come with the usages.
fn known(part: &Part) -> Meta {
    let meta = part.meta();
    if part.counts_cursor() > meta.cursor {
        return Meta { first: Instant::MIN, last: Instant::MAX, ..meta };
    }
    meta
}

/// The index after some whole run. Cheap to have; keep it no longer than a query takes.
pub struct Snapshot {
    pub(super) view: Arc<View>,
    /// Usages below are not counted.
    pub(super) kept_from: u64,
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

    /// The record of the usage with this sequence, if it is this patient's and of this instant.
    pub fn usage(
        &self,
        patient_id: &str,
        instant: Instant,
        seq: u64,
    ) -> Result<Option<Vec<u8>>, IndexError> {
        let patient = patient_id.as_bytes();
        let at = self.view.parts.partition_point(|part| part.meta.cursor <= seq);
        let Some(part) = self.view.parts.get(at) else { return Ok(None) };
        let mut key = Vec::new();
        patient_prefix(patient, &mut key);
        place(instant, seq, &mut key);
        let value = self.view.fjall.get(&part.usages, key)?;
        value.map(|value| read_usage_value(&value, patient)).transpose()
    }

    /// The parts that have usages received at `oldest_ms` or later, the newest first.
    fn since(&self, oldest_ms: u64) -> impl Iterator<Item = &PartView> {
        let parts = self.view.parts.iter().rev();
        parts
            .take_while(move |part| part.received_ms_max >= oldest_ms)
            .filter(move |part| part.meta.received_ms_max >= oldest_ms)
    }

    /// The sequence that was stored last under a keyed id and received at `oldest_ms` or later.
    /// Parts that ended before are not looked into; in those that are, older keys may be found.
    pub fn key(&self, id: UsageId, oldest_ms: u64) -> Result<Option<u64>, IndexError> {
        #[cfg(test)]
        super::fault::look();
        let key = keyed(id);
        for part in self.since(oldest_ms).filter(|part| part.may_hold_key(id)) {
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

    /// Whether memory alone shows that [`Snapshot::key`] finds nothing in `seqs`.
    pub fn rules_out(&self, id: UsageId, oldest_ms: u64, seqs: Range<u64>) -> bool {
        #[cfg(test)]
        super::fault::look();
        let within =
            |part: &&PartView| part.meta.cursor > seqs.start && part.meta.follows < seqs.end;
        !self.since(oldest_ms).filter(within).any(|part| part.may_hold_key(id))
    }

    /// Whether keys used below the sequence `below`, and received at `oldest_ms` or later, may be
    /// found.
    pub fn remembers_keys(&self, oldest_ms: u64, below: u64) -> bool {
        self.since(oldest_ms).any(|part| part.meta.keys_cursor > 0 && part.meta.follows < below)
    }

    /// Whether what is kept begins within this part, as far as can be told: where a part begins is
    /// known by the end of the one before it.
    pub(super) fn is_cut(&self, at: usize) -> bool {
        let begins = at.checked_sub(1).map_or(1, |before| self.view.parts[before].meta.cursor);
        begins < self.kept_from
    }
}
