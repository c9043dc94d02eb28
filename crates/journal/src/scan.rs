//! Reading a raw segment from disk batch by batch, and looking for what lies behind damage. Shared
//! by recovery, check, repair, compression and the readers.

use std::io;

use crate::disk::File;
use crate::format::{
    BATCH_ALIGN_BYTES, BATCH_HEADER_BYTES, BATCH_MAGIC, Batch, BatchHeader, FrameError,
    HEADER_PAGE_BYTES, HeaderError, SegmentHeader, align_batch,
};

/// Reads and checks the header page of a segment file.
pub fn read_header(file: &dyn File) -> io::Result<Result<SegmentHeader, HeaderError>> {
    let mut page = [0u8; HEADER_PAGE_BYTES];
    match file.read_exact_at(&mut page, 0) {
        Ok(()) => Ok(SegmentHeader::parse(&page)),
        // A file shorter than a page: zero-filling had just begun, or it was cut by a stranger.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let len = usize::try_from(file.len()?).unwrap_or(HEADER_PAGE_BYTES);
            let short = &mut page[..len.min(HEADER_PAGE_BYTES)];
            file.read_exact_at(short, 0)?;
            let zeros = short.iter().all(|&byte| byte == 0);
            Ok(Err(if zeros { HeaderError::Unused } else { HeaderError::Damaged }))
        }
        Err(error) => Err(error),
    }
}

/// Where the next batch must stand and what it must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Byte offset in the segment's file.
    pub offset: u64,
    /// Its first sequence.
    pub seq: u64,
    /// Its `prev_chain`.
    pub chain: u32,
}

impl Expected {
    /// The place of a segment's first batch.
    #[must_use]
    pub fn first(header: &SegmentHeader) -> Self {
        Self { offset: HEADER_PAGE_BYTES as u64, seq: header.first_seq, chain: header.page_crc() }
    }

    /// The place after a batch that stood here.
    #[must_use]
    pub fn after(self, batch: &BatchHeader) -> Self {
        let end = self.offset + BATCH_HEADER_BYTES as u64 + u64::from(batch.bytes);
        Self { offset: align_batch(end), seq: batch.end_seq(), chain: batch.chain() }
    }
}

/// Whether the batch header fits the segment and the place. The payload is not looked at.
pub fn check_place(
    header: &SegmentHeader,
    expected: &Expected,
    batch: &BatchHeader,
) -> Result<(), &'static str> {
    if batch.salt != header.salt || batch.epoch != header.epoch {
        return Err("the batch is of another epoch");
    }
    if batch.first_seq != expected.seq {
        return Err("the batch does not continue the sequence");
    }
    if batch.prev_chain != expected.chain {
        return Err("the batch does not continue the chain of checksums");
    }
    Ok(())
}

/// One batch of a segment held in memory.
#[derive(Clone, Copy, Debug)]
pub struct ScannedBatch<'a> {
    /// Where its header starts.
    pub offset: u64,
    /// Its header, checked.
    pub header: BatchHeader,
    /// Its payload; the batch's checksum holds.
    pub payload: &'a [u8],
}

impl ScannedBatch<'_> {
    /// Its frames, each checked.
    pub(crate) fn to_batch(self) -> Result<Batch, FrameError> {
        Batch::from_payload(self.header.first_seq, self.header.committed_ms, self.payload.into())
    }
}

const PAST_THE_END: &str = "past the end of the segment";

/// A raw segment's bytes in memory, from the header page to the end of the file.
pub struct RawSegment<'a> {
    header: &'a SegmentHeader,
    bytes: &'a [u8],
}

impl<'a> RawSegment<'a> {
    /// `bytes` are the whole file, header page included.
    #[must_use]
    pub fn new(header: &'a SegmentHeader, bytes: &'a [u8]) -> Self {
        Self { header, bytes }
    }

    /// The batch that must stand at `expected`, or why none does.
    pub fn batch_at(&self, expected: &Expected) -> Result<ScannedBatch<'a>, &'static str> {
        let batch = self.whole_batch(expected.offset)?;
        check_place(self.header, expected, &batch.header)?;
        Ok(batch)
    }

    /// A batch at `offset` whose own checksums hold, whatever its place.
    pub(crate) fn whole_batch(&self, offset: u64) -> Result<ScannedBatch<'a>, &'static str> {
        let header = self.header_at(offset)?;
        let from = usize::try_from(offset).map_err(|_| PAST_THE_END)? + BATCH_HEADER_BYTES;
        let payload = self
            .bytes
            .get(from..from.saturating_add(header.bytes as usize))
            .ok_or("the batch reaches past the end of the segment")?;
        if crc32c::crc32c(payload) != header.payload_crc {
            return Err("the batch payload's checksum fails");
        }
        Ok(ScannedBatch { offset, header, payload })
    }

    /// A batch header at `offset` whose own checksum holds, whatever follows it.
    fn header_at(&self, offset: u64) -> Result<BatchHeader, &'static str> {
        let start = usize::try_from(offset).map_err(|_| PAST_THE_END)?;
        let end = start.saturating_add(BATCH_HEADER_BYTES);
        let head = self.bytes.get(start..end).ok_or(PAST_THE_END)?;
        BatchHeader::parse(head).map_err(|error| match error {
            crate::format::BatchHeaderError::Magic => "no batch starts here",
            crate::format::BatchHeaderError::Checksum => "the batch header's checksum fails",
            crate::format::BatchHeaderError::Impossible => "the batch header is impossible",
        })
    }

    /// The batch headers of this segment's epoch at or after `from`, each with its offset.
    pub(crate) fn headers(&self, from: u64) -> impl Iterator<Item = (u64, BatchHeader)> {
        const MAGIC: [u8; 4] = BATCH_MAGIC.to_le_bytes();
        let from = from.next_multiple_of(BATCH_ALIGN_BYTES);
        let rest = usize::try_from(from).ok().and_then(|from| self.bytes.get(from..));
        // Most places are told by their first bytes not to be one.
        let align = usize::try_from(BATCH_ALIGN_BYTES).expect("it is small");
        let places = rest.unwrap_or_default().chunks_exact(align);
        let begun = places.enumerate().filter(|(_, bytes)| bytes.starts_with(&MAGIC));
        begun.filter_map(move |(nth, _)| {
            let offset = from + nth as u64 * BATCH_ALIGN_BYTES;
            let header = self.header_at(offset).ok()?;
            let own = header.salt == self.header.salt && header.epoch == self.header.epoch;
            own.then_some((offset, header))
        })
    }

    /// The first whole batch of this segment's epoch at or after `from`.
    #[must_use]
    pub fn find_batch(&self, from: u64) -> Option<ScannedBatch<'a>> {
        self.headers(from).find_map(|(offset, _)| self.whole_batch(offset).ok())
    }

    /// Where no batch stands at `expected`: what proves that one was once durable there. A batch is
    /// written only after the sync of the one before it has succeeded, so the header alone of a
    /// later one is enough, though its own write was cut short.
    #[must_use]
    pub fn find_proof(&self, expected: &Expected) -> Option<(u64, BatchHeader)> {
        self.headers(expected.offset).find(|(offset, header)| {
            header.first_seq > expected.seq || self.whole_batch(*offset).is_ok()
        })
    }

    /// One past the last byte that is not zero, if there is one at or after `from`.
    #[must_use]
    pub fn last_written(&self, from: u64) -> Option<u64> {
        let from = usize::try_from(from).ok()?;
        let last = self.bytes.get(from..)?.iter().rposition(|&byte| byte != 0)?;
        Some((from + last + 1) as u64)
    }
}

/// Chunk by chunk, for this runs over whole segments at every open.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    let zero = |chunk: &[u8; 64]| chunk.iter().fold(0u8, |any, &byte| any | byte) == 0;
    chunks.iter().all(zero) && rest.iter().all(|&byte| byte == 0)
}

/// Reads a whole file into memory.
pub fn read_whole(file: &dyn File) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.len()?)
        .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "larger than memory"))?;
    let mut bytes = vec![0u8; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{FrameKind, FrameView, SegmentKind, encode_frame};

    fn header(salt: u64) -> SegmentHeader {
        SegmentHeader {
            kind: SegmentKind::Raw,
            store_id: [1; 16],
            store_number: 0,
            number: 4,
            previous: 3,
            source: 3,
            epoch: 2,
            salt,
            first_seq: 10,
            created_ms: 0,
            segment_bytes: 16 << 10,
        }
    }

    /// A segment with `batches` batches of one frame each, and where each starts.
    fn segment(header: &SegmentHeader, batches: usize) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = vec![0u8; 16 << 10];
        let (mut expected, mut starts) = (Expected::first(header), Vec::new());
        for _ in 0..batches {
            let mut payload = Vec::new();
            let (kind, seq) = (FrameKind::Usage, expected.seq);
            let frame = FrameView { seq, kind, stream: 0, key_id: 0, payload: &[7; 33] };
            encode_frame(frame, &mut payload);
            let batch = BatchHeader {
                salt: header.salt,
                epoch: header.epoch,
                frames: 1,
                first_seq: seq,
                bytes: u32::try_from(payload.len()).expect("small"),
                payload_crc: crc32c::crc32c(&payload),
                prev_chain: expected.chain,
                committed_ms: 1,
            };
            let at = usize::try_from(expected.offset).expect("small");
            bytes[at..at + BATCH_HEADER_BYTES].copy_from_slice(&batch.encode());
            let from = at + BATCH_HEADER_BYTES;
            bytes[from..from + payload.len()].copy_from_slice(&payload);
            starts.push(at);
            expected = expected.after(&batch);
        }
        (bytes, starts)
    }

    fn count(header: &SegmentHeader, bytes: &[u8]) -> (usize, Expected) {
        let segment = RawSegment::new(header, bytes);
        let (mut expected, mut count) = (Expected::first(header), 0);
        while let Ok(batch) = segment.batch_at(&expected) {
            expected = expected.after(&batch.header);
            count += 1;
        }
        (count, expected)
    }

    #[test]
    fn a_single_bit_anywhere_is_not_zero() {
        assert!(is_zero(&[0; 200]));
        for at in 0..200 {
            let mut bytes = [0u8; 200];
            bytes[at] = 0x80;
            assert!(!is_zero(&bytes), "{at}");
        }
    }

    #[test]
    fn batches_are_found_up_to_the_damage_and_behind_it() {
        let header = header(5);
        let (bytes, starts) = segment(&header, 4);
        assert_eq!(count(&header, &bytes).0, 4);
        for (index, &start) in starts.iter().enumerate() {
            let mut bytes = bytes.clone();
            bytes[start + 20] ^= 1;
            let (found, expected) = count(&header, &bytes);
            assert_eq!(found, index);
            let segment = RawSegment::new(&header, &bytes);
            let next = starts.get(index + 1).map(|&at| at as u64);
            assert_eq!(segment.find_batch(expected.offset).map(|batch| batch.offset), next);
            assert_eq!(segment.find_proof(&expected).map(|(offset, _)| offset), next);
        }
    }

    #[test]
    fn the_header_of_a_torn_batch_proves_the_one_before_it_and_not_its_own() {
        let header = header(5);
        let (mut bytes, starts) = segment(&header, 4);
        bytes[starts[3] + BATCH_HEADER_BYTES] ^= 1;
        let proof = |bytes: &[u8]| {
            let (found, expected) = count(&header, bytes);
            let segment = RawSegment::new(&header, bytes);
            assert!(segment.find_batch(expected.offset).is_none());
            (found, segment.find_proof(&expected).map(|(offset, _)| offset))
        };
        assert_eq!(proof(&bytes), (3, None));
        bytes[starts[2] + BATCH_HEADER_BYTES] ^= 1;
        assert_eq!(proof(&bytes), (2, Some(starts[3] as u64)));
        bytes[starts[3] + 20] ^= 1;
        assert_eq!(proof(&bytes), (2, None));
    }

    #[test]
    fn batches_of_another_epoch_are_not_there() {
        let (bytes, _) = segment(&header(5), 4);
        let other = header(6);
        assert_eq!(count(&other, &bytes).0, 0);
        let segment = RawSegment::new(&other, &bytes);
        assert!(segment.find_batch(4096).is_none());
        assert!(segment.find_proof(&Expected { seq: 1, ..Expected::first(&other) }).is_none());
    }

    #[test]
    fn a_batch_out_of_the_chain_is_found_but_not_accepted() {
        let header = header(5);
        let (mut bytes, starts) = segment(&header, 3);
        // The third in the place of the second: whole, of this epoch, and not what was written.
        let third = bytes[starts[2]..starts[2] + 128].to_vec();
        bytes[starts[1]..starts[1] + 128].copy_from_slice(&third);
        let (found, expected) = count(&header, &bytes);
        assert_eq!(found, 1);
        assert!(RawSegment::new(&header, &bytes).find_batch(expected.offset).is_some());
    }
}
