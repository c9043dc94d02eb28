//! A tailing reader: durable batches in order, from raw and compressed segments alike.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk::File;
use crate::error::ReadError;
use crate::format::{BATCH_HEADER_BYTES, Batch, BatchHeader, SegmentHeader, SegmentKind};
use crate::ledger::Place;
use crate::limits::READ_WINDOW_BYTES;
use crate::packed::{Packed, open_for_reading};
use crate::scan::{Expected, RawSegment, check_place, read_header};
use crate::shared::Shared;

/// A tailing reader; see [`Journal::reader`](crate::Journal::reader).
pub struct Reader {
    shared: Arc<Shared>,
    next_seq: u64,
    source: Option<Source>,
}

enum Source {
    Raw(RawReader),
    Packed { number: u64, packed: Packed },
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, from_seq: u64) -> Self {
        Self { shared, next_seq: from_seq, source: None }
    }

    /// The sequence that the next batch begins with.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Goes on at `seq`.
    pub fn seek(&mut self, seq: u64) {
        self.next_seq = seq;
        self.source = None;
    }

    /// The next durable frames, as one batch that begins with [`Reader::next_seq`], or `None` when
    /// there are none yet. After an error the next call tries the same place again.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, ReadError> {
        let durable = self.shared.durable.load(Ordering::SeqCst);
        if self.next_seq >= durable {
            return Ok(None);
        }
        let batch = match self.read(self.next_seq) {
            Ok(batch) => batch,
            Err(error) => {
                self.source = None;
                // Retention may have overtaken this reader between two steps.
                let expired = self.next_seq < self.shared.first_seq.load(Ordering::SeqCst);
                return Err(if expired { ReadError::Expired } else { error });
            }
        };
        self.next_seq = batch.end_seq();
        Ok(Some(batch))
    }

    fn read(&mut self, seq: u64) -> Result<Batch, ReadError> {
        if seq < self.shared.first_seq.load(Ordering::SeqCst) {
            return Err(ReadError::Expired);
        }
        let place = self.shared.ledger().locate(seq).ok_or(ReadError::Expired)?;
        let number = place.header.number;
        // A raw source stays good when its file is compressed meanwhile: the old one stays open.
        let usable = match &self.source {
            Some(Source::Raw(raw)) => raw.header.number == number && raw.at.seq <= seq,
            Some(Source::Packed { number: open, .. }) => *open == number,
            None => false,
        };
        if !usable {
            self.source = Some(self.open(&place, seq)?);
        }
        let batch = match self.source.as_mut().expect("opened just above") {
            Source::Raw(raw) => raw.batch_with(seq, &place)?,
            Source::Packed { packed, .. } => packed.batch_with(seq)?,
        };
        Ok(batch.starting_at(seq))
    }

    fn open(&self, place: &Place, seq: u64) -> Result<Source, ReadError> {
        let (file, header) = open_place(&self.shared, place)?;
        if header.kind == SegmentKind::Compressed {
            let number = header.number;
            let packed = open_for_reading(file, &header, place.end_seq)?;
            return Ok(Source::Packed { number, packed });
        }
        let mut raw = RawReader::new(header, file, READ_WINDOW_BYTES);
        if seq > place.header.first_seq
            && let Some((offset, first_seq)) = self.shared.lookup_start(place, seq)?
        {
            raw.start_at(offset, first_seq);
        }
        Ok(Source::Raw(raw))
    }
}

/// The file of a segment and the header that really stands in it: a segment may be compressed
/// between the look at the ledger and the opening.
pub(crate) fn open_place(
    shared: &Shared,
    place: &Place,
) -> Result<(Arc<dyn File>, Arc<SegmentHeader>), ReadError> {
    if let Some((file, _)) = &place.active {
        return Ok((file.clone(), place.header.clone()));
    }
    let segment = place.header.number;
    let io = |source| ReadError::Io { segment, source };
    let damaged = |why: &str| ReadError::Damaged {
        segment,
        offset: 0,
        seq: place.header.first_seq,
        why: why.to_owned(),
    };
    let file = shared.disk.open(&place.header.file_name()).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => damaged("its file is missing"),
        _ => io(error),
    })?;
    let header = read_header(&*file).map_err(io)?.map_err(|why| damaged(&why.to_string()))?;
    let expected = SegmentHeader { kind: header.kind, ..(*place.header).clone() };
    if header != expected {
        return Err(damaged("the header page is that of another segment"));
    }
    Ok((Arc::from(file), Arc::new(header)))
}

/// Raises `newest_ms` to the newest time of a commit recorded in a sealed segment, or of those up to
/// the first damage.
pub(crate) fn newest_commit_ms(
    shared: &Shared,
    place: &Place,
    newest_ms: &mut u64,
) -> Result<(), ReadError> {
    let (file, header) = open_place(shared, place)?;
    if header.kind == SegmentKind::Compressed {
        *newest_ms = Packed::open(file, &header)?.committed_ms_max().max(*newest_ms);
        return Ok(());
    }
    let end_seq = place.end_seq.unwrap_or(header.first_seq);
    let mut raw = RawReader::new(header, file, READ_WINDOW_BYTES);
    while raw.at.seq < end_seq {
        let batch = raw.peek(place)?;
        *newest_ms = batch.committed_ms.max(*newest_ms);
        raw.pass(&batch);
    }
    Ok(())
}

/// Reads a raw segment's batches in order through a window of memory.
pub(crate) struct RawReader {
    pub(crate) header: Arc<SegmentHeader>,
    file: Arc<dyn File>,
    pub(crate) at: Expected,
    /// Whether `at.chain` is known; it is not after a start in the middle.
    chained: bool,
    window: Vec<u8>,
    window_at: u64,
    window_bytes: usize,
}

impl RawReader {
    pub(crate) fn new(
        header: Arc<SegmentHeader>,
        file: Arc<dyn File>,
        window_bytes: usize,
    ) -> Self {
        let at = Expected::first(&header);
        let (window, window_at) = (Vec::new(), 0);
        Self { header, file, at, chained: true, window, window_at, window_bytes }
    }

    /// Gives the window's memory back until it is needed again.
    pub(crate) fn rest(&mut self) {
        self.window = Vec::new();
    }

    /// Another reader of the same file, starting at a batch in its middle.
    pub(crate) fn at_same_file(&self, offset: u64, first_seq: u64) -> Self {
        let mut reader = Self::new(self.header.clone(), self.file.clone(), self.window_bytes);
        reader.start_at(offset, first_seq);
        reader
    }

    /// Starts at a batch in the middle of the segment.
    pub(crate) fn start_at(&mut self, offset: u64, first_seq: u64) {
        self.at = Expected { offset, seq: first_seq, chain: 0 };
        self.chained = false;
    }

    /// Goes forward to the batch that holds `seq`, and past it.
    fn batch_with(&mut self, seq: u64, place: &Place) -> Result<Batch, ReadError> {
        loop {
            let header = self.peek(place)?;
            if header.end_seq() > seq {
                let batch = self.take(&header, place)?;
                self.pass(&header);
                return Ok(batch);
            }
            self.pass(&header);
        }
    }

    /// The header of the batch at the current place, checked against the place.
    pub(crate) fn peek(&mut self, place: &Place) -> Result<BatchHeader, ReadError> {
        if place.end_seq.is_some_and(|end| self.at.seq >= end) {
            return Err(self.damaged("the segment ends before the sequence that is sought"));
        }
        let offset = self.at.offset;
        let header = BatchHeader::parse(self.bytes(offset, BATCH_HEADER_BYTES, place)?)
            .map_err(|error| self.damaged(&error.to_string()))?;
        let mut expected = self.at;
        if !self.chained {
            expected.chain = header.prev_chain;
        }
        check_place(&self.header, &expected, &header).map_err(|why| self.damaged(why))?;
        if place.end_seq.is_some_and(|end| header.end_seq() > end) {
            return Err(self.damaged("the batch reaches into the next segment's sequences"));
        }
        Ok(header)
    }

    /// Where the next batch of this segment behind the current place stands and its first sequence. A
    /// batch is known by its header, which holds a salt that no client has seen.
    pub(crate) fn next_batch_behind(&self, place: &Place) -> Result<Option<(u64, u64)>, ReadError> {
        let io = |source| ReadError::Io { segment: self.header.number, source };
        let limit = self.limit(place).min(self.file.len().map_err(io)?);
        let mut bytes = vec![0; usize::try_from(limit).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, 0).map_err(io)?;
        let seqs = self.at.seq..place.end_seq.unwrap_or(u64::MAX);
        let segment = RawSegment::new(&self.header, &bytes);
        let next =
            segment.headers(self.at.offset + 1).find(|(_, found)| seqs.contains(&found.first_seq));
        Ok(next.map(|(offset, found)| (offset, found.first_seq)))
    }

    /// The batch whose header was peeked.
    pub(crate) fn take(&mut self, header: &BatchHeader, place: &Place) -> Result<Batch, ReadError> {
        let from = self.at.offset + BATCH_HEADER_BYTES as u64;
        let payload: Box<[u8]> = self.bytes(from, header.bytes as usize, place)?.into();
        if crc32c::crc32c(&payload) != header.payload_crc {
            return Err(self.damaged("the batch payload's checksum fails"));
        }
        let batch = Batch::from_payload(header.first_seq, header.committed_ms, payload)
            .map_err(|error| self.damaged(&error.to_string()))?;
        if batch.len() != header.frames as usize {
            return Err(self.damaged("the batch holds another number of frames than it says"));
        }
        Ok(batch)
    }

    /// Goes past the batch whose header was peeked.
    pub(crate) fn pass(&mut self, header: &BatchHeader) {
        self.at = self.at.after(header);
        self.chained = true;
    }

    /// `len` bytes at `offset`, through the window. In the active segment nothing past the durable
    /// offset is ever kept: it may be half written.
    fn bytes(&mut self, offset: u64, len: usize, place: &Place) -> Result<&[u8], ReadError> {
        let window_end = self.window_at + self.window.len() as u64;
        let end = offset + len as u64;
        if offset < self.window_at || end > window_end {
            let limit = self.limit(place);
            if end > limit {
                return Err(self.damaged("a batch reaches past the end of the segment"));
            }
            let wanted = usize::try_from(limit - offset).unwrap_or(usize::MAX);
            self.window.resize(wanted.min(self.window_bytes.max(len)), 0);
            self.window_at = offset;
            let read = self.file.read_exact_at(&mut self.window, offset).or_else(|_| {
                // What is asked for may be there though what follows it is not.
                self.window.truncate(len);
                self.file.read_exact_at(&mut self.window, offset)
            });
            if let Err(source) = read {
                self.window.clear();
                return Err(match source.kind() {
                    io::ErrorKind::UnexpectedEof => self.damaged("the file ends too early"),
                    _ => ReadError::Io { segment: self.header.number, source },
                });
            }
        }
        let start = usize::try_from(offset - self.window_at).expect("the window is in memory");
        Ok(&self.window[start..start + len])
    }

    /// The offset in the file up to which there may be durable batches.
    fn limit(&self, place: &Place) -> u64 {
        place
            .active
            .as_ref()
            .map_or(self.header.segment_bytes, |(_, durable_offset)| *durable_offset)
    }

    fn damaged(&self, why: &str) -> ReadError {
        ReadError::Damaged {
            segment: self.header.number,
            offset: self.at.offset,
            seq: self.at.seq,
            why: why.to_owned(),
        }
    }
}
