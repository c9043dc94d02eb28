//! Reading one frame by its sequence: a sparse table from sequence to offset for each raw segment,
//! built as far as it is needed, in a bounded cache.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::error::ReadError;
use crate::format::{OwnedFrame, SegmentKind};
use crate::ledger::Place;
use crate::limits::{LOOKUP_SEGMENTS_MAX, LOOKUP_STEP_BYTES, LOOKUP_WINDOW_BYTES};
use crate::packed::Packed;
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
            let header = self.reader.peek(place)?;
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
        let (first_seq, offset) = self.starts[after.saturating_sub(1)];
        Ok((u64::from(offset), first_seq))
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
            SegmentKind::Compressed => Lookup::Packed(Packed::open(file, &header)?),
            SegmentKind::Raw => {
                let reader = RawReader::new(header, file, LOOKUP_WINDOW_BYTES);
                Lookup::Raw(Table { starts: Vec::new(), reader })
            }
        };
        let lookup = Arc::new(Mutex::new(lookup));
        lock(&self.lookups).insert(Entry { number, kind, lookup: lookup.clone() });
        Ok(lookup)
    }
}
