//! Reads of single usages and of a patient's history.
//!
//! **A read misses nothing acknowledged before it began.** It looks in this order: the durable
//! position D, then the tail T with its first sequence F, then an index snapshot with cursor C.
//! - A batch is pushed into the tail before the durable position covers it, so T, taken after D,
//!   holds every frame from F to below D.
//! - The tail lets go of a frame only after the index has it, so a snapshot taken after T has
//!   every frame below F: C ≥ F. Where the tail had to drop frames that the index does not have
//!   (it failed, or is being rebuilt), C < F tells so, and the read is refused.
//! - Frames below C are taken from the snapshot, those from C to below D from the tail: each once.

use std::ops::Range;
use std::sync::Arc;

use journal::{Batch, FrameKind, OwnedFrame};
use usage::{IdKind, Instant, Record, RecordError, UsageId, record};

use crate::cursor::HistoryCursor;
use crate::error::ReadError;
use crate::index::IndexError;
use crate::query::{HistoryPage, HistoryQuery};
use crate::store::{Shared, Store};
use crate::stored::StoredUsage;
use crate::tail::View;

/// Rows looked at for one page at most. Where a filter lets so few through that more would be
/// needed, the page is short and its cursor leads on.
const PAGE_ROWS_MAX: usize = 20_000;

/// A frame, wherever it was found.
pub(crate) enum Frame {
    /// In the tail.
    Tail(Arc<Batch>, u64),
    /// In the journal's files.
    Disk(OwnedFrame),
}

impl Frame {
    fn kind_and_payload(&self) -> (FrameKind, &[u8]) {
        match self {
            Self::Tail(batch, seq) => {
                let frame = batch.get(*seq).expect("found in this batch");
                (frame.kind, frame.payload)
            }
            Self::Disk(frame) => (frame.kind, &frame.payload),
        }
    }

    /// The usage in it; an error when there is none.
    pub(crate) fn record(&self) -> Result<Record<'_>, NotUsage> {
        match self.kind_and_payload() {
            (FrameKind::Usage, payload) => record::decode(payload).map_err(NotUsage::Damaged),
            _ => Err(NotUsage::Other),
        }
    }
}

/// Why a frame is not a usage.
#[derive(Debug)]
pub(crate) enum NotUsage {
    /// It is of another kind.
    Other,
    /// Its record cannot be read.
    Damaged(RecordError),
}

impl Store {
    /// The usage with this id, if it is stored and durable. An id that this store did not make, or
    /// whose check bits are wrong, is answered like one that does not exist.
    pub fn receipt(&self, id: &UsageId) -> Result<Option<StoredUsage>, ReadError> {
        let shared = &*self.shared;
        let (seq, received_ms) = match id.kind() {
            IdKind::Plain { received_ms, store_number, seq, check: _ } => {
                let ours = store_number == shared.store_number && id.verify(&shared.secret);
                if !ours {
                    return Ok(None);
                }
                (seq, Some(received_ms))
            }
            IdKind::Keyed => match shared.seq_of_key(*id)? {
                Some(seq) => (seq, None),
                None => return Ok(None),
            },
            IdKind::Foreign => return Ok(None),
        };
        let Some(frame) = shared.frame(seq)? else { return Ok(None) };
        let record = match frame.record() {
            Ok(record) => record,
            Err(NotUsage::Other) => return Ok(None),
            Err(NotUsage::Damaged(error)) => return Err(shared.damaged(seq, &error)),
        };
        let is_it = match received_ms {
            Some(received_ms) => record.key.is_none() && record.received_ms == received_ms,
            None => record.key == Some(*id),
        };
        Ok(is_it.then(|| shared.stored(record, seq)))
    }

    /// A page of a patient's usages, newest first by (instant, sequence). All pages that one
    /// cursor leads to show the journal as the first page saw it. A page may be short, or even
    /// empty, and still lead on.
    pub fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, ReadError> {
        let shared = &*self.shared;
        let durable = shared.journal.durable();
        let (pinned, before) = match &query.cursor {
            None => (durable, None),
            Some(cursor)
                if cursor.belongs_to(query, &shared.secret) && cursor.pinned <= durable =>
            {
                (cursor.pinned, Some(cursor.last))
            }
            Some(_) => return Err(ReadError::Cursor),
        };
        let view = shared.tail.view();
        let snapshot = shared.slot.snapshot(view.first_seq)?;
        let indexed_end = snapshot.cursor().min(pinned);
        let filter = Filter { query, before, first_seq: shared.journal.first_seq() };

        let recent = shared.recent(&view, snapshot.cursor()..pinned, &filter)?;
        let patient_id = &query.patient_id;
        let older = snapshot.history(patient_id, query.from, query.to, before, indexed_end);
        let older = older.map(|row| row.map_err(|error| shared.index_failed(&error)));
        let mut page = Page { shared, query, pinned, usages: Vec::new(), rows: 0, last: None };
        let mut recent = recent.into_iter().peekable();
        let mut older = older.peekable();
        loop {
            if page.full() {
                let more = recent.peek().is_some() || older.peek().is_some();
                return Ok(page.finish(more));
            }
            let from_index = match (recent.peek(), older.peek()) {
                (None, None) => return Ok(page.finish(false)),
                (Some(_), None) => false,
                (None, Some(_)) => true,
                // An error sorts first, so that it is met.
                (Some((place, _)), Some(row)) => {
                    row.as_ref().map_or(true, |row| (row.instant, row.seq) > *place)
                }
            };
            if from_index {
                let row = older.next().expect("peeked")?;
                if filter.passes((row.instant, row.seq)) {
                    page.add((row.instant, row.seq), &row.payload)?;
                }
            } else {
                let (place, payload) = recent.next().expect("peeked");
                page.add(place, payload)?;
            }
        }
    }
}

type Place = (Instant, u64);

impl Shared {
    /// The places and records of what passes the filter among the tail's frames in `seqs`, newest
    /// first.
    fn recent<'a>(
        &self,
        view: &'a View,
        seqs: Range<u64>,
        filter: &Filter<'_>,
    ) -> Result<Vec<(Place, &'a [u8])>, ReadError> {
        let patient_id = &filter.query.patient_id;
        let tag = record::patient_tag(patient_id);
        let mut recent = Vec::new();
        let mut damaged = None;
        view.tagged(seqs.start, seqs.end, tag, |frame| {
            if frame.kind != FrameKind::Usage {
                return;
            }
            match record::peek(frame.payload) {
                Ok(peek) => {
                    let place = (peek.instant, frame.seq);
                    if peek.patient_id == patient_id.as_bytes() && filter.passes(place) {
                        recent.push((place, frame.payload));
                    }
                }
                Err(error) => damaged = Some(self.damaged(frame.seq, &error)),
            }
        });
        match damaged {
            Some(damaged) => Err(damaged),
            None => {
                recent.sort_unstable_by_key(|(place, _)| std::cmp::Reverse(*place));
                Ok(recent)
            }
        }
    }
}

/// What a place in a patient's history has to be like.
struct Filter<'a> {
    query: &'a HistoryQuery,
    before: Option<(Instant, u64)>,
    /// Retention has removed what is below.
    first_seq: u64,
}

impl Filter<'_> {
    fn passes(&self, place: (Instant, u64)) -> bool {
        place.1 >= self.first_seq
            && self.query.from.is_none_or(|from| place.0 >= from)
            && self.query.to.is_none_or(|to| place.0 < to)
            && self.before.is_none_or(|before| place < before)
    }
}

/// A page as it fills.
struct Page<'a> {
    shared: &'a Shared,
    query: &'a HistoryQuery,
    pinned: u64,
    usages: Vec<StoredUsage>,
    /// How many were looked at.
    rows: usize,
    /// The last one looked at.
    last: Option<(Instant, u64)>,
}

impl Page<'_> {
    fn full(&self) -> bool {
        self.usages.len() >= self.query.limit || self.rows >= PAGE_ROWS_MAX
    }

    fn add(&mut self, place: (Instant, u64), payload: &[u8]) -> Result<(), ReadError> {
        let record =
            record::decode(payload).map_err(|error| self.shared.damaged(place.1, &error))?;
        self.rows += 1;
        self.last = Some(place);
        let wanted = self.query.medication.as_deref();
        if wanted.is_none_or(|wanted| record.usage.medication == wanted) {
            self.usages.push(self.shared.stored(record, place.1));
        }
        Ok(())
    }

    fn finish(self, more: bool) -> HistoryPage {
        let last = self.last.filter(|_| more);
        let next =
            last.map(|last| HistoryCursor::new(self.query, self.pinned, last, &self.shared.secret));
        HistoryPage { usages: self.usages, next }
    }
}

impl Shared {
    /// The durable frame `seq`, if there is one.
    pub(crate) fn frame(&self, seq: u64) -> Result<Option<Frame>, ReadError> {
        let unproven = self.journal.is_unproven(seq);
        if seq >= self.journal.durable() {
            return if unproven { Err(ReadError::Unproven) } else { Ok(None) };
        }
        if let Some(batch) = self.tail.batch_of(seq) {
            return Ok(Some(Frame::Tail(batch, seq)));
        }
        match self.journal.read(seq) {
            Ok(frame) => Ok(Some(Frame::Disk(frame))),
            Err(journal::ReadError::NotYet) => Ok(None),
            Err(journal::ReadError::Expired) => Err(ReadError::Expired),
            Err(error) => Err(match (error.damage(), error) {
                (Some(place), _) => self.damages.found(place),
                (None, journal::ReadError::Io { source, .. }) => ReadError::Io(source),
                (None, other) => ReadError::Damaged(other.to_string()),
            }),
        }
    }

    /// The newest durable frame that used a key, whatever its age.
    fn seq_of_key(&self, id: UsageId) -> Result<Option<u64>, ReadError> {
        // Claims first, then the tail's beginning, then the index: the order that `crate::append`
        // argues for.
        let claim = self.claims.get(id);
        let durable = self.journal.durable();
        let claimed = claim.and_then(|claim| {
            let mut seqs = [Some(claim.seq), claim.before].into_iter().flatten();
            seqs.find(|seq| *seq < durable)
        });
        if claimed.is_some() {
            return Ok(claimed);
        }
        if claim.is_some_and(|claim| self.journal.is_unproven(claim.seq)) {
            return Err(ReadError::Unproven);
        }
        let snapshot = self.slot.snapshot(self.tail.first_seq())?;
        snapshot.key(id, 0).map_err(|error| self.index_failed(&error))
    }

    /// Says that the index cannot be read, and has it opened anew.
    pub(crate) fn index_failed(&self, error: &IndexError) -> ReadError {
        self.slot.fail(error);
        ReadError::IndexUnavailable
    }

    pub(crate) fn damaged(&self, seq: u64, error: &RecordError) -> ReadError {
        self.damages.found(format!("the record of sequence {seq}: {error}"))
    }

    /// The usage in `record` as it is read back.
    pub(crate) fn stored(&self, record: Record<'_>, seq: u64) -> StoredUsage {
        StoredUsage::new(record, seq, self.store_number, &self.secret)
    }

    /// The id of a usage without a key.
    pub(crate) fn plain_id(&self, received_ms: u64, seq: u64) -> UsageId {
        UsageId::plain(received_ms, self.store_number, seq, &self.secret)
    }
}
