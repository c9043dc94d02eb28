//! Reading all that can be read of one segment, damaged or not: whole batches or blocks in order,
//! and the places in between. Shared by check and repair.

use std::sync::Arc;

use crate::compress::{Packed, after_footer, find_blocks, footer_end_seq};
use crate::disk::File;
use crate::format::{
    BATCH_HEADER_BYTES, Batch, BatchHeader, FRAME_HEADER_BYTES, HEADER_PAGE_BYTES, SegmentHeader,
    SegmentKind,
};
use crate::scan::{Expected, RawSegment};

/// Something found in a segment, in the order of the file.
pub(crate) enum Piece {
    /// Frames whose every checksum holds.
    Whole {
        /// The frames.
        batch: Batch,
        /// Where what follows them begins.
        end: u64,
    },
    /// Bytes in front of more whole frames that are none.
    Damaged { offset: u64, bytes: u64, why: String },
    /// Bytes behind the last whole frames, with nothing after them. Everything below `seq` was
    /// durable.
    Torn { offset: u64, bytes: u64, seq: u64 },
}

/// One segment file in memory, with a header that holds or was guessed.
pub(crate) struct Salvage<'a> {
    pub(crate) header: SegmentHeader,
    /// The checksum of the header page as it was written.
    page_crc: u32,
    pub(crate) header_whole: bool,
    bytes: &'a [u8],
}

impl<'a> Salvage<'a> {
    /// A segment whose header page is whole.
    pub(crate) fn new(header: SegmentHeader, bytes: &'a [u8]) -> Self {
        Self { page_crc: header.page_crc(), header, header_whole: true, bytes }
    }

    /// A segment whose header page is damaged. `template` is the header of a neighbour: the store
    /// is the same, the salt may be. `None` when nothing of the segment can be believed.
    pub(crate) fn guess(template: &SegmentHeader, bytes: &'a [u8]) -> Option<Self> {
        Self::guess_raw(template, bytes).or_else(|| Self::guess_compressed(template, bytes))
    }

    fn guess_raw(template: &SegmentHeader, bytes: &'a [u8]) -> Option<Self> {
        // Where the first batch stands no client's bytes can be, so its salt is the segment's.
        let first = bytes.get(HEADER_PAGE_BYTES..HEADER_PAGE_BYTES + BATCH_HEADER_BYTES);
        let first = first.and_then(|head| BatchHeader::parse(head).ok());
        let mut header = SegmentHeader { kind: SegmentKind::Raw, ..template.clone() };
        header.segment_bytes = bytes.len() as u64;
        match first {
            Some(first) => (header.salt, header.epoch) = (first.salt, first.epoch),
            // A template without a salt: anybody could have written what would be found by it.
            None if template.salt == 0 => return None,
            None => {}
        }
        let found = RawSegment::new(&header, bytes).find_batch(HEADER_PAGE_BYTES as u64)?.header;
        // The first one's header is enough to know where the segment begins.
        let found = first.unwrap_or(found);
        header.first_seq = found.first_seq;
        Some(Self { page_crc: found.prev_chain, header, header_whole: false, bytes })
    }

    fn guess_compressed(template: &SegmentHeader, bytes: &'a [u8]) -> Option<Self> {
        let (page, _) = bytes.split_at_checked(HEADER_PAGE_BYTES)?;
        let (content, stored) = page.split_last_chunk::<4>()?;
        // Either the content or the checksum of the page is damaged; the other gives the value
        // that the blocks' own checksums begin with.
        [u32::from_le_bytes(*stored), crc32c::crc32c(content)].into_iter().find_map(|page_crc| {
            let blocks = find_blocks(bytes, page_crc);
            let first_seq = blocks.first()?.2.first_seq();
            let kind = SegmentKind::Compressed;
            let header = SegmentHeader { kind, first_seq, ..template.clone() };
            Some(Self { page_crc, header, header_whole: false, bytes })
        })
    }

    /// Everything below `limit`, the first sequence of the next segment. Whole frames come in the
    /// order of their sequences, none twice.
    pub(crate) fn pieces(&self, limit: u64) -> Vec<Piece> {
        match self.header.kind {
            SegmentKind::Raw => self.raw_pieces(limit),
            SegmentKind::Compressed => self.compressed_pieces(limit),
        }
    }

    /// Every whole batch or block, wherever it stands.
    pub(crate) fn batches(&self) -> Vec<Batch> {
        if self.header.kind == SegmentKind::Compressed {
            let blocks = find_blocks(self.bytes, self.page_crc);
            return blocks.into_iter().map(|(_, _, batch)| batch).collect();
        }
        let segment = RawSegment::new(&self.header, self.bytes);
        let places = segment.headers(HEADER_PAGE_BYTES as u64);
        let whole = places.filter_map(|(offset, _)| segment.whole_batch(offset).ok());
        whole.filter_map(|found| found.to_batch().ok()).collect()
    }

    fn raw_pieces(&self, limit: u64) -> Vec<Piece> {
        let segment = RawSegment::new(&self.header, self.bytes);
        let mut at = Expected::first(&self.header);
        if !self.header_whole {
            at.chain = self.page_crc;
        }
        let mut pieces = Vec::new();
        while at.seq < limit {
            let why = match segment.batch_at(&at) {
                Ok(found) => match found.to_batch() {
                    Ok(batch) if batch.end_seq() == found.header.end_seq() => {
                        at = at.after(&found.header);
                        pieces.push(Piece::Whole { batch, end: at.offset });
                        continue;
                    }
                    Ok(_) => "the batch holds another number of frames".to_owned(),
                    Err(error) => error.to_string(),
                },
                Err(why) => why.to_owned(),
            };
            let Some((offset, header)) = later_batch(&segment, &at, limit) else {
                if let Some(end) = segment.last_written(at.offset) {
                    let (offset, seq) = (at.offset, at.seq);
                    pieces.push(Piece::Torn { offset, bytes: end - offset, seq });
                }
                break;
            };
            pieces.push(Piece::Damaged { offset: at.offset, bytes: offset - at.offset, why });
            at = Expected { offset, seq: header.first_seq, chain: header.prev_chain };
        }
        pieces
    }

    fn compressed_pieces(&self, limit: u64) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut at = HEADER_PAGE_BYTES as u64;
        for (offset, len, batch) in find_blocks(self.bytes, self.page_crc) {
            if offset > at {
                let why = "no whole block is here".to_owned();
                pieces.push(Piece::Damaged { offset: at, bytes: offset - at, why });
            }
            at = offset + len as u64;
            if batch.first_seq() < limit {
                pieces.push(Piece::Whole { batch, end: at });
            }
        }
        pieces
    }

    /// One past the last sequence of a compressed segment, as its footer says.
    pub(crate) fn stated_end(&self) -> Option<u64> {
        let compressed = self.header.kind == SegmentKind::Compressed;
        compressed.then(|| footer_end_seq(self.bytes, self.page_crc)).flatten()
    }

    /// Whether the first batch or block tells with which sequence the segment begins.
    pub(crate) fn begins_whole(&self) -> bool {
        let at = HEADER_PAGE_BYTES as u64;
        match self.header.kind {
            SegmentKind::Raw => {
                let segment = RawSegment::new(&self.header, self.bytes);
                segment.headers(at).next().is_some_and(|(offset, _)| offset == at)
            }
            SegmentKind::Compressed => {
                let blocks = find_blocks(self.bytes, self.page_crc);
                blocks.first().is_some_and(|(offset, ..)| *offset == at)
            }
        }
    }

    /// Why a compressed segment cannot be read the ordinary way, if it cannot.
    pub(crate) fn compressed_fault(&self, file: Box<dyn File>) -> Option<(u64, String)> {
        let fault = |error: crate::ReadError| match error {
            crate::ReadError::Damaged { offset, why, .. } => (offset, why),
            other => (0, other.to_string()),
        };
        let file: Arc<dyn File> = file.into();
        let packed = match Packed::open(Arc::clone(&file), &self.header) {
            Ok(packed) => packed,
            Err(error) => {
                let appended = after_footer(&*file, &self.header).unwrap_or_default();
                let named =
                    appended.map(|(end, more)| (end, format!("{more} bytes follow its end")));
                return Some(named.unwrap_or_else(|| fault(error)));
            }
        };
        let mut seq = self.header.first_seq;
        while seq < packed.end_seq() {
            match packed.decode_block(seq) {
                Ok(batch) => seq = batch.end_seq(),
                Err(error) => return Some(fault(error)),
            }
        }
        None
    }
}

/// How many frames so many bytes can hold.
pub(crate) fn frames_max(bytes: u64) -> u64 {
    bytes.div_ceil(FRAME_HEADER_BYTES as u64)
}

/// Behind damage at `at` the first whole batch that goes on with the sequence; or the header of one
/// whose own write was cut short, but before which something was durable.
fn later_batch(segment: &RawSegment<'_>, at: &Expected, limit: u64) -> Option<(u64, BatchHeader)> {
    let later = || {
        let seqs = at.seq..limit;
        let later = segment.headers(at.offset);
        let later = later.filter(move |(_, found)| seqs.contains(&found.first_seq));
        // At the very place a batch may stand that does not go on with the one before.
        later.filter(|(offset, found)| {
            *offset > at.offset || found.first_seq > at.seq || found.prev_chain != at.chain
        })
    };
    let whole = later().find(|&(offset, _)| segment.whole_batch(offset).is_ok());
    whole.or_else(|| later().find(|(_, header)| header.first_seq > at.seq))
}
