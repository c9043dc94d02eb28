//! A patient's usages, newest first, merged over the parts.

use fjall::Readable as _;
use usage::Instant;

use super::IndexError;
use super::part::Meta;
use super::rows::{patient_prefix, place, read_place, read_usage_value};
use super::snapshot::{PartView, View};

/// A usage as the index has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedUsage {
    /// Its place in the journal.
    pub seq: u64,
    /// The point in time that its timestamp names.
    pub instant: Instant,
    /// Its record.
    pub payload: Vec<u8>,
}

/// What is wanted of a patient's history.
pub(super) struct Wanted<'a> {
    pub(super) patient: &'a [u8],
    pub(super) from: Option<Instant>,
    pub(super) to: Option<Instant>,
    /// Only what is older than this place.
    pub(super) before: Option<(Instant, u64)>,
    pub(super) seq_below: u64,
}

impl Wanted<'_> {
    fn key(&self, instant: Instant, seq: u64) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.patient.len() + 18);
        patient_prefix(self.patient, &mut key);
        place(instant, seq, &mut key);
        key
    }

    /// The first key and the one past the last.
    fn range(&self) -> (Vec<u8>, Vec<u8>) {
        let first = self.key(self.from.unwrap_or(Instant::MIN), 0);
        let to = self.to.map_or((Instant::MAX, u64::MAX), |to| (to, 0));
        let (instant, seq) = self.before.map_or(to, |before| before.min(to));
        (first, self.key(instant, seq))
    }

    fn may_be_in(&self, meta: &Meta) -> bool {
        let newest = self.before.map(|(instant, _)| instant);
        self.from.is_none_or(|from| meta.last >= from)
            && self.to.is_none_or(|to| meta.first < to)
            && newest.is_none_or(|newest| meta.first <= newest)
    }
}

/// One part's rows, with the next one looked at.
struct Source {
    rows: std::iter::Rev<fjall::Iter>,
    next: IndexedUsage,
}

/// The merged history. Parts are opened as late as their instants allow.
pub(super) struct History<'a> {
    view: &'a View,
    wanted: Wanted<'a>,
    /// By last instant, the latest at the end.
    unopened: Vec<&'a PartView>,
    sources: Vec<Source>,
    failed: bool,
}

impl<'a> History<'a> {
    pub(super) fn new(view: &'a View, wanted: Wanted<'a>) -> Self {
        let mut unopened: Vec<_> =
            view.parts.iter().filter(|part| wanted.may_be_in(&part.meta)).collect();
        unopened.sort_by_key(|part| part.meta.last);
        Self { view, wanted, unopened, sources: Vec::new(), failed: false }
    }

    fn open(&mut self, part: &PartView) -> Result<(), IndexError> {
        let (first, end) = self.wanted.range();
        if first >= end {
            return Ok(());
        }
        let rows = self.view.fjall.range(&part.usages, first..end).rev();
        self.advance(rows)
    }

    /// Puts a part back among the sources with its next wanted row, if it has one.
    fn advance(&mut self, mut rows: std::iter::Rev<fjall::Iter>) -> Result<(), IndexError> {
        for row in rows.by_ref() {
            let (key, value) = row.into_inner()?;
            let (instant, seq) = read_place(&key)?;
            if seq < self.wanted.seq_below {
                let payload = read_usage_value(&value, self.wanted.patient)?;
                self.sources.push(Source { rows, next: IndexedUsage { seq, instant, payload } });
                break;
            }
        }
        Ok(())
    }

    fn newest(&self) -> Option<usize> {
        let place = |source: &Source| (source.next.instant, source.next.seq);
        (0..self.sources.len()).max_by_key(|index| place(&self.sources[*index]))
    }

    fn pull(&mut self) -> Result<Option<IndexedUsage>, IndexError> {
        loop {
            let newest = self.newest();
            let reached = newest.map(|index| self.sources[index].next.instant);
            // A part may hold something newer than what is open.
            if let Some(part) =
                self.unopened.pop_if(|part| reached.is_none_or(|reached| part.meta.last >= reached))
            {
                self.open(part)?;
                continue;
            }
            let Some(index) = newest else { return Ok(None) };
            let Source { rows, next } = self.sources.swap_remove(index);
            self.advance(rows)?;
            return Ok(Some(next));
        }
    }
}

impl Iterator for History<'_> {
    type Item = Result<IndexedUsage, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let pulled = self.pull();
        self.failed = pulled.is_err();
        pulled.transpose()
    }
}
