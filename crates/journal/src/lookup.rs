//! Reading one frame by its sequence: a sparse table from sequence to offset for each raw segment,
//! built as far as it is needed, in a bounded cache.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::error::ReadError;
use crate::format::{HEADER_PAGE_BYTES, OwnedFrame, SegmentKind};
use crate::ledger::Place;
use crate::limits::{LOOKUP_SEGMENTS_MAX, LOOKUP_STEP_BYTES, LOOKUP_WINDOW_BYTES};
use crate::packed::{Packed, open_for_reading};
use crate::reader::{RawReader, open_place};
use crate::shared::{Shared, lock};

/// The segments that were looked into lately, the latest last.
#[derive(Default)]
pub(crate) struct Lookups {
    entries: Vec<Entry>,
}

struct Entry {
    number: u64,
    kind: SegmentKind,
    lookup: Arc<Mutex<Lookup>>,
}

enum Lookup {
    Raw(Table),
    Packed(Packed),
}

/// Batch starts of one raw segment, at least [`LOOKUP_STEP_BYTES`] apart.
struct Table {
    starts: Vec<(u64, u32)>,
    /// Stands behind the last batch that was seen.
    reader: RawReader,
    /// Whether no batch was found behind the damage where `reader` stands.
    ends_in_damage: bool,
}

impl Lookups {
    fn get(&mut self, number: u64, kind: SegmentKind) -> Option<Arc<Mutex<Lookup>>> {
        let index = self.entries.iter().position(|e| e.number == number && e.kind == kind)?;
        let entry = self.entries.remove(index);
        let lookup = entry.lookup.clone();
        self.entries.push(entry);
        Some(lookup)
    }

    fn insert(&mut self, entry: Entry) {
        // Another thread may have been faster, and a compressed segment replaces the raw one.
        self.entries.retain(|kept| kept.number != entry.number);
        if self.entries.len() >= LOOKUP_SEGMENTS_MAX {
            self.entries.remove(0);
        }
        self.entries.push(entry);
    }

    /// Forgets a segment whose file was replaced.
    pub(crate) fn forget(&mut self, number: u64) {
        self.entries.retain(|entry| entry.number != number);
    }

    /// Forgets segments that are gone.
    pub(crate) fn forget_below(&mut self, number: u64) {
        self.entries.retain(|entry| entry.number >= number);
    }
}

impl Table {
    /// The offset and first sequence of a batch at or before the one that holds `seq`.
    fn start_for(&mut self, seq: u64, place: &Place) -> Result<(u64, u64), ReadError> {
        while self.reader.at.seq <= seq {
            let (at, first_seq) = (self.reader.at.offset, self.reader.at.seq);
            let header = match self.reader.peek(place) {
                Ok(header) => header,
                Err(damaged @ ReadError::Damaged { .. }) => {
                    self.pass_damage(place, seq, damaged)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let far = self
                .starts
                .last()
                .is_none_or(|&(_, last)| at - u64::from(last) >= LOOKUP_STEP_BYTES);
            if far {
                let at = u32::try_from(at).expect("segments are below 4 GiB");
                self.starts.push((first_seq, at));
            }
            self.reader.pass(&header);
        }
        self.reader.rest();
        let after = self.starts.partition_point(|&(first_seq, _)| first_seq <= seq);
        match after.checked_sub(1).map(|before| self.starts[before]) {
            Some((first_seq, offset)) => Ok((u64::from(offset), first_seq)),
            None => Err(ReadError::Damaged {
                segment: place.header.number,
                offset: HEADER_PAGE_BYTES as u64,
                seq,
                why: "the segment's first batch is damaged".to_owned(),
            }),
        }
    }
}

impl Table {
    /// Goes on behind `damage` with the next batch of the segment, so that what is intact there can be
    /// read. The error again if that batch is past `seq` or there is none.
    fn pass_damage(&mut self, place: &Place, seq: u64, damage: ReadError) -> Result<(), ReadError> {
        if self.ends_in_damage {
            return Err(damage);
        }
        let Some((offset, first_seq)) = self.reader.next_batch_behind(place)? else {
            // More may follow in the active segment, so it is looked for again there.
            self.ends_in_damage = place.active.is_none();
            return Err(damage);
        };
        self.reader.start_at(offset, first_seq);
        let at = u32::try_from(offset).expect("segments are below 4 GiB");
        self.starts.push((first_seq, at));
        if first_seq > seq { Err(damage) } else { Ok(()) }
    }
}

impl Shared {
    /// Reads one durable frame.
    pub(crate) fn read(&self, seq: u64) -> Result<OwnedFrame, ReadError> {
        match self.read_once(seq) {
            Err(ReadError::Damaged { .. } | ReadError::Io { .. })
                if seq < self.first_seq.load(Ordering::SeqCst) =>
            {
                Err(ReadError::Expired)
            }
            outcome => outcome,
        }
    }

    fn read_once(&self, seq: u64) -> Result<OwnedFrame, ReadError> {
        if seq >= self.durable.load(Ordering::SeqCst) || seq == 0 {
            return Err(ReadError::NotYet);
        }
        if seq < self.first_seq.load(Ordering::SeqCst) {
            return Err(ReadError::Expired);
        }
        let place = self.ledger().locate(seq).ok_or(ReadError::Expired)?;
        let lookup = self.lookup(&place)?;
        let mut lookup = lock(&lookup);
        let batch = match &mut *lookup {
            Lookup::Packed(packed) => packed.batch_with(seq)?,
            Lookup::Raw(table) => {
                let (offset, first_seq) = table.start_for(seq, &place)?;
                let mut reader = table.reader.at_same_file(offset, first_seq);
                // Only this one batch is read, so others may look into the segment meanwhile.
                drop(lookup);
                loop {
                    let header = reader.peek(&place)?;
                    if header.end_seq() > seq {
                        break reader.take(&header, &place)?;
                    }
                    reader.pass(&header);
                }
            }
        };
        batch.get(seq).map(OwnedFrame::from).ok_or_else(|| ReadError::Damaged {
            segment: place.header.number,
            offset: 0,
            seq,
            why: "the frame is not where the segment's table says".to_owned(),
        })
    }

    /// Where a reader of a raw segment that begins at `seq` may start.
    pub(crate) fn lookup_start(
        &self,
        place: &Place,
        seq: u64,
    ) -> Result<Option<(u64, u64)>, ReadError> {
        let lookup = self.lookup(place)?;
        let mut lookup = lock(&lookup);
        match &mut *lookup {
            Lookup::Raw(table) => table.start_for(seq, place).map(Some),
            Lookup::Packed(_) => Ok(None),
        }
    }

    fn lookup(&self, place: &Place) -> Result<Arc<Mutex<Lookup>>, ReadError> {
        let (number, kind) = (place.header.number, place.header.kind);
        if let Some(lookup) = lock(&self.lookups).get(number, kind) {
            return Ok(lookup);
        }
        let (file, header) = open_place(self, place)?;
        let kind = header.kind;
        let lookup = match kind {
            SegmentKind::Compressed => {
                Lookup::Packed(open_for_reading(file, &header, place.end_seq)?)
            }
            SegmentKind::Raw => {
                let reader = RawReader::new(header, file, LOOKUP_WINDOW_BYTES);
                Lookup::Raw(Table { starts: Vec::new(), reader, ends_in_damage: false })
            }
        };
        let lookup = Arc::new(Mutex::new(lookup));
        lock(&self.lookups).insert(Entry { number, kind, lookup: lookup.clone() });
        Ok(lookup)
    }
}
